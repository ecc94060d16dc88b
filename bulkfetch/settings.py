"""Fields of the configuration as a program may give them: read where they are text, and of the right type."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from bulkfetch.errors import UsageError
from bulkfetch.quantities import parse_duration, parse_rate, parse_size

_READ: tuple[tuple[Callable[[str], float], tuple[str, ...]], ...] = (
    (parse_rate, ("rate", "host_rate")),
    (parse_size, ("limit_rate", "min_speed", "max_size")),
    (
        parse_duration,
        (
            *("backoff", "backoff_cap", "max_wait", "connect_timeout", "idle_timeout"),
            *("entry_deadline", "deadline"),
        ),
    ),
)
_READERS = {name: read for read, names in _READ for name in names}
_NUMBERS = (*_READERS, "retries", "max_failures", "max_failures_percent", "window")
_TEXTS = ("layout", "existing", "digest", "transport", "user_agent", "no_proxy")
_PATHS = ("dest", "ca_bundle", "client_cert")
_PAIRS = ("headers", "proxies")


def read_setting(name: str, value: Any) -> Any:
    """Return the value of a field, quantities such as "5/s", "20M" or "10m" read from text.

    Raises:
        UsageError: it is not what this field takes.
    """
    read = _READERS.get(name)
    if read is not None and isinstance(value, str):
        try:
            return read(value)
        except ValueError as exc:
            raise UsageError(f"{name}: {exc}") from exc
    wanted = _wanted(name, value)
    if wanted:
        raise UsageError(f"{name} must be {wanted}, not {type(value).__name__}")
    return value


def _wanted(name: str, value: Any) -> str:
    """Return what a field takes, or "" where it got that; no value is told, as it may be a secret."""
    if name in _NUMBERS:
        is_good = isinstance(value, int | float) and not isinstance(value, bool)
        text = ' or a text such as "5/s", "20M" or "10m"' if name in _READERS else ""
        return "" if is_good else f"a number{text}"
    if name in _TEXTS:
        return "" if isinstance(value, str) else "a text"
    if name in _PATHS:
        return "" if isinstance(value, str | os.PathLike) else "a path"
    if name in _PAIRS:
        return "" if _are_pairs(value) else "a list of (name, value) pairs of text"
    if name == "auth":
        return "" if isinstance(value, Mapping) else "a mapping of hosts to auth objects"
    if name == "refresh_url":
        return "" if callable(value) else "a function"
    return ""


def _are_pairs(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in value
    )
