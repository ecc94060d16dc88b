"""Which URLs a section is about."""

from __future__ import annotations

import re
from typing import NamedTuple

from bulkfetch.errors import LineError
from bulkfetch.expressions import late
from bulkfetch.models import Origin
from bulkfetch.urls import origin_of, parse_url

_PARTS = late(
    r"(?:(?P<scheme>https?)://)?(?P<star>\*\.)?(?P<host>\[[^\]]*\]|[^:/\[\]*?#@]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<prefix>/[^?#]*)?",
    re.IGNORECASE,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Pattern(NamedTuple):
    """An exact host or its sub-domains, perhaps at one port, under one scheme, below one path."""

    host: str  # lower case; an IPv6 address without brackets
    below: bool = False  # every sub-domain of the host, at any depth, but not the host itself
    port: int | None = None
    scheme: str = ""
    prefix: str = ""  # "" is every path

    @property
    def rank(self) -> tuple[bool, int, bool, bool, int]:
        """Return what sorts patterns from the least to the most specific."""
        return not self.below, len(self.host), self.port is not None, bool(self.scheme), len(self.prefix)

    def matches(self, origin: Origin) -> bool:
        """Say whether URLs of `origin` may match."""
        if self.below:
            if not origin.host.endswith(f".{self.host}"):
                return False
        elif origin.host != self.host:
            return False
        return self.port in (None, origin.port) and self.scheme in ("", origin.scheme)

    def covers(self, path: str) -> bool:
        """Say whether a URL's path is the prefix or below it."""
        if not path.startswith(self.prefix):
            return False
        return self.prefix.endswith("/") or path[len(self.prefix) :][:1] in ("", "/", "?")


def parse_pattern(text: str) -> Pattern:
    """Return the pattern of a section.

    Raises:
        ValueError: it is none; the message is one clause.
    """
    match = _PARTS.fullmatch(text)
    if match is None:
        raise ValueError(
            'a section is for a host such as "example.org", "*.example.org", "example.org:8443" '
            'or "https://example.org/folder"'
        )
    scheme, prefix = (match["scheme"] or "").lower(), match["prefix"] or ""
    if prefix and not scheme:
        raise ValueError(f'a path needs its scheme: "https://{text}"')
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme)
    try:
        url = parse_url(f"{scheme or 'http'}://{match['host']}:{match['port'] or ''}{prefix or '/'}")
    except LineError as exc:
        raise ValueError(str(exc)) from exc
    path = "/" + url.split("/", 3)[3]
    return Pattern(origin_of(url).host, bool(match["star"]), port, scheme, "" if path == "/" else path)
