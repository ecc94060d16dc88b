"""Plain lines at a calm pace, for a stream that is not a terminal: no carriage return, no colour (L05)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from bulkfetch.display.layout import Layout, Look
from bulkfetch.display.lines import Lines
from bulkfetch.display.output import write_lines
from bulkfetch.display.tally import Tally
from bulkfetch.events import Event
from bulkfetch.models import Outcome

FIRST, GROWTH, LONGEST = 1.0, 2.0, 30.0  # seconds from one progress line to the next


class LogDisplay:
    """Writes a line for what needs attention and, unless `quiet`, now and then one about the whole."""

    def __init__(
        self, stream: TextIO, *, verbose: int = 0, quiet: bool = False, progress: bool = True
    ) -> None:
        self.skips_starts = not verbose
        self._stream = stream
        self._lines = Lines(verbose=verbose, quiet=quiet, cooling=not quiet)
        self._tally = Tally()
        self._layout = Layout(self._tally, Look(draw_bar=lambda fraction, columns: ""))
        self._progress = not quiet
        self._interval = FIRST
        self._due: float | None = None
        self._told = (0, 0, 0)

    def show(self, event: Event) -> None:
        """Take note of `event`."""
        if self._progress:
            self._tally.note(event)
        self._lines.note(event)

    def show_ends(self, outcomes: Sequence[Outcome]) -> None:
        """Take note of entries that have ended."""
        if self._progress:
            self._tally.note_ends(outcomes)
        self._lines.note_ends(outcomes)

    def refresh(self, now: float) -> None:
        """Write the lines that came up and the progress line when it is due."""
        lines = self._lines.take(now)
        if self._progress:
            lines += self._progress_line(now)
        write_lines(self._stream, lines)

    def close(self) -> None:
        """Write the lines not written yet."""
        write_lines(self._stream, self._lines.rest())

    def _progress_line(self, now: float) -> list[str]:
        words = self._layout.summary_words(now)  # asked for each time: a rate needs its samples
        if self._due is None:
            self._due = now + self._interval
        state = (self._tally.done, self._tally.received, self._tally.failed)
        if now < self._due or state == self._told:
            return []
        self._told = state
        self._interval = min(self._interval * GROWTH, LONGEST)
        self._due = now + self._interval
        return [words]
