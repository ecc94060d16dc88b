"""Policy values as they may be shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from bulkfetch.quantities import show_duration, show_rate, show_size
from bulkfetch.refreshing import UrlCommand
from bulkfetch.safetext import clean, redact
from bulkfetch.secrets import Secret


class Explained(NamedTuple):
    """One value of a policy, fit to be shown, and where it comes from."""

    key: str
    shown: str
    where: str


_UNSET = {"proxy": "as the whole run", "retry_statuses": "the usual ones"}


def _show_byte_rate(value: float) -> str:
    return f"{show_size(value)}/s" if value else "off"


_SHOWN: dict[str, Callable[[Any], str]] = {
    "limit_rate": _show_byte_rate, "min_speed": _show_byte_rate, "max_size": show_size, "rate": show_rate,
    "backoff": show_duration, "backoff_cap": show_duration, "connect_timeout": show_duration,
    "deadline": show_duration, "entry_deadline": show_duration, "idle_timeout": show_duration,
    "max_wait": show_duration,
}  # fmt: skip


def explain(key: str, value: Any, where: str) -> Explained:
    """Return a key's value as it may be shown."""
    if value is None:
        return Explained(key, _UNSET.get(key, "none"), where)
    if key in _SHOWN:
        return Explained(key, _SHOWN[key](value), where)
    is_field = "." in key  # a name and its value
    return Explained(key, show(value[1] if is_field else value), where)


def show(value: Any) -> str:
    """Return a policy's value as text, secrets by their source alone."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, frozenset):
        return " ".join(map(str, sorted(value))) or "none"
    if isinstance(value, tuple):
        return f"({' '.join(map(_show_member, value))})"
    if is_dataclass(value):
        return _show_fields(value)
    if isinstance(value, str | int | Secret | UrlCommand):
        return clean(redact(str(value)), 200) or "none"
    return type(value).__name__  # an auth object of the program's, which may show anything


def _show_member(value: Any) -> str:
    return f"{show(value[0])}={show(value[1])}" if isinstance(value, tuple) else show(value)


def _show_fields(value: Any) -> str:
    """Return a dataclass by its name and the fields that are set."""
    fields_set = ((field.name, getattr(value, field.name)) for field in fields(value))
    told = [f"{name}={show(inner)}" for name, inner in fields_set if inner not in _EMPTY]
    return f"{type(value).__name__.lower()}({' '.join(told)})" if told else "none"


_EMPTY: tuple[Any, ...] = (None, "", (), frozenset(), False)
