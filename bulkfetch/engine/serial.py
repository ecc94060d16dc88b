"""Attempts run in the coordinator's own thread: for tests and for debugging."""

from __future__ import annotations

from collections.abc import Sequence

from bulkfetch.engine.base import Tell, Worker, run_batch
from bulkfetch.models import Task


class SerialEngine:
    """Runs each batch when it is submitted."""

    def __init__(self, worker: Worker, tell: Tell) -> None:
        self._worker = worker
        self._tell = tell

    def submit(self, batch: Sequence[Task], *, at_once: bool = False) -> None:
        """Run the attempts and report them."""
        run_batch(batch, self._worker, self._tell)

    def most_small(self, now: float, waiting: int) -> int:
        """Return 1: no batch is ever under way beside another."""
        return 1

    def let_go(self) -> None:
        """Nothing is under way."""

    def close(self, seconds: float) -> bool:
        """Nothing runs outside `submit`."""
        return True
