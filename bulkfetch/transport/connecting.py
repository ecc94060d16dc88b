"""A socket connected within one budget over all addresses of a name (fault C06)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from urllib3.util.wait import wait_for_write

from bulkfetch import dns, errors

_STEP = 0.1  # seconds between looks at the caller's own bounds


def open_socket(
    host: str, port: int, seconds: float, check: Callable[[], None]
) -> tuple[socket.socket, tuple[Any, ...]]:
    """Return a socket connected to `host`, its timeout set to `seconds`, and the address it leads to.

    Args:
        host: name or address.
        port: port number.
        seconds: for the look-up and all addresses together.
        check: called while waiting; may raise.

    Raises:
        DnsFailed: no address was found in time.
        ConnectFailed: no address took the connection in time.
    """
    end = time.monotonic() + seconds
    addresses = dns.resolve(host, port, seconds, check)
    last: OSError = TimeoutError("timed out")
    for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        share = (end - time.monotonic()) / left  # a silent address leaves time for the next
        if share <= 0:
            break
        try:
            sock = _connect(family, address, share, check)
        except OSError as exc:
            last = exc
            continue
        sock.settimeout(seconds)
        return sock, address
    if isinstance(last, TimeoutError) and last.errno in (None, errno.ETIMEDOUT):
        raise errors.ConnectFailed(f"no connection to {host}:{port} within {seconds:g} s") from last
    raise errors.ConnectFailed(f"cannot connect to {host}:{port}: {last.strerror or last}") from last


def _connect(
    family: socket.AddressFamily, address: tuple[Any, ...], seconds: float, check: Callable[[], None]
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)
        _wait_connected(sock, seconds, check)
    except BaseException:
        sock.close()
        raise
    return sock


def _wait_connected(sock: socket.socket, seconds: float, check: Callable[[], None]) -> None:
    end = time.monotonic() + seconds
    while not wait_for_write(sock, timeout=max(0.0, min(_STEP, end - time.monotonic()))):
        check()
        if time.monotonic() >= end:
            raise TimeoutError("timed out")
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
