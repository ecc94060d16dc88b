"""What every engine offers the coordinator."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from bulkfetch.errors import to_failure
from bulkfetch.fresh import Whole
from bulkfetch.models import Attempt, Task


class Report(NamedTuple):
    """An attempt has ended."""

    task: Task
    attempt: Attempt
    ends_batch: bool  # the worker is free again, and its slot with it
    unstarted: tuple[Task, ...] = ()  # of the same batch, handed back


class Brought(NamedTuple):
    """A batch of fresh tasks has ended: the first answer to each was its file, and that is all."""

    tasks: Sequence[Task]
    files: Sequence[Whole]


Worker = Callable[[Sequence[Task]], Iterator[Attempt]]  # makes one attempt at each, as they are asked for
Tell = Callable[[Report], None]  # called from any thread
TellAny = Callable[[Report | Brought], None]


class Engine(Protocol):
    """Runs batches of attempts, each batch on one worker, and reports every attempt, or a batch at once."""

    def submit(self, batch: Sequence[Task], *, at_once: bool = False) -> None:
        """Start the attempts as soon as a worker is free; one that fails ends its batch.

        `at_once`: they are several small files of a host that answers at once.
        """

    def most_small(self, now: float, waiting: int) -> int:
        """Return how many batches of small files that come at once are worth having under way.

        `waiting` tells how many tasks have yet to be started.
        """

    def let_go(self) -> None:
        """Tell workers who would not see it that the run stops."""

    def close(self, seconds: float) -> bool:
        """Let the workers go; False when some did not end within `seconds`."""


def one_by_one(attempt: Callable[[Task], Attempt]) -> Worker:
    """Return a worker that does nothing between two attempts."""
    return functools.partial(map, attempt)


def run_batch(batch: Sequence[Task], worker: Worker, tell: Tell) -> None:
    """Make one attempt at each task in turn.

    What follows a failure, or an answer that tells a limit, is handed back unstarted.
    """
    last = len(batch) - 1
    attempts = worker(batch)
    for i, task in enumerate(batch):
        try:
            attempt = next(attempts)
        except BaseException as exc:  # noqa: BLE001 - SystemExit and MemoryError too: the worker goes on
            # Whatever escapes an attempt must not take the task with it (fault P12).
            attempt = Attempt(task.attempt, failure=to_failure(exc), url=task.url)
        ends = i == last or attempt.failure is not None or attempt.rate_limit is not None
        tell(Report(task, attempt, ends, tuple(batch[i + 1 :]) if ends else ()))
        if ends:
            return
