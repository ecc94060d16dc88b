"""On which line of a TOML text each key is: `tomllib` does not tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KeyPath = tuple[str, ...]


def find_lines(text: str) -> dict[KeyPath, int]:
    """Return the 1-based line of every table and key of a valid TOML text, by its path."""
    import tomllib  # most runs have no file

    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, statement in _statements(text):
        parsed = tomllib.loads(statement)
        is_header = statement.lstrip().startswith("[")
        base = () if is_header else table
        for path in _paths(parsed, base):
            lines.setdefault(path, number)
            if is_header:
                table = path
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line each statement begins on, and its text.

    The end of a statement is the first line end up to which it parses: a value that goes on over
    several lines does not parse before its last.
    """
    import tomllib

    pending: list[str] = []
    start = 1
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if not pending:
            start = number
        pending.append(line)
        statement = "\n".join(pending)
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if parsed:
            yield start, statement
        pending.clear()


def _paths(table: Mapping[str, Any], base: KeyPath) -> Iterator[KeyPath]:
    """Yield the path of every key, the outer before the inner."""
    for key, value in table.items():
        yield (*base, key)
        if isinstance(value, Mapping):
            yield from _paths(value, (*base, key))
