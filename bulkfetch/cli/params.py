"""Option types: sizes, rates, durations and counts as people write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from bulkfetch.config import AUTO
from bulkfetch.manifest import OWN_HEADERS
from bulkfetch.quantities import parse_duration, parse_rate, parse_size

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
        try:
            return parse_size(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


class Folder(click.Path):
    """A folder, there or not."""

    def __init__(self) -> None:
        super().__init__(file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":  # most likely a variable that is not set
            self.fail("an empty name is no folder; . is the present one", param, ctx)
        return super().convert(value, param, ctx)


class Rate(_Type):
    """Requests per second: 5, 5/s, 100/m, 1000/h."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_rate(str(value))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


class Duration(_Type):
    """Seconds: 30, 1.5, 10m, 2h, 7d."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        try:
            return parse_duration(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


class Limit(_Type):
    """A count or a percentage: 10, 5%; converts to (count, percent), one of them None."""

    name = "n|p%"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, float | None]:
        if isinstance(value, tuple):
            return value
        try:
            count, percent = (None, float(value[:-1])) if value.endswith("%") else (int(value), None)
        except ValueError:
            count, percent = -1, None
        if (count is not None and count < 0) or (percent is not None and not 0 <= percent <= 100):
            self.fail(f"{value!r} is neither a count nor a percentage such as 5%", param, ctx)
        return count, percent


class Count(_Type):
    """A number of at least `least`, or auto."""

    name = "n|auto"

    def __init__(self, least: int = 1) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        text = str(value).lower()
        if text == AUTO:
            return text
        if not re.fullmatch(r"[0-9]{1,4}", text) or not self._least <= int(text) <= 1024:
            self.fail(f"{value!r} is neither auto nor a number from {self._least} to 1024", param, ctx)
        return int(text)


class Line(_Type):
    """Text of an option that repeats; a variable holds one a line, as each may have spaces in it."""

    name = "text"

    def split_envvar_value(self, rv: str) -> list[str]:
        return [line.strip() for line in rv.splitlines() if line.strip()]


class Header(Line):
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
        if name.strip().lower() in OWN_HEADERS:
            self.fail(f"the header {name.strip()} is set by bulkfetch itself", param, ctx)
        if re.search(r"[\r\n\0]", text):
            self.fail(f"the value of header {name!r} has a line break in it", param, ctx)
        return name.strip(), text.strip()


SIZE, RATE, DURATION, LIMIT = Size(), Rate(), Duration(), Limit()
COUNT, COUNT_OR_NONE = Count(), Count(0)
LINE, HEADER = Line(), Header()
FOLDER = Folder()
