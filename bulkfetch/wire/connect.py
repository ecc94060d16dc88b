"""Connecting: one budget over the look-up and all addresses, cut short when the attempt is."""

from __future__ import annotations

import os
import select
import socket
import time
from typing import Any

from bulkfetch import dns
from bulkfetch.errors import ConnectFailed
from bulkfetch.models import Origin
from bulkfetch.watchdog import Lease

_STEP = 0.2  # seconds between looks at the lease
_SHORTEST = 0.25  # seconds for one address, unless less is left


def connect(origin: Origin, seconds: float, lease: Lease) -> socket.socket:
    """Return a connected socket with a time-out of `seconds`.

    Raises:
        TransferError: no address answered within `seconds` (fault C06).
    """
    host, port = origin.host, origin.port
    end = time.monotonic() + seconds
    lease.enter(f"connecting to {host}", seconds + 1.0)
    addresses = dns.resolve(host, port, seconds, lease.check)
    last: OSError | None = None
    for index, (family, address) in enumerate(addresses):
        remaining = end - time.monotonic()
        if remaining <= 0:
            break
        share = max(remaining / (len(addresses) - index), _SHORTEST)  # a dead first address leaves some
        try:
            sock = _connect_one(family, address, min(share, remaining), lease)
        except OSError as exc:
            last = exc
            continue
        sock.settimeout(seconds)
        return sock
    if last is None or isinstance(last, TimeoutError):
        raise ConnectFailed(f"no connection to {host}:{port} within {seconds:g} s") from last
    raise ConnectFailed(f"cannot connect to {host}:{port}: {last.strerror or last}") from last


def _connect_one(family: int, address: tuple[Any, ...], seconds: float, lease: Lease) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect(address)
        except BlockingIOError:
            _await_connected(sock, seconds, lease)
    except BaseException:
        sock.close()
        raise
    return sock


def _await_connected(sock: socket.socket, seconds: float, lease: Lease) -> None:
    end = time.monotonic() + seconds
    while not _is_writable(sock, min(_STEP, seconds)):
        lease.check()
        if time.monotonic() >= end:
            raise TimeoutError("timed out")
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _is_writable(sock: socket.socket, seconds: float) -> bool:
    if hasattr(select, "poll"):  # select() knows only small descriptors, but on Windows any
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        return bool(poll.poll(seconds * 1000.0))
    return any(select.select((), (sock,), (sock,), seconds))  # a refused one is exceptional there
