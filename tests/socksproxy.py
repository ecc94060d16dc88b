"""Small proxies: SOCKS4(a) and SOCKS5(h) with records of whom they are asked for, and TLS before others."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Self

from faultserver import certificates
from faultserver.tunnel import _pump, _shut


class SocksServer:
    """Serves SOCKS on the loopback.

    Args:
        login: the (user, password) it wants, for version 5; None: it wants none.
        silent: takes connections and never answers.
        reply: the answer to a request, such as 5 for "connection refused".
    """

    def __init__(self, login: tuple[str, str] | None = None, *, silent: bool = False, reply: int = 0) -> None:
        self.login = login
        self.silent = silent
        self.reply = reply
        self.targets: list[tuple[str, int]] = []
        self.logins: list[tuple[str, str]] = []
        self.arrived = threading.Event()
        self._open: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def url(self, scheme: str = "socks5h", login: str = "") -> str:
        """Return the proxy's URL."""
        return f"{scheme}://{login}{'@' if login else ''}127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        _shut(self._socket)
        self._socket.close()
        for sock in self._open:
            _shut(sock)
        self._thread.join(2.0)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._socket.accept()
                self._open.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError, ValueError):
            self.arrived.set()
            if self.silent:
                sock.recv(1 << 16)
                sock.recv(1)
                return
            target = self._greet_5(sock) if self._take(sock, 1) == b"\x05" else self._greet_4(sock)
            if target is None:
                return
            with socket.create_connection(target, 30) as far:
                far.settimeout(None)
                back = threading.Thread(target=_pump, args=(far, sock), daemon=True)
                back.start()
                _pump(sock, far)
                back.join(1.0)

    def _greet_5(self, sock: socket.socket) -> tuple[str, int] | None:
        methods = self._take(sock, self._take(sock, 1)[0])
        wanted = 2 if self.login else 0
        if wanted not in methods:
            sock.sendall(b"\x05\xff")
            return None
        sock.sendall(bytes((5, wanted)))
        if self.login and not self._check_login(sock):
            return None
        _, _, _, kind = self._take(sock, 4)
        if kind == 3:
            host = self._take(sock, self._take(sock, 1)[0]).decode()
        else:
            size, family = (4, socket.AF_INET) if kind == 1 else (16, socket.AF_INET6)
            host = socket.inet_ntop(family, self._take(sock, size))
        target = (host, struct.unpack(">H", self._take(sock, 2))[0])
        self.targets.append(target)
        sock.sendall(bytes((5, self.reply, 0, 1, 127, 0, 0, 1, 0, 0)))
        return None if self.reply else target

    def _check_login(self, sock: socket.socket) -> bool:
        self._take(sock, 1)
        user, password = (self._take(sock, self._take(sock, 1)[0]).decode() for _ in range(2))
        self.logins.append((user, password))
        is_good = (user, password) == self.login
        sock.sendall(b"\x01\x00" if is_good else b"\x01\x01")
        return is_good

    def _greet_4(self, sock: socket.socket) -> tuple[str, int] | None:
        self._take(sock, 1)
        port = struct.unpack(">H", self._take(sock, 2))[0]
        address = self._take(sock, 4)
        self.logins.append((self._text(sock), ""))
        is_name = address[:3] == b"\x00\x00\x00" and address[3]
        target = (self._text(sock) if is_name else socket.inet_ntoa(address), port)
        self.targets.append(target)
        sock.sendall(b"\x00\x5a" + bytes(6))
        return target

    def _text(self, sock: socket.socket) -> str:
        data = b""
        while (byte := self._take(sock, 1)) != b"\x00":
            data += byte
        return data.decode()

    @staticmethod
    def _take(sock: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = sock.recv(count - len(data))
            if not more:
                raise OSError("the client went away")
            data += more
        return data


class TlsFront:
    """Takes TLS off connections and passes the bytes on: in front of a tunnel, an HTTPS proxy."""

    def __init__(self, port: int) -> None:
        self._far = port
        self._context = certificates.server_context("good", "127.0.0.1", client_cert=False)
        self._open: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.origin = f"https://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        _shut(self._socket)
        self._socket.close()
        for sock in self._open:
            _shut(sock)
        self._thread.join(2.0)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._far), 5) as far:
            far.settimeout(None)
            with self._context.wrap_socket(sock, server_side=True) as near:
                self._open.append(near)
                back = threading.Thread(target=_pump, args=(far, near), daemon=True)
                back.start()
                _pump(near, far)
                _shut(far)
                back.join(1.0)
