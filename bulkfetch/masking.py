"""Secret values that are known, taken out of any text they turn up in."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping

MASK = "***"
SHORTEST = 4  # characters; masking a shorter value everywhere would leave no text readable

_ESCAPES = str.maketrans({"\n": r"\x0a", "\r": r"\x0d", "\t": r"\x09"})  # what `safetext.clean` makes of them


class KnownSecrets:
    """Values that must not be seen, in every form they travel in.

    Values are added and never removed. Safe for threads: each change is one operation on a dict,
    and a reader that has missed one notices by the length.
    """

    __slots__ = ("_compiled", "_forms", "forms")

    def __init__(self) -> None:
        self._forms: dict[str, str] = {}  # what matches a form -> the form
        self.forms: Mapping[str, str] = self._forms  # empty while there is nothing to mask
        self._compiled: tuple[tuple[str, ...], re.Pattern[str]] = ((), re.compile(r"(?!)"))

    def add(self, value: str, user: str | None = None) -> None:
        """Mask `value` from now on, and what basic authentication makes of it together with `user`."""
        if len(value) < SHORTEST:
            return
        for form in _escaped(value):
            self._forms[re.escape(form)] = form
        for form in () if user is None else _base64(f"{user}:{value}"):
            self._forms[f"{re.escape(form)}={{0,2}}"] = form
        self._forms["".join(map(_percent_pattern, value))] = value

    def __len__(self) -> int:
        return len(self._forms)

    def mask(self, text: str) -> str:
        """Return `text` with every known value in it replaced."""
        if not self._forms:
            return text
        forms, pattern = self._snapshot()
        if "%" not in text and "+" not in text and not any(form in text for form in forms):
            return text
        # What is left and right of a masked value may form another one. Each round shortens the text.
        while spans := _spans(pattern, text):
            text = _replace(text, spans)
        return text

    def _snapshot(self) -> tuple[tuple[str, ...], re.Pattern[str]]:
        if len(self._compiled[0]) != len(self._forms):
            forms = dict(self._forms)
            longest_first = sorted(forms, key=lambda pattern: len(forms[pattern]), reverse=True)
            self._compiled = tuple(forms.values()), re.compile(f"(?=({'|'.join(longest_first)}))")
        return self._compiled


def _spans(pattern: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    """Return where the pattern matches, overlapping matches joined."""
    spans: list[tuple[int, int]] = []
    for match in pattern.finditer(text):
        start, end = match.span(1)
        if spans and start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def _replace(text: str, spans: list[tuple[int, int]]) -> str:
    kept: list[str] = []
    done = 0
    for start, end in spans:
        kept += (text[done:start], MASK)
        done = end
    return "".join((*kept, text[done:]))


def _percent_pattern(char: str) -> str:
    """Match a character plain or percent-encoded, however often; encoders differ on what they leave alone."""
    shapes = {_bytes(char), char.encode("utf-8", "surrogatepass")}
    encoded = "|".join("".join(f"%(?:25)*{_either_case(byte)}" for byte in shape) for shape in shapes)
    plus = r"|\+" if char == " " else ""
    return f"(?:{encoded}|{re.escape(char)}{plus})"


def _either_case(byte: int) -> str:
    return "".join(d if d.isdigit() else f"[{d.upper()}{d}]" for d in f"{byte:02x}")


def _escaped(value: str) -> set[str]:
    """Return how JSON, a traceback and a log line show the value, where that differs from itself."""
    shown = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    return {*shown, value.translate(_ESCAPES)} - {value}


def _base64(text: str) -> set[str]:
    """Return the base64 forms, without the padding that may or may not follow."""
    raw = _bytes(text)
    return {encode(raw).rstrip(b"=").decode() for encode in (b64encode, urlsafe_b64encode)}


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # bytes of the environment that are no UTF-8
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
