"""The byte-rate limits of a run and of single hosts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bulkfetch.models import Origin


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


class Both:
    """Lets pass what the run's bucket and a host's own let pass."""

    def __init__(self, run: TokenBucket, host: TokenBucket) -> None:
        self._run = run
        self._host = host
        self.chunk = min(run.chunk, host.chunk)

    def take(self, size: int) -> None:
        """Wait until `size` more bytes may pass."""
        self._host.take(size)
        self._run.take(size)


Bucket = TokenBucket | NoLimit | Both


class Buckets:
    """The run's bucket, and one for each host that has a rate of its own. Safe for threads.

    Args:
        rate: bytes a second of the whole run; None: no limit.
        stop: ends every wait.
    """

    def __init__(self, rate: float | None, stop: threading.Event) -> None:
        self._stop = stop
        self.run = TokenBucket(rate, stop) if rate else NoLimit()
        self._hosts: dict[Origin, Bucket] = {}
        self._lock = threading.Lock()  # guards _hosts: two buckets would let twice the rate pass

    def choose(self, origin: Origin, rate: float | None) -> Bucket:
        """Return what bounds bodies from `origin`, whose own rate is `rate` bytes a second."""
        if not rate:
            return self.run
        with self._lock:
            bucket = self._hosts.get(origin)
            if bucket is None:
                bucket = self._hosts[origin] = self._beside_run(TokenBucket(rate, self._stop))
        return bucket

    def _beside_run(self, host: TokenBucket) -> Bucket:
        return host if isinstance(self.run, NoLimit) else Both(self.run, host)
