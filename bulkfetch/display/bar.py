"""The bar on a terminal: one row for the run, one for each large body under way.

`tqdm` keeps the rows apart and clears them; what they say is ours (`layout`). One thread touches
them, tqdm's monitor thread is off, and its set of bars and its lock are our own, so bars of the
program around us are neither moved nor waited for (K10).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Never, TextIO
from weakref import WeakSet

from tqdm.std import tqdm

from bulkfetch.display.layout import ASCII_LOOK, UNICODE_LOOK, Layout
from bulkfetch.display.lines import Lines
from bulkfetch.display.tally import Tally
from bulkfetch.events import Event
from bulkfetch.models import Outcome

MOST_TRANSFERS = 5  # rows for single bodies
FALLBACK = os.terminal_size((80, 24))
_CLEAR_BELOW = "\r\x1b[J"
_CLEAR_REST = "\x1b[K"

if TYPE_CHECKING:
    _Base = tqdm[Never]
else:
    _Base = tqdm


class BarDisplay:
    """Draws rows that stay in place and prints lines above them."""

    def __init__(self, stream: TextIO, *, verbose: int = 0, colour: bool = True) -> None:
        self.skips_starts = not verbose
        self._stream = stream
        self._lines = Lines(verbose=verbose)
        self._tally = Tally()
        look = UNICODE_LOOK if _shows_blocks(stream) else ASCII_LOOK
        self._layout = Layout(self._tally, replace(look, colour=colour))
        self._rows = _Rows(stream)

    def show(self, event: Event) -> None:
        """Count `event` and keep its line."""
        self._tally.note(event)
        self._lines.note(event)

    def show_ends(self, outcomes: Sequence[Outcome]) -> None:
        """Count entries that have ended and keep their lines."""
        self._tally.note_ends(outcomes)
        self._lines.note_ends(outcomes)

    def refresh(self, now: float) -> None:
        """Draw all rows as they are now."""
        size = _terminal_size(self._stream)
        width = max(size.columns - 1, 1)  # a full last column would leave the cursor between two lines
        texts = [self._layout.overall(now, width)]
        texts += self._layout.transfers(now, width, min(MOST_TRANSFERS, size.lines - 3))
        self._rows.draw(texts, self._lines.take(now), size)

    def close(self) -> None:
        """Print the lines left and take the rows away."""
        self._rows.close(self._lines.rest())


class _Frame:
    """Collects what one refresh writes, to be sent in one piece: no flicker, no half-drawn rows."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._parts: list[str] = []
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> None:
        self._parts.append(text)

    def flush(self) -> None:
        """Wait for `send`."""

    def send(self) -> None:
        text = "".join(self._parts)
        self._parts.clear()
        if text:
            # "?" is as wide as a character or narrower; an escape such as "\u2026" would be wider
            self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            self._stream.flush()


class _Row(_Base):
    """One tqdm bar whose text comes from outside."""

    monitor_interval: ClassVar[int] = 0
    _instances: ClassVar[WeakSet[Any]] = WeakSet()
    _lock: ClassVar[threading.RLock] = threading.RLock()  # tqdm's own would start a process on some systems
    text = ""

    def __str__(self) -> str:
        return self.text

    def __del__(self) -> None:
        """Leave the stream alone: `close` has been called, or the stream is broken."""

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """Return a printer that clears the row's rest, where tqdm's would pad to a width long gone."""

        def print_status(text: str) -> None:
            file.write("\r" + text + _CLEAR_REST + "\r")

        return print_status


class _Rows:
    """The rows on the screen, top down; the cursor rests at the start of the first."""

    def __init__(self, stream: TextIO) -> None:
        self._frame = _Frame(stream)
        self._rows: list[_Row] = []
        self._size: os.terminal_size | None = None

    def draw(self, texts: list[str], lines: list[str], size: os.terminal_size) -> None:
        if self._size not in (None, size):  # rows wider than the terminal is now have been folded
            self._frame.write(_CLEAR_BELOW)
        self._size = size
        self._keep(len(texts))
        for row, text in zip(self._rows, texts, strict=True):
            row.text = text
        if lines:
            _Row.write("\n".join(lines), file=self._frame)
        else:
            for row in self._rows:
                row.refresh()
        self._frame.send()

    def close(self, lines: list[str]) -> None:
        if lines:
            _Row.write("\n".join(lines), file=self._frame)
        self._keep(0)
        self._frame.send()

    def _keep(self, count: int) -> None:
        while len(self._rows) > count:
            self._rows.pop().close()
        for index in range(len(self._rows), count):
            # nrows: tqdm hides what it takes to be below the screen; `refresh` has counted already
            self._rows.append(_Row(file=self._frame, leave=False, position=index, nrows=count + 100))


def _shows_blocks(stream: TextIO) -> bool:
    try:
        "█▏…".encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _terminal_size(stream: TextIO) -> os.terminal_size:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return FALLBACK
    return size if size.columns > 0 and size.lines > 0 else FALLBACK
