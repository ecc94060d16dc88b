"""How long an answer is fresh, for a private cache that guesses nothing (RFC 9111 section 4.2); pure."""

from __future__ import annotations

import re
from functools import lru_cache

from bulkfetch.expressions import late
from bulkfetch.models import Head

LONGEST = 2**31  # seconds, RFC 9111 section 1.2.2
_MOST_DIGITS = 10  # of a number that may be less than that
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = r'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_DIRECTIVE = late(rf"[ \t]*+(?:({_TOKEN})(?:=({_TOKEN}|{_QUOTED}))?+[ \t]*+)?+(?:,|\Z)")
_SECONDS = late(r'([0-9]++)|"([0-9]++)"')
_NEVER_FRESH = frozenset({"no-cache", "no-store"})  # with field names too: what they name is not told apart


def lifetime(control: str | None, expires_in: float | None) -> float | None:
    """Return how many seconds from its `Date` an answer is fresh; 0: never, None: it does not say.

    `s-maxage` is for shared caches, and `must-revalidate` asks for no more than is done here anyway: what
    is not fresh is always asked for again.

    Args:
        control: the Cache-Control field, repeated ones joined by commas; None: there is none.
        expires_in: from `Date` to `Expires`; at most 0 where that is no date. None: there is no `Expires`.
    """
    told = None if control is None else parse_cache_control(control)
    if told is not None:
        return told
    return None if expires_in is None else min(max(expires_in, 0.0), float(LONGEST))


@lru_cache(maxsize=256)
def parse_cache_control(control: str) -> float | None:
    """Return the seconds that `max-age` names; 0 where nothing may be kept or the field is nonsense."""
    ages: set[float] = set()
    place = 0
    while place < len(control):
        match = _DIRECTIVE.match(control, place)
        if match is None:
            return 0.0
        place = match.end()
        name = (match[1] or "").lower()
        if name in _NEVER_FRESH:
            return 0.0
        if name == "max-age":
            ages.add(_parse_seconds(match[2] or ""))
    # RFC 9111 section 4.2.1: more than one value, or a value that is none, may count as stale.
    return None if not ages else ages.pop() if len(ages) == 1 else 0.0


def parse_age(value: str) -> float:
    """Return the seconds an answer spent in caches on its way; 0 for what is no number.

    RFC 9111 section 5.1: of a list the first member counts, and nonsense is to be ignored.
    """
    first = value.partition(",")[0].strip(" \t")
    return _parse_seconds(first) if re.fullmatch("[0-9]+", first) else 0.0


def fresh_until(head: Head, asked: float) -> int | None:
    """Return the Unix time up to which an answer is fresh (RFC 9111 section 4.2.3), or None if it is not.

    Args:
        head: of a 200, 206 or 304 answer.
        asked: Unix time at or before the request, so that the way here counts as age.
    """
    if not head.lifetime:
        return None
    sent = asked - head.age if head.date is None else min(asked - head.age, head.date)
    return max(int(sent + head.lifetime), 0) or None


def _parse_seconds(text: str) -> float:
    """Return delta-seconds, which may be quoted (RFC 9111 section 5.2); 0 for anything else."""
    match = _SECONDS.fullmatch(text)
    if match is None:
        return 0.0
    digits = (match[1] or match[2]).lstrip("0") or "0"
    return float(LONGEST if len(digits) > _MOST_DIGITS else min(int(digits), LONGEST))
