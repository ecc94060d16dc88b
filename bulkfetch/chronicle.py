"""What the journal is told of an attempt, for `explain`."""

from __future__ import annotations

from bulkfetch.journal import AttemptRow
from bulkfetch.models import Attempt, Failure, Task
from bulkfetch.scheduler import Ended, Requeued
from bulkfetch.urls import origin_of


def tell_requeued(step: Requeued, attempt: Attempt) -> AttemptRow:
    """Tell of an attempt that failed and is followed by another."""
    return _row(step.task, attempt, _failed(step.failure), step.delay, _why(step, attempt))


def tell_moved(task: Task, attempt: Attempt, location: str) -> AttemptRow:
    """Tell of an attempt that goes on under another URL, given as it may be shown."""
    told = "a new link was given" if attempt.refreshed else "redirected"
    return _row(task, attempt, f"{told}: {location}", 0.0, "it goes on there")


def tell_ended(step: Ended, attempt: Attempt) -> AttemptRow | None:
    """Tell of the last attempt, unless the entry's own record has all there is to tell."""
    task = step.task
    if attempt.number == 1 and not (task.hops or task.stale):
        return None
    kept = attempt.done.kept if attempt.done else ""
    return _row(task, attempt, _failed(step.failure) if step.failure else kept or "fetched")


def _row(task: Task, attempt: Attempt, what: str, wait: float | None = None, why: str = "") -> AttemptRow:
    received, seconds = attempt.received, attempt.seconds
    return AttemptRow(task.key, attempt.number, attempt.url, what, received, seconds, wait, why)


def _failed(failure: Failure) -> str:
    return f"failed, {failure.kind}: {failure.message}"


def _why(step: Requeued, attempt: Attempt) -> str:
    """Say why the next attempt comes when it comes."""
    if step.task.origin != origin_of(attempt.url):
        return "the next mirror"
    if step.cooldown:
        return "the server asked for it" if step.failure.retry_after is not None else "the host is left alone"
    if attempt.reused:
        return "the connection had gone stale"
    return "back-off" if step.delay > 0 else "nothing is wrong with the host"
