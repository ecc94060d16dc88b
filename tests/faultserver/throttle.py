"""A host-wide request limit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from .routes import Route, route
from .wire import Request


class Throttle:
    """Decides which requests are turned away, whatever their path."""

    def __init__(
        self,
        *,
        per_second: float | None = None,
        concurrent: int | None = None,
        first_of_each_path: bool = False,
        retry_after: str | float | None = "1",
        status: int = 429,
        extra_headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        if per_second is None and concurrent is None and not first_of_each_path:
            raise TypeError("throttle: give per_second, concurrent or first_of_each_path")
        self._per_second = per_second
        self._concurrent = concurrent
        self._first_of_each_path = first_of_each_path
        self._seen: set[str] = set()
        self._admitted: deque[float] = deque()
        self._lock = threading.Lock()
        self.refused = 0
        self.route = route(status=status, retry_after=retry_after, extra_headers=extra_headers)

    def refuses(self, request: Request, active: int) -> Route | None:
        """Return the answer for a request that is one too many; `active` counts it among those running."""
        with self._lock:
            if not self._is_over(request, active):
                self._admitted.append(request.time)
                return None
            self.refused += 1
            return self.route

    def _is_over(self, request: Request, active: int) -> bool:
        while self._admitted and self._admitted[0] <= request.time - 1.0:
            self._admitted.popleft()
        if self._per_second is not None and len(self._admitted) >= self._per_second:
            return True
        if self._concurrent is not None and active > self._concurrent:
            return True
        if self._first_of_each_path and request.path not in self._seen:
            self._seen.add(request.path)
            return True
        return False
