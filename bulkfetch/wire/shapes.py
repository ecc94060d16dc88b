"""Heads of one shape: a server writes the same lines in the same order, and only their values differ.

An expression that is mostly literal text reads such a head in half the time that one for heads of any shape
takes. It is made of a head that was read before, and as strict.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from bulkfetch.expressions import late

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
DATE = "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
LENGTH = "[0-9]{1,18}"
ETAG = '(?:W/)?"[!#-~]*+"'
# Begins of lines that somebody reads, and any line.
READ = (
    "date|content-|last-modified|etag|connection|transfer-encoding|location|retry-after|set-cookie"
    r"|accept-ranges|ratelimit|x-rate|cache-control|expires|age:|vary:[^\r]*\*"
)
_TEXT = r"[\t\x20-\x7e\x80-\xff]*+"
ANY = rf"{TOKEN}++:{_TEXT}"
_NOBODYS = late(rf"(?!(?i:{READ}|vary:)){ANY}".encode("ascii"))  # nobody reads it, whatever its value
_VALUES = {  # what may differ from head to head, and its group
    b"date": ("date", DATE),
    b"content-length": ("length", LENGTH),
    b"last-modified": ("modified", DATE),
    b"etag": ("etag", ETAG),
}
_GROUPS = [group for group, _ in _VALUES.values()]
_ENOUGH = 64  # heads of no known shape before one is made: it takes long, but the same one again does not
_MOST = 4

Values = tuple[bytes | None, ...]  # of Date, Content-Length, Last-Modified and ETag


class Facts(NamedTuple):
    """What all heads of one shape say."""

    status: int
    reason: str
    content_type: str
    has_ranges: bool
    lifetime: float | None


class Shapes:
    """The shapes of heads that come often over one connection, found out as they come."""

    def __init__(self, enough: int = _ENOUGH) -> None:
        self._known: list[tuple[re.Pattern[bytes], Facts]] = []
        self._enough = enough
        self._unknown = 0  # heads since the last shape

    def read(self, data: bytearray, end: int) -> tuple[Facts, Values, int] | None:
        """Return what the head at the start of `data` says and where its end is; None: of no known shape."""
        for expression, facts in self._known:
            match = expression.match(data, 0, end)
            if match is not None:
                return facts, match.group(*_GROUPS), match.end()
        return None

    def note(self, raw: bytes, facts: Facts) -> None:
        """Take note of a whole head of no known shape, which was read to say `facts` and four values."""
        self._unknown += 1
        if self._unknown >= self._enough:
            self._unknown = 0
            self._enough *= 2  # where every head is of another shape, they are no help
            self._known = [(_express(raw), facts), *self._known[: _MOST - 1]]


def _express(raw: bytes) -> re.Pattern[bytes]:
    """Return an expression for heads that differ from `raw` in nothing but what is read one by one."""
    first, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    patterns = [re.escape(first)]
    missing = dict(_VALUES)
    for line in lines:
        name = line.partition(b":")[0]
        group, value = missing.pop(name.lower(), ("", ""))
        if group:
            patterns.append(re.escape(name) + f": *+(?P<{group}>{value})[ \\t]*+".encode())
        elif _NOBODYS.match(line):
            patterns.append(re.escape(name) + f":{_TEXT}".encode())
        else:
            patterns.append(re.escape(line))
    absent = "".join(f"(?P<{group}>(?!))?" for group, _ in missing.values())
    return re.compile(b"\r\n".join([*patterns, b"", absent.encode()]))
