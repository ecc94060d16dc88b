"""Sizes, rates and durations as people write them; the command line and policy files read the same."""

from __future__ import annotations

import re

from bulkfetch.expressions import late

_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,18})?)"
_SIZE = late(rf"{_NUMBER}\s*([kmgt]?)(i?b)?", re.IGNORECASE | re.ASCII)
_RATE = late(rf"{_NUMBER}(?:/([smh]))?")
_DURATION = late(rf"{_NUMBER}([smhd]?)")
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """Return bytes: 500, 20M, 1.5G; K to T are powers of 1024 as in curl and wget, kB to TB of 1000."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 500, 64K, 20M or 1.5G")
    number, prefix, unit = match.groups()
    base = 1000 if unit and unit.lower() == "b" else 1024
    return int(float(number) * base ** _POWERS[prefix.lower()])


def parse_rate(text: str) -> float:
    """Return requests per second: 5, 5/s, 100/m, 1000/h."""
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is not a rate such as 5/s or 100/m")
    return float(match[1]) / _SECONDS[match[2] or "s"]


def parse_duration(text: str) -> float:
    """Return seconds: 30, 1.5, 10m, 2h, 7d."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 30, 10m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def show_size(size: float) -> str:
    """Return bytes as `parse_size` reads them: 500, 20M, 1MB; never rounded."""
    number = int(size)
    for base, unit in ((1024, ""), (1000, "B")):
        for power, prefix in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
            if number and number == size and number % base**power == 0:
                return f"{number // base**power}{prefix}{unit}"
    return f"{size:.15g}"


def show_rate(per_second: float) -> str:
    """Return requests per second as `parse_rate` reads them: 5/s, 100/m, 1000/h."""
    for unit in "smh":
        number = per_second * _SECONDS[unit]
        if abs(number - round(number)) < 1e-9 * number:
            return f"{round(number)}/{unit}"
    return f"{per_second:g}/s"


def show_duration(seconds: float) -> str:
    """Return seconds as `parse_duration` reads them."""
    return f"{seconds:g}s"
