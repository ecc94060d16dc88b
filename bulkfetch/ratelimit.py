"""What a server says about its request limits before they are hit, and how many requests that leaves.

Read are `RateLimit` and `RateLimit-Policy` as structured fields (draft-ietf-httpapi-ratelimit-headers,
the forms of draft 07 and of draft 08 and later), and the separate `RateLimit-*`, `X-RateLimit-*` and
`X-Rate-Limit-*` fields, whose reset is seconds from now or a Unix time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from bulkfetch.expressions import late
from bulkfetch.models import RateLimit

_LONGEST = 366 * 86400.0  # seconds; no limit is counted over more than a year
_EPOCH = 1_000_000_000  # a reset this large is a Unix time, not a number of seconds
_EPOCH_MS = 1_000_000_000_000
_LARGEST_FIELD = 8192  # characters
_PREFIXES = ("ratelimit-", "x-ratelimit-", "x-rate-limit-")
_COUNT = late(r"([0-9]{1,15})(?:\.[0-9]{1,9})?")
_SECONDS = late(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")

# Structured fields, RFC 9651 sections 3.1 to 3.3
_KEY = r"[a-z*][a-z0-9_.*-]*+"
_BARE = (
    r'-?[0-9]{1,12}\.[0-9]{1,3}|-?[0-9]{1,15}+|"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+"'
    r"|[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*+|:[A-Za-z0-9+/=]*+:|\?[01]"
)
_ITEM = late(rf"({_BARE})((?:; *{_KEY}(?:=(?:{_BARE}))?+)*+)")
_MEMBER = late(rf"({_KEY})(?:=({_BARE}))?+((?:; *{_KEY}(?:=(?:{_BARE}))?+)*+)")
_PARAMETER = late(rf"; *({_KEY})(?:=({_BARE}))?+")
_COMMA = late(r"[ \t]*,[ \t]*")

_Item = tuple[str, dict[str, str]]  # a bare item as written, and its parameters


def has_rate_limit(names: Mapping[str, object]) -> bool:
    """Say whether fields of these lower-case names may hold a limit."""
    return any(name == "ratelimit" or name.startswith(_PREFIXES) for name in names)


def parse_rate_limit(fields: Mapping[str, str], now: float) -> RateLimit | None:
    """Return the tightest limit an answer's fields tell of; None where none does, or only nonsense.

    Args:
        fields: lower-case names; repeated fields joined by commas.
        now: Unix time of the answer, by its `Date` where it has one.
    """
    found = [*_structured(fields), *(_separate(fields, prefix, now) for prefix in _PREFIXES)]
    limits = [limit for limit in found if limit is not None]
    return min(limits, key=_allowance, default=None)


def _allowance(limit: RateLimit) -> tuple[float, float]:
    return limit.remaining / max(limit.reset, 1.0), -limit.reset


def _structured(fields: Mapping[str, str]) -> list[RateLimit | None]:
    text = fields.get("ratelimit", "")
    windows = _windows(_items(fields.get("ratelimit-policy", "")))
    if members := _dictionary(text):  # draft 07
        only = next(iter(windows.values())) if len(windows) == 1 else None
        return [_limit(members.get("remaining", ""), members.get("reset", ""), only)]
    return [_limit(p.get("r", ""), p.get("t", ""), windows.get(name)) for name, p in _items(text)]


def _windows(policies: list[_Item]) -> dict[str, float]:
    """Return each policy's window in seconds, under the policy's name."""
    windows = {name: _seconds(parameters.get("w", "")) for name, parameters in policies}
    return {name: window for name, window in windows.items() if window is not None}


def _separate(fields: Mapping[str, str], prefix: str, now: float) -> RateLimit | None:
    reset = _reset(fields.get(f"{prefix}reset", ""), now)
    if reset is None:
        reset = _seconds(fields.get(f"{prefix}reset-after", ""))
    count = _COUNT.fullmatch(fields.get(f"{prefix}remaining", "").strip(" \t"))
    if count is None or reset is None:
        return None
    return RateLimit(int(count[1]), reset, _window(fields.get(f"{prefix}limit", "")))


def _window(limit: str) -> float | None:
    """Return the shortest window a limit such as "10, 10;w=1, 1000;w=3600" names (drafts 00 to 06)."""
    return min(_windows(_items(limit)).values(), default=None)


def _limit(remaining: str, reset: str, window: float | None) -> RateLimit | None:
    seconds = _seconds(reset) if reset else window  # draft 08: `t` may be left out
    if not re.fullmatch(r"[0-9]{1,15}", remaining) or seconds is None:
        return None
    return RateLimit(int(remaining), seconds, window)


def _reset(text: str, now: float) -> float | None:
    """Return a reset as seconds from now; a Unix time that has passed is 0."""
    text = text.strip(" \t")
    if not _SECONDS.fullmatch(text):
        return None
    value = float(text)
    if value < _EPOCH:
        return value if value <= _LONGEST else None
    seconds = (value / 1000 if value >= _EPOCH_MS else value) - now
    return max(seconds, 0.0) if seconds <= _LONGEST else None


def _seconds(text: str) -> float | None:
    if not _SECONDS.fullmatch(text.strip(" \t")):
        return None
    value = float(text)
    return value if value <= _LONGEST else None


def _items(text: str) -> list[_Item]:
    """Return the members of a structured list, or nothing when it is not one as a whole."""
    matches = _members(_ITEM, text)
    return [(match[1], _parameters(match[2])) for match in matches]


def _dictionary(text: str) -> dict[str, str]:
    """Return the members of a structured dictionary that have a value, or nothing when it is not one."""
    return {match[1]: match[2] for match in _members(_MEMBER, text) if match[2]}


def _members(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    text = text.strip(" ")
    found: list[re.Match[str]] = []
    position = 0
    while len(text) <= _LARGEST_FIELD and (match := pattern.match(text, position)):
        found.append(match)
        if match.end() == len(text):
            return found
        comma = _COMMA.match(text, match.end())
        if comma is None:
            break
        position = comma.end()
    return []


def _parameters(text: str) -> dict[str, str]:
    return {match[1]: match[2] or "?1" for match in _PARAMETER.finditer(text)}
