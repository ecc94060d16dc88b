"""Small files in processes of their own, which do not wait for one another's interpreter lock."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bulkfetch.config import AUTO, FetchConfig
from bulkfetch.engine.base import TellAny
from bulkfetch.engine.threads import ThreadEngine
from bulkfetch.exchange import Exchange
from bulkfetch.fresh import is_fresh
from bulkfetch.models import Origin, Task
from bulkfetch.policy import Policies

if TYPE_CHECKING:
    from bulkfetch.engine.process import Process

_MOST = 3  # processes that one coordinator keeps busy
_WORTH = 2000  # tasks that must be waiting for further processes to pay for their start
_LEAST_EACH = 2  # batches at work in a process: one answer that is slow holds up no other
_MOST_SERVED = 4096  # origins that are remembered
_HELLO_SECONDS = 10.0


def count_processes(config: FetchConfig, policies: Policies) -> int:
    """Return how many processes may serve a run besides this one.

    None where what holds for a host, or what a run must count or show, would have to be shared with them.
    """
    is_alone = config.limit_rate is not None or config.trace or config.refresh_url is not None
    can_start = os.name == "posix" and sys.executable and not hasattr(sys, "frozen")
    if is_alone or not policies.is_uniform or not can_start:
        return 0
    if config.processes != AUTO:
        return int(config.processes)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST, cores) if cores > 1 and config.most_jobs > _LEAST_EACH else 0


class ProcessEngine:
    """Hands batches of small, plain files to processes, and everything else to the threads of this one.

    Args:
        most: processes, at most.
        threads: serves until the processes pay, and what they cannot do.
        config: how the run behaves; its `dest` is absolute.
        exchange: the run's own: what it has learnt of hosts decides what processes may ask for.
        tell: takes the end of attempts and of whole batches, from any thread.
        emit: takes what attempts say meanwhile, from any thread.
    """

    def __init__(
        self,
        most: int,
        threads: ThreadEngine,
        config: FetchConfig,
        exchange: Exchange,
        tell: TellAny,
        emit: Callable[[Any], None],
    ) -> None:
        self._most = most
        self._threads = threads
        self._are_shared = most <= config.most_per_host  # else each host keeps to one process
        jobs = max(_LEAST_EACH, config.most_jobs // most)
        per_host = config.most_per_host // (most if self._are_shared else 1)
        self._config = replace(config, jobs=jobs, per_host=per_host, segments=1)
        self._is_asked = config.processes != AUTO
        self._exchange = exchange
        self._tell = tell
        self._emit = emit
        self._owner = os.getpid()
        self._crew: list[Process] = []
        self._is_worth_it = self._is_asked
        # Origins that stay with the processes, whose idle connections would come on top of the threads'.
        self._served: set[Origin] = set()
        self._has_segments = config.segments != 1
        self._has_use = False  # the last batch was one that a process could have taken
        self._is_over = False  # no process is started any more

    def submit(self, batch: Sequence[Task], *, at_once: bool = False) -> None:
        """Start the attempts as soon as a worker is free; one that fails ends its batch."""
        self._has_use = False
        origin = batch[0].origin
        process = self._choose(batch) if at_once or origin in self._served else None
        if process is None or not process.send(batch):
            self._threads.submit(batch)
            return
        if len(self._served) >= _MOST_SERVED:
            self._served.clear()
        self._served.add(origin)

    def most_small(self, now: float, waiting: int) -> int:
        """Return what the processes that are there can take, else what the threads can."""
        for process in self._crew:
            process.look(now)
        limits = [process.limit for process in self._crew if process.is_ready]
        if limits:
            return sum(limits)
        few = self._threads.most_small(now, waiting)
        self._is_worth_it = self._is_asked or (self._threads.is_working and waiting >= _WORTH)
        if self._has_use:  # not only with the next batch: every worker has just begun one
            self._start_if_worth()
        return few

    def let_go(self) -> None:
        """Have the attempts under way in other processes cut."""
        self._is_over = True
        for process in self._crew:
            process.stop()

    def close(self, seconds: float) -> bool:
        """End every worker after its present batch."""
        if os.getpid() != self._owner:  # a forked child: they are its parent's (fault K11)
            return True
        end = time.monotonic() + seconds
        self.let_go()
        have_ended = self._threads.close(seconds)
        for process in self._crew:
            have_ended &= process.close(end - time.monotonic())
        return have_ended

    def _choose(self, batch: Sequence[Task]) -> Process | None:
        first = batch[0]
        may_be_large = self._has_segments and len(batch) == 1
        if may_be_large or not self._exchange.is_bare(first.origin, first.url):
            return None
        if not all(map(is_fresh, batch)):
            return None
        self._has_use = True
        self._start_if_worth()
        crew = self._crew
        if crew and not self._are_shared:  # idle connections count too
            crew = [crew[hash(first.origin) % len(crew)]]
        ready = [process for process in crew if process.is_ready]
        if not ready:
            return None
        self._exchange.drop_idle(first.origin)  # or the host would see theirs and ours
        return min(ready, key=lambda process: process.busy)

    def _start_if_worth(self) -> None:
        if self._is_worth_it and not self._crew and not self._is_over:
            self._start()

    def _start(self) -> None:
        from bulkfetch.engine.process import Process  # most runs need none

        try:
            for _ in range(self._most):
                self._crew.append(Process(self._config, self._tell, self._emit, self._exchange.keep_cookies))
        except OSError:  # the system allows no more of them: what there is will do
            self._is_over = True
        if self._is_asked:
            for process in self._crew:
                process.wait(_HELLO_SECONDS)
