"""Counts of a run, and what they mean as an exit status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bulkfetch.models import Outcome, Status

# The most serious applies; cli.py documents the table.
EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_BAD_LINES = 0, 1, 2, 3
EXIT_LOCKED, EXIT_STOPPED, EXIT_CHANGED, EXIT_SIGINT, EXIT_SIGTERM = 4, 5, 10, 130, 143
_FETCHED, _SKIPPED = Status.FETCHED, Status.SKIPPED  # looking them up is slow before Python 3.12


@dataclass(slots=True)
class Summary:
    """Running totals of one run; the coordinator alone changes them."""

    dest: str = "."
    fetched: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    bad_lines: int = 0
    entries: int = 0  # read from the manifest
    received: int = 0  # body bytes over the wire, failed attempts included
    stored: int = 0  # bytes of files fetched by this run
    retries: int = 0
    seconds: float = 0.0
    complete: bool = False  # every entry has an outcome and the manifest was read to its end
    unreadable: bool = False  # a manifest can never be read, or not on
    stopped: str = ""  # why the run ended early; "" when it did not
    signal: int = 0  # the signal that ended it
    failures: dict[str, int] = field(default_factory=dict)  # kind -> count
    anonymous: int = 0  # failures of kind auth where no credentials had been given
    unasked: int = 0  # failures of kind auth where they could not be had, so no server was asked

    @property
    def finished(self) -> int:
        """Entries that have an outcome."""
        return self.fetched + self.unchanged + self.skipped + self.failed

    @property
    def exit_status(self) -> int:
        """The status a command should exit with."""
        if self.unreadable:
            return EXIT_USAGE
        if self.signal:
            return 128 + self.signal
        if self.stopped:
            return EXIT_STOPPED
        if self.failed:
            return EXIT_FAILED
        return EXIT_BAD_LINES if self.bad_lines else EXIT_OK

    def count(self, outcome: Outcome, by: int = 1) -> None:
        """Add one outcome, or take it back (-1)."""
        status = outcome.status
        if status is _FETCHED:
            self.fetched += by
            self.stored += by * (outcome.size or 0)
        elif status is _SKIPPED:
            self.skipped += by
        elif status is Status.FAILED:
            self.failed += by
            kind = outcome.failure.kind if outcome.failure else "internal"
            self.failures[kind] = self.failures.get(kind, 0) + by
            if not self.failures[kind]:
                del self.failures[kind]
            if outcome.failure is not None:
                self.anonymous += by * outcome.failure.anonymous
                self.unasked += by * outcome.failure.unasked
        else:
            self.unchanged += by

    def count_fetched(self, sizes: Sequence[int]) -> None:
        """Add outcomes of files that were fetched, by their sizes."""
        self.fetched += len(sizes)
        self.stored += sum(sizes)

    def to_record(self) -> dict[str, Any]:
        """Return the totals as a JSON-ready dict."""
        return {
            "dest": self.dest, "entries": self.entries, "fetched": self.fetched, "unchanged": self.unchanged,
            "skipped": self.skipped, "failed": self.failed, "bad_lines": self.bad_lines,
            "received": self.received, "stored": self.stored, "retries": self.retries,
            "seconds": round(self.seconds, 3), "complete": self.complete, "stopped": self.stopped,
            "signal": self.signal, "failures": dict(self.failures), "exit_status": self.exit_status,
        }  # fmt: skip
