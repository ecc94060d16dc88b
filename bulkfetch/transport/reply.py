"""A final answer: its head, and its body read as it arrives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import requests

from bulkfetch.models import Head
from bulkfetch.transport.mapping import map_error
from bulkfetch.watchdog import Lease

_DRAIN = 64 * 1024  # bytes of an unwanted body read to keep its connection (fault T12)
_DRAIN_SECONDS = 2.0


class Reply:
    """A final answer: its head, and its body read as it arrives."""

    def __init__(
        self, response: requests.Response, head: Head, lease: Lease, release: Callable[[], None]
    ) -> None:
        self.head = head
        self._response = response
        self._raw = response.raw
        self._lease = lease
        self._release = release
        self._ended = self._broken = False

    def read(self, size: int) -> bytes:
        """Return what has arrived, at most `size` bytes, as sent; b"" at the end of the body.

        Raises:
            TransferError: the body broke; everything returned before is good.
        """
        try:
            data: bytes = self._raw.read1(size, decode_content=False)
        except Exception as exc:
            self._broken = True
            self._lease.check()
            raise map_error(exc) from exc
        if not data:
            self._lease.check()  # a shut socket looks like a clean end (fault C14)
            self._ended = True
        return data

    def close(self) -> None:
        """Give the connection back if the body is at its end, or soon can be; close it otherwise."""
        with contextlib.suppress(Exception):
            if self._ended or self._can_drain():
                self._raw.release_conn()
            self._response.close()
        self._lease.leave()
        self._release()

    def _can_drain(self) -> bool:
        """Read the rest of a small unwanted body, so that its connection serves again (fault C11)."""
        length = self.head.length
        if self._broken or self._lease.is_cut or length is None or length > _DRAIN:
            return False
        self._lease.enter("an unwanted body", _DRAIN_SECONDS)
        while self._raw.read1(_DRAIN, decode_content=False):
            pass
        return True
