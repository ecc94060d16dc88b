"""Attempts run in a pool of threads that pull from one queue."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from bulkfetch.engine.base import Report
from bulkfetch.models import Attempt, Task

Worker = Callable[[Task], Attempt]


class ThreadEngine:
    """One long-lived loop per worker: a future per task would cost more than a small file."""

    def __init__(self, jobs: int, make_worker: Callable[[], Worker], report: Report) -> None:
        self._jobs = jobs
        self._make_worker = make_worker
        self._report = report
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="bulkfetch-worker")
        self._loops: list[Future[None]] = []

    def submit(self, task: Task) -> None:
        """Hand `task` to the next free worker; each of the first tasks brings a worker with it."""
        if len(self._loops) < self._jobs:
            self._loops.append(self._pool.submit(self._work))
        self._tasks.put(task)

    def close(self, seconds: float) -> bool:
        """End every worker after its present attempt."""
        end = time.monotonic() + seconds
        for _ in self._loops:
            self._tasks.put(None)
        _, left = wait(self._loops, timeout=max(0.0, end - time.monotonic()))
        self._pool.shutdown(wait=not left)
        return not left

    def _work(self) -> None:
        worker = self._make_worker()
        while (task := self._tasks.get()) is not None:
            self._report(task, worker(task))
