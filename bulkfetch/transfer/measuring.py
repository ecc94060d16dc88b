"""How large a file is by what its server says to a HEAD; nothing is stored."""

from __future__ import annotations

import time

from bulkfetch import errors
from bulkfetch.models import Attempt, Done, Failure, Head, Request, Task
from bulkfetch.retry import refuse_status
from bulkfetch.transfer.context import Context
from bulkfetch.transfer.trail import Trail

HEAD = Request("HEAD")


def measure(task: Task, context: Context) -> Attempt:
    """Make one attempt at asking for the size of `task`, whose entry's request is `HEAD`."""
    started = time.monotonic()
    done: Done | None = None
    redirect: str | None = None
    failure: Failure | None = None
    lease = context.lease
    trail = Trail(task, context)
    lease.begin(task.deadline or float("inf"))
    try:
        reply = trail.follow(())
        if isinstance(reply, str):
            redirect = reply
        else:
            reply.close()
            done = Done(_size(reply.head, context.policies.for_url(task.url).retry_statuses), "")
    except Exception as exc:  # noqa: BLE001 - the worker's border, as in `run_attempt`
        failure = errors.to_failure(exc)
    finally:
        lease.end()
    return Attempt(
        task.attempt, failure=failure, redirect=redirect, done=done, url=trail.url, hops=trail.hops,
        came_from_public=trail.is_public, started=started, rate_limit=trail.rate_limit,
        crawl_delay=trail.crawl_delay,
    )  # fmt: skip


def _size(head: Head, retried: frozenset[int] | None) -> int:
    refused = refuse_status(head, retried)
    if refused is not None:
        raise refused
    if head.status != 200 or head.length is None or head.codings:
        raise errors.StatusRefused("the server does not say")
    return head.length
