"""What a host's robots.txt allows (RFC 9309).

Read by protego (extra `robots`): the standard library's parser takes the first rule that fits, not
the longest, and knows no wildcards, so it would ask for what a host has forbidden.
"""

from __future__ import annotations

from typing import Any

from bulkfetch.extras import load_extra

PRODUCT = "bulkfetch"  # the token a robots.txt names us by, RFC 9309 section 2.2.1
MOST_BYTES = 500 * 1024  # what a reader must at least read, section 2.5
_LONGEST_DELAY = 86400.0  # seconds
_DENY_ALL = "User-agent: *\nDisallow: /"


class Robots:
    """The rules of one host for us."""

    __slots__ = ("_rules", "crawl_delay")

    def __init__(self, text: str) -> None:
        """Read `text`.

        Raises:
            UsageError: protego is not installed.
        """
        self._rules: Any = load_extra("protego", "obeying robots.txt").Protego.parse(text)
        self.crawl_delay = self._read_delay()  # least seconds between two requests; None: not told

    @classmethod
    def from_answer(cls, status: int | None, body: bytes = b"") -> Robots:
        """Return the rules that an answer to GET /robots.txt means (RFC 9309 section 2.3.1).

        Args:
            status: of the final answer; None when none came.
            body: its beginning; what is past `MOST_BYTES` is left out.
        """
        if status is None or status >= 500:
            return cls(_DENY_ALL)
        if not 200 <= status < 300:
            return cls("")
        return cls(body[:MOST_BYTES].decode("utf-8", "replace").removeprefix("\ufeff"))

    def allows(self, path: str) -> bool:
        """Say whether `path` (with its query) may be asked for; "/robots.txt" always may."""
        return bool(self._rules.can_fetch(f"http://host{path}", PRODUCT))  # "//x" alone reads as a host

    def _read_delay(self) -> float | None:
        """Return the delay that `Crawl-delay` or `Request-rate` asks for, whichever is longer."""
        delays = [self._rules.crawl_delay(PRODUCT) or 0.0]
        if rate := self._rules.request_rate(PRODUCT):
            delays.append(rate.seconds / rate.requests if rate.requests > 0 else 0.0)
        longest = max(delays)
        return min(longest, _LONGEST_DELAY) if longest > 0 else None
