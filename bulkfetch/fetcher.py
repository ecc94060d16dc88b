"""The library's entry point: puts the parts of a run together."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bulkfetch import events
from bulkfetch.config import AUTO, FetchConfig
from bulkfetch.display import Display, NullDisplay, show_ends, skips_starts
from bulkfetch.ending import Ending
from bulkfetch.engine import ProcessEngine, ThreadEngine, Worker, count_processes
from bulkfetch.errors import DiskFailed, DiskFull, UsageError
from bulkfetch.events import Event
from bulkfetch.exchange import Exchange
from bulkfetch.governing import asks_robots, describe, make_limits
from bulkfetch.journal import Journal
from bulkfetch.limits import Buckets
from bulkfetch.lock import DestinationLock
from bulkfetch.manifest import as_entries
from bulkfetch.models import BadLine, Entry, Outcome, Task
from bulkfetch.openfiles import count_origins, count_workers
from bulkfetch.planner import Planner
from bulkfetch.policy import Policies, PolicyFile
from bulkfetch.run import Run
from bulkfetch.scheduler import Scheduler
from bulkfetch.screening import screen
from bulkfetch.sizing import Sized, measure_all
from bulkfetch.store import open_store
from bulkfetch.summary import Summary
from bulkfetch.tracing import TracedLease
from bulkfetch.transfer import Context, Cores, Gate, run_attempts
from bulkfetch.tuning import AutoLimit
from bulkfetch.watchdog import Lease, Watchdog

Source = Iterable[str | Mapping[str, Any] | Entry | BadLine]
_FIRST_JOBS = 16  # workers to begin with where as many are wanted as pay: the default
_CLOSE = 2.0  # seconds the workers have to end
_ENDING = 10.0  # seconds a run has to end in the thread that iterates, when another one closes the fetcher


class Fetcher:
    """Holds a destination folder while entries are fetched into it; use it in a `with` statement.

    Args:
        config: how to behave; defaults to `FetchConfig()`.
        policies: what holds for which host: what `read_policy` and `policy_from_table` return, the most
            important first, or `Policies` made for the same `config`.
        displays: what is shown or written of the events.
        on_event: called with every event, in the thread that iterates; one that raises is not called
            again, and what it raised comes out of the iterator once the run has ended.

    Raises:
        DestinationLocked: another run holds the destination (on entering).
        UsageError: the configuration cannot be carried out (on entering).
        DiskFailed: the journal cannot be written (on entering, or from the iterator).
    """

    def __init__(
        self,
        config: FetchConfig | None = None,
        *,
        policies: Policies | Iterable[PolicyFile] = (),
        displays: Iterable[Display] = (),
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.config = config or FetchConfig()
        self._warnings: tuple[str, ...] = ()
        if not isinstance(policies, Policies):  # else whoever made them has told their warnings
            policies = Policies(self.config, tuple(policies))
            self._warnings = policies.warnings
        self._policies = policies
        self.summary = Summary(dest=str(self.config.dest))
        self._displays = [display for display in displays if not isinstance(display, NullDisplay)]
        self._on_event = on_event
        self._error: Exception | None = None  # what `on_event` raised
        self._closing = contextlib.ExitStack()
        self._journal: Journal | None = None
        self._owner = os.getpid()
        self._busy = threading.Lock()  # held while a run goes on
        self._latest: Callable[[], Generator[Outcome] | None] = lambda: None
        self._reset()

    def _reset(self) -> None:
        self._stop = threading.Event()
        self._stop_reason, self._stop_signal = "", 0

    def __enter__(self) -> Self:
        self.config.validate()
        self._asks_robots = asks_robots(self._policies)
        self._owner = os.getpid()
        self._store = open_store(self.config)
        try:
            self._store.prepare()
        except DiskFull:
            raise
        except DiskFailed as exc:
            raise UsageError(str(exc)) from exc
        with contextlib.ExitStack() as opening:
            opening.enter_context(contextlib.closing(self._store))
            lock = opening.enter_context(DestinationLock(self._store.state_dir))
            self._journal = opening.enter_context(contextlib.closing(Journal.open(self._store.state_dir)))
            self._closing = opening.pop_all()
        self._notices = [lock.taken_over, *self._journal.notices, *self._warnings]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop what runs and let go of the destination; in a forked child, leave both to the parent."""
        self._journal = None
        if os.getpid() != self._owner:
            self._closing.pop_all()
            return
        self._stop.set()
        with self._closing:
            run = self._latest()
            try:
                if run is not None:
                    run.close()
            except ValueError:  # another thread is inside it; it sees that it is stopped
                self._busy.acquire(timeout=_ENDING)

    def stop(self, reason: str = "stopped by the caller", signal: int = 0) -> None:
        """End the present run early, or the next one; for any thread, and for a signal's callback."""
        self._stop_reason, self._stop_signal = reason, signal
        self._stop.set()

    def run(self, source: Source) -> Iterator[Outcome]:
        """Fetch every entry of `source` and yield its outcome as it becomes final.

        A failed entry is an outcome, not an exception. Closing the iterator stops the run cleanly.
        One run may follow another; the next begins when the one before has ended.

        Raises:
            UsageError: the fetcher was not entered, or is at work (on the first step).
            DiskFailed: the journal could not be written; the same run again goes on from there.
        """
        if self._journal is None:
            raise UsageError("a Fetcher is used in a `with` statement")
        entries = as_entries(source)
        run = self._iterate(self._journal, screen(entries) if self.config.untrusted else entries)
        self._latest = weakref.ref(run)
        return run

    def sizes(self, tasks: Iterable[Task]) -> Iterator[Sized]:
        """Ask for the size of every task by HEAD, within the limits of a run; nothing is stored."""
        config, policies = self.config, self._policies
        return measure_all(tasks, config, policies, _make_scheduler(config, policies))

    def _iterate(self, journal: Journal, entries: Iterator[Entry | BadLine]) -> Generator[Outcome]:
        if not self._busy.acquire(blocking=False):
            raise UsageError("this Fetcher is at work: let its present run end first")
        try:
            yield from self._run(journal, entries)
        finally:
            self._reset()
            self._busy.release()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, journal: Journal, entries: Iterator[Entry | BadLine]) -> Generator[Outcome]:
        config, stop = self._affordable(), self._stop
        self.summary = summary = Summary(dest=str(config.dest))
        journal.begin_run()
        self._store.sweep(journal.all_tokens())
        scheduler = _make_scheduler(config, self._policies)
        crew = AutoLimit(_FIRST_JOBS, config.most_jobs) if self.config.jobs == AUTO else None
        run = Run(
            config,
            journal=journal,
            planner=Planner(config, journal, self._store),
            policies=self._policies,
            scheduler=scheduler,
            summary=summary,
            stop=stop,
            emit=self._emit,
            tell_ends=self._tell_ends,
            tells_starts=self._on_event is not None or not all(map(skips_starts, self._displays)),
            refresh=self._refresh,
            crew=crew,
        )
        kind = TracedLease if config.trace else Lease
        buckets = Buckets(config.limit_rate, stop)
        cores = Cores()
        try:
            with contextlib.ExitStack() as parts:
                is_ending = _end_of_program(parts)
                watchdog = Watchdog(stop, config.min_speed, tell=run.inbox.put, is_ending=is_ending)
                parts.enter_context(contextlib.closing(watchdog))
                exchange = parts.enter_context(
                    contextlib.closing(Exchange(config, self._policies, most_origins=count_origins(config)))
                )
                gate = Gate(exchange, untrusted=config.untrusted) if self._asks_robots else None

                def make_worker() -> Worker:
                    lease, put = watchdog.lease(kind), run.inbox.put
                    context = Context(
                        config, self._policies, self._store, exchange, buckets, stop, lease, put, cores, gate
                    )
                    return functools.partial(run_attempts, context=context)

                threads = ThreadEngine(config.most_jobs, make_worker, run.tell)
                most = 0 if gate else count_processes(config, self._policies)
                engine = self._spread(threads, config, most, exchange, run) if most else threads
                parts.callback(engine.close, _CLOSE)
                parts.callback(stop.set)
                self._announce()
                yield from run.outcomes(entries, engine)
        except DiskFailed as exc:  # of the journal or a list: a file that cannot be written is an outcome
            summary.stopped = summary.stopped or str(exc)
            raise
        finally:
            if os.getpid() == self._owner:  # else a forked child drops what is its parent's (fault K11)
                self._conclude(journal, summary, scheduler, crew)

    def _spread(
        self, threads: ThreadEngine, config: FetchConfig, most: int, exchange: Exchange, run: Run
    ) -> ProcessEngine:
        shared = replace(config, dest=self._store.state_dir.parent)  # wherever the program goes meanwhile
        return ProcessEngine(most, threads, shared, exchange, run.tell, run.inbox.put)

    def _affordable(self) -> FetchConfig:
        """Return the configuration with as many workers as there may be open files for (fault X06)."""
        config = self.config
        jobs = min(config.most_jobs, count_workers())
        if jobs == config.most_jobs:
            return config
        self._notices.append(f"{jobs} workers, not {config.most_jobs}: no more files may be open (ulimit -n)")
        return replace(config, jobs=jobs)

    def _conclude(
        self, journal: Journal, summary: Summary, scheduler: Scheduler, crew: AutoLimit | None
    ) -> None:
        if self._stop_reason and not summary.complete:
            summary.stopped = summary.stopped or self._stop_reason
            summary.signal = self._stop_signal
        try:
            record = {**summary.to_record(), "hosts": describe(scheduler.governed())}
            if crew is not None:
                record["jobs"] = crew.limit
            journal.finish_run(clean=summary.complete, summary=record)
        except DiskFailed as exc:
            summary.stopped = summary.stopped or str(exc)
            raise
        finally:
            self._emit(events.RunFinished(summary))

    def _announce(self) -> None:
        self._emit(events.RunStarted(str(self.config.dest), self.config.most_jobs))
        for notice in filter(None, self._notices):
            self._emit(events.Notice(notice))
        self._notices = []

    def _emit(self, event: Event) -> None:
        for display in self._displays:
            display.show(event)
        self._tell_caller(event)

    def _tell_ends(self, outcomes: Sequence[Outcome]) -> None:
        for display in self._displays:
            show_ends(display, outcomes)
        if self._on_event is not None:
            for outcome in outcomes:
                self._tell_caller(events.Finished(outcome))

    def _tell_caller(self, event: Event) -> None:
        if self._on_event is not None and self._error is None:
            try:
                self._on_event(event)
            except Exception as exc:  # noqa: BLE001 - the caller's own; the run is worth more (fault P12)
                self._error = exc

    def _refresh(self, now: float) -> None:
        for display in self._displays:
            display.refresh(now)


def fetch(
    source: Source, dest: str | Path = ".", *, policies: Iterable[PolicyFile] = (), **options: Any
) -> Iterator[Outcome]:
    """Fetch every entry of `source` into `dest` and yield the outcomes as they become final.

    Args:
        source: URLs, mappings with manifest columns, or entries.
        dest: destination folder, created if need be.
        policies: what holds for which host, the most important first.
        options: fields of `FetchConfig`.

    Raises:
        DestinationLocked: another run holds the destination.
        UsageError: an option is not valid.
    """
    try:
        config = FetchConfig(dest=dest, **options)
    except TypeError as exc:
        raise UsageError(f"unknown option: {exc}") from exc
    return _fetch(config, source, policies)


def fetch_one(url: str, config: FetchConfig, policies: Policies) -> Outcome:
    """Fetch one URL and return its outcome; raises `UsageError` for one that cannot be asked for."""
    with Fetcher(config, policies=policies) as fetcher:
        for outcome in fetcher.run([url]):
            return outcome
    raise UsageError("the URL cannot be asked for")


def _fetch(config: FetchConfig, source: Source, policies: Iterable[PolicyFile]) -> Iterator[Outcome]:
    with Fetcher(config, policies=policies) as fetcher:
        yield from fetcher.run(source)


def _make_scheduler(config: FetchConfig, policies: Policies) -> Scheduler:
    return Scheduler(make_limits(config, policies), rate=config.rate)


def _end_of_program(parts: contextlib.ExitStack) -> Callable[[], bool]:
    """Return what says that the program ends; a run outside its main thread may go on after that."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: False
    return parts.enter_context(contextlib.closing(Ending())).has_begun
