"""CONNECT for tests of proxies: bytes go both ways between a client and a loopback port."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .steps import CLOSE, Step
from .wire import Request

if TYPE_CHECKING:
    from .connection import Connection


def open_tunnel(connection: Connection, request: Request) -> Iterator[Step]:
    """Connect to the loopback address a client names, then pass bytes until either side ends."""
    host, _, port = request.target.rpartition(":")
    host = host.strip("[]")
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        request.status = 403
        yield b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
        return
    try:
        far = socket.create_connection((host, int(port)), 5)
    except OSError:
        request.status = 502
        yield b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
        return
    request.status = 200
    with far:
        far.settimeout(None)
        yield b"HTTP/1.1 200 Connection established\r\n\r\n"
        far.sendall(connection.take_rest())
        back = threading.Thread(target=_pump, args=(far, connection.sock), daemon=True)
        back.start()
        _pump(connection.sock, far)
        _shut(far)
        back.join(1.0)
    yield CLOSE


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    _shut(target)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
