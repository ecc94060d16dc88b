"""A final answer: its head, and its body read as it arrives."""

from __future__ import annotations

import time

from bulkfetch.errors import TransferError
from bulkfetch.wire.body import TAIL, SizedBody, open_body
from bulkfetch.wire.connection import Connection
from bulkfetch.wire.head import Answer
from bulkfetch.wire.pipe import Pipe, open_pipe
from bulkfetch.wire.pool import Pool

_DRAIN = 64 * 1024  # bytes of an unwanted body read to keep its connection (fault T12)
_DRAIN_SECONDS = 0.5


class Reply:
    """A final answer: its head, and its body read as it arrives."""

    __slots__ = ("_body", "_connection", "_keeps", "_pipe", "_pool", "_surplus", "cookies", "head", "peer")

    def __init__(self, answer: Answer, connection: Connection, pool: Pool) -> None:
        self.head, self._keeps, self.cookies = answer  # cookies: Set-Cookie values; nothing here keeps them
        self._surplus = False
        self.peer: str | None = connection.peer
        self._body = open_body(self.head, connection)
        self._connection: Connection | None = connection
        self._pool = pool
        self._pipe: Pipe | None = None

    @property
    def surplus(self) -> bool:
        """Say whether bytes came after the declared end (faults B04, B05)."""
        connection = self._connection
        if connection is None:
            return self._surplus
        return self._body.ended and connection.start < connection.end

    def read(self, size: int) -> memoryview:
        """Return what has arrived, at most `size` bytes, as sent; empty at the end of the body.

        The memory is the reply's own: it is valid until the next `read` or `close`, and unusable after.

        Raises:
            TransferError: the body broke; everything returned before is good.
        """
        try:
            return self._body.read(size)
        except BaseException:
            self._keeps = False
            raise

    def peek_whole(self) -> memoryview | None:
        """Return the body if it is here as a whole, and nothing behind it; it stays to be read.

        Where nothing of it is here yet, it waits for the first bytes; raises `TransferError` as `read` does.
        """
        body, connection = self._body, self._connection
        if connection is None or not isinstance(body, SizedBody) or body.ended:
            return None
        if connection.start == connection.end:
            try:
                connection.fill_body()
            except BaseException:
                self._keeps = False
                raise
        is_whole = connection.end - connection.start == body.left == self.head.length
        return connection.lend(connection.start, connection.end) if is_whole else None

    def take_whole(self) -> None:
        """Go past the body that `peek_whole` has returned."""
        if isinstance(self._body, SizedBody):
            self._body.skip()

    def pour(self, file: int) -> int:
        """Move what has arrived into an open file past this program's memory; 0 where only `read` will do.

        Raises:
            TransferError: as `read`.
            OSError: the file took not everything.
        """
        body, connection = self._body, self._connection
        if not isinstance(body, SizedBody) or body.left <= TAIL:
            return 0
        if connection is None or connection.start < connection.end:
            return 0
        if self._pipe is None:
            self._pipe = open_pipe(connection.sock, file)
            if self._pipe is None:
                return 0
        try:
            return body.pour(self._pipe, file)
        except BaseException:
            self._keeps = False
            raise

    def close(self) -> None:
        """Give the connection back if the body is at its end, or soon can be; close it otherwise."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._pipe is not None:
            self._pipe.close()
        body = self._body
        keep = self._keeps and (body.ended or self._drain(connection))
        self._surplus = body.ended and connection.start < connection.end
        connection.lease.leave()
        if self._surplus:
            self._pool.distrust()
        self._pool.release(connection, keep=keep and not self._surplus and not connection.is_over)

    def _drain(self, connection: Connection) -> bool:
        """Read the rest of a small unwanted body, so that its connection serves again (fault C11)."""
        body, sock = self._body, connection.sock
        if connection.lease.is_cut or (body.left or 0) > _DRAIN:
            return False
        connection.lease.waste(_DRAIN_SECONDS)  # a line of the framing may come byte by byte
        blocking = sock.gettimeout()
        end = time.monotonic() + _DRAIN_SECONDS
        taken = 0
        try:
            while not body.ended and taken <= _DRAIN and (left := end - time.monotonic()) > 0:
                sock.settimeout(left)
                taken += len(body.read(_DRAIN))
            sock.settimeout(blocking)
        except (TransferError, OSError):
            return False
        return body.ended
