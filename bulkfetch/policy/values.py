"""The values of a policy file, checked. Every reader raises `ValueError` with one clause."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bulkfetch.auth import Value
from bulkfetch.errors import UsageError
from bulkfetch.expressions import late
from bulkfetch.quantities import parse_duration, parse_rate, parse_size
from bulkfetch.refreshing import Renewer, UrlCommand
from bulkfetch.safetext import clean, sounds_secret
from bulkfetch.secrets import Secret, is_secret_source

TOKEN = late(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_KINDS = {bool: "true or false", str: "text", int: "a whole number", float: "a number", list: "a list"}


@dataclass(slots=True)
class Reading:
    """What reading one file needs and collects."""

    folder: Path  # relative paths in the file are relative to it
    secrets: list[Secret] = field(default_factory=list)  # every secret the file names or holds
    private: list[Path] = field(default_factory=list)  # files that hold cookies or keys

    def secret(self, value: Any) -> Secret:
        """Return a secret, whether its source is named or it stands there itself."""
        text = a_text(value)
        if not text:
            raise ValueError("a secret is empty")
        try:
            secret = Secret(text, self.folder)
        except UsageError as exc:
            raise ValueError(str(exc)) from exc
        self.secrets.append(secret)
        return secret

    def value(self, name: str, value: Any) -> Value:
        """Return plain text, or a secret where the value names a source or `name` sounds like a secret."""
        text = a_text(value)
        return self.secret(text) if is_secret_source(text) or (text and sounds_secret(name)) else text

    def file(self, value: Any) -> str:
        """Return the path of a file or folder that is there (fault S04)."""
        path = self.folder / Path(a_text(value)).expanduser()
        if not path.exists():
            raise ValueError(f"{clean(str(path))} does not exist")
        return str(path)

    def private_file(self, value: Any) -> str:
        """Return the path of a file that is there and that nobody else should read."""
        path = self.file(value)
        self.private.append(Path(path))
        return path


Reader = Callable[[Any, Reading], Any]


def a_text(value: Any) -> str:
    """Return `value` if it is text on one line."""
    if not isinstance(value, str):
        raise ValueError(_not("text", value))
    if re.search(r"[\r\n\0]", value):
        raise ValueError("a line break in the text")
    return value


def a_table(value: Any, known: Collection[str], required: Collection[str] = ()) -> dict[str, Any]:
    """Return `value` if it is a table with known keys only and all that are required."""
    if not isinstance(value, Mapping):
        raise ValueError(_not("a table", value))
    for key in value:
        if key not in known:
            raise ValueError(f'unknown key "{clean(str(key), 40)}"{did_you_mean(str(key), known)}')
    missing = [key for key in required if key not in value]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing")
    return dict(value)


def a_list(value: Any) -> list[Any]:
    """Return `value` if it is a list."""
    if not isinstance(value, list | tuple):
        raise ValueError(_not("a list", value))
    return list(value)


def whole(low: int, high: int, word: str | None = None) -> Reader:
    """Return a reader of whole numbers from `low` to `high`; `word` may stand in place of one."""

    def read(value: Any, _: Reading) -> int | str:
        if word is not None and value == word:
            return word
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(_not("a whole number", value))
        if not low <= value <= high:
            raise ValueError(f"{value} is not between {low} and {high}")
        return value

    return read


def choice(*names: str) -> Reader:
    """Return a reader of one of `names`."""

    def read(value: Any, _: Reading) -> str:
        if value not in names:
            text = value if isinstance(value, str) else ""
            raise ValueError(f"one of {', '.join(names)} is wanted{did_you_mean(text, names)}")
        return str(value)

    return read


def read_flag(value: Any, _: Reading) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError(_not("true or false", value))
    return value


def read_seconds(value: Any, _: Reading) -> float:
    """Read a duration."""
    return _quantity(value, parse_duration)


def read_bound(value: Any, _: Reading) -> float:
    """Read a duration that is more than nothing."""
    return _positive(_quantity(value, parse_duration), "0 seconds")


def read_size(value: Any, _: Reading) -> int:
    """Read a number of bytes."""
    return int(_quantity(value, parse_size))


def read_speed(value: Any, _: Reading) -> float:
    """Read bytes per second; 0 is off."""
    return float(_quantity(value, parse_size))


def read_byte_rate(value: Any, _: Reading) -> float:
    """Read bytes per second, at least one."""
    return _positive(float(_quantity(value, parse_size)), "0 bytes per second")


def read_rate(value: Any, _: Reading) -> float:
    """Read requests per second."""
    return _positive(_quantity(value, parse_rate), "0 requests")


def statuses(low: int) -> Reader:
    """Return a reader of a list of status codes from `low` on."""
    read_one = whole(low, 599)

    def read(value: Any, reading: Reading) -> frozenset[int]:
        return frozenset(read_one(status, reading) for status in a_list(value))

    return read


def read_methods(value: Any, _: Reading) -> frozenset[str]:
    """Read a list of request methods."""
    methods = [a_text(method) for method in a_list(value)]
    for method in methods:
        if not TOKEN.fullmatch(method) or method != method.upper():
            raise ValueError(f'"{clean(method, 20)}" is not a method such as GET')
    return frozenset(methods)


def read_refresh(value: Any, _: Reading) -> Renewer | None:
    """Read who gives a new URL for an expired one; "none" is nobody."""
    if callable(value):  # from the library alone: TOML has no such values
        return value  # type: ignore[no-any-return]
    text = a_text(value)
    command = text.removeprefix("cmd:").strip()
    if text == "none":
        return None
    if command == text or not command:
        raise ValueError("is written cmd:COMMAND ARGUMENT...")
    return UrlCommand(command)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return "; did you mean ...?" where a known name is close."""
    close = get_close_matches(name, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _quantity(value: Any, parse: Callable[[str], float]) -> float:
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(_not("a number or a text such as 10s", value))
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{value} makes no sense here")
    return value


def _positive(value: float, nothing: str) -> float:
    if value <= 0:
        raise ValueError(f"must be more than {nothing}")
    return value


def _not(wanted: str, value: Any) -> str:
    """Say what was found by its type alone: the value may be a secret."""
    found = next((name for kind, name in _KINDS.items() if isinstance(value, kind)), "something else")
    return f"{wanted} is wanted, not {'a table' if isinstance(value, Mapping) else found}"
