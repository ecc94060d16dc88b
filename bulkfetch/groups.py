"""The attempts at ranges of one file, as the scheduler sees them: it has one outcome, when all have ended."""

from __future__ import annotations

from bulkfetch.models import NO_PART, Attempt, Failure, PartInfo, Shared, Task
from bulkfetch.retry import MOST_STALE, RetryPolicy, count_failure

_UNFINISHED = Failure("range", "the ranges of the file do not fit together", retryable=True)


class Group:
    """What has become of a file that several tasks fetch."""

    __slots__ = ("_decisive", "attempts", "received", "share", "tasks")

    def __init__(self, share: Shared, tasks: int, received: int) -> None:
        self.share = share
        self.tasks = tasks  # queued, waiting or under way
        self.received = received  # body bytes of all attempts
        self.attempts = 1  # number of the highest attempt at any range
        self._decisive: tuple[Task, Attempt] | None = None

    def count(self, attempt: Attempt) -> None:
        """Count an attempt that has ended."""
        self.received += attempt.received
        self.attempts = max(self.attempts, attempt.number)

    def next_task(self, task: Task, attempt: Attempt, policy: RetryPolicy) -> Task | None:
        """Return the task that takes the place of `task` after an attempt; None: there is to be none."""
        task = as_range(task, self.share)
        if self.share.is_over:
            return None
        if attempt.failure is None:
            return task if self.share.wants_more else None
        if is_stale(task, attempt):
            return task._replace(stale=task.stale + 1)
        own = attempt._replace(part=PartInfo(attempt.received))  # its progress, not that of the others
        if attempt.failure.kind == "range" or not policy.may_retry(task, own):
            return None
        return count_failure(task, own)._replace(part=NO_PART)

    def note(self, task: Task, attempt: Attempt) -> None:
        """Remember an attempt that no other follows, if it says more of the file than those before."""
        if attempt.done is None and attempt.failure is None:
            return
        if self._decisive is None or _weight(attempt) >= _weight(self._decisive[1]):
            self._decisive = task, attempt

    def conclude(self, task: Task) -> tuple[Task, Attempt]:
        """Return the task and the attempt that decide what becomes of the file."""
        decided, attempt = self._decisive or (task, Attempt(self.attempts, failure=_UNFINISHED))
        part = self.share.part
        task = decided._replace(share=None, part=part, received=self.received)
        return task, attempt._replace(number=self.attempts, received=0, part=part)


def as_range(task: Task, share: Shared) -> Task:
    """Return the task that fetches a range of the file `task` was for."""
    if task.share is share:
        return task
    again = task._replace(share=share, url=share.url, part=NO_PART, check=None)
    again = again._replace(hops=share.hops, came_from_public=share.came_from_public)
    return again._replace(attempt=1, failures=0, stale=0, received=0)


def is_stale(task: Task, attempt: Attempt) -> bool:
    """Say whether only a connection had gone stale: that is a race, and nobody's failure."""
    return attempt.failure is not None and attempt.reused and task.stale < MOST_STALE


def _weight(attempt: Attempt) -> int:
    """Return how much an attempt says of the whole file."""
    failure = attempt.failure
    if attempt.done is not None:
        return 5
    assert failure is not None  # note has looked
    if failure.fatal or failure.kind == "stopped":
        return 4
    if failure.kind in ("digest", "size"):
        return 3
    return 2 if failure.kind == "range" else 1
