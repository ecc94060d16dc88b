"""Rows read in the order they were written: most manifests name their entries as they did last time.

Looking a key up goes through an index whose pages lie anywhere; a page of rows in their own order is read
many times faster, and costs one query where the guess was wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from bulkfetch.journal import schema
from bulkfetch.journal.database import Database

_LOOSE = 2  # times as far apart as they are many: then rows no longer count as one after the other


class Ahead:
    """Guesses where the rows of the next entries stand."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._position = 0  # the row of the entry asked for last
        self._is_likely = True

    def read(self, keys: Collection[bytes]) -> dict[bytes, Sequence[Any]]:
        """Return those rows of `keys` that come next, as NEXT_ROWS selects them."""
        if not self._is_likely or not keys:
            return {}
        rows = self._database.fetch(schema.NEXT_ROWS, (self._position, len(keys)))
        wanted = set(keys)
        return {values[0]: values for values in rows if values[0] in wanted}

    def note(self, numbers: Sequence[int]) -> None:
        """Take note of where the rows were, in the order of the manifest."""
        self._is_likely = bool(numbers) and 0 <= numbers[-1] - numbers[0] < _LOOSE * len(numbers)
        if numbers:
            self._position = numbers[-1]


def ranges_of(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return sorted numbers as ranges without a gap, ends included."""
    ranges: list[tuple[int, int]] = []
    first = last = -1
    for number in numbers:
        if number == last + 1 and last >= 0:
            last = number
            continue
        if last >= 0:
            ranges.append((first, last))
        first = last = number
    return [*ranges, (first, last)] if numbers else []
