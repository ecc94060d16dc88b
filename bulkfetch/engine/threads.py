"""Attempts run in a pool of threads that pull from one queue."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from bulkfetch.engine.base import Tell, Worker, run_batch
from bulkfetch.models import Task
from bulkfetch.tuning import Crowd

_IDLE = 1.0  # seconds after which an idle worker ends


class ThreadEngine:
    """One long-lived loop per worker: a future per task would cost more than a small file."""

    def __init__(self, jobs: int, make_worker: Callable[[], Worker], tell: Tell) -> None:
        self._jobs = jobs
        self._make_worker = make_worker
        self._tell = tell
        self._batches: queue.SimpleQueue[Sequence[Task] | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="bulkfetch-worker")
        self._loops: list[Future[None]] = []
        self._spare: list[Worker] = []  # what loops that have ended worked with
        self._live = 0  # loops that will take another batch
        self._crowd = Crowd(jobs)
        self._lock = threading.Lock()  # guards _live against a batch that comes as a loop ends

    def submit(self, batch: Sequence[Task], *, at_once: bool = False) -> None:
        """Hand a batch to the next free worker; each of the first batches brings a worker with it."""
        with self._lock:
            self._batches.put(batch)
            if self._live >= self._jobs:
                return
            self._live += 1
        self._loops = [loop for loop in self._loops if not loop.done()]
        self._loops.append(self._pool.submit(self._work))

    def most_small(self, now: float, waiting: int) -> int:
        """Return fewer than all workers where they wait for the processor."""
        self._crowd.look(now, time.process_time())
        return self._crowd.limit

    @property
    def is_working(self) -> bool:
        """Say whether the processor has had work for a good part of the time lately."""
        return self._crowd.is_working

    def let_go(self) -> None:
        """The watchdog sees that the run stops."""

    def close(self, seconds: float) -> bool:
        """End every worker after its present batch."""
        end = time.monotonic() + seconds
        for _ in self._loops:
            self._batches.put(None)
        _, left = wait(self._loops, timeout=max(0.0, end - time.monotonic()))
        self._pool.shutdown(wait=not left)
        return not left

    def _work(self) -> None:
        try:
            worker = self._spare.pop()
        except IndexError:
            worker = self._make_worker()
        while (batch := self._next()) is not None:
            run_batch(batch, worker, self._tell)
        self._spare.append(worker)

    def _next(self) -> Sequence[Task] | None:
        """Wait for a batch, but not for ever: a program that ends joins its threads first (fault P14)."""
        while True:
            try:
                return self._batches.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if self._batches.empty():
                        self._live -= 1
                        return None
