"""Every event as one line of JSON, for programs that read our stderr."""

from __future__ import annotations

from typing import TextIO

from bulkfetch.display.lines import is_error
from bulkfetch.display.output import write_lines
from bulkfetch.events import Event
from bulkfetch.formatting import json_line


class JsonDisplay:
    """Writes NDJSON; with `quiet` only failures, bad lines and errors."""

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._pending: list[str] = []

    def show(self, event: Event) -> None:
        """Render `event`; the text waits for the next refresh, as a summary may change meanwhile."""
        if not self._quiet or is_error(event):
            self._pending.append(json_line(event.to_record()))

    def refresh(self, now: float) -> None:
        """Write what has come since the last call, as whole lines."""
        lines, self._pending = self._pending, []
        write_lines(self._stream, lines)

    def close(self) -> None:
        """Write what is left."""
        self.refresh(0.0)
