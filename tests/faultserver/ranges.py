"""Which part of a body a request gets: the honest answer, and the lies a route can be told to tell."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes that go out, and what the answer says they are."""

    start: int
    stop: int
    status: int = 206
    content_range: str | None = None
    multipart: bool = False


def honest_part(header: str, size: int) -> Part | None:
    """Return what RFC 9110 section 14 grants, or None where the header is to be ignored."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not match or match.group(0) == "bytes=-":
        return None  # several ranges are ignored too, as section 14.2 allows
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    if first and last and int(last) < int(first):
        return None
    if start >= size:
        return Part(0, 0, 416, f"bytes */{size}")
    return _named(Part(start, stop), size)


def _named(part: Part, total: int | str) -> Part:
    return replace(part, content_range=f"bytes {part.start}-{part.stop - 1}/{total}")


def _shift(part: Part, size: int, by: int) -> Part:
    return _named(replace(part, start=min(max(part.start + by, 0), part.stop - 1)), size)


def _lie(part: Part, size: int, by: int) -> Part:
    start = min(max(part.start + by, 0), size)
    return replace(part, start=start, stop=min(start + part.stop - part.start, size))


def _short(part: Part, size: int, length: int) -> Part:
    return _named(replace(part, stop=min(part.start + length, part.stop)), size)


LIES: dict[str, Callable[[Part, int, int], Part]] = {
    "shift": _shift,
    "start": lambda part, size, at: _named(replace(part, start=at), size),
    "lie": _lie,
    "short": _short,
    "to-end": lambda part, size, _: _named(replace(part, stop=size), size),
    "no-header": lambda part, size, _: replace(part, content_range=None),
    "no-header-whole": lambda part, size, _: Part(0, size),
    "garbage": lambda part, size, _: replace(part, content_range="bytes banana"),
    "other-total": lambda part, size, more: _named(part, size + more),
    "no-total": lambda part, size, _: _named(part, "*"),
    "200-slice": lambda part, size, _: replace(part, status=200),
    "416": lambda part, size, more: Part(0, 0, 416, f"bytes */{size + more}"),
    "416-no-header": lambda part, size, _: Part(0, 0, 416),
    "multipart": lambda part, size, _: replace(part, content_range=None, multipart=True),
}
NUMBERS: dict[str, int | None] = {  # what follows the colon when nothing does; None: required
    "shift": None,
    "start": None,
    "lie": None,
    "short": None,
    "other-total": 777,
    "416": 0,
}
WHOLE = ("ignore", "ignore-if-range", "206-unasked")  # these change whether a range is looked at


def parse_fault(spec: str) -> tuple[str, int]:
    """Split "name:number", or raise ValueError."""
    name, colon, number = spec.partition(":")
    if name in WHOLE and not colon:
        return name, 0
    if name not in LIES or (colon and name not in NUMBERS) or (not colon and NUMBERS.get(name, 0) is None):
        known = ", ".join([*WHOLE, *(f"{n}:N" if NUMBERS.get(n, 0) is None else n for n in LIES)])
        raise ValueError(f"ranges={spec!r}: not one of True, False, {known}")
    return name, int(number) if colon else NUMBERS.get(name) or 0


def faulty_part(spec: str, honest: Part, size: int) -> Part:
    """Return what a route with this fault answers where `honest` would be right."""
    name, number = parse_fault(spec)
    if name not in LIES or (honest.status == 416 and not name.startswith("416")):
        return honest
    return LIES[name](honest, size, number)
