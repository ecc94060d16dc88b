"""The connections to one origin."""

from __future__ import annotations

import os
import ssl
import time
from collections import deque

from bulkfetch.addresses import PeerOf, check_public
from bulkfetch.models import Origin
from bulkfetch.policy import HostPolicy
from bulkfetch.watchdog import Lease
from bulkfetch.wire.buffers import Buffers
from bulkfetch.wire.connect import connect
from bulkfetch.wire.connection import Connection
from bulkfetch.wire.head import Answer
from bulkfetch.wire.mapping import map_error
from bulkfetch.wire.tls import secure

_LONGEST_IDLE = 60.0  # seconds; routers on the way forget a connection without telling
# shutdown() wakes a thread that waits in a system call, so sockets need no time-out and each wait one
# system call less. Nobody promises that on Windows.
_WAKES = os.name == "posix"


class Pool:
    """Idle connections, the one used last first: it is the least likely to be closed at the other end."""

    def __init__(
        self,
        origin: Origin,
        policy: HostPolicy,
        buffers: Buffers,
        context: ssl.SSLContext | None,
        peer_of: PeerOf | None = None,
    ) -> None:
        self._origin = origin
        self._buffers = buffers
        self._context = context
        self._peer_of = peer_of  # given where only public addresses are asked
        self._connect_seconds = policy.connect_timeout
        self._idle_seconds = policy.idle_timeout
        self._most = policy.most_per_host
        self._idle: deque[Connection] = deque()  # its operations are atomic
        # Each is for one use (RFC 8446 appendix C.4), and only here: a resumed handshake checks no host name.
        self._tickets: deque[ssl.SSLSession] = deque(maxlen=policy.most_per_host)
        self._closed = False
        self._is_doubtful = False  # the server sends more than it declares (faults B04, B05)

    def ask(self, request: bytes, lease: Lease) -> tuple[Answer, Connection]:
        """Send a request over an idle connection, or a new one; give that back by `release`.

        Raises:
            TransferError: no usable answer came.
        """
        connection = self.send(request, lease)
        try:
            return connection.receive(), connection
        except BaseException:
            self.drop(connection)
            raise

    def send(self, request: bytes, lease: Lease) -> Connection:
        """Like `ask`, but return once the request is on its way."""
        connection, view = self._acquire(lease), self._buffers.take()
        try:
            connection.begin(lease, view)
            connection.send(request)
        except BaseException:
            self.drop(connection)
            raise
        return connection

    def send_on(self, connection: Connection, request: bytes) -> None:
        """Send another request, in the time of the attempt whose answer was the last."""
        connection.lease.enter("the next request", self._idle_seconds)
        connection.send(request)
        connection.lease.stream()

    def go_on(self, connection: Connection) -> None:
        """Bound the next exchange of a connection, whose request is on its way already.

        Raises:
            TransferError: the attempt was cut.
        """
        lease = connection.lease
        lease.enter("the answer's head", self._idle_seconds)
        lease.reused = lease.sent = True
        lease.attach(connection.sock)
        connection.clear()

    def may_reuse(self, connection: Connection) -> bool:
        """Say whether another request may be sent over a connection whose last answer has been read."""
        if connection.is_quiet():
            return not self._is_doubtful
        if connection.has_more():
            self.distrust()
        return False

    def distrust(self) -> None:
        """Use no connection twice: more came than had been declared, and might be taken for an answer."""
        self._is_doubtful = True
        self.drop_idle()

    def drop(self, connection: Connection) -> None:
        """Close a connection in use."""
        connection.lease.leave()
        self.release(connection, keep=False)

    def _acquire(self, lease: Lease) -> Connection:
        oldest = lease.enter("the answer's head", self._idle_seconds) - _LONGEST_IDLE
        if lease.wants_fresh:  # the new one comes in the place of the oldest
            self._drop_oldest(has_successor=True)
        while self._idle and not lease.wants_fresh:
            try:
                connection = self._idle.pop()
            except IndexError:  # another worker was faster
                break
            if connection.idle_since >= oldest and self.may_reuse(connection):
                lease.reused = True
                return connection
            self._keep_ticket(connection.sock)
            connection.close()
        lease.reused = False
        return self._open(lease)

    def release(self, connection: Connection, *, keep: bool) -> None:
        """Take a connection back; `keep` says that its last answer ended where it should."""
        self._buffers.give_back(connection.finish())
        if not keep:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self._is_doubtful or len(self._idle) > self._most or self._closed:
            self._drop_oldest()

    def drop_idle(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._drop_oldest()

    def close(self) -> None:
        """Close the idle connections, and those in use when they come back."""
        self._closed = True
        self.drop_idle()

    def _drop_oldest(self, *, has_successor: bool = False) -> None:
        try:
            oldest = self._idle.popleft()
        except IndexError:
            return
        if has_successor:
            self._keep_ticket(oldest.sock)
        oldest.close()

    def _open(self, lease: Lease) -> Connection:
        sock = connect(self._origin, self._connect_seconds, lease)
        try:
            if self._peer_of is not None:
                check_public(self._peer_of(sock.getpeername()))
            if self._context is not None:
                lease.enter("the TLS handshake", self._connect_seconds)
                sock = secure(sock, self._origin.host, self._context, self._pop_ticket(), lease)
            sock.settimeout(None if _WAKES else self._idle_seconds)
            lease.enter("the answer's head", self._idle_seconds)
            return Connection(sock, self._idle_seconds)
        except BaseException as exc:
            sock.close()
            if not isinstance(exc, OSError):
                raise
            lease.check()
            raise map_error(exc) from exc

    def _keep_ticket(self, sock: object) -> None:
        """Remember what makes the next handshake short.

        Only of a connection that another follows: the copy of a session costs a third of its handshake.
        """
        session = sock.session if isinstance(sock, ssl.SSLSocket) else None
        if session is not None and session.has_ticket:
            self._tickets.append(session)

    def _pop_ticket(self) -> ssl.SSLSession | None:
        try:
            return self._tickets.pop()
        except IndexError:
            return None
