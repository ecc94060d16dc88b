"""What clients send: requests, read strictly enough for tests and kept as they came."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

HEAD_LIMIT = 1 << 20
BODY_LIMIT = 64 << 20


class BadRequest(Exception):
    """The client sent something that is not a request this server reads."""


class Headers:
    """Header fields in order of arrival, looked up without regard to case."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"Headers({self.pairs!r})"

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value, several joined by a comma, or `default`."""
        return ", ".join(self.get_all(name)) if name in self else default

    def get_all(self, name: str) -> list[str]:
        """Return every value of one field."""
        return [value for key, value in self.pairs if key.lower() == name.lower()]


@dataclass(eq=False)
class Request:
    """One request and, as the answer goes out, what became of it."""

    method: str
    target: str  # as sent: a path, an absolute URL (to a proxy) or host:port (CONNECT)
    version: str
    headers: Headers
    body: bytes = b""
    connection: int = 0  # number of the connection, from 1
    time: float = 0.0  # monotonic
    number: int = 0  # how many requests for this path its route has seen, from 1; HEAD is not counted
    status: int | str | None = None  # answered; None for `raw` scripts and requests without an answer
    sent: int = 0  # body bytes handed to the system; for `raw` scripts all bytes
    done: bool = False  # the answer went out to its end, or to where its fault stopped it
    path: str = field(init=False)  # as sent, without query
    query: str = field(init=False)

    def __post_init__(self) -> None:
        target = self.target
        if "://" in target.partition("?")[0]:
            target = "/" + target.partition("://")[2].partition("/")[2]
        self.path, _, self.query = target.partition("?")

    @property
    def range(self) -> str | None:
        """The Range header."""
        return self.headers.get("Range")

    @property
    def full_path(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path


class RequestReader:
    """Reads one request after another from a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()

    def read(self) -> Request | None:
        """Return the next request, or None at the end of the connection."""
        head = self._read_head()
        if head is None:
            return None
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/"):
            raise BadRequest(f"not a request line: {lines[0][:200]!r}")
        headers = Headers([_parse_field(line) for line in lines[1:]])
        return Request(words[0], words[1], words[2], headers, self._read_body(headers))

    def take_rest(self) -> bytes:
        """Return bytes that came after the last request (the start of a tunnel's traffic)."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _read_head(self) -> bytes | None:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise BadRequest("the head is too long")
            if not self._fill():
                return None
        return self._take(end + 4)[:-4]

    def _read_body(self, headers: Headers) -> bytes:
        if "chunked" in (headers.get("Transfer-Encoding") or ""):
            return self._read_chunks()
        length = headers.get("Content-Length") or "0"
        if not length.isdecimal() or int(length) > BODY_LIMIT:
            raise BadRequest(f"Content-Length: {length[:200]}")
        return self._read_exactly(int(length))

    def _read_chunks(self) -> bytes:
        chunks = []
        while size := self._read_chunk_size():
            chunks.append(self._read_exactly(size))
            self._read_line()
        while self._read_line():
            pass  # trailer fields
        return b"".join(chunks)

    def _read_chunk_size(self) -> int:
        line = self._read_line()
        try:
            return int(line.split(b";")[0], 16)
        except ValueError:
            raise BadRequest(f"not a chunk size: {line[:200]!r}") from None

    def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if not self._fill():
                raise BadRequest("the request's body was cut")
        return self._take(end + 2)[:-2]

    def _read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not self._fill():
                raise BadRequest("the request's body was cut")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self) -> bool:
        data = self._sock.recv(1 << 16)
        self._buffer += data
        return bool(data)


def _parse_field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise BadRequest(f"not a header line: {line[:200]!r}")
    return name, value.strip(" \t")
