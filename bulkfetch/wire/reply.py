"""A final answer: its head, and its body read as it arrives."""

from __future__ import annotations

import time

from bulkfetch.errors import TransferError
from bulkfetch.wire.body import open_body
from bulkfetch.wire.buffers import Buffers
from bulkfetch.wire.connection import Connection
from bulkfetch.wire.head import Answer
from bulkfetch.wire.pool import Pool

_DRAIN = 64 * 1024  # bytes of an unwanted body read to keep its connection (fault T12)
_DRAIN_SECONDS = 2.0


class Reply:
    """A final answer: its head, and its body read as it arrives."""

    __slots__ = (
        "_body",
        "_broken",
        "_buffers",
        "_closed",
        "_connection",
        "_keeps",
        "_pool",
        "cookies",
        "head",
        "surplus",
    )

    def __init__(self, answer: Answer, connection: Connection, pool: Pool, buffers: Buffers) -> None:
        self.head, self._keeps, self.cookies = answer  # cookies: Set-Cookie values; nothing here keeps them
        self.surplus = False  # known once closed: bytes came after the declared end (faults B04, B05)
        self._body = open_body(self.head, connection)
        self._connection = connection
        self._pool = pool
        self._buffers = buffers
        self._broken = self._closed = False

    def read(self, size: int) -> memoryview:
        """Return what has arrived, at most `size` bytes, as sent; empty at the end of the body.

        The memory is the reply's own: it is valid until the next `read` or `close`, and unusable after.

        Raises:
            TransferError: the body broke; everything returned before is good.
        """
        try:
            return self._body.read(size)
        except TransferError:
            self._broken = True
            raise

    def close(self) -> None:
        """Give the connection back if the body is at its end, or soon can be; close it otherwise."""
        if self._closed:
            return
        self._closed = True
        connection, lease = self._connection, self._connection.lease
        keep = self._keeps and not self._broken and (self._body.ended or self._drain())
        self.surplus = self._body.ended and connection.start < connection.end
        lease.leave()
        self._buffers.give_back(connection.finish())
        self._pool.release(connection, keep=keep and not self.surplus)

    def _drain(self) -> bool:
        """Read the rest of a small unwanted body, so that its connection serves again (fault C11)."""
        body, connection = self._body, self._connection
        if connection.lease.is_cut or (body.left or 0) > _DRAIN:
            return False
        blocking = connection.sock.gettimeout()
        end = time.monotonic() + _DRAIN_SECONDS
        taken = 0
        try:
            while not body.ended and taken <= _DRAIN and (left := end - time.monotonic()) > 0:
                connection.sock.settimeout(left)
                taken += len(body.read(_DRAIN))
            connection.sock.settimeout(blocking)
        except (TransferError, OSError):
            return False
        return body.ended
