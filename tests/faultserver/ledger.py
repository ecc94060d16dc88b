"""What the server has seen, safe to read while it works."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from .wire import Request


class Ledger:
    """Requests and connections, counted under one lock."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._numbers: Counter[tuple[int, str]] = Counter()
        self.connections = 0
        self.open = 0
        self.peak_open = 0
        self.active = 0
        self.peak_active = 0
        self.errors: list[BaseException] = []

    def open_connection(self) -> int:
        """Count a new connection and return its number."""
        with self._changed:
            self.connections += 1
            self.open += 1
            self.peak_open = max(self.peak_open, self.open)
            self._changed.notify_all()
            return self.connections

    def close_connection(self) -> None:
        """Count a connection that has ended."""
        with self._changed:
            self.open -= 1
            self._changed.notify_all()

    def add(self, request: Request) -> None:
        """Record a request whose answer begins."""
        with self._changed:
            self._requests.append(request)
            self.active += 1
            self.peak_active = max(self.peak_active, self.active)
            self._changed.notify_all()

    def settle(self) -> None:
        """Record that an answer has ended."""
        with self._changed:
            self.active -= 1
            self._changed.notify_all()

    def next_number(self, route: int, request: Request) -> int:
        """Return which request for its path this is to a route; HEAD is not counted."""
        key = (route, request.path)
        with self._changed:
            if request.method == "HEAD":
                return self._numbers[key] + 1
            self._numbers[key] += 1
            return self._numbers[key]

    def requests(self) -> list[Request]:
        """Return the requests so far, oldest first."""
        with self._changed:
            return list(self._requests)

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for something the records show; also looks every 10 ms, for what they do not announce."""
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                return False
            with self._changed:
                self._changed.wait(min(left, 0.01))
        return True
