"""One connection: requests in, scripts out, on a thread of its own."""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable

from .ledger import Ledger
from .steps import CLEAN, CLOSE, RESET, STALL, Ending, Payload, Step
from .wire import BadRequest, Request, RequestReader

SLICE = 0.02  # seconds between looks at the peer while nothing is sent
PIECE = 1 << 18
ACKNOWLEDGED = 10.0  # seconds to wait for the peer's kernel before a reset


class Ended(Exception):
    """The script, the peer or the server ended the connection."""

    def __init__(self, ending: Ending, *, scripted: bool = False) -> None:
        super().__init__(ending.value)
        self.ending = ending
        self.scripted = scripted


class Connection:
    """Plays scripts on one accepted socket until somebody ends it."""

    def __init__(self, sock: socket.socket, number: int, ledger: Ledger, closing: threading.Event) -> None:
        self.sock = sock
        self.number = number
        self._ledger = ledger
        self._closing = closing
        self.answered = 0
        self._reader = RequestReader(sock)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def serve(self, respond: Callable[[Connection, Request], Iterable[Step]]) -> None:
        """Answer requests until the connection ends; `respond` gives each one's script."""
        ending = RESET  # what the peer sees when a script is broken; the server reports it
        try:
            while (request := self._next_request()) is not None:
                self._answer(respond, request)
            ending = CLEAN
        except Ended as ended:
            ending = ended.ending
        finally:
            self.close(ending)

    def _next_request(self) -> Request | None:
        try:
            if isinstance(self.sock, ssl.SSLSocket) and self.sock.version() is None:
                self.sock.do_handshake()
            request = self._reader.read()
        except OSError:  # the peer went away, or does not trust our certificate
            raise Ended(CLOSE) from None
        except BadRequest as error:
            self.send(f"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{error}\n".encode())
            raise Ended(CLEAN) from error
        if request is not None:
            request.connection = self.number
            request.time = time.monotonic()
        return request

    def _answer(self, respond: Callable[[Connection, Request], Iterable[Step]], request: Request) -> None:
        self._ledger.add(request)
        try:
            self.play(respond(self, request), request)
            request.done = True
        except Ended as ended:
            request.done = ended.scripted
            raise
        finally:
            self.answered += 1
            self._ledger.settle()

    def take_rest(self) -> bytes:
        """Return bytes that came after the last request."""
        return self._reader.take_rest()

    def play(self, script: Iterable[Step], request: Request) -> None:
        """Carry out one step after another."""
        for step in script:
            if isinstance(step, Payload):
                self.send(step.prefix)
                self.send(step.data, request)
                self.send(step.suffix)
            elif isinstance(step, bytes | bytearray | memoryview):
                self.send(step, request if request.status is None else None)
            elif isinstance(step, int | float):
                self.pause(step)
            elif isinstance(step, threading.Event):
                self.pause(None, step)
            elif isinstance(step, Ending):
                self._end(step)
            elif isinstance(step, Iterable) and not isinstance(step, str):
                self.play(step, request)
            else:
                raise TypeError(f"{step!r} is not a step; use bytes, seconds, an Event, an ending or a list")

    def _end(self, ending: Ending) -> None:
        if ending is STALL:
            self.pause(None)  # ends by raising
        raise Ended(ending, scripted=True)

    def send(self, data: bytes | bytearray | memoryview, request: Request | None = None) -> None:
        """Send everything, adding to `request.sent` what the system took."""
        view = memoryview(data)
        while view:
            if self._closing.is_set():
                raise Ended(CLOSE)
            try:
                size = self.sock.send(view[:PIECE])
            except OSError:
                raise Ended(CLOSE) from None
            if request is not None:
                request.sent += size
            view = view[size:]

    def pause(self, seconds: float | None, event: threading.Event | None = None) -> None:
        """Wait for time or an event, no longer than the peer and the server stay."""
        end = None if seconds is None else time.monotonic() + seconds
        waited = event or self._closing
        while end is None or (left := end - time.monotonic()) > 0:
            if waited.wait(SLICE if end is None else min(SLICE, left)) and event is not None:
                return
            if self._closing.is_set() or has_left(self.sock):
                raise Ended(CLOSE)

    def stay_silent(self) -> None:
        """Read and say nothing until the peer or the server goes."""
        try:
            self.pause(None)
        except Ended:
            self.close(CLOSE)

    def interrupt(self) -> None:
        """Wake the thread out of whatever it does on the socket."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # SSLSocket.shutdown would drop the TLS state

    def close(self, ending: Ending) -> None:
        """End the connection in one of the ways a peer can."""
        with contextlib.suppress(OSError, ValueError):
            if ending is RESET:
                wait_until_acknowledged(self.sock, self._closing)
                set_reset_on_close(self.sock)
            else:
                if ending is CLEAN:
                    self._notify()
                socket.socket.shutdown(self.sock, socket.SHUT_WR)
                discard_input(self.sock)
        self.sock.close()

    def _notify(self) -> None:
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.settimeout(0)  # send close_notify, do not wait for the answer
            with contextlib.suppress(OSError, ValueError):
                self.sock.unwrap()


def has_left(sock: socket.socket) -> bool:
    """Say whether the peer has closed or reset; bytes it sent stay unread."""
    try:
        if hasattr(select, "POLLRDHUP"):  # Linux: seen even behind unread bytes
            poll = select.poll()
            poll.register(sock, select.POLLRDHUP)
            return bool(poll.poll(0))
        return is_readable(sock) and socket.socket.recv(sock, 1, socket.MSG_PEEK) == b""
    except (OSError, ValueError):
        return True


def is_readable(sock: socket.socket) -> bool:
    """Say whether a read would not wait."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def discard_input(sock: socket.socket) -> None:
    """Drop unread input: closing over it would send RST instead of FIN."""
    for _ in range(64):
        if not is_readable(sock) or not socket.socket.recv(sock, 1 << 16):
            return


def set_reset_on_close(sock: socket.socket) -> None:
    """Make close() send RST."""
    layout = "hh" if sys.platform == "win32" else "ii"
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(layout, 1, 0))


def wait_until_acknowledged(sock: socket.socket, closing: threading.Event) -> None:
    """Wait until the peer's kernel holds what was sent, which RST would otherwise throw away."""
    if not sys.platform.startswith("linux"):
        closing.wait(SLICE * 3)  # no portable way to ask
        return
    import fcntl
    import termios

    end = time.monotonic() + ACKNOWLEDGED
    while time.monotonic() < end and not closing.is_set():
        unsent = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        if not unsent or has_left(sock):
            return
        closing.wait(0.001)
