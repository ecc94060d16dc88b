"""Which numbers an index surely lacks, told without reading it: of a new list's lines nearly all."""

from __future__ import annotations

from collections.abc import Iterable
from mmap import mmap

_BYTES = 1 << 23  # one number in 35 passes for nothing at a million lines, one in 4 at ten million
_LAST = _BYTES - 1


class Sieve:
    """One bit for every number that was added, shared by many: a Bloom filter of one hash."""

    def __init__(self) -> None:
        self._bits = mmap(-1, _BYTES)  # only what is touched takes memory and time; a bytearray is cleared

    def add(self, numbers: Iterable[int]) -> None:
        """Let these numbers pass from now on."""
        bits = self._bits
        for number in numbers:
            bits[(number >> 3) & _LAST] |= 1 << (number & 7)

    def passing(self, numbers: Iterable[int]) -> list[int]:
        """Return those of `numbers` that may have been added; the others surely were not."""
        bits = self._bits
        return [number for number in numbers if bits[(number >> 3) & _LAST] >> (number & 7) & 1]
