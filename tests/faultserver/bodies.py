"""What a route serves: bytes, a large body that needs no memory, or one without an end."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

PIECE = 1 << 16


class Content(Protocol):
    """A body: its size, None when it has no end, and its bytes."""

    @property
    def size(self) -> int | None: ...

    def pieces(self, start: int, stop: int | None) -> Iterator[memoryview]: ...


class Blob:
    """A body held in memory."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self.size: int | None = len(data)

    def pieces(self, start: int, stop: int | None) -> Iterator[memoryview]:
        end = len(self._view) if stop is None else stop
        for position in range(start, end, PIECE):
            yield self._view[position : min(position + PIECE, end)]


class Filled:
    """A body of `size` bytes made by repeating `block`; 1 GiB costs nothing to hold."""

    def __init__(self, size: int, block: bytes = b"0123456789abcdef") -> None:
        self.size: int | None = size
        self._length = size
        self._period = len(block)
        self._view = memoryview(block * (PIECE // len(block) + 2))

    def pieces(self, start: int, stop: int | None) -> Iterator[memoryview]:
        end = self._length if stop is None else stop
        for position in range(start, end, PIECE):
            phase = position % self._period
            yield self._view[phase : phase + min(PIECE, end - position)]


class Forever:
    """A body, or a script, that repeats `data` until the peer or the server goes."""

    size: int | None = None

    def __init__(self, data: bytes, every: float = 0.0) -> None:
        self.data = data
        self.every = every

    def pieces(self, start: int, stop: int | None) -> Iterator[memoryview]:
        view = memoryview(self.data)
        while True:
            yield view

    def __iter__(self) -> Iterator[bytes | float]:
        while True:
            yield self.data
            yield self.every


def pattern(size: int, seed: int = 0) -> bytes:
    """Return `size` bytes without repetition, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def gzip_bomb(size: int) -> bytes:
    """Return about `size`/1000 bytes of gzip that decode to `size` zeros (whole MiB)."""
    return gzip.compress(bytes(1 << 20)) * (size >> 20)


@lru_cache(maxsize=32)
def encode(data: bytes, coding: str) -> bytes:
    """Return `data` under a content coding."""
    return gzip.compress(data, mtime=0) if coding == "gzip" else zlib.compress(data)


def to_content(body: object) -> Content:
    """Return what a route's `body` option stands for."""
    if isinstance(body, str):
        return Blob(body.encode())
    if isinstance(body, bytes | bytearray | memoryview):
        return Blob(bytes(body))
    if isinstance(body, Blob | Filled | Forever):
        return body
    kind = type(body).__name__
    raise TypeError(f"body must be bytes, str, Filled, Forever or a function of the request, not {kind}")


def to_bytes(content: Content) -> bytes:
    """Return a finite body as bytes."""
    if content.size is None:
        raise TypeError("an endless body cannot be encoded, cut into ranges or flipped")
    return b"".join(content.pieces(0, None))
