"""The script of one answer: bytes, pauses and endings, played one after another on a connection.

A step is bytes (sent), a number (seconds to pause), a `threading.Event` (waited for), one of
`CLOSE`, `CLEAN`, `RESET`, `STALL`, or an iterable of steps.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Ending(Enum):
    """How a connection ends, whatever was promised before."""

    CLOSE = "FIN; under TLS without close_notify, as when a peer dies"
    CLEAN = "close_notify under TLS, then FIN"
    RESET = "RST, after what was sent has been acknowledged"
    STALL = "not at all: silence until the peer or the server goes"


CLOSE, CLEAN, RESET, STALL = Ending.CLOSE, Ending.CLEAN, Ending.RESET, Ending.STALL


@dataclass(frozen=True, slots=True)
class Payload:
    """Body bytes with their chunk framing; only `data` counts as sent."""

    data: memoryview
    prefix: bytes = b""
    suffix: bytes = b""

    def split(self, size: int) -> tuple[Payload, Payload]:
        """Cut after `size` body bytes; a chunk's closing line break stays with its last byte."""
        return Payload(self.data[:size], self.prefix), Payload(self.data[size:], b"", self.suffix)


Step = Any  # bytes | float | threading.Event | Ending | Payload | Iterable[Step]


def framed(
    chunks: Iterable[Iterable[memoryview]], sizes: Iterable[int], first_line: str | bytes | None
) -> Iterator[Step]:
    """Yield a chunked body (RFC 9112 section 7.1); `first_line` replaces the first size line, unless None."""
    for pieces, size in zip(chunks, sizes, strict=False):
        line = as_bytes(f"{size:x}" if first_line is None else first_line) + b"\r\n"
        first_line, left = None, size
        for piece in pieces:
            left -= len(piece)
            yield Payload(piece, line, b"" if left else b"\r\n")
            line = b""
    yield b"0\r\n\r\n"


def insert(stream: Iterable[Step], position: int, step: Step) -> Iterator[Step]:
    """Play `step` once `position` body bytes have gone out; never, when the body is shorter."""
    left = position
    if position <= 0:
        yield step
        left = -1
    for item in stream:
        if left < 0 or not isinstance(item, Payload):
            yield item
            continue
        size = len(item.data)
        before, after = (item, None) if size <= left else item.split(left)
        yield before
        left -= len(before.data)
        if left == 0:
            yield step
            left = -1
        if after is not None:
            yield after


def trickled(stream: Iterable[Step], size: int, interval: float) -> Iterator[Step]:
    """Send body bytes `size` at a time with a pause after each."""
    for item in stream:
        while isinstance(item, Payload) and len(item.data) > size:
            before, item = item.split(size)
            yield before
            yield interval
        yield item
        if isinstance(item, Payload):
            yield interval


def trickled_bytes(data: bytes, size: int, interval: float) -> Iterator[Step]:
    """Send plain bytes `size` at a time with a pause after each."""
    for position in range(0, len(data), size):
        yield data[position : position + size]
        yield interval


def as_bytes(text: object) -> bytes:
    """Return header text as it goes on the wire: bytes untouched, anything else as UTF-8."""
    return text if isinstance(text, bytes) else str(text).encode()


def require_steps(steps: object, option: str) -> None:
    """Refuse scripts that cannot be played, when the route is made rather than when it is asked for."""
    if isinstance(steps, Iterator):
        raise TypeError(f"{option}: an iterator runs only once; give a list, or a function that makes one")
    if isinstance(steps, str | Payload) or steps is None:
        raise TypeError(f"{option}: {steps!r} is not a step; use bytes, seconds, Event, an ending or a list")
    if isinstance(steps, bytes | bytearray | memoryview | int | float | threading.Event | Ending):
        return
    if not isinstance(steps, Iterable):
        raise TypeError(f"{option}: {steps!r} is not a step")
    if isinstance(steps, list | tuple):
        for step in steps:
            require_steps(step, option)
