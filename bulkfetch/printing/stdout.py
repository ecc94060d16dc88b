"""Records on their way to stdout, and what is left in a stream when its reader has gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from bulkfetch.models import Outcome
from bulkfetch.printing.template import Printer, path_prefix


class ResultWriter:
    """Writes records to stdout, a batch at a time; `gone` says that nobody reads them any more (P06)."""

    def __init__(self, stream: BinaryIO | None, printer: Printer, dest: str | Path) -> None:
        self._stream = stream
        self._printer = printer
        self._prefix = path_prefix(dest)
        self._pending: list[bytes] = []
        self.gone = stream is None
        self.error = (
            "" if stream else "cannot write results: standard output is closed"
        )  # why records are lost, where it was not the reader's wish

    def write(self, outcome: Outcome) -> bool:
        """Keep the record of `outcome` for the next flush; False once `gone`."""
        if not self.gone:
            record = self._printer.record(outcome, self._prefix)
            if record is not None:
                self._pending.append(record)
        return not self.gone

    def flush(self) -> bool:
        """Send what was kept, so it is visible at once; False once `gone`."""
        if self._pending and not self.gone:
            records, self._pending = b"".join(self._pending), []
            try:
                self._send(records)
            except (OSError, ValueError) as exc:  # ValueError: the stream was closed
                self.gone = True
                self.error = (
                    ""
                    if _is_broken_pipe(exc)
                    else f"cannot write results: {getattr(exc, 'strerror', None) or exc}"
                )
        return not self.gone

    def _send(self, records: bytes) -> None:
        assert self._stream is not None
        try:
            self._stream.write(records)
        except BlockingIOError as exc:
            self._make_blocking()
            self._stream.write(records[exc.characters_written :])
        try:
            self._stream.flush()
        except BlockingIOError:
            self._make_blocking()
            self._stream.flush()

    def _make_blocking(self) -> None:
        """Undo what another program that shares the pipe did to it: half a record must not be lost."""
        assert self._stream is not None
        os.set_blocking(self._stream.fileno(), True)


def _is_broken_pipe(exc: Exception) -> bool:
    # Windows says EINVAL where the reader of a pipe has gone
    return isinstance(exc, BrokenPipeError) or (
        os.name == "nt" and isinstance(exc, OSError) and exc.errno == 22
    )
