"""Policy values as they may be shown."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from bulkfetch.safetext import clean, redact
from bulkfetch.secrets import Secret


class Explained(NamedTuple):
    """One value of a policy, fit to be shown, and where it comes from."""

    key: str
    shown: str
    where: str


def show(value: Any) -> str:
    """Return a policy's value as text, secrets by their source alone."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, frozenset):
        return " ".join(map(str, sorted(value))) or "none"
    if isinstance(value, tuple):
        return _show_tuple(value)
    if is_dataclass(value):
        return _show_fields(value)
    if isinstance(value, str | int | Secret):
        return clean(redact(str(value)), 200) or "none"
    return type(value).__name__  # an auth object of the program's, which may show anything


def _show_tuple(value: tuple[Any, ...]) -> str:
    return (
        " ".join(f"{show(v[0])}={show(v[1])}" if isinstance(v, tuple) else show(v) for v in value) or "none"
    )


def _show_fields(value: Any) -> str:
    """Return a dataclass by its name and the fields that are set."""
    shown = ((field.name, getattr(value, field.name)) for field in fields(value))
    told = (
        f"{name}={show(inner)}" for name, inner in shown if inner not in (None, "", (), frozenset(), False)
    )
    return " ".join((type(value).__name__.lower(), *told))
