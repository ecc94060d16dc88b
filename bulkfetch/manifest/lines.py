"""Bytes to numbered lines of text, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeAlias

from bulkfetch.models import BadLine
from bulkfetch.safetext import clean, redact

Line: TypeAlias = tuple[int, str | BadLine]  # 1-based number, text without its "\n"

LINE_LIMIT = 65536  # bytes (fault I08)
BLANK = " \t\r\ufeff"  # a byte order mark too: manifests get concatenated (fault I03)
COMMENT = "#"

_SHOWN = 120  # characters of a bad line that are told
_PRIVATE = ('"header.', '"body"', '"json"', '"form"')  # columns that often hold a credential


def split_lines(chunks: Iterable[bytes], source: str) -> Iterator[Line]:
    """Yield each line as soon as its end has arrived, or what is wrong with it as a `BadLine`."""
    number, tail, overlong = 1, b"", False
    for chunk in chunks:
        body, newline, rest = chunk.rpartition(b"\n")
        if not newline:
            tail, overlong = _extend(tail, rest, overlong)
            continue
        if tail:
            last, newline, body = body.partition(b"\n")
            tail, overlong = _extend(tail, last, overlong)
            yield number, _decode(tail, overlong, source, number)
            number += 1
        if newline:
            texts = _decode_block(body, source, number)
            yield from enumerate(texts, number)
            number += len(texts)
        tail, overlong = _extend(b"", rest, False)
    if tail:
        yield number, _decode(tail, overlong, source, number)


def skip_to_content(lines: Iterator[Line]) -> tuple[Line | None, Iterator[Line]]:
    """Return the first line that is neither blank nor a comment, and the lines from it on."""
    for line in lines:
        text = line[1]
        if isinstance(text, BadLine) or not is_skipped(text.strip(BLANK)):
            return line, chain((line,), lines)
    return None, lines


def is_skipped(text: str) -> bool:
    """Say whether a stripped line is blank or a comment."""
    return not text or text.startswith(COMMENT)


def bad_line(source: str, number: int, reason: str, text: str = "") -> BadLine:
    """Return a `BadLine` whose text is safe to show and to store (faults L01, L03)."""
    if any(name in text.lower() for name in _PRIVATE):
        text = ""
    # A URL that could not be parsed may have its login anywhere up to the last "@".
    scheme, slashes, rest = text.strip(BLANK).partition("://")
    start = (scheme + slashes + rest.rpartition("@")[2])[: 8 * _SHOWN]  # redact's time is not linear
    return BadLine(source=source, line=number, reason=reason, text=clean(redact(start), _SHOWN))


def _extend(tail: bytes, more: bytes, overlong: bool) -> tuple[bytes, bool]:
    """Return the line so far, or its start alone once it is too long."""
    if overlong:
        return tail, True
    line = tail + more
    return (line, False) if len(line) <= LINE_LIMIT else (line[: 4 * _SHOWN], True)


def _decode_block(body: bytes, source: str, number: int) -> list[str] | list[str | BadLine]:
    if len(body) <= LINE_LIMIT:
        try:
            return body.decode().split("\n")
        except UnicodeDecodeError:
            pass
    texts: list[str | BadLine] = []
    for at, line in enumerate(body.split(b"\n"), number):
        line, overlong = _extend(b"", line, False)
        texts.append(_decode(line, overlong, source, at))
    return texts


def _decode(line: bytes, overlong: bool, source: str, number: int) -> str | BadLine:
    if overlong:
        reason = f"the line is longer than {LINE_LIMIT // 1024} KiB"
        return bad_line(source, number, reason, line.decode("utf-8", "replace"))
    try:
        return line.decode()
    except UnicodeDecodeError:
        return bad_line(source, number, "the line is not UTF-8", line.decode("utf-8", "backslashreplace"))
