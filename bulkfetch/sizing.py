"""The sizes that servers name, asked for within the limits of a run."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from bulkfetch.config import FetchConfig
from bulkfetch.engine import Report, ThreadEngine, Worker, one_by_one
from bulkfetch.exchange import Exchange
from bulkfetch.governing import as_it_starts, asks_robots, has_deadlines
from bulkfetch.inbox import Inbox
from bulkfetch.limits import Buckets
from bulkfetch.models import Attempt, Failure, Task
from bulkfetch.openfiles import count_origins, count_workers
from bulkfetch.policy import Policies
from bulkfetch.scheduler import Moved, Requeued, Scheduler, Step
from bulkfetch.store import LocalStore
from bulkfetch.transfer import Context, Gate
from bulkfetch.transfer.measuring import HEAD, measure
from bulkfetch.urls import origin_of
from bulkfetch.watchdog import Watchdog

_AT_ONCE = 64  # tasks read before what may start is started
_TURN = 0.1  # seconds; longest wait
_CLOSE = 2.0  # seconds the workers have to end


class Sized(NamedTuple):
    """What asking for the size of a task came to."""

    task: Task
    size: int | None  # None: not known
    reason: str = ""  # for not knowing it


def measure_all(
    tasks: Iterable[Task], config: FetchConfig, policies: Policies, scheduler: Scheduler
) -> Iterator[Sized]:
    """Ask for the size of every task by HEAD and yield the answers as they come."""
    jobs = min(config.most_jobs, count_workers())
    config = replace(config, jobs=jobs)
    stop, inbox = threading.Event(), Inbox[Report]()
    buckets = Buckets(None, stop)
    with contextlib.ExitStack() as parts:
        store = parts.enter_context(contextlib.closing(LocalStore(config.dest)))
        watchdog = parts.enter_context(contextlib.closing(Watchdog(stop, config.min_speed)))
        exchange = parts.enter_context(
            contextlib.closing(Exchange(config, policies, most_origins=count_origins(config)))
        )
        gate = Gate(exchange, untrusted=config.untrusted) if asks_robots(policies) else None

        def make_worker() -> Worker:
            lease = watchdog.lease()
            context = Context(
                config, policies, store, exchange, buckets, stop, lease, lambda _: None, gate=gate
            )
            return one_by_one(functools.partial(measure, context=context))

        engine = ThreadEngine(jobs, make_worker, inbox.put)
        parts.callback(engine.close, _CLOSE)
        parts.callback(stop.set)
        yield from _Sizing(scheduler, config, policies).run(iter(tasks), engine, inbox)


class _Sizing:
    """The coordinator: few tasks wait in memory, however long the list is."""

    def __init__(self, scheduler: Scheduler, config: FetchConfig, policies: Policies) -> None:
        self._scheduler = scheduler
        self._config = config
        self._policies = policies
        self._has_deadlines = has_deadlines(config, policies)
        self._open: dict[bytes, Task] = {}  # asked for and not answered

    def run(self, tasks: Iterator[Task], engine: ThreadEngine, inbox: Inbox[Report]) -> Iterator[Sized]:
        end = time.monotonic() + (self._config.deadline or float("inf"))
        is_over = False
        while not is_over or self._scheduler.queued or self._scheduler.active:
            read = list(itertools.islice(tasks, min(_AT_ONCE, self._config.window - self._scheduler.queued)))
            is_over = is_over or (not read and self._scheduler.queued < self._config.window)
            for task in read:
                yield from self._add(task._replace(entry=task.entry._replace(request=HEAD)))
            if self._has_deadlines:  # looks at every task that waits
                late = self._scheduler.expire(time.monotonic())
                yield from (self._end(task, failure) for task, failure in late)
            self._start(engine)
            for report in inbox.take(0.0 if read else self._wait()):
                yield from self._settle(report)
            if time.monotonic() >= end:
                yield from (Sized(task, None, "the deadline passed") for task in self._open.values())
                return

    def _wait(self) -> float:
        """Return how long to wait for answers until a task may start."""
        due = self._scheduler.next_time()
        if due is None or self._scheduler.active >= self._config.most_jobs:
            return _TURN
        return min(due - time.monotonic(), _TURN)

    def _start(self, engine: ThreadEngine) -> None:
        now = time.monotonic()
        while self._scheduler.active < self._config.most_jobs and (task := self._scheduler.take(now)):
            engine.submit([as_it_starts(task, now, self._policies if self._has_deadlines else None)])

    def _add(self, task: Task) -> Iterator[Sized]:
        self._open[task.key] = task
        refusal = self._scheduler.add(task, time.monotonic())
        if refusal is not None:
            yield self._end(task, refusal)

    def _settle(self, report: Report) -> Iterator[Sized]:
        attempt = report.attempt
        step: Step = self._scheduler.settle(report.task, attempt, time.monotonic())
        if isinstance(step, Moved):
            url = step.location
            moved = step.task._replace(url=url, origin=origin_of(url), hops=attempt.hops)
            yield from self._add(moved._replace(came_from_public=attempt.came_from_public))
            return
        yield from (self._end(task, refusal) for task, refusal in step.dropped)
        if isinstance(step, Requeued):
            return
        yield self._end(step.task, step.failure, attempt)

    def _end(self, task: Task, failure: Failure | None, attempt: Attempt | None = None) -> Sized:
        self._open.pop(task.key, None)
        size = attempt.done.size if attempt and attempt.done else None
        return Sized(task, size, failure.message if failure else "")
