"""JSON Lines: an object per line, or a string that is a URL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from bulkfetch.errors import LineError, ManifestError
from bulkfetch.manifest.columns import Shape, to_entry
from bulkfetch.manifest.lines import BLANK, Line, bad_line, is_skipped, skip_to_content
from bulkfetch.manifest.text import parse_urls
from bulkfetch.models import BadLine, Entry


def read(lines: Iterator[Line], shape: Shape) -> Iterator[Entry | BadLine]:
    """Yield an entry for every line that is neither blank nor a comment."""
    first, lines = skip_to_content(lines)
    if first and isinstance(first[1], str) and first[1].strip(BLANK).startswith("["):
        raise ManifestError(
            f"{shape.source} is one JSON array; write one object per line instead (jq -c '.[]')"
        )
    for number, line in lines:
        if isinstance(line, BadLine):
            yield line
            continue
        text = line.strip(BLANK)
        if is_skipped(text):
            continue
        try:
            yield _parse(text, shape, number)
        except LineError as exc:
            yield bad_line(shape.source, number, str(exc), text)


def _parse(text: str, shape: Shape, number: int) -> Entry:
    value = _decode(text)
    if isinstance(value, dict):
        return to_entry(value, shape, number)
    if isinstance(value, str):
        return Entry(parse_urls(value.strip(BLANK), shape), source=shape.source, line=number)
    raise LineError("neither a JSON object nor a URL in quotes")


def _refuse_constant(name: str) -> NoReturn:
    raise LineError(f"not JSON: {name} is no number (RFC 8259 section 6)")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _decode(text: str) -> Any:
    try:
        value, end = _DECODER.raw_decode(text)  # `decode` looks for blanks, which are gone already
    except json.JSONDecodeError as exc:
        raise LineError(f"not JSON: {exc.msg} at column {exc.colno}") from exc
    except ValueError as exc:  # an integer of thousands of digits
        raise LineError("a number is too long") from exc
    except RecursionError as exc:
        raise LineError("the JSON is nested too deeply") from exc
    if end != len(text):
        raise LineError(f"not JSON: something follows the value at column {end + 1}")
    return value
