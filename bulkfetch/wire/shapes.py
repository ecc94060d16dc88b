"""Heads of one shape: a server writes the same lines in the same order, and only their values differ.

An expression that is mostly literal text reads such a head in half the time that one for heads of any shape
takes. It is made of a head that was read before, and as strict.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

DATE = "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
LENGTH = "[0-9]{1,18}"
ETAG = '(?:W/)?"[!#-~]*+"'
TEXT = r"[\t\x20-\x7e\x80-\xff]*+"
_VALUES = {
    b"date": f" *+(?P<date>{DATE})[ \\t]*+",
    b"content-length": f" *+(?P<length>{LENGTH})[ \\t]*+",
    b"last-modified": f" *+(?P<modified>{DATE})[ \\t]*+",
    b"etag": f" *+(?P<etag>{ETAG})[ \\t]*+",
}
_GROUPS = ("date", "length", "modified", "etag")
_ENOUGH = 250  # heads of no known shape before one is made, which takes as long as reading 200 of them
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
    """The shapes of heads that come often, found out as they come; for any number of threads."""

    def __init__(self, enough: int = _ENOUGH) -> None:
        self._known: tuple[tuple[re.Pattern[bytes], Facts], ...] = ()
        self._enough = enough
        self._unknown = 0  # heads since the last shape; a few more or less do not matter

    def read(self, data: bytearray, end: int) -> tuple[Facts, Values, int] | None:
        """Return what the head at the start of `data` says and where its end is; None: of no known shape."""
        for expression, facts in self._known:
            match = expression.match(data, 0, end)
            if match is not None:
                return facts, match.group(*_GROUPS), match.end()
        return None

    def note(self, raw: bytes, facts: Facts, says_nothing: Callable[[bytes], object]) -> None:
        """Take note of a whole head of no known shape, which was read to say `facts` and four values.

        `says_nothing` tells of one of its field lines whether nobody reads it, whatever its value.
        """
        self._unknown += 1
        if self._unknown >= self._enough:
            self._unknown = 0
            self._enough *= 2  # where every head is of another shape, they are no help
            self._known = ((_express(raw, says_nothing), facts), *self._known[: _MOST - 1])


def _express(raw: bytes, says_nothing: Callable[[bytes], object]) -> re.Pattern[bytes]:
    """Return an expression for heads that differ from `raw` in nothing but what is read one by one."""
    first, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    patterns = [re.escape(first)]
    missing = dict(zip(_VALUES, _GROUPS, strict=True))
    for line in lines:
        name = line.partition(b":")[0]
        value = TEXT if says_nothing(line) else _VALUES.get(name.lower())
        missing.pop(name.lower(), None)
        patterns.append(re.escape(line) if value is None else re.escape(name) + b":" + value.encode())
    absent = "".join(f"(?P<{group}>(?!))?" for group in missing.values())
    return re.compile(b"\r\n".join([*patterns, b"", absent.encode()]))
