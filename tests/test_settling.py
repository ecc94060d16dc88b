"""The short way to record a file that came at once leaves the same row as the long one."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkfetch.journal import FILE, Journal, PendingRow, schema
from bulkfetch.journal.database import Database
from bulkfetch.journal.records import pending_values
from bulkfetch.journal.settling import settle_known
from bulkfetch.models import Entry, Failure, Outcome, Status

URL = "https://example.org/{}.csv"
STRANGER = Outcome(Entry((URL.format("x"),)), Status.FAILED, failure=Failure("server", ""))
STRANGER_KEY = b"stranger"

PLAIN = {
    "status": Status.FETCHED, "final_url": URL.format(0), "size": 20, "received": 20, "digest": "",
    "etag": None, "last_modified": None, "mtime_ns": 1_700_000_000_123_456_789, "attempts": 1,
    "seconds": 0.5, "reason": "", "fresh_until": None,
}  # fmt: skip
UNUSUAL = [
    {"status": Status.FAILED},
    {"status": Status.UNCHANGED},
    {"status": Status.UNCHANGED, "final_url": ""},
    {"final_url": URL.format(1)},
    {"size": 0, "received": 0},
    {"received": 0},
    {"digest": "sha256:" + "ab" * 32},
    {"etag": '"1"', "last_modified": "Tue, 15 Nov 1994 12:45:26 GMT"},
    {"mtime_ns": 2**70},
    {"attempts": 2},
    {"seconds": 0.25},
    {"reason": "verified"},
    {"fresh_until": 5},
]
PLANNED = "planned"  # and not settled: the run was killed

entries = st.builds(
    lambda size, extra, source, line: Entry(
        (URL.format(0),), None, size, extra=extra, source=source, line=line
    ),
    st.sampled_from([None, None, None, 20]),
    st.sampled_from([{}, {}, {}, {"name": "value"}]),
    st.sampled_from(["list.txt", "\udc80"]),
    st.integers(1, 3),
)
outcomes = st.lists(st.sampled_from(UNUSUAL), max_size=2).map(
    lambda changes: dict(PLAIN, **{name: value for change in changes for name, value in change.items()})
)
# What an earlier run left of an entry, whether this one has planned it, and how it ended.
histories = st.lists(
    st.tuples(
        st.none() | st.just(PLANNED) | outcomes,
        st.sampled_from([True, True, True, False]),
        entries,
        entries,
        outcomes,
    ),
    min_size=12,
    max_size=12,
)


def make_outcome(number: int, entry: Entry, facts: dict[str, Any]) -> Outcome:
    facts = dict(facts)
    status = facts.pop("status")
    failure = Failure("server", "it had an error", 500) if status is Status.FAILED else None
    path = f"{number}.csv"
    return Outcome(entry, status, path, entry.urls[0], key=bytes([number]) * 16, failure=failure, **facts)


def make_pending(number: int, entry: Entry) -> PendingRow:
    return PendingRow(bytes([number]) * 16, f"{number}.csv", f"{number}.csv", entry)


def record(folder: Path, history: list[Any], *, is_long: bool, at_once: int = 1) -> list[tuple[Any, ...]]:
    """Return the rows that two runs leave, the second one's outcomes settled so many at once."""
    with contextlib.closing(Journal.open(folder, now=lambda: 7.0, boot=lambda: "A")) as journal:
        journal.begin_run()
        first = [(n, old, was) for n, (was, _, old, *_) in enumerate(history) if was is not None]
        journal.add_pending([make_pending(n, old) for n, old, _ in first])
        journal.settle([make_outcome(n, old, was) for n, old, was in first if was != PLANNED])
        journal.begin_run()
        journal.add_pending(
            [make_pending(n, new) for n, (_, planned, _, new, _) in enumerate(history) if planned]
        )
        ends = [make_outcome(n, new, end) for n, (*_, new, end) in enumerate(history)]
        for start in range(0, len(ends), at_once):
            # One that has no row yet has all of them take the long way.
            stranger = STRANGER._replace(key=STRANGER_KEY + bytes([start]) * 8)
            journal.settle([*ends[start : start + at_once], *([stranger] if is_long else [])])
    return rows_of(folder)


def rows_of(folder: Path) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        connection.text_factory = bytes
        query = "SELECT * FROM entries WHERE substr(key, 1, 8) <> ? ORDER BY key"
        return [row[1:] for row in connection.execute(query, (STRANGER_KEY,))]


@settings(max_examples=30)
@given(histories, st.integers(1, 4))
def test_the_short_way_leaves_the_row_of_the_long_one(history, at_once):
    with TemporaryDirectory() as folder:
        short = record(Path(folder, "a"), history, is_long=False, at_once=at_once)
        assert short == record(Path(folder, "b"), history, is_long=True, at_once=at_once)


@pytest.mark.parametrize("count", [1, 3, 256, 257, 700])
def test_as_many_rows_as_outcomes(tmp_path, count):
    entry = Entry((URL.format(0),))
    with contextlib.closing(Journal.open(tmp_path)) as journal:
        journal.begin_run()
        keys = [number.to_bytes(16, "big") for number in range(count)]
        journal.add_pending([PendingRow(key, f"{n}", f"{n}", entry) for n, key in enumerate(keys)])
        journal.settle([make_outcome(0, entry, PLAIN)._replace(key=key) for key in keys])
        found = journal.find(keys)
    assert {(row.state, row.size) for row in found.values()} == {(Status.FETCHED, 20)}
    assert len(rows_of(tmp_path)) == len(found) == count


@pytest.mark.parametrize(
    ("planned", "odd", "ways"),
    [(5, 0, ["short"]), (5, 2, ["short", "long"]), (4, 0, ["short", "long"])],
    ids=["all came at once", "some did not", "one was planned by an earlier run"],
)
def test_what_came_at_once_takes_the_short_way(planned, odd, ways):
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for table in schema.TABLES:
            connection.execute(table)
        database = Database(connection, Path())
        rows = [make_pending(number, Entry((URL.format(0),))) for number in range(5)]
        pending = [pending_values(row, row.key[0], int(row.key[0] < planned)) for row in rows]
        database.write_many(schema.ADD_PENDING, pending)
        said: list[str] = []
        connection.set_trace_callback(said.append)
        facts = [{**PLAIN, "attempts": 1 + (number < odd)} for number in range(5)]
        ends = [make_outcome(number, Entry((URL.format(0),)), each) for number, each in enumerate(facts)]
        settle_known(database, ends, {end.key: end.key[0] for end in ends}, 1, 7.0)
        connection.set_trace_callback(None)
    written = [text for text in said if text.startswith("INSERT")]
    assert ["long" if "final_url = excluded.final_url" in text else "short" for text in written] == ways
