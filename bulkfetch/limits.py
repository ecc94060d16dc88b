"""The byte-rate limit of a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class TokenBucket:
    """Lets `rate` bytes a second pass, over all threads; a wait is cut short by the stop event."""

    def __init__(
        self, rate: float, stop: threading.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._stop = stop
        self._clock = clock
        self._free_at = clock()  # when the bytes let through so far will have been paid for
        self._lock = threading.Lock()  # guards _free_at

    @property
    def chunk(self) -> int:
        """Largest read that keeps the flow even: about a twentieth of a second's worth."""
        return max(1024, int(self._rate / 20))

    def take(self, size: int) -> None:
        """Wait until `size` more bytes may pass."""
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now)
            self._free_at = start + size / self._rate
        if start > now:
            self._stop.wait(start - now)


class NoLimit:
    """Stands for a bucket when no rate is set."""

    chunk = 1 << 30

    def take(self, size: int) -> None:
        """Return at once."""
