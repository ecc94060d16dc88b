"""The formats a manifest may have, and how one is recognised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import TypeAlias

from bulkfetch.errors import ManifestError
from bulkfetch.manifest import delimited, jsonl, text
from bulkfetch.manifest.columns import Shape, column_of, is_url_column
from bulkfetch.manifest.lines import BLANK, Line
from bulkfetch.models import BadLine, Entry

Reader: TypeAlias = Callable[[Iterator[Line], Shape], Iterator[Entry | BadLine]]

READERS: dict[str, Reader] = {
    "txt": text.read,
    "csv": delimited.read_csv,
    "tsv": delimited.read_tsv,
    "jsonl": jsonl.read,
}

EXTENSIONS: dict[str, str] = {
    ".txt": "txt",
    ".list": "txt",
    ".lst": "txt",
    ".urls": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}


def check_format(name: str | None) -> None:
    """Raise `ManifestError` for a format that no reader has."""
    if name is not None and name not in READERS:
        raise ManifestError(f'there is no manifest format "{name}"; known are {", ".join(READERS)}')


def format_of_name(name: str) -> str | None:
    """Return the format that a file's name promises; ".gz" after it does not matter."""
    path = PurePath(name.lower().removesuffix(".gz"))
    return EXTENSIONS.get(path.suffix)


def format_of_content(line: str, shape: Shape) -> str:
    """Return the format that a manifest's first line, blanks and comments apart, is in."""
    line = line.strip(BLANK)
    if line.startswith(("{", "[")):
        return "jsonl"
    for name, delimiter in (("tsv", "\t"), ("csv", ",")):
        cells = [cell.strip(BLANK + '"') for cell in line.split(delimiter)]
        if any(is_url_column(column_of(cell, shape.url_column)[1]) for cell in cells):
            return name
    return "txt"
