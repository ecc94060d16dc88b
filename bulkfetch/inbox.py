"""What workers and the reader tell the coordinator, without waking it more often than it can listen."""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """A queue that many threads write and one reads, whole batches at a time.

    Waking a thread costs more than a small file's bookkeeping: a writer wakes the reader only when
    nobody has done so since it last looked, and may leave that out for what can wait.
    """

    def __init__(self) -> None:
        self._messages: deque[T] = deque()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._rung = False

    def put(self, message: T, *, wake: bool = True) -> None:
        """Add a message; without `wake` it is seen when the reader looks next."""
        self._messages.append(message)
        if wake:
            self.wake()

    def wake(self) -> None:
        """Make the reader look."""
        if not self._rung:
            self._rung = True
            self._bell.put(None)

    def take(self, seconds: float) -> list[T]:
        """Return what has come, after waiting up to `seconds` for the first wake."""
        with contextlib.suppress(queue.Empty):
            self._bell.get(timeout=max(0.0, seconds))
        self._rung = False  # before the messages are taken: one that comes in between rings again
        messages = self._messages
        return [messages.popleft() for _ in range(len(messages))]
