"""What every engine offers the coordinator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bulkfetch.models import Attempt, Task

Report = Callable[[Task, Attempt], None]  # called once per submitted task, from any thread


class Engine(Protocol):
    """Runs attempts and reports each."""

    def submit(self, task: Task) -> None:
        """Start an attempt at `task` as soon as a worker is free."""

    def close(self, seconds: float) -> bool:
        """Let the workers go; False when some did not end within `seconds`."""
