"""Connections whose sockets are known to the lease of the attempt from the first moment."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import time
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.wait import wait_for_write

from bulkfetch import dns, errors
from bulkfetch.watchdog import Lease

_MOST_INTERIM = 20  # 1xx answers before the final one (faults B22, B23)
_current = threading.local()  # .lease: the lease of the attempt this thread works on


class _Answer(http.client.HTTPResponse):
    """Skips every interim answer, not only 100, and counts them."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == 101:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("endless interim answers")


class _Connection(HTTPConnection):
    """A connection whose socket is known to the lease from the first moment."""

    response_class = _Answer

    def _new_conn(self) -> socket.socket:
        return _connect(self)

    def request(self, *args: Any, **kwargs: Any) -> None:
        _current.lease.reused = self.sock is not None
        if self.sock is not None:
            _current.lease.attach(self.sock)
        super().request(*args, **kwargs)

    def close(self) -> None:
        lease = getattr(_current, "lease", None)
        if lease is not None:
            lease.forget(self.sock)
        super().close()


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS; a duplicate of the socket stays in reach during the handshake."""

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        lease: Lease = _current.lease
        self._guard = sock.dup()  # wrapping detaches `sock` itself
        lease.attach(self._guard)
        lease.enter("the TLS handshake", sock.gettimeout() or 10.0)
        return sock

    def connect(self) -> None:
        lease: Lease = _current.lease
        try:
            super().connect()
        finally:
            if guard := getattr(self, "_guard", None):
                lease.forget(guard)
                guard.close()
                del self._guard
        lease.attach(self.sock)
        lease.enter("the answer's head", _current.head_seconds)


def _connect(connection: HTTPConnection) -> socket.socket:
    """Connect within one budget over all addresses of the name (fault C06), giving way to a cut."""
    lease: Lease = _current.lease
    budget = float(connection.timeout or 10.0)
    end = time.monotonic() + budget
    lease.enter(f"connecting to {connection.host}", budget + 1.0)
    host, port = connection._dns_host, connection.port or connection.default_port
    last: OSError | None = None
    for family, address in dns.resolve(host, port, budget, lease.check):
        remaining = end - time.monotonic()
        if remaining <= 0:
            break
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            _connect_one(sock, address, remaining, lease)
        except BaseException as exc:
            sock.close()
            if not isinstance(exc, OSError):
                raise
            last = exc
            continue
        sock.settimeout(budget)
        lease.attach(sock)
        lease.enter("the answer's head", _current.head_seconds)
        return sock
    if last is None or isinstance(last, TimeoutError):
        raise errors.ConnectFailed(f"no connection to {host}:{port} within {budget:g} s") from last
    raise errors.ConnectFailed(f"cannot connect to {host}:{port}: {last.strerror or last}") from last


def _connect_one(sock: socket.socket, address: tuple[Any, ...], seconds: float, lease: Lease) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(BlockingIOError):
        sock.connect(address)
        return
    end = time.monotonic() + seconds
    while not wait_for_write(sock, timeout=0.2):
        lease.check()
        if time.monotonic() >= end:
            raise TimeoutError("timed out")
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}
