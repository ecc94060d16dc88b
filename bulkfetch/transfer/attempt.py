"""The sequence of one attempt; every error becomes a value here."""

from __future__ import annotations

import time

from bulkfetch import errors
from bulkfetch.exchange import Reply
from bulkfetch.models import Attempt, BodyPlan, Done, Failure, Head, Task
from bulkfetch.resume import plan_body
from bulkfetch.retry import refuse_status
from bulkfetch.transfer.body import Body
from bulkfetch.transfer.checks import check_replacing, check_room, check_size
from bulkfetch.transfer.context import Context
from bulkfetch.transfer.existing import judge_existing
from bulkfetch.transfer.trail import Trail


def run_attempt(task: Task, context: Context) -> Attempt:
    """Make one attempt at `task`; every error becomes the attempt's failure."""
    started = time.monotonic()
    done: Done | None = None
    redirect: str | None = None
    failure: Failure | None = None
    lease = context.lease
    trail, body = Trail(task, context), Body(task, context)
    lease.begin(task.deadline or float("inf"))
    try:
        if context.stop.is_set():
            raise errors.Stopped("the run was stopped")
        done = judge_existing(task, context) if task.check else None
        if done is None:
            redirect, done = _fetch(task, context, trail, body)
    except Exception as exc:  # noqa: BLE001 - the worker's border: a bug fails one entry, not the run
        failure = body.keep_or_discard(errors.to_failure(exc))
    finally:
        lease.end()
    return Attempt(
        number=task.attempt,
        received=body.received,
        seconds=time.monotonic() - started,
        failure=failure,
        redirect=redirect,
        done=done,
        part=body.left,
        reused=failure is not None and failure.kind == "reset" and lease.reused,
        url=trail.url,
        hops=trail.hops,
        came_from_public=trail.is_public,
        started=started,
        rate_limit=trail.rate_limit,
        crawl_delay=trail.crawl_delay,
    )


def _fetch(task: Task, context: Context, trail: Trail, body: Body) -> tuple[str | None, Done | None]:
    """Return where another origin has the file, or the file done."""
    asked = body.adopt()
    reply = trail.follow(asked)
    if isinstance(reply, str):
        body.put_away()
        return reply, None
    try:
        plan = _plan(task, context, body, reply, asked_range=bool(asked))
        body.receive(reply, plan)
    finally:
        reply.close()
    return None, body.finish(reply.head, plan)


def _plan(task: Task, context: Context, body: Body, reply: Reply, *, asked_range: bool) -> BodyPlan:
    """Decide where the body goes, before anything stored is touched."""
    head: Head = reply.head
    policy = context.policies.for_url(task.url)
    refused = refuse_status(head, policy.retry_statuses)
    if refused is not None:
        raise refused
    plan = plan_body(body.left, head, asked_range=asked_range)
    body.expect(plan)
    if plan.size is not None:
        check_size(plan.size, task.entry, policy)
        check_replacing(plan.size, task, context.store)
        check_room(plan.size - body.left.offset, task, context.store)
    return plan
