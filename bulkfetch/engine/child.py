"""A worker process: makes attempts as a worker thread does, and reports them batch by batch."""

from __future__ import annotations

import functools
import os
import pickle
import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bulkfetch.config import FetchConfig
from bulkfetch.engine.base import Report, Worker, run_batch
from bulkfetch.engine.messages import (
    ALIVE,
    BATCH,
    BEAT,
    COOKIES,
    EVENT,
    HELLO,
    STOP,
    Frame,
    pack_attempt,
    pack_frame,
    read_frame,
    unpack_task,
    write_all,
)
from bulkfetch.exchange import Exchange
from bulkfetch.limits import Buckets
from bulkfetch.models import Origin, Task
from bulkfetch.openfiles import count_origins
from bulkfetch.policy import Policies
from bulkfetch.store import open_store
from bulkfetch.transfer import Context, Cores, run_attempts
from bulkfetch.watchdog import Watchdog


class Child:
    """Serves one coordinator over two pipes, until it is told to stop."""

    def __init__(self, config: FetchConfig, output: int) -> None:
        self._output = output
        self._lock = threading.Lock()  # guards _output
        self._stop = threading.Event()
        policies = Policies(config)
        self._store = open_store(config)
        self._store.prepare()
        self._watchdog = Watchdog(self._stop, config.min_speed, tell=self._emit)
        self._exchange = Exchange(
            config, policies, most_origins=count_origins(config), tell_cookies=self._tell_cookies
        )
        self._shared = (config, policies, self._store, self._exchange, Buckets(None, self._stop), self._stop)
        self._cores = Cores()
        self._batches: queue.SimpleQueue[tuple[int, Sequence[Task]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def serve(self, source: int) -> None:
        """Take batches until there are no more; raises `EOFError` where the coordinator has gone."""
        self._post((HELLO, time.process_time()))
        threading.Thread(target=self._beat, name="bulkfetch-beat", daemon=True).start()
        while (frame := read_frame(source)) != STOP:
            number, origin, tasks, at_once = frame
            self._batches.put((number, [unpack_task(task, Origin(*origin)) for task in tasks]))
            while len(self._threads) < at_once:  # each more hands the interpreter's lock around
                self._threads.append(threading.Thread(target=self._work, name="bulkfetch-worker"))
                self._threads[-1].start()
        self._stop.set()
        for _ in self._threads:
            self._batches.put(None)
        for thread in self._threads:  # each attempt is cut by the watchdog
            thread.join()
        self._exchange.close()
        self._watchdog.close()
        self._store.close()

    def _work(self) -> None:
        worker = self._make_worker()
        while (waiting := self._batches.get()) is not None:
            number, batch = waiting
            reports: list[Report] = []
            run_batch(batch, worker, reports.append)
            attempts = [pack_attempt(report.attempt, report.task) for report in reports]
            self._post((BATCH, number, attempts, time.process_time()))

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            self._post((ALIVE,))

    def _make_worker(self) -> Worker:
        context = Context(*self._shared, self._watchdog.lease(), self._emit, self._cores)
        return functools.partial(run_attempts, context=context)

    def _emit(self, message: Any) -> None:
        self._post((EVENT, pickle.dumps(message, pickle.HIGHEST_PROTOCOL)))

    def _tell_cookies(self, origin: Origin, url: str, values: Sequence[str]) -> None:
        self._post((COOKIES, tuple(origin), url, tuple(values)))

    def _post(self, frame: Frame) -> None:
        with self._lock:
            write_all(self._output, pack_frame(frame))


def main() -> None:
    """Serve the process that has started this one; whatever a library prints goes nowhere."""
    output = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    threading.excepthook = lambda _args: os._exit(1)  # its batch would be waited for
    try:
        Child(pickle.loads(read_frame(0)), output).serve(0)
    finally:  # there is no more to do, nobody who wants the files, or a thread too few
        os._exit(0)
