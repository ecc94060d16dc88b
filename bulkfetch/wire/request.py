"""The bytes of a GET; nothing in a URL or a field can end its line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bulkfetch.errors import ProtocolViolation, UrlRefused
from bulkfetch.models import Origin
from bulkfetch.urls import split_userinfo

_TARGET = bytes({*range(0x21, 0x7F)} - {ord("#")})  # visible ASCII without "#"; RFC 9112 section 3.2.1
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_FRAMING = frozenset({"content-length", "transfer-encoding"})  # a GET of ours has no body


class Template:
    """What every request to one origin has in common."""

    def __init__(self, origin: Origin, user_agent: str) -> None:
        self._base = str(origin)
        self._own = {
            "Host": self._base.partition("://")[2],
            "User-Agent": user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
        self._names = frozenset(name.lower() for name in self._own)
        self._usual = encode_fields(self._own)
        self._rest = b" HTTP/1.1\r\n%b\r\n" % self._usual  # of a request without other fields

    def render(self, url: str, headers: Mapping[str, str]) -> bytes:
        """Return the request for `url`; a field in `headers` replaces ours of the same name.

        Raises:
            UrlRefused: `url` is not under this origin, or not canonical.
            ProtocolViolation: a field cannot be sent.
        """
        if not url.startswith(self._base):
            url = split_userinfo(url)[0]
        target = url[len(self._base) :].encode("utf-8", "surrogatepass")
        # Stripped of all that may be there, nothing is left: faster than an expression.
        if not (url.startswith(self._base) and target[:1] == b"/") or target.strip(_TARGET):
            raise UrlRefused(f"the URL cannot be asked for at {self._base}")
        start = b"GET " + target
        if not headers:
            return start + self._rest
        given = {name.lower() for name in headers}
        usual = self._usual
        if not self._names.isdisjoint(given):
            usual = encode_fields({n: v for n, v in self._own.items() if n.lower() not in given})
        return b"%b HTTP/1.1\r\n%b%b\r\n" % (start, usual, encode_fields(headers))


def encode_fields(headers: Mapping[str, str]) -> bytes:
    """Return header lines; raises `ProtocolViolation` for what RFC 9110 section 5.5 does not allow."""
    lines = []
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _FRAMING:
            raise ProtocolViolation("a header field with that name cannot be sent")
        if not _VALUE.fullmatch(value):
            raise ProtocolViolation(f"the value of header field {name} is not valid")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")
