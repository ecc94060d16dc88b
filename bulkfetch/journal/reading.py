"""What the journal tells about all its entries, a page at a time, also while a run writes it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from bulkfetch.journal import schema
from bulkfetch.journal.attempts import EntryStory, find_stories
from bulkfetch.journal.database import Database
from bulkfetch.journal.records import failure_record, transient_kinds
from bulkfetch.journal.rows import Row, parse_row
from bulkfetch.models import Status
from bulkfetch.urls import origin_of

_PAGE = 500  # rows; between pages no lock is held


class Reading:
    """Questions about the journal as a whole."""

    _database: Database
    _doubted: frozenset[int]

    def counts(self) -> dict[str, int]:
        """Return how many entries are in each state."""
        rows = self._database.fetch("SELECT state, count(*) FROM entries GROUP BY state")
        return {state: count for state, count in rows if state in set(Status)}

    def failure_counts(self) -> dict[str, int]:
        """Return how many entries failed by kind."""
        rows = self._database.fetch("SELECT kind, count(*) FROM entries WHERE state = 'failed' GROUP BY kind")
        return {kind: count for kind, count in rows if isinstance(kind, str)}

    def host_counts(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield origin, state, kind of failure ("" for none) and how many entries those are."""
        for start, state, kind, count in self._database.fetch(schema.BY_HOST):
            if state in set(Status):
                yield _origin(start), state, kind if isinstance(kind, str) else "", count

    def last_run(self) -> dict[str, Any] | None:
        """Return the last run as a JSON-ready record; `finished` is None while it goes on or was killed."""
        rows = self._database.fetch(
            "SELECT id, started, finished, clean, version, summary FROM runs ORDER BY id DESC LIMIT 1"
        )
        if not rows:
            return None
        number, started, finished, clean, version, summary = rows[0]
        return {
            "id": number, "started": started, "finished": finished, "clean": bool(clean), "version": version,
            "summary": _parse_summary(summary),
        }  # fmt: skip

    def failures(
        self, kinds: Collection[str] | None = None, *, transient: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield failed entries as records of a manifest, in the order of their first planning.

        Args:
            kinds: only these kinds of failure.
            transient: only kinds that may pass by themselves.
        """
        wanted = None if kinds is None else frozenset(kinds)
        if transient:
            wanted = transient_kinds() if wanted is None else wanted & transient_kinds()
        for values in self._pages(schema.FAILED):
            if (record := failure_record(values, wanted)) is not None:
                yield record

    def finished(self) -> Iterator[Row]:
        """Yield the entries whose files should be there."""
        for values in self._pages(schema.FINISHED):
            if (row := parse_row(values[1:], self._doubted)) is not None:
                yield row

    def recorded(self) -> Iterator[Row]:
        """Yield what has a file on record, also where the entry has failed since; then it may be gone."""
        for values in self._pages(schema.RECORDED):
            if (row := parse_row(values[1:], self._doubted)) is not None:
                yield row

    def stories(self, url: str) -> Iterator[EntryStory]:
        """Yield every entry of a URL, given without its secrets, and what is kept of its attempts."""
        return find_stories(self._database, url)

    def _pages(self, query: str) -> Iterator[Sequence[Any]]:
        last, end = (
            0,
            self._database.fetch("SELECT max(id) FROM entries")[0][0],
        )  # a run may outpace its reader
        while rows := self._database.fetch(query, (last, end, _PAGE)):
            yield from rows
            last = rows[-1][0]


def _origin(start: Any) -> str:
    try:
        return str(origin_of(f"{start}/"))
    except ValueError:  # an edited row
        return "?"


def _parse_summary(text: Any) -> dict[str, Any]:
    try:
        summary = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return summary if isinstance(summary, dict) else {}
