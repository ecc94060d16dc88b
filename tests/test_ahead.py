"""Rows read ahead: whatever the manifest's order, what is found is what an index look-up finds."""

from __future__ import annotations

import contextlib
import random
from hashlib import blake2b

import pytest

from bulkfetch.journal import Journal, PendingRow
from bulkfetch.journal.ahead import Ahead, ranges_of
from bulkfetch.models import Entry

COUNT = 300


def key_of(number):
    return blake2b(str(number).encode(), digest_size=16).digest()


def row(number):
    path = f"{number}.csv"
    return PendingRow(key_of(number), path, path, Entry((f"http://h/{path}",)))


@pytest.fixture
def journal(tmp_path):
    with contextlib.closing(Journal.open(tmp_path)) as opened:
        opened.begin_run()
        opened.add_pending([row(number) for number in range(COUNT)])
        opened.commit()
        opened.finish_run(clean=True, summary={})
        yield opened


def orders():
    shuffled = random.Random(1).sample(range(COUNT), COUNT)
    yield "same", list(range(COUNT))
    yield "reversed", list(range(COUNT))[::-1]
    yield "shuffled", shuffled
    yield "some left out", [n for n in range(COUNT) if n % 7]
    yield "begins later", list(range(COUNT // 2, COUNT))
    yield (
        "new ones in between",
        [n for pair in zip(range(COUNT), range(COUNT, 2 * COUNT), strict=True) for n in pair],
    )
    yield "rotated", [*range(100, COUNT), *range(100)]


@pytest.mark.parametrize("batch", [1, 16, 64, 1000])
@pytest.mark.parametrize(("order"), [o for _, o in orders()], ids=[name for name, _ in orders()])
def test_every_known_row_is_found_and_no_other(journal, order, batch):
    for start in range(0, len(order), batch):
        wanted = [key_of(number) for number in order[start : start + batch]]
        found = journal.find(wanted)
        assert set(found) == {key_of(n) for n in order[start : start + batch] if n < COUNT}
        assert all(row.key == key for key, row in found.items())


@pytest.mark.parametrize("order", [o for _, o in orders()], ids=[name for name, _ in orders()])
def test_every_row_of_a_run_is_marked_as_seen_and_no_other(journal, order):
    journal.begin_run()
    seen = [number for number in order if number < COUNT][:120]
    for start in range(0, len(seen), 50):
        keys = [key_of(number) for number in seen[start : start + 50]]
        journal.find(keys)
        journal.touch_run(keys)
    runs = {key: row.run for key, row in journal.find([key_of(n) for n in range(COUNT)]).items()}
    assert {key for key, run in runs.items() if run == journal.run} == {key_of(n) for n in seen}


@pytest.mark.parametrize(
    ("numbers", "ranges"),
    [
        ([], []),
        ([0], [(0, 0)]),
        ([1, 2, 3], [(1, 3)]),
        ([1, 3, 4, 9], [(1, 1), (3, 4), (9, 9)]),
        ([0, 1], [(0, 1)]),
    ],
)
def test_ranges_have_no_gap(numbers, ranges):
    assert ranges_of(numbers) == ranges


def test_an_entry_planned_settled_and_written_in_turn_keeps_one_row(tmp_path):
    with contextlib.closing(Journal.open(tmp_path)) as journal:
        journal.begin_run()
        journal._names._waiting = 1
        for number in range(5):
            journal.find([key_of(number)])
            journal.add_pending([row(number)])
            journal.commit()
            journal.add_pending([row(number)])
            journal.commit()
        assert journal.counts() == {"pending": 5}


class Queries:
    """Stands for a database without rows; counts what it is asked."""

    def __init__(self):
        self.count = 0

    def fetch(self, _sql, _values):
        self.count += 1
        return []


@pytest.mark.parametrize(
    ("numbers", "asked"),
    [([], 1), ([1, 2, 3, 4], 2), ([1, 3, 5, 7], 2), ([4, 3, 2, 1], 1), ([1, 900, 2, 1000], 1)],
    ids=["nothing known", "in order", "some left out", "backwards", "scattered"],
)
def test_rows_are_read_ahead_only_while_that_finds_them(numbers, asked):
    queries = Queries()
    ahead = Ahead(queries)
    ahead.read([key_of(1)])
    ahead.note(numbers)
    ahead.read([key_of(2)])
    assert queries.count == asked
