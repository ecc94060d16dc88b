"""CSV and TSV with a header row (RFC 4180)."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from bulkfetch.errors import LineError, ManifestError
from bulkfetch.manifest.columns import (
    HEADER_PREFIX,
    PRIVATE,
    Column,
    Draft,
    Shape,
    column_of,
    finish,
    is_url_column,
)
from bulkfetch.manifest.lines import BLANK, LINE_LIMIT, Line, bad_line, skip_to_content
from bulkfetch.models import BadLine, Entry
from bulkfetch.safetext import clean, redact

Header: TypeAlias = Sequence[tuple[str, Column | None]]  # per field its name, and what reads it


class _Broken(Exception):
    """The lines of a row cannot be put together; the arguments are what to report."""


class _Feed:
    """Physical lines for the csv module, bounded per row."""

    def __init__(self, lines: Iterator[Line], source: str) -> None:
        self._lines = lines
        self._source = source
        self._size = 0  # characters of the row so far
        self.first = 0  # number of the row's first line
        self.text = ""  # the row's first line

    def begin_row(self) -> None:
        """Count afresh: the next line begins a row."""
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, text = next(self._lines)
        size = self._size
        if isinstance(text, BadLine):
            raise _Broken(*self._cut_off("it runs into a line that cannot be read"), text)
        if not size:
            self.first, self.text = number, text
        elif size + len(text) > LINE_LIMIT:
            lines = f"lines {self.first} to {number} are left out"
            raise _Broken(*self._cut_off(f"it does not end within {LINE_LIMIT // 1024} KiB; {lines}"))
        self._size = size + len(text) + 1
        return text + "\n"

    def _cut_off(self, why: str) -> tuple[BadLine, ...]:
        if not self._size:
            return ()
        return (bad_line(self._source, self.first, f"a quoted field: {why}", self.text),)


def read(lines: Iterator[Line], shape: Shape, delimiter: str) -> Iterator[Entry | BadLine]:
    """Yield an entry for every row that is not blank."""
    first, lines = skip_to_content(lines)
    if first is None:
        return
    feed = _Feed(lines, shape.source)
    rows = csv.reader(feed, delimiter=delimiter, strict=True)
    header = _read_header(rows, shape)
    secret = any(name in PRIVATE or name.startswith(HEADER_PREFIX) for name, _ in header)
    while True:
        feed.begin_row()
        try:
            row = next(rows)
            if any(row):
                yield _to_entry(row, header, shape, feed.first)
        except StopIteration:
            return
        except _Broken as exc:
            yield from (replace(bad, text="") if secret else bad for bad in exc.args)
        except csv.Error as exc:
            yield bad_line(shape.source, feed.first, f"not a row: {exc}", "" if secret else feed.text)
        except LineError as exc:
            yield bad_line(shape.source, feed.first, str(exc), "" if secret else feed.text)


read_csv = partial(read, delimiter=",")
read_tsv = partial(read, delimiter="\t")


def _read_header(rows: Iterator[list[str]], shape: Shape) -> Header:
    try:
        cells = [cell.strip(BLANK) for cell in next(rows)]
    except (csv.Error, _Broken, StopIteration) as exc:
        raise ManifestError(f"the header row of {shape.source} cannot be read") from exc
    names = [cell or f"column{at}" for at, cell in enumerate(cells, 1)]
    header = [column_of(name, shape.url_column) for name in names]
    if not any(is_url_column(column) for _, column in header):
        wanted = shape.url_column or "url"
        seen = clean(redact(", ".join(names)), 200)
        raise ManifestError(
            f'{shape.source} has no column "{wanted}" (it has: {seen}); name it with --url-column'
        )
    _check_once(header, shape)
    return header


def _check_once(header: Header, shape: Shape) -> None:
    # Of two columns with one name a value would be lost; two of URLs are mirrors.
    counts = Counter(name for name, column in header if not is_url_column(column))
    for name, count in counts.items():
        if count > 1:
            raise ManifestError(f'{shape.source} has the column "{clean(name, 80)}" more than once')


def _to_entry(row: list[str], header: Header, shape: Shape, number: int) -> Entry:
    if len(row) > len(header) and any(row[len(header) :]):
        raise LineError(f"{len(row)} fields under {len(header)} columns")
    draft = Draft(shape)
    for (name, column), value in zip(header, row, strict=False):
        if column is None:
            draft.extra[name] = value
        elif value:
            column(draft, name, value)
    return finish(draft, number)
