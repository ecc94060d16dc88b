"""A final answer: its head, and its body read as it arrives."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import requests

from bulkfetch.headers import parse_head
from bulkfetch.models import Head
from bulkfetch.safetext import clean
from bulkfetch.transport.answers import Answer
from bulkfetch.transport.mapping import map_read_error
from bulkfetch.transport.plain import PlainReply
from bulkfetch.watchdog import Lease

_DRAIN = 64 * 1024  # bytes of an unwanted body read to keep its connection (fault T12)
_DRAIN_SECONDS = 0.5
_DRAIN_STEP = 0.25  # longest silence within them


class Reply:
    """A final answer; whoever gets one closes it."""

    def __init__(
        self,
        response: requests.Response,
        head: Head,
        lease: Lease,
        peer: str | None,
        release: Callable[[], None],
    ) -> None:
        self.head = head
        self.peer = peer  # the address the connection leads to; None when a proxy hides it
        self._response = response
        self._raw = response.raw
        answer = getattr(response.raw, "_original_response", None)
        self._answer = answer if isinstance(answer, Answer) else None
        self._lease = lease
        self._release = release
        self._ended = self._broken = self._is_closed = False

    @property
    def cookies(self) -> tuple[str, ...]:
        """The values of Set-Cookie fields, as received; the session has kept what it may."""
        return tuple(self._raw.headers.getlist("Set-Cookie"))

    @property
    def surplus(self) -> bool:
        """Say whether the server sent more bytes than it had declared (fault B04)."""
        return self._answer is not None and self._answer.surplus

    def read(self, size: int) -> bytes:
        """Return what has arrived, at most `size` bytes, as sent; b"" at the end of the body.

        Raises:
            TransferError: the body broke; everything returned before is good.
        """
        if self._ended:
            return b""
        try:
            data: bytes = self._raw.read1(size, decode_content=False)
        except Exception as exc:
            self._broken = True
            self._lease.check()
            raise map_read_error(exc) from exc
        if not data:
            self._lease.check()  # a shut socket looks like a clean end (fault C14)
            self._ended = True
        elif self._answer is not None and self._answer.isclosed():
            self._ended = True
        return data

    def peek_whole(self) -> None:
        """Return None: what has arrived is known to nobody here."""

    def take_whole(self) -> None:
        """Never called: there is nothing to take."""

    def pour(self, _file: int) -> int:
        """Return 0: only `read` will do."""
        return 0

    def close(self) -> None:
        """Give the connection back if the body is at its end, or soon can be; close it otherwise."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            with contextlib.suppress(Exception):
                if not self._ended and not self._broken:
                    self._ended = self._drain()
            self._lease.leave()
            with contextlib.suppress(Exception):
                if self._ended:
                    self._raw.release_conn()
                else:
                    self._response.close()
        finally:
            self._release()

    def _drain(self) -> bool:
        """Read the rest of a small unwanted body, so that its connection serves again (fault C11)."""
        sock = getattr(self._raw.connection, "sock", None)
        if sock is None or self._lease.is_cut or (self.head.length or 0) > _DRAIN:
            return False  # no socket: nothing more will be asked on this connection
        self._lease.waste(_DRAIN_SECONDS)  # a line of the framing may come byte by byte
        sock.settimeout(_DRAIN_STEP)
        end = time.monotonic() + _DRAIN_SECONDS
        left = _DRAIN
        while left > 0 and time.monotonic() < end:
            data = self._raw.read1(left, decode_content=False)
            if not data:
                return True
            left -= len(data)
        return False


def read_head(response: requests.Response) -> Head:
    """Return what an answer says of itself."""
    if isinstance(response.raw, PlainReply):
        return response.raw.head
    answer = getattr(response.raw, "_original_response", None)
    if isinstance(answer, Answer):
        return answer.head
    reason = clean(response.reason or "", 80)  # an adapter of the caller's own
    return parse_head(response.status_code, reason, response.raw.headers.iteritems(), time.time())
