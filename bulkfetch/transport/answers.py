"""Answers read strictly (RFC 9112): `http.client` skips, guesses and drops where a file could be wrong."""

from __future__ import annotations

import http.client
import re
import socket
import time
from typing import TYPE_CHECKING

from bulkfetch import errors
from bulkfetch.headers import parse_head
from bulkfetch.models import Head
from bulkfetch.safetext import clean
from bulkfetch.transport.current import present_lease

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

_MOST_INTERIM = 20  # 1xx answers before the final one (faults B22, B23)
_MOST_LINES = 100  # header lines, and trailer lines (fault B29)
_MOST_LINE = 65536  # bytes of one line
_BODYLESS = frozenset({101, 204, 304})  # RFC 9112 section 6.3
_STATUS = re.compile(r"(HTTP/1\.[0-9]) +([1-9][0-9]{2})(?: +(.*?))? *\r?\n")
_FIELD = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):(.*)\n", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LINE_ENDS = (b"\r\n", b"\n")


class Answer(http.client.HTTPResponse):
    """One answer; its framing is decided by `head` alone."""

    head: Head

    def __init__(self, connection: HTTPConnection, sock: socket.socket, method: str | None) -> None:
        super().__init__(sock, method=method)
        self._connection = connection
        self.surplus = False  # more bytes than declared followed (fault B04)

    # -- the head --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Read the head of the final answer."""
        for _ in range(_MOST_INTERIM + 1):
            version, status, reason = self._read_status()
            fields = self._read_fields()
            if status >= 200 or status == 101:
                break
        else:
            raise errors.ProtocolViolation("the server sends interim answers without an end")
        if (lease := present_lease()).traced:
            lease.heard([f"{version} {status} {reason}", *(f"{name}: {value}" for name, value in fields)])
        self.code = self.status = status
        self.version = 10 if version == "HTTP/1.0" else 11
        self.reason = clean(reason, 80)
        self.head = parse_head(status, self.reason, fields, time.time())
        self.headers = self.msg = _message(fields)
        is_bare = self._method == "HEAD"  # type: ignore[attr-defined]
        self.chunked = self.head.chunked and not is_bare
        self.chunk_left = None
        self.length = 0 if is_bare or status in _BODYLESS else self.head.length
        self.will_close = self._is_last()

    def _read_status(self) -> tuple[str, int, str]:
        line = str(self.fp.readline(_MOST_LINE + 1), "latin-1")
        if not line:
            raise http.client.RemoteDisconnected("closed unanswered")
        present_lease().reused = False  # what fails from here on is no stale connection
        match = _STATUS.fullmatch(line)
        if match is not None:
            return match[1], int(match[2]), match[3] or ""
        if line.startswith("HTTP/1.") and not line.endswith("\n") and len(line) <= _MOST_LINE:
            raise errors.ConnectionLost("the connection closed inside the answer's head")
        raise errors.NotHttp(f'the answer is not HTTP/1.1: it begins with "{clean(line.strip(), 40)}"')

    def _read_fields(self) -> list[tuple[str, str]]:
        fields: list[tuple[str, str]] = []
        for _ in range(_MOST_LINES + 1):
            line = self.fp.readline(_MOST_LINE + 1)
            if line in _LINE_ENDS:
                return fields
            if len(line) > _MOST_LINE:
                raise errors.ProtocolViolation(f"a header line is longer than {_MOST_LINE} bytes")
            if not line.endswith(b"\n"):  # `http.client` would take such a head as whole
                raise errors.ConnectionLost("the connection closed inside the answer's head")
            _add_field(fields, str(line, "latin-1"))
        raise errors.ProtocolViolation(f"the answer has more than {_MOST_LINES} header lines")

    def _is_last(self) -> bool:
        """Say whether the connection ends with this answer."""
        if self.chunked:  # with a length, or from an HTTP/1.0 server, the framing is in doubt (fault B14)
            doubtful = self.version == 10 or "content-length" in self.headers
        else:
            doubtful = self.length is None or self.status == 101
        return doubtful or bool(self._check_close())  # type: ignore[attr-defined]

    # -- the body --------------------------------------------------------------------------------

    def read1(self, n: int = -1) -> bytes:
        """Return what has arrived, at most `n` bytes; b"" at the end of the body."""
        if self.fp is None:
            return b""
        if self.chunked:
            return self._read_chunk(n)
        if self.length is None:
            data: bytes = self.fp.read1(n)
            if not data:
                self._end()
            return data
        return self._read_counted(n, self.length)

    def _read_counted(self, n: int, left: int) -> bytes:
        # One byte more than is left: what a server sends too much is seen without another system call.
        data: bytes = self.fp.read1(n if 0 <= n < left else left + 1) if left else b""
        if left and not data:
            raise errors.Truncated("the body ended early")
        if len(data) > left:
            self.surplus = True
            data = data[:left]
        self.length = left - len(data)
        if not self.length:
            self._end()
        return data

    def _read_chunk(self, n: int) -> bytes:
        left: int = self.chunk_left or self._next_chunk()
        if not left:
            self._skip_trailer()
            self._end()
            return b""
        data: bytes = self.fp.read1(n if 0 <= n < left else left)
        if not data:
            raise errors.Truncated("the body ended inside a chunk")
        self.chunk_left = left - len(data)
        return data

    def _next_chunk(self) -> int:
        """Return the size of the next chunk; 0 is the last (RFC 9112 section 7.1)."""
        end = _LINE_ENDS[0] if self.chunk_left is None else self.fp.readline(2)
        line = self.fp.readline(_MOST_LINE) if end in _LINE_ENDS else end
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise errors.Truncated("a chunk of the body is damaged" if line else "the last chunk is missing")
        return int(match[1], 16)

    def _skip_trailer(self) -> None:
        for _ in range(_MOST_LINES):
            line = self.fp.readline(_MOST_LINE)
            if line in _LINE_ENDS:
                return
            if not line:
                break
        self.surplus = bool(line)
        self._connection.close()  # the end was not where it must be: nothing more is asked here

    def _end(self) -> None:
        self.close()
        if self.surplus:
            self._connection.close()


def _add_field(fields: list[tuple[str, str]], line: str) -> None:
    if line[0] in " \t" and fields:  # an old way to fold a line (RFC 9112 section 5.2)
        name, value = fields[-1]
        fields[-1] = (name, f"{value} {_CONTROLS.sub(' ', line).strip()}")
        return
    match = _FIELD.fullmatch(line)
    if match is None:
        raise errors.ProtocolViolation(f'a header line is malformed: "{clean(line.strip(), 40)}"')
    value = match[2].strip(" \t\r")
    if not value.isprintable():  # RFC 9110 section 5.5 (fault B30)
        value = _CONTROLS.sub(" ", value)
    fields.append((match[1], value))


def _message(fields: list[tuple[str, str]]) -> http.client.HTTPMessage:
    message = http.client.HTTPMessage()
    for name, value in fields:
        message[name] = value
    return message
