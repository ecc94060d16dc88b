"""The records of `--print`: a shape or a template becomes bytes for stdout."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from string import Formatter
from typing import Any

from bulkfetch.errors import UsageError
from bulkfetch.expressions import late
from bulkfetch.formatting import json_line
from bulkfetch.models import Outcome, Status
from bulkfetch.safetext import clean

Render = Callable[[Outcome, str], str]  # outcome, what to put before a path -> text of a record

SHAPES = ("path", "url", "json")
REPEATED = "listed before"  # the planner's reason where an earlier line has the file, perhaps not yet there
_ESCAPES = {"t": "\t", "n": "\n", "0": "\0", "\\": "\\"}
_ESCAPE = late(r"\\(.?)", re.DOTALL)
_FIELDS: dict[str, Callable[[Outcome], Any]] = {
    "path": lambda outcome: outcome.path,
    "url": lambda outcome: outcome.url,
    "final_url": lambda outcome: outcome.final_url,
    "status": lambda outcome: str(outcome.status),
    "size": lambda outcome: outcome.size,
    "received": lambda outcome: outcome.received,
    "sha256": lambda outcome: outcome.sha256,
    "digest": lambda outcome: outcome.digest,
    "etag": lambda outcome: outcome.etag,
    "last_modified": lambda outcome: outcome.last_modified,
    "attempts": lambda outcome: outcome.attempts,
    "seconds": lambda outcome: round(outcome.seconds, 6),
    "source": lambda outcome: outcome.entry.source,
    "line": lambda outcome: outcome.entry.line,
    "reason": lambda outcome: outcome.reason,
    "warnings": lambda outcome: "; ".join(outcome.warnings),
    "failure": lambda outcome: outcome.failure and f"{outcome.failure.kind}: {outcome.failure.message}",
    "failure.kind": lambda outcome: outcome.failure and outcome.failure.kind,
    "failure.status": lambda outcome: outcome.failure and outcome.failure.status_code,
    "failure.message": lambda outcome: outcome.failure and outcome.failure.message,
}
_ABOUT_FAILURES = frozenset({"status", "failure", "failure.kind", "failure.status", "failure.message"})


class Printer:
    """Turns outcomes into records; without `all_outcomes` only those whose file is there."""

    def __init__(
        self, render: Render, *, null: bool = False, all_outcomes: bool = False, columns: Collection[str] = ()
    ) -> None:
        self.unseen = set(columns)  # names of the user's columns that no entry had so far
        self._render = render
        self._end = "\0" if null else "\n"
        self._all = all_outcomes

    def record(self, outcome: Outcome, prefix: str) -> bytes | None:
        """Return the record of `outcome` with its end, or None where it has none."""
        if not self._all and not _is_there(outcome):
            return None
        if self.unseen:
            self.unseen.difference_update(outcome.entry.extra)
        text = self._render(outcome, prefix) + self._end
        try:
            return text.encode("utf-8", "surrogateescape")  # a name is bytes on POSIX
        except UnicodeEncodeError:
            return text.encode("utf-8", "surrogatepass")


def parse_print(fields: str, *, null: bool = False, has_columns: bool = True) -> Printer:
    r"""Return the printer for `--print`: path, url, json, or a template such as `{path}\t{sha256}`.

    A name that is not a field of ours is taken to be a column of the user's; an entry without it
    gives "". Templates that mention a status or a failure, and json, print every outcome.

    Args:
        fields: what `--print` says.
        null: end records with NUL.
        has_columns: the entries may have columns of the user's.

    Raises:
        UsageError: `fields` cannot be meant.
    """
    if fields == "json":
        return Printer(lambda outcome, prefix: json_line(outcome.to_record()), null=null, all_outcomes=True)
    if fields == "path":
        return Printer(_open_name, null=null)
    if fields == "url":
        return Printer(lambda outcome, prefix: clean(outcome.url), null=null)
    pieces = _parse_template(fields)
    names = {name for _, name in pieces if name is not None}
    if not names:
        raise UsageError(f"--print {clean(fields, 80)!r} names no field; {_choices()}")
    columns = names.difference(_FIELDS)
    if wrong := [name for name in columns if not has_columns or name.startswith("failure.")]:
        raise UsageError(f"--print {{{clean(min(wrong), 80)}}} is no field; {_choices()}")

    def render(outcome: Outcome, prefix: str) -> str:
        return "".join(
            text if name is None else text + _value(outcome, name, prefix, null) for text, name in pieces
        )

    return Printer(render, null=null, all_outcomes=bool(names & _ABOUT_FAILURES), columns=columns)


def path_prefix(dest: str | Path) -> str:
    """Return what a path below `dest` begins with, so that it can be opened from here."""
    folder = str(Path(dest))
    if folder == ".":
        return ""
    return folder if folder.endswith(os.sep) else folder + os.sep


def _parse_template(template: str) -> list[tuple[str, str | None]]:
    """Split a template into pieces of literal text, each followed by the name of a field or None."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as exc:
        raise UsageError(f"--print {clean(template, 80)!r}: {exc}; {_choices()}") from exc
    for _, name, spec, conversion in parsed:
        if name == "" or spec or conversion:
            raise UsageError(f"--print {clean(template, 80)!r}: a field is a name in braces; {_choices()}")
    return [(_unescape(text, template), name) for text, name, _, _ in parsed]


def _unescape(text: str, template: str) -> str:
    def resolve(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise UsageError(f"--print {clean(template, 80)!r}: {match[0]} is not one of \\t \\n \\0 \\\\")
        return _ESCAPES[match[1]]

    return _ESCAPE.sub(resolve, text)


def _choices() -> str:
    fields = " ".join(f"{{{name}}}" for name in _FIELDS)
    return f"use {', '.join(SHAPES)} or a template of {fields} and the manifest's own columns"


def _value(outcome: Outcome, name: str, prefix: str, null: bool) -> str:
    if name == "path":
        return _open_name(outcome, prefix)
    known = _FIELDS.get(name)
    value = known(outcome) if known else outcome.entry.extra.get(name)
    if value is None:
        return ""
    text = value if isinstance(value, str) else json_line(value)
    return text.replace("\0", "") if null else clean(text)  # a value must not end its record


def _open_name(outcome: Outcome, prefix: str) -> str:
    """Return the path as a program started here opens it; never one that looks like an option."""
    if outcome.path is None:
        return ""
    path = prefix + (outcome.path if os.sep == "/" else outcome.path.replace("/", os.sep))
    return f".{os.sep}{path}" if path.startswith("-") else path


def _is_there(outcome: Outcome) -> bool:
    if outcome.status is Status.SKIPPED:
        return outcome.path is not None and outcome.reason != REPEATED
    return outcome.status in (Status.FETCHED, Status.UNCHANGED)
