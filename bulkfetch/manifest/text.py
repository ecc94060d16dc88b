"""A URL per line; further ones on it, separated by tabs, are mirrors."""

from __future__ import annotations

from collections.abc import Iterator

from bulkfetch.errors import LineError
from bulkfetch.manifest.columns import Shape, to_url
from bulkfetch.manifest.lines import BLANK, COMMENT, Line, bad_line
from bulkfetch.models import BadLine, Entry
from bulkfetch.urls import parse_url

_new = tuple.__new__  # one for every line, made in half the time
_PLAIN = Entry(())[1:-3]  # the fields from `path` to `extra` where there is nothing but URLs


def read(lines: Iterator[Line], shape: Shape) -> Iterator[Entry | BadLine]:
    """Yield an entry for every line that is neither blank nor a comment."""
    source, is_absolute = shape.source, shape.base_url is None
    for number, line in lines:
        if isinstance(line, BadLine):
            yield line
            continue
        text = line.strip(BLANK)
        if not text or text[0] == COMMENT:
            continue
        try:
            if is_absolute and "\t" not in text:
                urls: tuple[str, ...] = (parse_url(text),)
            else:
                urls = parse_urls(text, shape)
        except LineError as exc:
            yield bad_line(source, number, str(exc), text)
        else:
            yield _new(Entry, (urls, *_PLAIN, source, number, None))


def parse_urls(text: str, shape: Shape) -> tuple[str, ...]:
    """Return the URLs of one line, or raise `LineError`."""
    if "\t" not in text:
        return (to_url(text, shape),)
    return tuple(dict.fromkeys(to_url(part, shape) for part in text.split("\t") if part.strip(BLANK)))
