"""Whether, and after how long, a failed attempt is followed by another."""

from __future__ import annotations

from typing import NamedTuple

from bulkfetch.errors import (
    LoginWanted,
    NotAuthorised,
    NotFound,
    ProtocolViolation,
    ServerBusy,
    ServerFailed,
    StatusRefused,
    TransferError,
)
from bulkfetch.models import NO_PART, Attempt, Head, Task

BUSY = frozenset({429, 503})
PASSING = frozenset({408, 425, 500, 502, 504, 522, 524})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RESTARTING = frozenset({"range", "digest", "decode"})  # the stored bytes are of no use
REAL_PROGRESS = 32 * 1024  # bytes an attempt must add before earlier failures are forgiven (fault T11)
MOST_ATTEMPTS = 100  # however much each of them brings
MOST_STALE = 3  # free retries after stale keep-alive connections
MOST_RESTARTS = 2  # times stored bytes are thrown away because the answers do not fit them


class RetryPolicy(NamedTuple):
    """How patiently a task is tried again."""

    retries: int = 5  # further attempts after the first
    backoff: float = 1.0  # seconds; base of the exponential
    cap: float = 60.0  # seconds; longest back-off
    max_wait: float = 3600.0  # seconds; longest Retry-After obeyed

    def delay(self, failures: int, chance: float) -> float:
        """Return the full-jitter back-off in seconds after `failures` (>= 1); `chance` is in [0, 1)."""
        exponent = min(failures - 1, 30)
        return chance * min(self.cap, self.backoff * float(2**exponent))

    def may_retry(self, task: Task, attempt: Attempt) -> bool:
        """Say whether `task` deserves another attempt after `attempt` failed."""
        failure = attempt.failure
        if failure is None or not failure.retryable or attempt.number >= MOST_ATTEMPTS:
            return False
        if failure.kind in ("digest", "decode") and task.restarts >= 1:
            return False  # wrong bytes twice are the server's last word
        if failure.kind == "range":
            return task.restarts < MOST_RESTARTS
        if self.retries < 1:
            return False
        if failure.kind == "not-http":
            return task.failures < 1
        return has_progressed(task, attempt) or task.failures < self.retries


def has_progressed(task: Task, attempt: Attempt) -> bool:
    """Say whether the attempt added enough bytes, and kept them, to forgive earlier failures."""
    return attempt.part.offset - task.part.offset >= REAL_PROGRESS


def count_failure(task: Task, attempt: Attempt) -> Task:
    """Return the task as its next attempt needs it after `attempt` failed."""
    restarting = attempt.failure is not None and attempt.failure.kind in _RESTARTING
    return task._replace(
        attempt=attempt.number + 1,
        failures=1 if has_progressed(task, attempt) else task.failures + 1,
        restarts=task.restarts + restarting,
        part=NO_PART if restarting else attempt.part,
        received=task.received + attempt.received,
    )


def refuse_status(head: Head, retried: frozenset[int] | None = None) -> TransferError | None:
    """Return the error a status stands for; None when `resume.plan_body` or a redirect decides.

    Args:
        head: of the answer.
        retried: the statuses worth another attempt; None: the usual ones.
    """
    status = head.status
    if status in (200, 204, 205, 206, 304, 416) or status in REDIRECTS:
        return None
    text = f"the server answered {status} {head.reason}".rstrip()
    if retried is not None and (status in retried) != (status in BUSY or status in PASSING):
        kind = ServerFailed if status in retried else StatusRefused
        return kind(text, status_code=status, retry_after=head.retry_after)
    if status in BUSY:
        return ServerBusy(text, status_code=status, retry_after=head.retry_after)
    if status in PASSING:
        return ServerFailed(text, status_code=status, retry_after=head.retry_after)
    if status in (404, 410):
        return NotFound(text, status_code=status)
    if status == 511:
        return LoginWanted("the network wants a login before it lets requests through", status_code=status)
    if status in (401, 403, 407):
        return NotAuthorised(text, status_code=status)
    if 200 <= status < 600:
        return StatusRefused(text, status_code=status)
    return ProtocolViolation(text, status_code=status)
