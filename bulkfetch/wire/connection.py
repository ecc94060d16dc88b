"""One connection, and the bytes that came on it and are not handed out yet."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial

from bulkfetch.errors import ConnectionLost, ProtocolViolation, TlsFailed, TransferError
from bulkfetch.watchdog import Lease
from bulkfetch.wire.buffers import SIZE
from bulkfetch.wire.head import MOST_BYTES, Answer, check_begin, find_end, parse_answer, read_common
from bulkfetch.wire.mapping import map_error
from bulkfetch.wire.shapes import Shapes

_MOST_INTERIM = 20  # 1xx answers before the final one (faults B22, B23)
_FOREVER = float("inf")
_NOTHING = memoryview(b"")


class Connection:
    """A socket with a read buffer of its present answer; used by one attempt at a time."""

    __slots__ = (
        "_idle_seconds",
        "_lent",
        "_pending",
        "_readable",
        "_view",
        "broken",
        "data",
        "end",
        "idle_since",
        "is_over",
        "lease",
        "peer",
        "shapes",
        "sock",
        "start",
    )

    def __init__(self, sock: socket.socket, idle_seconds: float) -> None:
        self.sock = sock
        self.peer = str(sock.getpeername()[0])
        self.idle_since = 0.0  # monotonic time since which it is in a pool
        self.start = self.end = 0  # what is left in `data`
        self.is_over = False  # its end has been read; under TLS the socket may learn of it later
        self.broken: TransferError | None = None  # why nothing more will come
        self.shapes = Shapes()
        self._idle_seconds = idle_seconds
        self._lent = _NOTHING
        self._readable = _make_look(sock)
        self._pending = sock.pending if isinstance(sock, ssl.SSLSocket) else None

    def begin(self, lease: Lease, view: memoryview) -> None:
        """Start an exchange: `lease` bounds its waits, `view` takes what comes."""
        self.lease = lease
        self._view = view
        self.data: bytearray = view.obj  # type: ignore[assignment]
        lease.attach(self.sock)

    def clear(self) -> None:
        """Forget what has come."""
        self.start = self.end = 0

    def finish(self) -> memoryview:
        """End the exchange and return its buffer."""
        self._lent.release()
        view, self._view = self._view, _NOTHING
        del self.lease, self.data
        return view

    def send(self, request: bytes) -> None:
        """Send a request; raises `TransferError`."""
        self.lease.sent = True
        try:
            sent = self.sock.send(request)  # under TLS `sendall` makes more calls and objects
            if sent < len(request):  # a socket with a time-out may take a part
                self.sock.sendall(request[sent:])
        except OSError as exc:
            self.lease.check()
            raise map_error(exc) from exc

    def receive(self) -> Answer:
        """Return once the head of the final answer to what was sent is here; raises `TransferError`."""
        if not self.fill():
            raise ConnectionLost("the server closed the connection unanswered")
        self.lease.reused = False
        common = read_common(self.data, self.end, self.shapes)
        if common is None:
            return self._read_answer()
        answer, self.start = common
        if self.lease.traced:
            self._tell(self._view[: self.start])
        return answer

    def _read_answer(self) -> Answer:
        for _ in range(_MOST_INTERIM + 1):
            answer = parse_answer(self._read_head(), time.time())
            if answer is not None:
                return answer
        raise ProtocolViolation("endless interim answers")

    def _read_head(self) -> bytes:
        seen = 0
        while True:
            check_begin(self.data, self.start, self.end)
            end = find_end(self.data, self.start + seen, self.end)
            seen = max(0, self.end - self.start - 2)  # a blank line may have come in part
            if (seen if end < 0 else end - self.start) > MOST_BYTES:
                raise ProtocolViolation("the answer's head is too long")
            if end >= 0:
                break
            if not self.fill():
                raise ConnectionLost("the connection was closed within the answer's head")
        raw = bytes(self._view[self.start : end])
        if self.lease.traced:
            self._tell(raw)
        self.start = end
        return raw

    def _tell(self, raw: bytes | memoryview) -> None:
        self.lease.heard([line.rstrip("\r") for line in str(raw, "latin-1").split("\n")[:-2]])

    def fill(self) -> int:
        """Wait for bytes and return how many came, 0 at the end; the lease's present phase is the bound."""
        if self.broken is not None:
            raise self.broken
        if self.start == self.end:
            self.start = self.end = 0
        elif self.end == SIZE:
            self._close_up()
        try:
            count = self.sock.recv_into(self._view[self.end :] if self.end else self._view, SIZE - self.end)
        except OSError as exc:
            self.lease.check()
            self.broken = map_error(exc)
            raise self.broken from exc
        if not count:
            self.is_over = True
            self.lease.check()  # a shut socket looks like a clean end (fault C14)
        self.end += count
        return count

    def fill_body(self) -> int:
        """Wait for bytes no longer than the idle time-out; return how many came, 0 at the end."""
        self.lease.bound = time.monotonic() + self._idle_seconds
        try:
            count = self.fill()
        except TlsFailed as exc:  # whom it leads to was settled long ago
            self.broken = ConnectionLost(str(exc))
            raise self.broken from exc
        self.lease.bound = _FOREVER
        return count

    def splice(self, pipe: int, most: int) -> int:
        """Like `fill_body`, but move the bytes into a pipe; everything before must have been taken."""
        self.lease.bound = time.monotonic() + self._idle_seconds
        try:
            count = os.splice(self.sock.fileno(), pipe, most)
        except OSError as exc:
            self.lease.check()
            raise map_error(exc) from exc
        if not count:
            self.is_over = True
            self.lease.check()  # as in `fill`
        self.lease.bound = _FOREVER
        return count

    def take(self, size: int) -> memoryview:
        """Hand out the next bytes; they stay as they are until the next fill, take or lend."""
        begin = self.start
        self.start += size
        return self.lend(begin, self.start)

    def move(self, to: int, size: int) -> None:
        """Go past the next bytes, copying them to an earlier place first."""
        begin = self.start
        self.start += size
        if to != begin:
            self._view[to : to + size] = self._view[begin : self.start]

    def lend(self, begin: int, end: int) -> memoryview:
        """Hand out bytes, wherever `start` is; what was handed out before becomes unusable."""
        self._lent.release()
        self._lent = self._view[begin:end]
        return self._lent

    def _close_up(self) -> None:
        rest = self.data[self.start : self.end]
        self.start, self.end = 0, len(rest)
        self.data[: self.end] = rest

    def is_quiet(self) -> bool:
        """Say whether nothing came after the last answer, no surplus and no end (faults B05, C01)."""
        try:
            return not (self._pending is not None and self._pending()) and not self._readable()
        except (OSError, ValueError):
            return False

    def has_more(self) -> bool:
        """Say whether what is there to read, as `is_quiet` does not, is more than an end."""
        if self._pending is not None:
            return bool(self._pending())
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            self.sock.close()


def _make_look(sock: socket.socket) -> Callable[[], object]:
    """Return what says, without waiting, whether there is anything to read: bytes or an end."""
    if not hasattr(select, "poll"):  # Windows, where select() takes any descriptor
        return lambda: select.select((sock,), (), (), 0.0)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return partial(poll.poll, 0)
