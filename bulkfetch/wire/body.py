"""The three ways a body can end (RFC 9112 section 6.3), read as it arrives."""

from __future__ import annotations

import re
from typing import Protocol

from bulkfetch.errors import Truncated
from bulkfetch.expressions import late
from bulkfetch.models import Head
from bulkfetch.wire.connection import Connection
from bulkfetch.wire.head import has_no_body
from bulkfetch.wire.pipe import SIZE, Pipe

_LARGEST = 2**63 - 1
_MOST_LINE = 4096  # bytes of a chunk-size line with its extensions
_MOST_TRAILERS = 8192
# RFC 9112 section 7.1; no grammar has spaces before the line break, but old servers pad the size with them.
_FIRST = re.compile(rb"([0-9A-Fa-f]{1,32}+)[ \t]*+(?:;[^\r\n\0]{0,4096}+)?\r\n")
_NEXT = late(rb"\r\n" + _FIRST.pattern)
_TRAILERS = late(rb"(?:[^\n]*\n)*?\r?\n")
_NOTHING = memoryview(b"")
TAIL = 64 * 1024  # bytes that are always read, because only a read sees what follows the body (fault B04)


class Body(Protocol):
    """What follows a head."""

    ended: bool  # nothing of it is still to come

    @property
    def left(self) -> int | None:
        """Bytes still to come, where that is known."""

    def read(self, size: int) -> memoryview:
        """Return what has arrived, at most `size` bytes, valid until the next read; empty at the end."""


def open_body(head: Head, connection: Connection) -> Body:
    """Return the body that follows `head`."""
    if has_no_body(head):
        return SizedBody(connection, 0)
    if head.chunked:
        return ChunkedBody(connection)
    return OpenBody(connection) if head.length is None else SizedBody(connection, head.length)


class SizedBody:
    """A body whose length is known."""

    __slots__ = ("_connection", "ended", "left")

    def __init__(self, connection: Connection, size: int) -> None:
        self._connection = connection
        self.left = size
        self.ended = size == 0

    def read(self, size: int) -> memoryview:
        """See `Body`; raises `Truncated` when the connection ends first (fault B01)."""
        if self.ended:
            return _NOTHING
        connection = self._connection
        if connection.start == connection.end and not connection.fill_body():
            raise Truncated("the body ended early")
        count = min(size, self.left, connection.end - connection.start)
        self.left -= count
        self.ended = not self.left
        return connection.take(count)

    def skip(self) -> None:
        """Go past what has arrived: all of it."""
        self._connection.start += self.left
        self.left, self.ended = 0, True

    def pour(self, pipe: Pipe, file: int) -> int:
        """Move what has arrived before the `TAIL` into an open file, whose errors are `OSError`."""
        count = self._connection.splice(pipe.start, min(self.left - TAIL, SIZE))
        if not count:
            raise Truncated("the body ended early")
        self.left -= count
        pipe.empty(file, count)
        return count


class OpenBody:
    """A body that ends with its connection, so that a cut one looks whole (faults B06, S02)."""

    __slots__ = ("_connection", "ended")
    left = None

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.ended = False

    def read(self, size: int) -> memoryview:
        """See `Body`."""
        connection = self._connection
        if connection.start == connection.end and (self.ended or not connection.fill_body()):
            self.ended = True
            return _NOTHING
        return connection.take(min(size, connection.end - connection.start))


class ChunkedBody:
    """A body in chunks; extensions and trailers are dropped."""

    __slots__ = ("_awaited", "_chunk", "_connection", "_is_damaged", "ended")
    left = None

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._awaited = _FIRST  # what follows the present chunk
        self._chunk = 0  # bytes left of it
        self._is_damaged = False  # told once everything before has been handed out
        self.ended = False

    def read(self, size: int) -> memoryview:
        """See `Body`; raises `Truncated` for a body without its last chunk, or a damaged one (B11 to B13).

        Chunks that are here already are joined in place: a server may send one for every line of text.
        """
        while not self._chunk and not self.ended and not self._open_chunk():
            self._fill()
        if self.ended:
            return _NOTHING
        connection = self._connection
        if connection.start == connection.end:
            self._fill()
        begin = end = connection.start
        while True:
            count = min(size - (end - begin), self._chunk, connection.end - connection.start)
            connection.move(end, count)
            end += count
            self._chunk -= count
            if self._chunk or not self._open_chunk() or self.ended:
                return connection.lend(begin, end)

    def _fill(self) -> None:
        if self._is_damaged:
            raise Truncated("a chunk of the body is damaged")
        if self._connection.fill_body():
            return
        if self._awaited is not _TRAILERS:
            raise Truncated("the body ended before its last chunk")
        self.ended = True

    def _open_chunk(self) -> bool:
        """Read a size line, or the trailers after the last; False when it is not here yet."""
        connection = self._connection
        match = self._awaited.match(connection.data, connection.start, connection.end)
        if match is None:
            return self._judge_rest()
        connection.start = match.end()
        if self._awaited is _TRAILERS:
            self.ended = True
            return True
        self._chunk = int(match[1], 16)
        if self._chunk > _LARGEST:
            self._chunk, self._is_damaged = 0, True
            return False
        self._awaited = _NEXT if self._chunk else _TRAILERS
        return self._chunk > 0 or self._open_chunk()

    def _judge_rest(self) -> bool:
        """Say whether the body is over all the same; note when what is here cannot become what is awaited."""
        connection = self._connection
        size = connection.end - connection.start
        if self._awaited is _TRAILERS:
            self.ended = size > _MOST_TRAILERS  # the body is whole; what is left closes the connection
            return self.ended
        skip = 2 if self._awaited is _NEXT else 0
        begin = connection.data[connection.start : connection.start + min(size, skip)]
        has_line = connection.data.find(b"\n", connection.start + skip, connection.end) >= 0
        self._is_damaged = has_line or size > _MOST_LINE or not b"\r\n".startswith(begin)
        return False
