"""Connections whose sockets are known to the lease of the attempt from the first moment."""

from __future__ import annotations

import contextlib
import errno
import http.client
import queue
import socket
import time
from collections import deque
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from bulkfetch import errors
from bulkfetch.addresses import check_public, is_public
from bulkfetch.transport.answers import Answer
from bulkfetch.transport.begun import Begun
from bulkfetch.transport.connecting import open_socket
from bulkfetch.transport.current import current, present_lease
from bulkfetch.wire.connection import Connection as Stream
from bulkfetch.wire.head import Answer as Common
from bulkfetch.wire.head import read_common

_SLACK = 1.0  # seconds the watchdog waits longer than the socket's own timeout, which has the better words
_SENT_IN_VAIN = (errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE)  # an answer may be here all the same


class Connection(HTTPConnection):
    """A plain connection."""

    peer: str | None = None  # the address it leads to; None for a proxy's
    _has_served = False
    _stream: Stream | None = None  # reads plain answers from the present socket
    _handshake_end = 0.0  # monotonic end of the connect budget, which TLS shares

    def response_class(  # type: ignore[override]  # `http.client` calls it like a class
        self, sock: socket.socket, method: str | None = None
    ) -> Answer:
        """Return the answer that will be read from `sock`."""
        return Answer(self, sock, method)

    def _new_conn(self) -> socket.socket:
        lease = present_lease()
        lease.reused = self._has_served = False
        budget = float(self.timeout or 10.0)
        self._handshake_end = time.monotonic() + budget
        host, port = self._dns_host, self.port or self.default_port
        lease.enter(f"connecting to {self.host}", budget + _SLACK)
        sock, self.peer = self._open_socket(host, port, budget)
        try:
            lease.attach(sock)
            self._check_peer()
            lease.enter("the answer's head", current.head_seconds)
        except BaseException:
            lease.forget(sock)
            sock.close()
            raise
        return sock

    def _open_socket(self, host: str, port: int, seconds: float) -> tuple[socket.socket, str | None]:
        """Return a connected socket and whom it leads to, if that is known."""
        sock, address = open_socket(host, port, seconds, present_lease().check)
        return sock, None if self.proxy else current.peer_of(address)

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, on the connection that is there or on a new one."""
        lease = present_lease()
        if self.sock is not None:
            lease.attach(_bottom(self.sock))
            lease.reused = self._has_served
            self._check_peer()
        else:
            self.connect()
        lease.sent = True
        super().request(*args, **kwargs)
        self._has_served = True
        current.peer = self.peer

    def reach(self, connect_seconds: float, idle_seconds: float) -> Stream:
        """Return what reads plain answers, over the socket that is there or a new one."""
        if self.sock is None:
            self.timeout = connect_seconds
            self.connect()
        else:
            present_lease().reused = self._has_served
            self._check_peer()
        sock, stream = self.sock, self._stream
        if sock.gettimeout() != idle_seconds:
            sock.settimeout(idle_seconds)
        if stream is None or stream.sock is not sock:
            stream = self._stream = Stream(sock, idle_seconds + _SLACK)
            stream.peer = self.peer  # type: ignore[assignment]  # a reply may have none
        current.peer = self.peer
        return stream

    def ask(self, stream: Stream, request: bytes) -> tuple[Common, int] | None:
        """Send a plain request; return its answer's head and where that ends, None for an unusual one."""
        lease = present_lease()
        lease.sent = self._has_served = True
        try:
            stream.sock.sendall(request)
        except OSError as exc:
            if exc.errno not in _SENT_IN_VAIN:
                raise
        if not stream.fill():
            raise http.client.RemoteDisconnected("closed unanswered")
        lease.reused = False
        return read_common(stream.data, stream.end, stream.shapes)

    def begin_answer(self, here: bytes) -> Answer:
        """Return the answer to a plain request whose first bytes are `here`, its head read."""
        sock = self.sock
        answer = self.response_class(Begun(sock, here), "GET")  # type: ignore[arg-type]
        try:
            answer.begin()
        except BaseException:
            answer.close()
            raise
        if answer.will_close:
            self.close()
            present_lease().attach(sock)  # the last answer of a connection is read on from it
        return answer

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """Send the head of a request."""
        lease = present_lease()
        if lease.traced:
            lease.said([str(line, "latin-1") for line in self._buffer])  # type: ignore[attr-defined]
        super().endheaders(*args, **kwargs)

    def getresponse(self) -> Any:
        """Return the answer once its head is here."""
        sock = self.sock
        response = super().getresponse()
        if self.sock is None and sock is not None:  # the last answer of a connection is read on from it
            present_lease().attach(_bottom(sock))
        return response

    @property
    def is_connected(self) -> bool:
        """Say whether nothing has come since the last answer, no surplus and no end."""
        if self._stream is not None and self._stream.sock is self.sock:
            return self._stream.is_quiet()
        return super().is_connected

    def close(self) -> None:
        """Close, telling the lease first."""
        if current.lease is not None:
            current.lease.forget(_bottom(self.sock))
        super().close()

    def _check_peer(self) -> None:
        if current.untrusted and self.peer is not None:
            check_public(self.peer)
        if current.public_only and self.peer is not None and not is_public(self.peer):
            raise errors.RedirectRefused(
                f"redirect from a public to a private address ({self.peer}) not followed"
            )


class SecureConnection(Connection, HTTPSConnection):
    """The same over TLS; a duplicate of the socket stays in reach during the handshake."""

    _guard: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        seconds = max(0.1, self._handshake_end - time.monotonic())
        sock.settimeout(seconds)
        self._guard = sock.dup()  # wrapping detaches `sock` itself
        lease = present_lease()
        lease.attach(self._guard)
        lease.enter(self._handshake, seconds + _SLACK)
        return sock

    def connect(self) -> None:
        """Connect and shake hands within one budget (fault C07)."""
        lease = present_lease()
        try:
            super().connect()
        except TimeoutError as exc:
            raise errors.ConnectFailed(f"{self._handshake} took too long") from exc
        finally:
            if self._guard is not None:
                lease.forget(self._guard)
                self._guard.close()
                self._guard = None
        lease.attach(_bottom(self.sock))
        lease.enter("the answer's head", current.head_seconds)

    @property
    def _handshake(self) -> str:
        tunnel = "the proxy's answer or " if self._tunnel_host else ""
        return f"{tunnel}the TLS handshake with {self._tunnel_host or self.host}"


class _Idle:
    """Idle connections, the one used last first; `queue.LifoQueue` takes ten times as many calls."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: deque[Any] = deque()  # its operations are atomic

    def put(self, connection: Any, block: bool = False) -> None:
        """Take a connection, or None: that one may be made."""
        if len(self._idle) >= self._most:
            raise queue.Full
        self._idle.append(connection)

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        """Return what was put last; nobody waits."""
        try:
            return self._idle.pop()
        except IndexError:
            raise queue.Empty from None

    def qsize(self) -> int:
        """Return how many there are."""
        return len(self._idle)

    def drop(self) -> None:
        """Close them all."""
        with contextlib.suppress(IndexError):  # another worker was faster
            while self._idle:
                if (connection := self._idle.pop()) is not None:
                    connection.close()


class Pool(HTTPConnectionPool):
    """Pooled plain connections."""

    ConnectionCls = Connection
    QueueCls = _Idle  # type: ignore[assignment]
    is_doubtful = False  # the server sends more than it declares (faults B04, B05)

    def _get_conn(self, timeout: float | None = None) -> Any:
        """Return a connection, closed where the request wants a fresh one: it is opened again."""
        conn = super()._get_conn(timeout)
        if current.needs_fresh:  # what answers ask to be sent again goes over the same connection
            current.needs_fresh = False
            conn.close()
        return conn


class SecurePool(Pool, HTTPSConnectionPool):
    """Pooled TLS connections."""

    ConnectionCls = SecureConnection

    def _validate_conn(self, conn: Any) -> None:
        """Connect; that a certificate is not verified is said once, when the run starts."""
        if conn.is_closed:
            conn.connect()


def _bottom(sock: Any) -> Any:
    """Return the socket below TLS within TLS, as in a tunnel through an HTTPS proxy: only it can be shut."""
    return getattr(sock, "socket", sock)


POOLS = {"http": Pool, "https": SecurePool}
