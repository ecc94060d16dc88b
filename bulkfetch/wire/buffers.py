"""Memory that bodies are read into, used again and again."""

from __future__ import annotations

SIZE = 256 * 1024  # larger reads are no faster: this still fits the processor's cache


class Buffers:
    """Lends one buffer to each answer under way; the one given back last is the warmest."""

    def __init__(self) -> None:
        self._spare: list[memoryview] = []  # as many as there were answers at once

    def take(self) -> memoryview:
        """Return a buffer of `SIZE` bytes."""
        try:
            return self._spare.pop()
        except IndexError:
            return memoryview(bytearray(SIZE))

    def give_back(self, view: memoryview) -> None:
        """Take a buffer nobody looks at any more."""
        self._spare.append(view)
