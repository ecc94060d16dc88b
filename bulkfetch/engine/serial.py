"""Attempts run in the coordinator's own thread: for tests and for debugging."""

from __future__ import annotations

from collections.abc import Callable

from bulkfetch.engine.base import Report
from bulkfetch.models import Attempt, Task


class SerialEngine:
    """Runs each attempt when it is submitted."""

    def __init__(self, worker: Callable[[Task], Attempt], report: Report) -> None:
        self._worker = worker
        self._report = report

    def submit(self, task: Task) -> None:
        """Run one attempt and report it."""
        self._report(task, self._worker(task))

    def close(self, seconds: float) -> bool:
        """Nothing runs outside `submit`."""
        return True
