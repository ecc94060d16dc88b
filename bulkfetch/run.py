"""One run: the coordinator, which alone owns scheduler, journal and display."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, repeat

from bulkfetch import events
from bulkfetch.backlog import Backlog
from bulkfetch.chronicle import tell_ended, tell_moved, tell_requeued
from bulkfetch.config import FetchConfig
from bulkfetch.engine import Brought, Engine, Report
from bulkfetch.errors import DiskFailed, ManifestCut, UsageError
from bulkfetch.events import Event, Exchanged, Notice, Progress
from bulkfetch.fresh import unpack_whole
from bulkfetch.governing import as_it_starts, has_deadlines
from bulkfetch.inbox import Inbox
from bulkfetch.intake import Intake
from bulkfetch.journal import Journal
from bulkfetch.ledger import Ledger
from bulkfetch.models import (
    Attempt,
    BadLine,
    Entry,
    Failure,
    Outcome,
    Sharing,
    Task,
    rejected,
)
from bulkfetch.outcomes import failed, fetched, fetched_whole, redacted
from bulkfetch.planner import Planner
from bulkfetch.policy import Policies
from bulkfetch.safetext import hide_query, redact, redact_url
from bulkfetch.scheduler import Ended, Moved, Partial, Requeued, Scheduler, Step
from bulkfetch.summary import Summary
from bulkfetch.tuning import AutoLimit
from bulkfetch.urls import origin_of

Message = Report | Brought | Progress | Sharing | Notice | Exchanged

_TURN = 0.1  # seconds; longest wait, so that the display and the deadlines are looked at
_LET_GO = 2.0  # seconds in-flight attempts have after a stop
_BACKLOG_MOST = 1_000_000  # tasks on disk; then the manifest waits
_LOOK_EVERY = 0.5  # seconds between looks further down the manifest; what they bring is put on disk
_REFILL = 64  # tasks taken from the backlog at once
_BATCH = 32  # tasks handed to a worker at once
_PERCENT_FROM = 100  # entries after which a percentage of failures means something


class Run:
    """Drives one manifest through planner, scheduler and engine."""

    def __init__(
        self,
        config: FetchConfig,
        *,
        journal: Journal,
        planner: Planner,
        policies: Policies,
        scheduler: Scheduler,
        summary: Summary,
        stop: threading.Event,
        emit: Callable[[Event], None],
        tell_ends: Callable[[Sequence[Outcome]], None],
        tells_starts: bool,
        refresh: Callable[[float], None],
        crew: AutoLimit | None = None,
    ) -> None:
        self._config = config
        self._ledger = Ledger(journal)
        self._planner = planner
        self._policies = policies
        self._scheduler = scheduler
        self.summary = summary
        self._stop = stop
        self._tells_starts = tells_starts
        self._emit = emit
        self._tell_ends = tell_ends
        self._refresh = refresh
        self._crew = crew  # None: as many workers as configured
        self._comes_at_once = False  # what was started last: small files of a host that answers at once
        self.inbox: Inbox[Message] = Inbox()
        self._backlog = Backlog()
        self._following: dict[bytes, Task] = {}  # in its batch, where starts are told
        self._rejected: list[Outcome] = []  # of lines that are no entries, not yet told
        self._is_starved = False  # a worker is idle although tasks wait
        self._is_full = False  # no worker is idle
        self._is_short = False  # another worker would have something to do
        self._next_look = 0.0  # when a starved run reads further ahead
        self._has_deadlines = has_deadlines(config, policies)
        self._told_done = False
        self._broken: Exception | None = None  # why the manifest was not read to its end
        self._told_login = False
        self._declared = 0  # bytes the manifest promises so far

    def tell(self, report: Report | Brought) -> None:
        """Take the end of an attempt, or of a whole batch, from any thread."""
        self.inbox.put(report, wake=isinstance(report, Brought) or report.ends_batch)

    def outcomes(self, entries: Iterator[Entry | BadLine], engine: Engine) -> Iterator[Outcome]:
        """Yield every outcome once it is in the journal; ends when all are, or the run is stopped.

        Raises:
            ManifestError: the manifest cannot be read, or not on; what it had named has its outcome.
        """
        owner = os.getpid()
        self._engine = engine
        self._intake = intake = Intake(entries, self.inbox.wake, self._stop)
        started = time.monotonic()
        self._end = started + self._config.deadline if self._config.deadline else float("inf")
        intake.start()
        try:
            try:
                yield from self._go_through()
            except DiskFailed:
                yield from self._save()
                raise
            self._let_go()
            yield from self._flush(now=True)
            all_read = intake.is_done and self._broken is None
            self.summary.complete = all_read and self.summary.finished == self.summary.entries
            if self._broken is not None:
                raise self._broken
        finally:  # also when the caller drops the iterator
            self._stop.set()
            if os.getpid() == owner:  # a forked child has no workers, nor is the journal its own (fault K11)
                self._wind_up(started)

    def _go_through(self) -> Iterator[Outcome]:
        while not self._stop.is_set():
            self._read()
            self._start_tasks()
            yield from self._flush()
            if self._is_complete():
                break
            self._wait()

    def _save(self) -> Iterator[Outcome]:
        """Put on record what is done, where the journal takes it again: a disk may have room by now."""
        self._stop.set()
        self._let_go()
        with contextlib.suppress(DiskFailed):
            yield from self._write()

    def stop(self, reason: str) -> None:
        """End the run early; what is under way is let go and stays resumable."""
        if not self.summary.stopped:
            self.summary.stopped = reason
        self._stop.set()

    # -- entries ---------------------------------------------------------------------------------

    @property
    def _waiting(self) -> int:
        """Tasks that have yet to be started, as far as the manifest has been read."""
        return self._scheduler.queued + len(self._backlog) + len(self._intake)

    def _read(self) -> None:
        """Plan what the reader has, while there is room in the window or workers have nothing to do."""
        if not self._wants_more():
            return
        try:
            taken = self._intake.take()
        except Exception as exc:  # noqa: BLE001 - also of the program's own iterable: raised at the end
            self._break_off(exc)
            return
        entries = []
        for entry in taken:
            if isinstance(entry, BadLine):
                self._reject(entry)
            else:
                entries.append(entry)
        if entries:
            self._admit(entries)
        if entries or self._intake.is_done != self._told_done:
            self._told_done = self._intake.is_done
            self._emit(events.Planned(self.summary.entries, self._declared, self._told_done))
            if self._told_done and self._planner.edited:
                self._tell_edited(self._planner.edited)

    def _tell_edited(self, count: int) -> None:
        """Say once what becomes of files that another program changed."""
        changed = "1 file was" if count == 1 else f"{count:,} files were"
        told = "changed after having been fetched, and will be replaced by what the server has"
        self._emit(events.Notice(f"{changed} {told}; --respect-cache leaves such files as they are"))

    def _break_off(self, exc: Exception) -> None:
        """Take note that the manifest cannot be read on; what it has named is still fetched."""
        self._broken = exc
        self.summary.unreadable = isinstance(exc, UsageError) and not isinstance(exc, ManifestCut)
        self.summary.stopped = self.summary.stopped or str(exc)

    def _reject(self, bad: BadLine) -> None:
        """Tell of what is no entry: it has an outcome, but no place in the journal nor among the failed."""
        self.summary.bad_lines += 1
        self._emit(events.LineRejected(bad))
        self._rejected.append(rejected(bad))

    def _wants_more(self) -> bool:
        """Say whether to read on: the window has room, or workers starve behind the caps of busy hosts."""
        if self._scheduler.queued < self._config.window:
            return True
        if not self._is_starved or len(self._backlog) >= _BACKLOG_MOST:
            return False
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_EVERY
        return True

    def _admit(self, entries: Sequence[Entry]) -> None:
        self.summary.entries += len(entries)
        self._declared += sum(entry.size or 0 for entry in entries)
        spilled = []
        full = self._scheduler.queued >= self._config.window
        has_backlog, now = len(self._backlog) > 0, time.monotonic()
        for planned in self._planner.plan(entries):
            if isinstance(planned, Outcome):
                self._settle(planned)
            elif (has_backlog and self._backlog.count(planned.origin)) or (
                full and self._scheduler.waiting(planned.origin)
            ):
                spilled.append(planned)  # behind those of its host that wait on disk already
            else:
                self._add(planned, now)
        if spilled:
            self._backlog.put(spilled)

    def _add(self, task: Task, now: float) -> None:
        refusal = self._scheduler.add(task, now)
        if refusal is not None:
            self._fail(task, refusal)

    def _refill(self) -> None:
        for origin in self._backlog.origins():
            if self._scheduler.waiting(origin) < _REFILL:
                now = time.monotonic()
                for task in self._backlog.take(origin, _REFILL):
                    self._add(task, now)

    # -- attempts --------------------------------------------------------------------------------

    def _start_tasks(self) -> None:
        if len(self._backlog):
            self._refill()
        now = time.monotonic()
        if self._has_deadlines:
            for late, failure in self._scheduler.expire(now):
                self._fail(late, failure)
        self._is_starved = self._is_full = False
        most = self._crew.limit if self._crew else self._config.most_jobs
        policies = self._policies if self._has_deadlines else None
        few = min(most, self._engine.most_small(now, self._waiting))
        while self._scheduler.active < (few if self._comes_at_once else most):
            task = self._scheduler.take(now)
            if task is None:
                self._is_starved = not self._scheduler.is_held  # other hosts would have to wait as well
                self._is_short = False
                return
            batch = [task, *self._scheduler.take_along(task, _BATCH)]
            self._comes_at_once = len(batch) > 1 and self._scheduler.answers_at_once(task)
            started = [as_it_starts(each, now, policies) for each in batch]
            if self._tells_starts:
                self._tell_start(task)
                self._following.update({one.key: other for one, other in pairwise(batch)})
            self._engine.submit(started, at_once=self._comes_at_once)
        self._is_full, self._is_short = True, self._scheduler.has_next()

    def _tell_start(self, task: Task) -> None:
        url = hide_query(task.url) if task.refreshed else task.url
        self._emit(events.Started(task.path, redact_url(url), task.attempt))

    def _tell_next(self, report: Report) -> None:
        """Tell that the task that follows in a batch has started."""
        following = self._following.pop(report.task.key, None)
        for task in report.unstarted:
            self._following.pop(task.key, None)
        if following is not None and not report.ends_batch:
            self._tell_start(following)

    def _wait(self) -> None:
        """Sleep until something happens, then deal with all that has."""
        now = time.monotonic()
        due = None if self._is_full else self._scheduler.next_time()  # what is due waits for a worker
        until = min(due or now + _TURN, now + _TURN, self._ledger.due)
        self._receive(self.inbox.take(until - now))
        now = time.monotonic()
        if now >= self._end:
            self.stop(f"the deadline of {self._config.deadline:g} s passed")
        self._refresh(now)

    def _receive(self, messages: list[Message]) -> None:
        now = time.monotonic()
        for message in messages:
            if isinstance(message, Report):
                self._ended_attempt(message, now)
            elif isinstance(message, Brought):
                self._ended_batch(message, now)
            elif isinstance(message, Progress):
                self._progressed(message)
            elif isinstance(message, Sharing):
                self._scheduler.share(message, now)
            elif isinstance(message, Notice):
                self._emit(replace(message, message=redact(message.message)))
            else:
                self._emit(message)

    def _progressed(self, progress: Progress) -> None:
        self._ledger.note_progress(progress)
        self._emit(progress)

    def _ended_attempt(self, report: Report, now: float) -> None:
        task, attempt, frees, unstarted = report
        self.summary.received += attempt.received
        if self._crew is not None and attempt.failure is None:
            in_use = self._scheduler.active if self._is_short else 0
            self._crew.note(now, attempt.seconds, attempt.received, in_use)
        if self._following:
            self._tell_next(report)
        if unstarted:  # first, so that a host that is given up takes them along
            self._scheduler.give_back(unstarted, now)
        self._take_step(self._scheduler.settle(task, attempt, now, frees=frees), attempt)

    def _ended_batch(self, batch: Brought, now: float) -> None:
        """Settle files that were all there is to tell of, with one look at what they have in common."""
        tasks, files = batch
        seconds = [file[0] for file in files]
        received = [file[2] for file in files]
        in_use = self._scheduler.active if self._is_short else 0
        if self._following or not self._scheduler.settle_whole(tasks[0].origin, seconds, received, now):
            last = len(tasks) - 1
            for i, (task, file) in enumerate(zip(tasks, files, strict=True)):
                self._ended_attempt(Report(task, unpack_whole(file, task), i == last), now)
            return
        if self._crew is not None:
            self._crew.note_all(now, seconds, received, in_use)
        self.summary.received += sum(received)
        self.summary.count_fetched(received)
        self._ledger.add(map(fetched_whole, tasks, files, repeat(now)), now)

    def _take_step(self, step: Step, attempt: Attempt) -> None:
        if isinstance(step, Ended):
            self._ended(step, step.by or attempt)
        elif isinstance(step, Moved):
            self._moved(step, attempt)
        elif isinstance(step, Requeued):
            self._requeued(step, step.by or attempt)
        else:
            self._ended_range(step)
        if step.cooldown:
            self._cooling(step.cooldown, attempt)
        for other, refusal in step.dropped:
            self._fail(other, refusal)

    def _requeued(self, step: Requeued, attempt: Attempt) -> None:
        task, failure = step.task, redacted(step.failure)
        self.summary.retries += 1
        part = task.share.part if task.share else task.part
        self._ledger.keep_part(task.key, part)
        shown = (task.path, redact_url(attempt.url), attempt.number, step.delay, part.offset)
        self._emit(events.Retrying(task.key, *shown, failure, goes_on=task.share is not None))
        self._ledger.note_attempt(tell_requeued(step, attempt))

    def _cooling(self, seconds: float, attempt: Attempt) -> None:
        reason = redacted(attempt.failure).message if attempt.failure else "its limit is reached"
        self._emit(events.Cooling(str(origin_of(attempt.url)), seconds, reason))

    def _moved(self, step: Moved, attempt: Attempt) -> None:
        task, location = step.task, step.location
        refreshed = task.refreshed or attempt.refreshed
        shown = redact_url(hide_query(location) if refreshed else location)
        self._emit(events.Redirected(task.path, redact_url(attempt.url), shown))
        self._ledger.note_attempt(tell_moved(task, attempt, shown))
        moved = task._replace(
            url=location, origin=origin_of(location), hops=attempt.hops, refreshed=refreshed
        )
        self._add(moved._replace(came_from_public=attempt.came_from_public), time.monotonic())

    def _ended(self, step: Ended, attempt: Attempt) -> None:
        task = step.task
        if (row := tell_ended(step, attempt)) is not None:
            self._ledger.note_attempt(row)
        if attempt.done is not None:
            self._settle(fetched(task, attempt, attempt.done, time.monotonic()))
        elif step.failure is not None and (step.failure.kind == "stopped" or step.failure.fatal):
            self._ledger.keep_part(task.key, task.part)
            self._ledger.put_back([task])
            if step.failure.fatal:
                self.stop(step.failure.message)
        elif step.failure is not None:
            self._ledger.keep_part(task.key, task.part)
            self._fail(task, step.failure, attempt)
            if step.failure.kind == "login":
                self._tell_login(task)

    def _tell_login(self, task: Task) -> None:
        """Say once what every entry would say."""
        if not self._told_login:
            self._told_login = True
            text = "the network wants a login before it lets requests through; log in, then run this again"
            self._emit(events.Notice(f"{task.origin} answers 511: {text}", "error"))

    def _ended_range(self, step: Partial) -> None:
        if step.failure is None:
            return
        self._ledger.keep_part(step.task.key, step.part)
        if step.failure.fatal:
            self.stop(step.failure.message)

    # -- outcomes --------------------------------------------------------------------------------

    def _fail(self, task: Task, failure: Failure, attempt: Attempt | None = None) -> None:
        self._settle(failed(task, failure, attempt, time.monotonic()))

    def _settle(self, outcome: Outcome) -> None:
        self._ledger.add([outcome], time.monotonic())
        self.summary.count(outcome)
        if outcome.failure is not None:
            self._check_failures()

    def _check_failures(self) -> None:
        most, percent = self._config.max_failures, self._config.max_failures_percent
        failed, finished = self.summary.failed, self.summary.finished
        if most is not None and failed > most:
            self.stop(f"more than {most} entries failed")
        elif percent is not None and finished >= _PERCENT_FROM and failed * 100 > percent * finished:
            self.stop(f"more than {percent:g} % of the entries failed")

    def _flush(self, *, now: bool = False) -> Iterator[Outcome]:
        """Write what has been settled, then tell it."""
        if self._rejected:
            told, self._rejected = self._rejected, []
            yield from told
        if now or self._ledger.is_due(time.monotonic()) or not self._scheduler.active:
            yield from self._write()
        else:
            self._ledger.commit()

    def _write(self) -> list[Outcome]:
        """Put what there is to keep into the journal; returns the outcomes told."""
        try:
            outcomes = self._ledger.write()
        except DiskFailed:
            for outcome in self._ledger.give_up():  # the next run finds their files and tells them
                self.summary.count(outcome, -1)
            raise
        if outcomes:
            self._tell_ends(outcomes)
        return outcomes

    # -- ends ------------------------------------------------------------------------------------

    def _is_complete(self) -> bool:
        scheduler = self._scheduler
        waiting = (
            scheduler.queued or scheduler.active or len(self._backlog) or len(self._ledger) or self._rejected
        )
        return self._intake.is_done and not waiting

    def _wind_up(self, started: float) -> None:
        """Keep what there is to keep; each step even where one before it fails."""
        try:
            self._let_go()
        finally:
            try:
                self._write()
            finally:
                self._backlog.close()
                self.summary.seconds = time.monotonic() - started

    def _let_go(self) -> None:
        """Wait a moment for the attempts under way: the watchdog shuts their sockets."""
        self._engine.let_go()
        end = time.monotonic() + _LET_GO
        while self._scheduler.active and (left := end - time.monotonic()) > 0:
            self._receive(self.inbox.take(left))
        self._ledger.put_back(self._scheduler.drain())
        for origin in self._backlog.origins():
            while tasks := self._backlog.take(origin, _REFILL):
                self._ledger.put_back(tasks)
