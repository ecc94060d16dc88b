"""Tasks of busy hosts that wait on disk, so that a list sorted by host still uses every worker."""

from __future__ import annotations

import pickle
import sqlite3
from collections import Counter

from bulkfetch.models import Origin, Task


class Backlog:
    """A queue per origin in a temporary database that vanishes when it is closed."""

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None
        self._counts: Counter[Origin] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def count(self, origin: Origin) -> int:
        """Return how many tasks of `origin` wait here."""
        return self._counts[origin]

    def put(self, tasks: list[Task]) -> None:
        """Append tasks, each to its origin's queue."""
        rows = [(str(task.origin), pickle.dumps(task, pickle.HIGHEST_PROTOCOL)) for task in tasks]
        self._open().executemany("INSERT INTO waiting (origin, task) VALUES (?, ?)", rows)
        self._counts.update(task.origin for task in tasks)

    def take(self, origin: Origin, most: int) -> list[Task]:
        """Remove and return the `most` longest-waiting tasks of `origin`."""
        database = self._open()
        query = "SELECT id, task FROM waiting WHERE origin = ? ORDER BY id LIMIT ?"
        rows = database.execute(query, (str(origin), most)).fetchall()
        database.executemany("DELETE FROM waiting WHERE id = ?", [(row[0],) for row in rows])
        self._counts[origin] -= len(rows)
        if self._counts[origin] <= 0:
            del self._counts[origin]
        return [pickle.loads(row[1]) for row in rows]

    def origins(self) -> list[Origin]:
        """Return the origins that have tasks here."""
        return list(self._counts)

    def close(self) -> None:
        """Forget everything."""
        if self._database is not None:
            self._database.close()
            self._database = None
        self._counts.clear()

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._database.executescript(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                "CREATE TABLE waiting (id INTEGER PRIMARY KEY, origin TEXT NOT NULL, task BLOB NOT NULL);"
                "CREATE INDEX by_origin ON waiting (origin, id);"
            )
        return self._database
