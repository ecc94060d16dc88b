"""`--log-file`: what the log shows, each line with its time, and where a run begins and ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TextIO, cast

from bulkfetch.display.closing import format_summary
from bulkfetch.display.log import LogDisplay
from bulkfetch.display.output import write_lines
from bulkfetch.events import Event, RunFinished, RunStarted
from bulkfetch.models import Outcome
from bulkfetch.safetext import clean


class _Stamped:
    """A stream whose lines begin with the time they are written at."""

    def __init__(self, stream: TextIO, now: Callable[[], float]) -> None:
        self._stream = stream
        self._now = now
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self._now()))
        return self._stream.write("".join(f"{stamp}  {line}\n" for line in text.splitlines()))

    def flush(self) -> None:
        self._stream.flush()


class LogFile:
    """Appends the log of a run to a file that has those of others."""

    def __init__(self, stream: TextIO, *, verbose: int = 1, now: Callable[[], float] = time.time) -> None:
        self._stream = cast(TextIO, _Stamped(stream, now))  # as much of one as is used
        self._log = LogDisplay(self._stream, verbose=verbose)

    def show(self, event: Event) -> None:
        """Take note of `event`; the first and the last one of a run are written at once."""
        if isinstance(event, RunStarted):
            write_lines(self._stream, [f"run started  {clean(event.dest)}, at most {event.jobs} workers"])
        self._log.show(event)
        if isinstance(event, RunFinished):
            self._log.close()
            lines = format_summary(event.summary).splitlines()
            write_lines(self._stream, [f"run ended  {lines[0]}", *lines[1:]])

    def show_ends(self, outcomes: Sequence[Outcome]) -> None:
        """Take note of entries that have ended."""
        self._log.show_ends(outcomes)

    def refresh(self, now: float) -> None:
        """Write the lines that came up."""
        self._log.refresh(now)

    def close(self) -> None:
        """Write the lines not written yet."""
        self._log.close()
