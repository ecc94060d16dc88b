"""Manifests: from a list of URLs, in any of its formats, to entries, lazily and line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bulkfetch.errors import LineError, ManifestError
from bulkfetch.manifest.columns import OWN_HEADERS, Shape, checked_entry, to_entry
from bulkfetch.manifest.entries import Checked
from bulkfetch.manifest.formats import EXTENSIONS, READERS, check_format, format_of_content, format_of_name
from bulkfetch.manifest.lines import BLANK, Line, bad_line, skip_to_content, split_lines
from bulkfetch.manifest.sources import ManifestSource, check_readable, name_of, read_chunks
from bulkfetch.manifest.text import parse_urls
from bulkfetch.models import BadLine, Entry
from bulkfetch.safetext import clean, redact
from bulkfetch.urls import parse_url

__all__ = [
    "EXTENSIONS",
    "OWN_HEADERS",
    "READERS",
    "Checked",
    "ManifestSource",
    "as_entries",
    "read_manifest",
    "read_urls",
]


def read_manifest(
    source: ManifestSource,
    *,
    format: str | None = None,
    url_column: str | None = None,
    base_url: str | None = None,
) -> Iterator[Entry | BadLine]:
    """Yield the entries of a manifest, and a `BadLine` for each line that is none, as they arrive.

    Args:
        source: a path, "-" for standard input, or a stream, which stays open.
        format: one of `READERS`; None finds out by the name, then by the first line.
        url_column: the column that holds the URL, where it is not "url".
        base_url: what relative URLs are resolved against.

    Raises:
        ManifestError: the manifest as a whole cannot be read; at once where that can be known.
    """
    check_format(format)
    check_readable(source)
    shape = Shape(clean(redact(name_of(source))), url_column, _parse_base(base_url))
    return Checked(_read(source, format or format_of_name(name_of(source)), shape))


def read_urls(urls: Iterable[str], source: str = "arguments") -> Iterator[Entry | BadLine]:
    """Yield an entry, or a `BadLine`, for each URL given."""
    return as_entries(urls, source)


def as_entries(
    entries: Iterable[str | Mapping[str, Any] | Entry | BadLine] | str | Mapping[str, Any] | Entry,
    source: str = "list",
) -> Iterator[Entry | BadLine]:
    """Yield what a program gives - URLs, records, entries, or one of these - as entries and `BadLine`s."""
    if isinstance(entries, Checked):
        yield from entries
        return
    if isinstance(entries, str | Mapping | Entry):
        entries = (entries,)
    shape = Shape(source)
    for number, given in enumerate(entries, 1):
        try:
            yield given if isinstance(given, BadLine) else _as_entry(given, shape, number)
        except LineError as exc:
            yield bad_line(source, number, str(exc), _text_of(given))


def _parse_base(base_url: str | None) -> str | None:
    try:
        return None if base_url is None else parse_url(base_url)
    except LineError as exc:
        raise ManifestError(f"the base URL cannot be used: {exc}") from exc


def _read(source: ManifestSource, name: str | None, shape: Shape) -> Iterator[Entry | BadLine]:
    lines: Iterator[Line] = split_lines(read_chunks(source), shape.source)
    if name is None:
        first, lines = skip_to_content(lines)
        name = format_of_content(first[1], shape) if first and isinstance(first[1], str) else "txt"
    yield from READERS[name](lines, shape)


def _as_entry(given: Any, shape: Shape, number: int) -> Entry:
    if isinstance(given, str):
        return Entry(parse_urls(given.strip(BLANK), shape), source=shape.source, line=number)
    if isinstance(given, Entry):
        return _check(given, shape, number)
    if isinstance(given, Mapping) and all(isinstance(name, str) for name in given):
        return to_entry(given, shape, number)
    raise LineError(f"neither a URL nor a record nor an entry, but {type(given).__name__}")


def _check(entry: Entry, shape: Shape, number: int) -> Entry:
    try:
        return checked_entry(entry, shape, number)
    except (AttributeError, TypeError, ValueError) as exc:  # nobody has looked at what its fields are
        raise LineError(f"a field of the entry has the wrong type: {exc}") from exc


def _text_of(given: Any) -> str:
    if isinstance(given, Entry):
        return " ".join(map(str, given.urls)) if isinstance(given.urls, tuple | list) else str(given.urls)
    return str(given.get("url", "")) if isinstance(given, Mapping) else str(given)
