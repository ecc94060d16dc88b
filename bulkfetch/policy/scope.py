"""What a section may set, given which URLs it is about."""

from __future__ import annotations

from typing import Any

from bulkfetch.auth import FIELD_VALUE, Netrc, Value
from bulkfetch.policy.hostpolicy import Login
from bulkfetch.policy.keys import KEYS
from bulkfetch.policy.patterns import Pattern
from bulkfetch.policy.values import TOKEN, Reader, Reading
from bulkfetch.secrets import Secret
from bulkfetch.urls import origin_of

_PERSONAL = 'a credential belongs to a [host."..."] section: under [defaults] every host would get it'

# Header fields that bulkfetch sets by itself, and what to write instead.
_OWN_HEADERS = {
    "accept-encoding": "", "connection": "", "content-length": "", "expect": "", "host": "", "if-range": "",
    "keep-alive": "", "proxy-authorization": "proxy", "range": "", "te": "", "trailer": "",
    "transfer-encoding": "", "upgrade": "", "user-agent": "user_agent",
}  # fmt: skip


def check_scope(key: str, value: Any, pattern: Pattern | None) -> None:
    """Raise `ValueError` where `key` makes no sense, or is a danger, in a section; None is [defaults]."""
    known = KEYS.get(key)
    if pattern is None:
        if _is_personal(key, value):
            raise ValueError(_PERSONAL)
    elif pattern.prefix and known is not None and known.per_origin:
        raise ValueError("holds for a whole host: it cannot be in a section for a path")
    if key == "verify" and value is False and (pattern is None or pattern.below):
        raise ValueError('false is for exactly named hosts only, such as [host."test.example.org"]')
    if isinstance(value, Login) and pattern is not None and not pattern.below:
        host = origin_of(value.url).host
        if host != pattern.host:
            raise ValueError(f"url is on {host}, but the cookies are for {pattern.host} alone")


def read_field(table: str, name: str) -> Reader:
    """Return a reader of one entry of `headers` or `params`: name and value, or None for false."""

    def read(raw: Any, reading: Reading) -> tuple[str, Value] | None:
        if table == "headers":
            _check_header(name)
        if raw is False:  # what a less specific section sets is left out
            return None
        value = reading.value(name, raw)
        if table == "headers" and isinstance(value, str) and not FIELD_VALUE.fullmatch(value):
            raise ValueError("a character that no header may have")
        return name, value

    return read


def _is_personal(key: str, value: Any) -> bool:
    known = KEYS.get(key)
    if known is not None:
        return known.personal and value is not None and not isinstance(value, Netrc)
    return isinstance(value, tuple) and isinstance(value[1], Secret)


def _check_header(name: str) -> None:
    if not TOKEN.fullmatch(name):
        raise ValueError("not the name of a header")
    instead = _OWN_HEADERS.get(name.lower())
    if instead is not None:
        raise ValueError("bulkfetch sets this by itself" + (f": use {instead}" if instead else ""))
