"""The listening socket, and what becomes of connections before a request is read."""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import threading
from collections.abc import Callable

from .connection import set_reset_on_close

MODES = ("serve", "close", "reset", "silent", "refuse", "blackhole")
COUNTED = ("close", "reset", "silent")
Accepted = Callable[[socket.socket, str], None]  # the connection and the mode it came under


def check_mode(mode: str, times: int | None) -> None:
    """Refuse a way to accept that does not exist or cannot be counted."""
    if mode not in MODES:
        raise ValueError(f"accept={mode!r}: not one of {', '.join(MODES)}")
    if times is not None and mode not in COUNTED:
        raise ValueError(f"accept={mode!r} cannot be limited by times; only {', '.join(COUNTED)} can")


class Listener:
    """Accepts on one address, which stays ours whatever the mode."""

    def __init__(self, address: tuple[str, int], backlog: int, accepted: Accepted) -> None:
        self._family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._backlog = backlog
        self._accepted = accepted
        self._lock = threading.Lock()
        self._mode = "refuse"
        self._left: int | None = None
        self._fillers: list[socket.socket] = []
        self._thread: threading.Thread | None = None
        self._wake, self._woken = socket.socketpair()
        try:
            self._socket = self._bound(address)
        except OSError:
            self._close_pair()
            raise
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    def switch(self, mode: str, times: int | None = None) -> None:
        """Take connections in another way from now on, `times` of them and then normally again."""
        check_mode(mode, times)
        with self._lock:
            was_open = self._thread is not None
            self._mode, self._left = mode, times
        wants_open = mode not in ("refuse", "blackhole")
        if wants_open and was_open:
            return
        if was_open or self._fillers:
            self.stop()
            self._wake, self._woken = socket.socketpair()
            self._socket = self._bound(self.address)
        if wants_open:
            self._start()
        elif mode == "blackhole":
            self._fill()

    def stop(self) -> None:
        """Stop accepting and free the address."""
        self._wake.send(b"x")
        if self._thread is not None:
            self._thread.join(1.0)
            self._thread = None
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._socket.close()
        self._close_pair()

    def _close_pair(self) -> None:
        self._wake.close()
        self._woken.close()

    def _bound(self, address: tuple[str, int]) -> socket.socket:
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            if address[1]:
                allow_rebinding(sock)
            sock.bind(address)
            allow_rebinding(sock)  # only now where the system chose the port: it must be ours alone
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"cannot bind {address[0]}:{address[1]}: {error.strerror}") from error
        return sock

    def _start(self) -> None:
        self._socket.listen(self._backlog)
        self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._loop, name="faultserver-accept", daemon=True)
        self._thread.start()

    def _fill(self) -> None:
        """Fill the queue of a listener nobody accepts from: Linux then drops what comes next."""
        self._socket.listen(0)
        for _ in range(4):
            filler = socket.socket(self._family, socket.SOCK_STREAM)
            filler.setblocking(False)
            self._fillers.append(filler)
            with contextlib.suppress(BlockingIOError):
                filler.connect(self.address)

    def _loop(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._woken in ready:
                    return
                with contextlib.suppress(OSError):  # the peer may be gone again
                    self._take(self._socket.accept()[0])

    def _take(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._accepted(sock, self._next_mode())

    def _next_mode(self) -> str:
        with self._lock:
            mode = self._mode
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self._mode, self._left = "serve", None
            return mode


def allow_rebinding(sock: socket.socket) -> None:
    """Let a port be taken again while old connections linger; Windows would give it to anybody."""
    if sys.platform != "win32":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def refuse_at_once(sock: socket.socket, mode: str) -> None:
    """End a connection nobody has read from."""
    if mode == "reset":
        set_reset_on_close(sock)
    sock.close()
