"""The attempts of one batch, one after another; most bring a small file, and go the shortest way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from bulkfetch import errors
from bulkfetch.fresh import is_fresh, whole_attempt
from bulkfetch.models import Attempt, Done, Failure, Task
from bulkfetch.transfer.attempt import begin, run_attempt
from bulkfetch.transfer.context import Context
from bulkfetch.transfer.whole import may_store, store
from bulkfetch.wire import Lane


def run_attempts(batch: Sequence[Task], context: Context) -> Iterator[Attempt]:
    """Make one attempt at each task of one origin, when it is asked for; every error becomes a failure."""
    lane = context.exchange.lane(batch[0].origin, context.lease)
    try:
        for task, following in zip_longest(batch, batch[1:]):
            if lane.ahead or _is_short(task, context):
                attempt = _go(task, following, lane, context)
            else:
                lane.close()
                attempt = run_attempt(task, context)
            if following is None or attempt.failure is not None:
                lane.close()  # before another worker hears that the slot is free
            yield attempt
    finally:
        lane.close()


def _is_short(task: Task, context: Context) -> bool:
    """Say whether nothing but a plain GET is to be done for a task, and nobody looks on."""
    config = context.config
    if config.headers or config.fsync or context.gate is not None or context.lease.traced:
        return False
    try:
        return is_fresh(task) and context.exchange.is_direct(task.origin, task.url)
    except errors.BulkfetchError:  # told when it is the task's turn
        return False


def _go(task: Task, following: Task | None, lane: Lane, context: Context) -> Attempt:
    """Make one attempt; the request of the task that follows may be sent before the file is stored."""
    done: Done | None = None
    failure: Failure | None = None
    lane.started = time.monotonic()
    try:
        begin(task, context)
        lane.ask(task.url)
        done = _store(task, following, lane, context)
    except Exception as exc:  # noqa: BLE001 - the worker's border, as in `run_attempt`
        failure = errors.to_failure(exc)
    if failure is None and done is None:
        return run_attempt(task, context, lane)
    context.lease.end()
    seconds = time.monotonic() - lane.started
    if done is None:
        return Attempt(task.attempt, 0, seconds, failure, url=task.url, started=lane.started)
    return whole_attempt(task, done, seconds, lane.started)


def _store(task: Task, following: Task | None, lane: Lane, context: Context) -> Done | None:
    """Make a file of the answer; None, with nothing stored, where that takes the long way."""
    found = lane.look()
    if found is None:
        return None
    head, data = found
    if not may_store(task, head, len(data), context):
        return None
    may_go_on = following is not None and context.store.can_put(task.path) and _is_short(following, context)
    lane.go_on(following.url if following is not None and may_go_on else "")
    return store(task, head, data, time.time() - (time.monotonic() - lane.started), context)
