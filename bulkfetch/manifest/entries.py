"""Entries that need no second look."""

from __future__ import annotations

from collections.abc import Iterator

from bulkfetch.models import BadLine, Entry


class Checked(Iterator[Entry | BadLine]):
    """Entries that a reader of ours has made: they need no second look."""

    def __init__(self, entries: Iterator[Entry | BadLine]) -> None:
        self._entries = entries

    def __iter__(self) -> Iterator[Entry | BadLine]:
        return self._entries

    def __next__(self) -> Entry | BadLine:
        return next(self._entries)
