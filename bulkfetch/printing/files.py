"""Files of lines the user asks for: `--events` and `--failed`.

One that cannot be written costs the run nothing but that file: `error` then says what happened.
They are private (0600): a failures list holds URLs with their secrets, as it has to be fetchable.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from bulkfetch.asking import body_columns
from bulkfetch.errors import UsageError
from bulkfetch.events import Event, Finished, RunFinished
from bulkfetch.expressions import late
from bulkfetch.formatting import json_line
from bulkfetch.models import Entry, Outcome, Status
from bulkfetch.safetext import clean

_NOT_IN_URL = late(r"[\x00-\x20\x7f]")


class LineFile:
    """A file of lines that is written at every refresh: a crash loses less than a second of it."""

    def __init__(self, path: str | Path, *, new: bool = False) -> None:
        self.path = Path(path)
        self.error = ""
        self._pending: list[str] = []
        try:
            self._file: BinaryIO | None = _open_private(self.path, new=new)
        except OSError as exc:
            raise UsageError(f"cannot write {clean(str(path))}: {exc.strerror or exc}") from exc

    def refresh(self, now: float) -> None:
        """Write the lines that came since the last call."""
        if self._file is None or not self._pending:
            return
        text, self._pending = "\n".join(self._pending) + "\n", []
        try:
            write_all(self._file, text.encode("utf-8", "surrogateescape"))
        except OSError as exc:
            self._give_up(exc)

    def close(self) -> None:
        """Write what is left; a second call does nothing."""
        self.refresh(0.0)
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as exc:
                self._give_up(exc)

    def _add(self, line: str) -> None:
        if self._file is not None:
            self._pending.append(line)

    def _give_up(self, exc: OSError) -> None:
        self.error = self.error or f"cannot write {clean(str(self.path))}: {exc.strerror or exc}"
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()


class EventsFile(LineFile):
    """Every event as NDJSON; an existing file begins anew."""

    def show(self, event: Event) -> None:
        """Write `event`."""
        self._add(json_line(event.to_record()))


class FailedFile(LineFile):
    """Failed entries as a manifest that `get` reads back; bare URLs where the name ends in .txt.

    The list is written as the run goes on, so a crash does not lose it. Where a list is there
    already it may be the very manifest being read: then the new one grows beside it as NAME.new
    and takes its place once every entry has its outcome; a run that ends early leaves both.
    """

    def __init__(self, path: str | Path) -> None:
        self._target = Path(path)
        self._beside = _is_plain_file(self._target)
        self._complete = False
        self._render = _failed_url if self._target.suffix.lower() == ".txt" else _failed_record
        super().__init__(f"{path}.new" if self._beside else path, new=self._beside)

    def show(self, event: Event) -> None:
        """Write the entry of a failed outcome."""
        if isinstance(event, Finished):
            if event.outcome.status is Status.FAILED:
                self._add(self._render(event.outcome))
        elif isinstance(event, RunFinished):
            self._complete = event.summary.complete

    def close(self) -> None:
        """Write what is left and put a complete list in its place; `path` is where it is."""
        super().close()
        if self._beside and self._complete and not self.error:
            self._beside = False
            try:
                self.path.replace(self._target)
                self.path = self._target
            except OSError as exc:
                self._give_up(exc)


def failed_record(outcome: Outcome) -> dict[str, Any]:
    """Return a failed outcome as a row of a manifest: what to fetch, the user's columns, and what went wrong.

    Request headers are left out, as they may hold credentials; but for the type of a body.
    """
    entry = outcome.entry
    record = {name: value for name, value in entry.extra.items() if not name.lower().startswith("header.")}
    record.update(_wanted(entry, entry.path or outcome.path))
    record["attempts"] = outcome.attempts
    record["failure"] = outcome.failure.to_record() if outcome.failure else None
    return record


def _wanted(entry: Entry, path: str | None) -> Iterable[tuple[str, Any]]:
    yield "url", entry.urls[0] if len(entry.urls) == 1 else list(entry.urls)
    if path is not None:  # as planned: a layout with {index} would give another one to a shorter list
        yield "path", path
    if entry.size is not None:
        yield "size", entry.size
    yield from entry.digests
    if entry.request is not None:
        yield from body_columns(entry.request).items()
        yield from (
            (f"header.{name}", text) for name, text in entry.headers if name.lower() == "content-type"
        )


def _failed_record(outcome: Outcome) -> str:
    return json_line(failed_record(outcome))


def _failed_url(outcome: Outcome) -> str:
    url = _NOT_IN_URL.sub(lambda match: quote(match[0]), outcome.entry.urls[0])
    return f"# left out, as it is no plain GET: {url}" if outcome.entry.request else url


def _is_plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)  # not what /dev/stdout points at: that must not be replaced
    except OSError:
        return False


def _open_private(path: Path, *, new: bool) -> BinaryIO:
    if new:
        path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if new else os.O_TRUNC)
    flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
    descriptor = os.open(path, flags, 0o600)
    if hasattr(os, "fchmod") and stat.S_ISREG(os.fstat(descriptor).st_mode):
        with suppress(PermissionError):  # somebody else's file that we may write
            os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb", buffering=0)


def write_all(file: BinaryIO, text: bytes) -> None:
    """Write all of `text` to an unbuffered file, which may take a part at a time."""
    view = memoryview(text)
    while view:
        view = view[file.write(view) :]
