"""The options of one path; every value is checked when the route is made."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from .ranges import parse_fault
from .steps import CLEAN, CLOSE, RESET, STALL, Ending, require_steps
from .wire import Request

CUTS: dict[str, Ending] = {"close": CLOSE, "clean": CLEAN, "reset": RESET, "stall": STALL}
HeaderList = Sequence[tuple[str | bytes, str | bytes]]


def http_date(timestamp: float) -> str:
    """Return a Unix time as an HTTP date."""
    return formatdate(timestamp, usegmt=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Faults:
    """What `times` limits to the first requests."""

    status: int | str = 200
    statuses: Sequence[int | str] = ()
    reason: str | bytes | None = None
    retry_after: str | float | None = None
    redirect: str | Callable[[Request], str] | None = None
    ranges: bool | str = True
    content_range: str | None = None
    length: Any = None
    chunk_line: str | bytes | None = None
    flip: int | None = None
    cut: int | None = None
    cut_how: str = "close"
    at: Mapping[int, Any] = field(default_factory=dict)
    trickle: tuple[int, float] | None = None
    trickle_head: tuple[int, float] | None = None
    head_delay: float = 0.0
    early: Any = ()
    after: Any = ()
    raw: Any = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Route(Faults):
    """How one path answers; the package's docstring explains each option."""

    body: Any = None
    content_type: str | None = "application/octet-stream"
    etag: str | Sequence[str] | None = None
    last_modified: str | float | None = None
    extra_headers: HeaderList = ()
    encoding: str | None = None
    content_encoding: str | None = None
    chunked: bool | int | None = None
    transfer_encoding: str | None = None
    no_length: bool = False
    http10: bool = False
    keep_alive: bool | None = None
    close_after: int | None = None
    conditional: bool = True
    require: Mapping[str, str] = field(default_factory=dict)
    date: str | float | None = "now"
    error_body: bytes | str | None = None
    head_body: bool = False

    times: int | None = None
    first: Sequence[Mapping[str, Any]] = ()
    on_range: Mapping[str, Any] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_values()
        self._check_steps()
        for overrides in (*self.first, self.on_range, self.head):
            if overrides:
                vary(dataclasses.replace(self, first=(), on_range={}, head={}), overrides)

    def _check_values(self) -> None:
        if self.cut_how not in CUTS:
            raise ValueError(f"cut_how={self.cut_how!r}: not one of {', '.join(CUTS)}")
        if isinstance(self.ranges, str):
            parse_fault(self.ranges)
        if self.encoding not in (None, "gzip", "deflate"):
            raise ValueError(f"encoding={self.encoding!r}: not gzip or deflate; content_encoding only labels")
        if self.no_length and (self.chunked or self.length is not None):
            raise ValueError("no_length excludes chunked and length")
        for name in ("statuses", "first"):
            if isinstance(getattr(self, name), str | bytes | Mapping):
                raise TypeError(f"{name} must be a list")
        for name in ("trickle", "trickle_head"):
            pair = getattr(self, name)
            if pair is not None and (len(pair) != 2 or pair[0] < 1):
                raise ValueError(f"{name}={pair!r}: give (bytes at a time, seconds between)")

    def _check_steps(self) -> None:
        for position, step in self.at.items():
            require_steps(step, f"at[{position}]")
        for name in ("early", "after", "raw"):
            steps = getattr(self, name)
            if steps is not None and not callable(steps):
                require_steps(steps, name)

    def for_request(self, request: Request) -> Route:
        """Return the options that hold for one request."""
        number, chosen = request.number, self
        if self.times is not None and number > self.times:
            chosen = self._without_faults()
        if 1 <= number <= len(self.first):  # 0: an answer no route gave
            chosen = vary(chosen, self.first[number - 1])
        if chosen.statuses:
            chosen = dataclasses.replace(chosen, **_listed(chosen, number))
        if self.on_range and request.range is not None:
            chosen = vary(chosen, self.on_range)
        if self.head and request.method == "HEAD":
            chosen = vary(chosen, self.head)
        return chosen

    def _without_faults(self) -> Route:
        plain = {option.name: getattr(FAULTLESS, option.name) for option in dataclasses.fields(Faults)}
        if self.ranges is False:
            plain["ranges"] = False  # a server without ranges is no fault
        return dataclasses.replace(self, **plain)


def _listed(route: Route, number: int) -> dict[str, Any]:
    status = route.statuses[min(number, len(route.statuses)) - 1]
    good = isinstance(status, int) and 200 <= status < 300
    return {"status": status} if good else {"status": status, "body": route.error_body}


FAULTLESS = Faults()
OPTIONS = tuple(option.name for option in dataclasses.fields(Route))


def route(**options: Any) -> Route:
    """Return a route, or raise TypeError for an option that does not exist."""
    _check_names(options)
    return Route(**options)


def vary(base: Route, overrides: Mapping[str, Any]) -> Route:
    """Return `base` with other values for some options."""
    _check_names(overrides)
    return dataclasses.replace(base, **overrides)


def _check_names(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(OPTIONS)}"
            raise TypeError(f"a route has no option {name!r}{hint}")
