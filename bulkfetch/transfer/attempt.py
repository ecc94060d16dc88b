"""The sequence of one attempt; every error becomes a value here."""

from __future__ import annotations

import time

from bulkfetch import errors
from bulkfetch.exchange import Reply
from bulkfetch.models import Action, Attempt, BodyPlan, Done, Failure, Head, Task
from bulkfetch.resume import plan_body, plan_condition
from bulkfetch.retry import refuse_status
from bulkfetch.safetext import hide_query
from bulkfetch.transfer.body import Body
from bulkfetch.transfer.checks import check_replacing, check_room, check_size
from bulkfetch.transfer.context import Context
from bulkfetch.transfer.existing import judge_existing
from bulkfetch.transfer.held import own
from bulkfetch.transfer.ranges import Ranges
from bulkfetch.transfer.renewing import renew
from bulkfetch.transfer.sending import judge_repeat
from bulkfetch.transfer.telling import tell_exchanges
from bulkfetch.transfer.trail import Trail
from bulkfetch.transfer.whole import store_whole
from bulkfetch.watchdog import NEVER
from bulkfetch.wire import Lane

_new = tuple.__new__  # one for every file, made in a quarter of the time


def begin(task: Task, context: Context) -> None:
    """Start an attempt; raises `Stopped`."""
    lease = context.lease
    lease.min_speed = context.policies.for_url(task.url).min_speed
    lease.wants_fresh = task.stale > 0
    lease.begin(task.deadline or NEVER, task.path, task.url)
    if context.stop.is_set():
        raise errors.Stopped("the run was stopped")


def run_attempt(task: Task, context: Context, lane: Lane | None = None) -> Attempt:
    """Make one attempt at `task`; every error becomes the attempt's failure.

    `lane` has begun it: its answer was looked at, and waits to be opened.
    """
    started = time.monotonic() if lane is None else lane.started
    done: Done | None = None
    redirect: str | None = None
    failure: Failure | None = None
    lease = context.lease
    trail, body, ranges = Trail(task, context, lane), Body(task, context), Ranges(task, context)
    try:
        if lane is None:
            begin(task, context)
        if (task.check or task.held) and not task.share:
            judged = judge_existing(task, context)
            if isinstance(judged, Done):
                done = judged
            else:
                task = judged
                trail, body, ranges = Trail(task, context), Body(task, context), Ranges(task, context)
        if done is None:
            redirect, done = _fetch(task, context, trail, body, ranges)
    except Exception as exc:  # noqa: BLE001 - the worker's border: a bug fails one entry, not the run
        failure = judge_repeat(body.keep_or_discard(errors.to_failure(exc)), task, context)
    finally:
        lease.end()
        if lease.traced:
            tell_exchanges(task, context)
    share = ranges.share
    if share is not None:
        ranges.end(failure, body.left)
    reused = failure is not None and failure.kind == "reset" and failure.retryable and lease.reused
    has_credentials = failure is not None and failure.kind == "auth" and trail.has_own_credentials()
    return _new(Attempt, (
        task.attempt, body.received + ranges.received, time.monotonic() - started, failure, redirect, done,
        share.part if share else body.left, reused, hide_query(trail.url) if task.refreshed else trail.url,
        trail.hops, trail.is_public, trail.is_renewed, started, trail.rate_limit, trail.crawl_delay,
        has_credentials,
    ))  # fmt: skip


def _fetch(
    task: Task, context: Context, trail: Trail, body: Body, ranges: Ranges
) -> tuple[str | None, Done | None]:
    """Return where another origin has the file, or the file done."""
    if (task.part.token or task.share) and ranges.reopen(body.new_digests):
        return _fetch_range(task, context, trail, body, ranges)
    asked = body.adopt() if task.part.token else ()
    condition = plan_condition(task.held, asked_range=bool(asked)) if task.held else ()
    while True:
        reply = trail.follow(asked, condition)
        if isinstance(reply, str):
            body.put_away()
            return reply, None
        try:
            done = None if asked or condition else store_whole(task, context, reply, trail.url, body.asked)
            if done is not None:
                body.received = done.size
                return None, done
            plan = _plan(task, context, body, reply, trail, asked_range=bool(asked))
            if plan.action is Action.UNCHANGED:
                return None, body.confirm(own(reply.head, task, trail.url))
            is_shared = ranges.begin(body, reply.head, plan, trail)
            if is_shared:
                ranges.receive(reply)
            else:
                body.receive(reply, plan)
        except errors.TransferError as exc:
            reply.close()
            return _renewed(exc, task, context, trail, body), None
        finally:
            reply.close()
        if is_shared:
            return None, ranges.finish(body)
        asked, condition = body.ask_on(plan), ()
        if not asked:
            return None, body.finish(own(reply.head, task, trail.url), plan)


def _renewed(exc: errors.TransferError, task: Task, context: Context, trail: Trail, body: Body) -> str:
    """Return the new link in place of one that has expired, or raise the refusal again."""
    new = renew(task, context, exc)
    if new is None:
        raise exc
    body.put_away()
    trail.is_renewed = True
    return new


def _fetch_range(
    task: Task, context: Context, trail: Trail, body: Body, ranges: Ranges
) -> tuple[str | None, Done | None]:
    """Bring one range of a file; returns where another origin has it, or the file where it is whole now."""
    asked = ranges.ask()
    if not asked:  # others are at work on all there is
        return None, None
    reply = trail.follow(asked)
    if isinstance(reply, str):
        ranges.check_moved()
        return reply, None
    try:
        ranges.accept(reply, trail)
        ranges.receive(reply)
    except errors.TransferError as exc:
        reply.close()
        if ranges.is_announced:  # others ask for the same link
            raise
        return _renewed(exc, task, context, trail, body), None
    finally:
        reply.close()
    return None, ranges.finish(body)


def _plan(
    task: Task, context: Context, body: Body, reply: Reply, trail: Trail, *, asked_range: bool
) -> BodyPlan:
    """Decide where the body goes, before anything stored is touched."""
    head: Head = reply.head
    policy = context.policies.for_url(task.url)
    refused = refuse_status(head, policy.retry_statuses)
    if refused is not None:
        raise refused
    plan = plan_body(body.left, head, asked_range=asked_range, asked_change=trail.asked_change)
    if plan.action is Action.UNCHANGED:
        return plan
    body.expect(plan)
    if plan.size is not None:
        check_size(plan.size, task.entry, policy)
        check_replacing(plan.size, task, context.store)
        check_room(plan.size - body.left.offset, task, context.store)
    return plan
