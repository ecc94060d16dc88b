"""A socket some of whose bytes have been read already, as `http.client` reads one."""

from __future__ import annotations

import io
import socket
from typing import Any


class Begun:
    """Stands in for the socket of one answer."""

    def __init__(self, sock: socket.socket, here: bytes) -> None:
        self._sock = sock
        self._here = here

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return what reads the bytes that are here, then those that come."""
        return io.BufferedReader(_Rest(self._here, self._sock.makefile("rb", buffering=0)))


class _Rest(io.RawIOBase):
    def __init__(self, here: bytes, rest: Any) -> None:
        self._here = memoryview(here)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        here, self._here = self._here[: len(into)], self._here[len(into) :]
        if here:
            into[: len(here)] = here
            return len(here)
        count: int | None = self._rest.readinto(into)
        return count

    def close(self) -> None:
        self._rest.close()
        super().close()
