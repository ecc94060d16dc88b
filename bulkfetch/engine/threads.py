"""Attempts run in a pool of threads that pull from one queue."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from bulkfetch.engine.base import Tell, Worker, run_batch
from bulkfetch.models import Task


class ThreadEngine:
    """One long-lived loop per worker: a future per task would cost more than a small file."""

    def __init__(self, jobs: int, make_worker: Callable[[], Worker], tell: Tell) -> None:
        self._jobs = jobs
        self._make_worker = make_worker
        self._tell = tell
        self._batches: queue.SimpleQueue[Sequence[Task] | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="bulkfetch-worker")
        self._loops: list[Future[None]] = []

    def submit(self, batch: Sequence[Task]) -> None:
        """Hand a batch to the next free worker; each of the first batches brings a worker with it."""
        if len(self._loops) < self._jobs:
            self._loops.append(self._pool.submit(self._work))
        self._batches.put(batch)

    def close(self, seconds: float) -> bool:
        """End every worker after its present batch."""
        end = time.monotonic() + seconds
        for _ in self._loops:
            self._batches.put(None)
        _, left = wait(self._loops, timeout=max(0.0, end - time.monotonic()))
        self._pool.shutdown(wait=not left)
        return not left

    def _work(self) -> None:
        worker = self._make_worker()
        while (batch := self._batches.get()) is not None:
            run_batch(batch, worker, self._tell)
