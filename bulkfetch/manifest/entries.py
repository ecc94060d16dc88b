"""Entries made by the hundred thousand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bulkfetch.models import NOTHING, BadLine, Entry, Request

Pairs = tuple[tuple[str, str], ...]

# A `frozen` value sets its fields in a loop. The slots themselves, called one by one, take half
# the time, and making the entry is half of what reading a line costs (benchmarks/).
_new = object.__new__
(
    _set_urls, _set_path, _set_size, _set_digests, _set_headers, _set_extra, _set_source, _set_line,
    _set_request,
) = (
    vars(Entry)[name].__set__
    for name in ("urls", "path", "size", "digests", "headers", "extra", "source", "line", "request")
)  # fmt: skip


class Checked(Iterator[Entry | BadLine]):
    """Entries that a reader of ours has made: they need no second look."""

    def __init__(self, entries: Iterator[Entry | BadLine]) -> None:
        self._entries = entries

    def __iter__(self) -> Iterator[Entry | BadLine]:
        return self._entries

    def __next__(self) -> Entry | BadLine:
        return next(self._entries)


def new_entry(
    urls: tuple[str, ...],
    source: str,
    line: int,
    path: str | None = None,
    size: int | None = None,
    digests: Pairs = (),
    headers: Pairs = (),
    extra: Mapping[str, Any] = NOTHING,
    request: Request | None = None,
) -> Entry:
    """Return what `Entry` would, faster."""
    entry = _new(Entry)
    _set_urls(entry, urls)
    _set_path(entry, path)
    _set_size(entry, size)
    _set_digests(entry, digests)
    _set_headers(entry, headers)
    _set_extra(entry, extra)
    _set_source(entry, source)
    _set_line(entry, line)
    _set_request(entry, request)
    return entry
