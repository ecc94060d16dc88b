"""CSV and TSV with a header row (RFC 4180)."""

from __future__ import annotations

import csv
from collections import Counter, deque
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
    """The lines of a row cannot be put together; the argument is why, or the line that is none."""


class _Feed:
    """Physical lines for the csv module, bounded per row; those after a bad row's first are given again.

    One quote too many in a line would else cost all lines up to the next quote. No line is given more than
    a few times: a row that fails ends at the next line with an odd number of quotes, or at the bound.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._size = 0  # characters of the row so far
        self.first = 0  # number of the row's first line
        self.text = ""  # the row's first line
        self._after: list[Line] = []  # the row's other lines
        self._again: deque[Line] = deque()  # to be given before any others

    @property
    def last(self) -> int:
        """Return the number of the row's last line."""
        return self._after[-1][0] if self._after else self.first

    def begin_row(self) -> None:
        """Count afresh: the next line begins a row."""
        self._size = 0
        if self._after:
            self._after = []

    def take_back(self) -> None:
        """Give the lines after the row's first one again."""
        self._again.extendleft(reversed(self._after))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, text = self._again.popleft() if self._again else next(self._lines)
        size = self._size
        if size:
            self._after.append((number, text))
        if isinstance(text, BadLine):
            raise _Broken("it runs into a line that cannot be read" if size else text)
        if not size:
            self.first, self.text = number, text
        elif size + len(text) > LINE_LIMIT:
            raise _Broken(f"it does not end within {LINE_LIMIT // 1024} KiB")
        self._size = size + len(text) + 1
        return text + "\n"


def read(lines: Iterator[Line], shape: Shape, delimiter: str) -> Iterator[Entry | BadLine]:
    """Yield an entry for every row that is not blank."""
    first, lines = skip_to_content(lines)
    if first is None:
        return
    feed = _Feed(lines)
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
        except (_Broken, csv.Error, LineError) as exc:
            bad = _report(exc, feed, shape.source)
            yield replace(bad, text="") if secret else bad


def _report(exc: Exception, feed: _Feed, source: str) -> BadLine:
    """Return what to tell of a row that is none, and have its other lines read as rows where they may be."""
    reason, span = str(exc), ""
    if isinstance(exc, LineError):
        span = f" (lines {feed.first} to {feed.last} are one row)" if feed.last > feed.first else ""
    elif isinstance(exc.args[0], BadLine):
        return exc.args[0]
    else:
        reason = f"{'a quoted field' if isinstance(exc, _Broken) else 'not a row'}: {reason}"
        span = "; reading goes on with the next line" if feed.last > feed.first else ""
        feed.take_back()
    return bad_line(source, feed.first, reason + span, feed.text)


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
