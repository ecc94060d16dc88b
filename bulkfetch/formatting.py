"""Numbers, durations and names as text that fits: pure, no terminal is asked."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")
UNKNOWN = "?"
_ENCODER = json.JSONEncoder(allow_nan=False, default=str)


def format_count(count: int) -> str:
    """Return `count` with thousands separators."""
    return f"{count:,}"


def format_number_of(count: int, noun: str, plural: str = "") -> str:
    """Return `count` with its noun in the right number: "1 file", "1,234 files"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def format_size(size: float) -> str:
    """Return a number of bytes in SI units: "999 B", "12.3 MB"."""
    value = max(float(size), 0.0)
    if value < 999.5:
        return f"{value:.0f} B"
    for unit in _UNITS:
        value /= 1000
        if value < 99.95:
            return f"{value:.1f} {unit}"
        if value < 999.5:
            return f"{value:.0f} {unit}"
    return f"{value:,.0f} {_UNITS[-1]}"


def format_per_second(rate: float) -> str:
    """Return a rate of entries: "0.4/s", "45/s"."""
    return f"{rate:.1f}/s" if rate < 9.95 else f"{rate:,.0f}/s"


def format_duration(seconds: float) -> str:
    """Return a duration in words: "0.4 s", "12 s", "3 min 20 s", "2 h 05 min", "3 d 4 h"."""
    if not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest:02d} s"
    days, hours = divmod(hours, 24)
    return f"{days:,} d {hours} h" if days else f"{hours} h {minutes:02d} min"


def format_clock(seconds: float) -> str:
    """Return a duration as a clock shows it: "0:05", "2:05:00", "3d04h"."""
    if not math.isfinite(seconds):
        return UNKNOWN
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24:,}d{hours % 24:02d}h"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def text_width(text: str) -> int:
    """Return how many columns of a terminal `text` takes at most."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def shorten_middle(text: str, width: int, mark: str = "…") -> str:
    """Return `text` cut in its middle to `width` columns; the end keeps more, as it tells files apart."""
    if text_width(text) <= width:
        return text
    room = width - text_width(mark)
    if room < 2:
        return _head(text, max(width, 0))
    head = _head(text, room * 2 // 5)
    return head + mark + _tail(text, room - text_width(head))


def cut(text: str, width: int) -> str:
    """Return the start of `text` that fits in `width` columns."""
    return text if text_width(text) <= width else _head(text, max(width, 0))


def draw_bar(fraction: float, width: int, charset: str = " ▏▎▍▌▋▊▉█") -> str:
    """Return a bar of `width` columns between two strokes, filled to `fraction` in the charset's steps."""
    room = max(width - 2, 0)
    steps = len(charset) - 1
    full, part = divmod(int(min(max(fraction, 0.0), 1.0) * room * steps), steps)
    partly = charset[part] if full < room else ""
    return f"|{charset[-1] * full}{partly}{charset[0] * (room - full - 1)}|"


def json_line(value: Any) -> str:
    """Return a JSON-ready value as ASCII JSON without line breaks; NaN and infinities become null."""
    try:
        return _ENCODER.encode(value)
    except ValueError:  # a number JSON does not have, from a column of the user's
        return _ENCODER.encode(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _char_width(char: str) -> int:
    code = ord(char)
    if code < 0x300:
        return 1
    if code == 0xFE0F or 0x1F300 <= code <= 0x1FAFF:  # emoji: wide even where the Unicode table is too old
        return 2 if code > 0xFFFF else 1
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _head(text: str, width: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += _char_width(char)
        if used > width:
            return text[:index]
    return text


def _tail(text: str, width: int) -> str:
    used, start = 0, len(text)
    while start:
        used += _char_width(text[start - 1])
        if used > width:
            break
        start -= 1
    while start < len(text) and unicodedata.combining(text[start]):  # would sit on the mark
        start += 1
    return text[start:]
