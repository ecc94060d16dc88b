"""Plain GETs one after another: the next is on its way while the body before it is being stored."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from bulkfetch.errors import ConnectionLost, TransferError
from bulkfetch.models import Head
from bulkfetch.watchdog import Lease
from bulkfetch.wire.connection import Connection
from bulkfetch.wire.head import Answer
from bulkfetch.wire.pool import Pool
from bulkfetch.wire.reply import Reply
from bulkfetch.wire.request import Template

_MOST = 64 * 1024  # bytes of a body that is waited for as a whole
_PATIENCE = 0.2  # seconds it has for that: what takes longer is stored as it comes


class Lane:
    """One request after another to one origin over one connection, never two of them unanswered.

    For each: `ask`, then `look`, then either `go_on` or `open`; `close` at the end.
    """

    _pool: Pool
    _template: Template

    def __init__(self, find: Callable[[], tuple[Pool, Template]], lease: Lease) -> None:
        self._find = find  # raises `TransferError` where the origin cannot be asked
        self._lease = lease
        self._connection: Connection | None = None
        self._answer: Answer | None = None
        self._error: TransferError | None = None  # what `open` raises
        self._is_free = False  # nothing is under way on the connection, and it may serve again
        self.ahead = ""  # URL that `go_on` has asked for
        self._sent = 0.0  # monotonic time of that
        self.started = 0.0  # monotonic time at which the present request was sent, or its attempt began

    def ask(self, url: str) -> None:
        """Have the request for `url` under way, where it is not yet; `open` raises what goes wrong."""
        self._answer = self._error = None
        try:
            if self._connection is not None and self.ahead == url:
                self.started, self.ahead = self._sent, ""
                self._pool.go_on(self._connection)
                return
            self.close()
            self._pool, self._template = self._find()
            self._connection = self._pool.send(self._template.render(url, {}), self._lease)
        except TransferError as exc:
            self._error = exc

    def look(self) -> tuple[Head, memoryview] | None:
        """Wait for the answer; return it where it is a file, soon here as a whole, with nothing behind it."""
        connection = self._connection
        if connection is None or self._error is not None:
            return None
        try:
            self._answer = answer = connection.receive()
        except TransferError as exc:
            self._error = exc
            return None
        head = answer.head
        size = head.length
        says_more = answer.cookies or head.rate_limit is not None  # which counts before more is asked for
        if head.status != 200 or not size or size > _MOST or says_more:
            return None
        self._lease.stream()
        if connection.end - connection.start < size:
            self._wait(connection, size)
        is_whole = connection.end - connection.start == size
        return (head, connection.lend(connection.start, connection.end)) if is_whole else None

    def go_on(self, ahead: str) -> None:
        """Be done with the answer looked at, and ask for the URL `ahead` if that is not "".

        The body's memory stays as it is up to the next `look`.
        """
        connection, answer = self._connection, self._answer
        if connection is None or answer is None or not answer.keeps:
            return
        self._is_free = True
        if not ahead or not self._pool.may_reuse(connection):
            return
        self._is_free = False
        with contextlib.suppress(TransferError):  # told when the next attempt asks again
            self._sent = time.monotonic()
            self._pool.send_on(connection, self._template.render(ahead, {}))
            self.ahead = ahead

    def open(self) -> Reply:
        """Hand out the present answer, to be read as it comes, or raise why there is none."""
        connection, self._connection = self._connection, None
        answer = self._answer
        if answer is None or connection is None:
            if connection is not None:
                self._pool.drop(connection)
            raise self._error or ConnectionLost("the connection was given up")
        if self.ahead:
            answer, self.ahead = answer._replace(keeps=False), ""
        self._lease.stream()
        return Reply(answer, connection, self._pool)

    def close(self) -> None:
        """Give the connection back, or close it with what is under way on it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.clear()
            self._pool.release(connection, keep=self._is_free)
        self._is_free, self.ahead = False, ""

    def _wait(self, connection: Connection, size: int) -> None:
        """Wait for a body of `size` bytes; what else happens, whoever reads it will see."""
        until = self.started + _PATIENCE
        with contextlib.suppress(TransferError):
            while connection.end - connection.start < size and time.monotonic() < until:
                if not connection.fill_body():
                    return
