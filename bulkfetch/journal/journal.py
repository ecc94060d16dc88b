"""The journal of one destination: planned entries, outcomes, resumable parts, runs."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bulkfetch._version import __version__
from bulkfetch.journal import schema
from bulkfetch.journal.ahead import Ahead, ranges_of
from bulkfetch.journal.attempts import AttemptRow, add_attempt, forget_attempts
from bulkfetch.journal.boot import boot_id
from bulkfetch.journal.database import Database
from bulkfetch.journal.names import Names
from bulkfetch.journal.opening import open_readable, open_scratch, open_writable
from bulkfetch.journal.reading import Reading
from bulkfetch.journal.records import pending_values
from bulkfetch.journal.rows import (
    Answer,
    Interruption,
    PathOwner,
    PendingRow,
    Row,
    missing_text,
    parse_answer,
    parse_part,
    parse_row,
)
from bulkfetch.journal.settling import FINISHED, settle, settle_known
from bulkfetch.models import Outcome, PartInfo
from bulkfetch.naming import collision_key
from bulkfetch.safetext import redact_url

_RUNS_KEPT = 1000
_SHORT_RANGE = 16  # rows that are not worth a statement of their own
_SETTLED_AFTER = 300.0  # seconds after which a system that offers no sync has long written everything


class Journal(Reading):
    """One writer; writes are seen by this object at once, and are safe once `commit` returns.

    Methods raise `DiskFull` or `DiskUnusable` when the file cannot be written, and `BulkfetchError`
    for what else keeps SQLite from working; what was committed before stays.
    """

    def __init__(self, database: Database, notices: list[str], now: Callable[[], float], boot: str) -> None:
        self._database = database
        self._names = Names(database)
        self._ahead = Ahead(database)
        self._now = now
        self._boot = boot
        self.notices = notices  # what the user should be told
        self.run = 0  # the present run; 0 before `begin_run`
        self.interrupted: Interruption | None = None  # runs before it that did not end as they should
        self._has_parts = True  # whether any row of `parts` can exist
        self._look_back()

    @classmethod
    def open(
        cls, folder: Path, *, now: Callable[[], float] = time.time, boot: Callable[[], str] = boot_id
    ) -> Journal:
        """Open or make the journal in a state folder; a damaged one is kept aside and told in `notices`.

        Raises:
            UsageError: the folder cannot be written, or a newer version wrote the journal.
        """
        return cls(*open_writable(folder, now), now, boot())

    @classmethod
    def open_scratch(cls, folder: Path) -> Journal:
        """Open or make a journal that ends with this process, in a folder of its own."""
        return cls(open_scratch(folder), [], time.time, boot_id())

    @classmethod
    def open_readonly(cls, folder: Path, *, boot: Callable[[], str] = boot_id) -> Journal:
        """Open the journal for questions only, also while a run writes it.

        Raises:
            UsageError: there is none, it is damaged, or a newer version wrote it.
        """
        return cls(*open_readable(folder), time.time, boot())

    # -- runs ------------------------------------------------------------------------------------

    def begin_run(self, *, durable: bool = False) -> int:
        """Start a run and return its number; `durable`: each file is synced before its outcome is told."""
        write, now = self._database.write, self._now()
        if not hasattr(os, "sync"):
            settled = (
                "UPDATE runs SET durable = 1 WHERE clean = 1 AND boot = ? AND boot <> '' AND finished < ?"
            )
            write(settled, (self._boot, now - _SETTLED_AFTER))
        self._look_back()
        last = self._database.fetch("SELECT coalesce(max(id), 0) FROM runs")[0][0]
        self.run = int(last) + 1
        values = (self.run, now, self._boot, durable, __version__)
        write("INSERT INTO runs (id, started, boot, durable, version) VALUES (?, ?, ?, ?, ?)", values)
        write("DELETE FROM runs WHERE id <= ? AND clean = 1 AND durable = 1", (self.run - _RUNS_KEPT,))
        forget_attempts(self._database, self.run)
        self._has_parts = bool(self._database.fetch("SELECT 1 FROM parts LIMIT 1"))
        self._database.commit()
        self._database.checkpoint()  # a crash of the machine must not take the row that tells of it
        return self.run

    def finish_run(self, *, clean: bool, summary: dict[str, Any]) -> None:
        """Record the end of the run.

        Args:
            clean: nothing of the run goes on any more, and every outcome was recorded; then the file
                system is synced once, and the files of this boot need no second look. A run whose
                journal failed is never clean, so that damage is looked for when it is opened next.
            summary: totals, JSON-ready.
        """
        self._names.write(all_of_them=True)
        self._database.commit()
        clean = clean and not self._database.has_failed
        if clean and hasattr(os, "sync"):
            os.sync()
            synced = "UPDATE runs SET durable = 1 WHERE id = ? OR (boot = ? AND boot <> '')"
            self._database.write(synced, (self.run, self._boot))
        values = (self._now(), clean, json.dumps(summary, default=str), self.run)
        self._database.write("UPDATE runs SET finished = ?, clean = ?, summary = ? WHERE id = ?", values)
        self._database.commit()
        self._database.checkpoint()

    def commit(self) -> None:
        """Make what was written survive the process."""
        self._names.write()
        self._database.commit()

    def close(self) -> None:
        """Commit and let go of the file; never raises."""
        self._database.close()

    # -- planning --------------------------------------------------------------------------------

    def find(self, keys: Collection[bytes], paths: Mapping[bytes, str] | None = None) -> dict[bytes, Row]:
        """Return what is known of these entries; `paths`: where they go unless a row says something else."""
        doubted, safe = self._doubted, paths or {}
        next_rows = self._ahead.read(keys)
        numbers = {key: values[-1] for key, values in next_rows.items()}
        missing = [key for key in keys if key not in numbers] if len(numbers) < len(keys) else []
        looked_up = self._names.find(missing) if missing else {}
        numbers |= looked_up
        self._names.remember(numbers)
        self._ahead.note([numbers[key] for key in keys if key in numbers])
        rows = [*next_rows.values(), *self._database.fetch_many(schema.FIND_ROWS, list(looked_up.values()))]
        found = {values[0]: parse_row(values, doubted, safe.get(values[0], "")) for values in rows}
        return {key: row for key, row in found.items() if row is not None}

    def find_answers(self, keys: Collection[bytes]) -> dict[bytes, Answer]:
        """Return what is known of the answers that these entries' files came with."""
        numbers = self._names.find(keys)
        return dict(map(parse_answer, self._database.fetch_many(schema.FIND_ANSWERS, list(numbers.values()))))

    def find_paths(self, path_keys: Sequence[str]) -> dict[str, PathOwner]:
        """Return who has these destinations, given by collision key."""
        wanted = set(path_keys)
        owners = {}
        for values in self._database.fetch_many(schema.FIND_OWNERS, self._names.find_paths(wanted)):
            row = parse_row(values, self._doubted)
            if row is not None and (path_key := collision_key(row.path)) in wanted:
                facts = (row.key, row.run, row.path, row.state, row.size, row.mtime_ns)
                owners[path_key] = PathOwner(*facts, values[-1] if isinstance(values[-1], str) else "")
        return owners

    def add_pending(self, rows: Sequence[PendingRow]) -> None:
        """Record entries about to be fetched; one known already keeps the facts of its file."""
        numbers = self._names.find_or_add([row.key for row in rows])
        values = [pending_values(row, numbers[row.key], self.run) for row in rows]
        self._database.write_many(schema.ADD_PENDING, values)
        self._names.claim({row.path_key: numbers[row.key] for row in rows})

    def touch_run(self, keys: Sequence[bytes]) -> None:
        """Record that this run has seen entries that need nothing."""
        singles = []
        for first, last in ranges_of(sorted(self._names.find(keys).values())):
            if last - first < _SHORT_RANGE:
                singles += [(number,) for number in range(first, last + 1)]
            else:
                self._database.write(schema.TOUCH_RANGE, (self.run, first, last))
        self._database.write_many(schema.TOUCH, singles, (self.run,))

    def release_path(self, key: bytes) -> None:
        """Let another entry have the destination of this one."""
        for number in self._names.find([key]).values():
            self._database.write("UPDATE entries SET owns = 0 WHERE id = ?", (number,))

    def take_over(self, key: bytes, holder: bytes) -> None:
        """Have a pending entry replace the file of another one, whose record ends here."""
        numbers = self._names.find([key, holder])
        if len(numbers) < 2:  # an edited journal (fault K07)
            return
        self._database.write(schema.TAKE_OVER, (numbers[holder], numbers[key]))
        self._database.write("DELETE FROM entries WHERE id = ?", (numbers[holder],))
        self._names.forget(holder)
        self.drop_part(holder)

    # -- outcomes --------------------------------------------------------------------------------

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Record final outcomes; the part of a finished file is forgotten.

        An outcome without a key has no identity to be recorded under.
        """
        now, kept = self._now(), [outcome for outcome in outcomes if outcome.key]
        keys = [outcome.key for outcome in kept]
        numbers = self._names.find(keys)
        if len(numbers) == len(keys):  # not so if one has none yet, or is there twice
            settle_known(self._database, kept, numbers, self.run, now)
        else:
            settle(self._database, kept, self._names.find_or_add(keys), self.run, now)
        if self._has_parts:
            finished = [(outcome.key,) for outcome in kept if outcome.status in FINISHED]
            self._database.write_many(schema.DROP_PARTS, finished)

    def put_back(self, keys: Collection[bytes]) -> None:
        """Have pending entries, whose files are there, end as they did before this run."""
        numbers = self._names.find(keys).values()
        self._database.write_many(schema.PUT_BACK, [(number,) for number in numbers])

    def add_attempt(self, row: AttemptRow) -> None:
        """Record an attempt that was not all there was to its entry."""
        add_attempt(self._database, row, self.run, self._now())

    # -- parts -----------------------------------------------------------------------------------

    def save_part(self, key: bytes, part: PartInfo, *, durable: int = 0, url: str = "") -> None:
        """Record a resumable part.

        Args:
            key: the entry's identity.
            part: its offset counts as long as the machine stays up.
            durable: bytes that were synced, which count after a crash of the machine too.
            url: where it came from.
        """
        self._has_parts = True
        pinned = (part.token, part.validator, part.total)
        values = (part.offset, durable, self._boot, redact_url(url), missing_text(part))
        self._database.write(schema.SAVE_PART, (key, *pinned, *values))

    def drop_part(self, key: bytes) -> None:
        """Forget a part."""
        if self._has_parts:
            self._database.write("DELETE FROM parts WHERE key = ?", (key,))

    def find_parts(self, keys: Sequence[bytes]) -> dict[bytes, PartInfo]:
        """Return the parts of these entries, each with the offset that can be trusted now."""
        if not self._has_parts:
            return {}
        found = (parse_part(v, self._boot) for v in self._database.fetch_many(schema.FIND_PARTS, keys))
        return dict(filter(None, found))

    def all_tokens(self) -> set[str]:
        """Return the tokens of all parts that can be trusted, so that part files of no use can be told."""
        rows = self._database.fetch(schema.ALL_PARTS)
        parts = (parse_part(values, self._boot) for values in rows)
        return {part.token for _, part in filter(None, parts) if part.offset or part.missing}

    def _look_back(self) -> None:
        """Find earlier runs whose files may not have reached the disk, and such as broke off."""
        fetch = self._database.fetch
        doubted = fetch("SELECT id FROM runs WHERE durable = 0 AND (boot <> ? OR boot = '')", (self._boot,))
        self._doubted = frozenset(row[0] for row in doubted)
        last_clean = "(SELECT coalesce(max(id), 0) FROM runs WHERE clean = 1)"
        broken = fetch(f"SELECT started, finished, boot FROM runs WHERE id > {last_clean}")
        rows = [row for row in broken if isinstance(row[0], float)]
        self.interrupted = None
        if rows:
            same_boot = bool(self._boot) and all(row[2] == self._boot for row in rows)
            ends = [row[1] if isinstance(row[1], float) else math.inf for row in rows]
            self.interrupted = Interruption(min(row[0] for row in rows), same_boot, max(ends))
