"""Option types: sizes, rates, durations and counts as people write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_SIZE = re.compile(rf"{_NUMBER}\s*([kmgt]?)(i?b)?", re.IGNORECASE)
_RATE = re.compile(rf"{_NUMBER}(?:/([smh]))?")
_DURATION = re.compile(rf"{_NUMBER}([smhd]?)")
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # a generic only for the type checker in older releases


class Size(_Type):
    """Bytes: 500, 20M, 1.5G; K, M, G and T are powers of 1024 as in curl and wget, kB and MB of 1000."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, (int, float)):
            return int(value)
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is not a size such as 500, 64K, 20M or 1.5G", param, ctx)
        number, prefix, unit = match.groups()
        base = 1000 if unit and unit.lower() == "b" else 1024
        return int(float(number) * base ** _POWERS[prefix.lower()])


class Rate(_Type):
    """Requests per second: 5, 5/s, 100/m, 1000/h."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = _RATE.fullmatch(str(value).strip())
        if match is None or float(match[1]) <= 0:
            self.fail(f"{value!r} is not a rate such as 5/s or 100/m", param, ctx)
        return float(match[1]) / _SECONDS[match[2] or "s"]


class Duration(_Type):
    """Seconds: 30, 1.5, 10m, 2h, 7d."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is not a duration such as 30, 10m or 2h", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


class Limit(_Type):
    """A count or a percentage: 10, 5%; converts to (count, percent), one of them None."""

    name = "n|p%"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, float | None]:
        if isinstance(value, tuple):
            return value
        try:
            if value.endswith("%"):
                return None, float(value[:-1])
            return int(value), None
        except ValueError:
            self.fail(f"{value!r} is neither a count nor a percentage such as 5%", param, ctx)


class Header(_Type):
    """A request header field: 'Name: value'."""

    name = "k: v"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, sep, text = value.partition(":")
        if not sep or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name.strip()):
            self.fail(f"{value.partition(':')[0]!r} is not a header such as 'Accept: text/csv'", param, ctx)
        if re.search(r"[\r\n\0]", text):
            self.fail(f"the value of header {name!r} has a line break in it", param, ctx)
        return name.strip(), text.strip()


SIZE, RATE, DURATION, LIMIT, HEADER = Size(), Rate(), Duration(), Limit(), Header()
