"""Which task may start now: ready tasks, per-origin slots, cooldowns and the circuit breaker.

Pure: time is an argument (monotonic seconds), chance is injected, and every method returns what
must happen. One thread, the coordinator, owns the object.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple

from bulkfetch.groups import Group, as_range, is_stale
from bulkfetch.hosts import HostLimits, HostSlot
from bulkfetch.models import Attempt, Failure, Origin, PartInfo, Sharing, Task
from bulkfetch.retry import count_failure
from bulkfetch.spacing import find_next
from bulkfetch.urls import origin_of, split_userinfo

_THROTTLES = frozenset({"throttled"})
_UNREACHED = frozenset({"dns", "connect"})
_NEXT_MIRROR = frozenset({  # no retry mends these, another mirror may
    "auth", "content", "deferred", "host-down", "login", "not-found", "protocol", "redirect", "robots",
    "size", "status", "tls", "url",
})  # fmt: skip
_NEVER = float("inf")
_new = tuple.__new__  # one for every file, made in half the time
_MOST_SLOTS = 4096  # host records kept although idle

Dropped = tuple[tuple[Task, Failure], ...]  # tasks of a host that is given up, which fail with it
NOTHING_DROPPED: Dropped = ()


class Requeued(NamedTuple):
    """The task waits and will be tried again, perhaps at another mirror."""

    task: Task
    delay: float
    failure: Failure
    cooldown: float = 0.0  # seconds the whole origin that was asked waits, if it wants that
    dropped: Dropped = ()
    by: Attempt | None = None  # as in `Ended`


class Moved(NamedTuple):
    """The task goes on under another URL; the caller plans it there."""

    task: Task
    location: str
    cooldown: float = 0.0
    dropped: Dropped = ()


class Ended(NamedTuple):
    """The task is done, and is as it was handed out, or it has failed, and counts the attempt's bytes."""

    task: Task
    failure: Failure | None
    cooldown: float = 0.0
    dropped: Dropped = ()
    by: Attempt | None = None  # the one that decided, where several fetched ranges of the file


class Partial(NamedTuple):
    """A range of a file has ended; others of the same file are still to come."""

    task: Task
    part: PartInfo  # what there is of the file
    failure: Failure | None  # why no further range is asked for in its place
    cooldown: float = 0.0
    dropped: Dropped = ()


Step = Requeued | Moved | Ended | Partial


def _too_late(task: Task) -> Failure:
    return Failure("deadline", f"the entry's deadline passed while it waited for {task.origin}")


class Scheduler:
    """Admits tasks, hands out those that may start, and settles attempts.

    Args:
        limits: how an origin may be asked; looked up once for each.
        rate: requests a second over all origins; None: as they come.
        chance: random numbers in [0, 1).
    """

    def __init__(
        self,
        limits: Callable[[Origin], HostLimits],
        *,
        rate: float | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._limits = limits
        self._spacing = 1.0 / rate if rate else 0.0  # seconds between the starts of two requests
        self._not_before = 0.0  # monotonic; next start by the rate
        self._held_until: float | None = None  # `take` found tasks that wait for the rate alone
        self._chance = chance
        self._slots: dict[Origin, HostSlot] = {}
        self._ring: deque[HostSlot] = deque()  # slots that may have a task to start, longest-waiting first
        self._timers: list[tuple[float, int, HostSlot, Task | None]] = []
        self._order = count()
        self._most_slots = _MOST_SLOTS
        self._groups: dict[bytes, Group] = {}  # by key of the task
        self.queued = 0  # admitted, not running
        self.active = 0  # running

    def add(self, task: Task, now: float) -> Failure | None:
        """Admit a task; returns why it fails at once when its origin is down or deferred."""
        slot = self._slots.get(task.origin) or self._slot(task.origin, now)
        refusal = slot.refusal and slot.refused(now)
        if refusal is not None:
            moved = self._next_mirror(task, now)
            if moved is None:
                return refusal
            task = moved
            slot = self._slot(task.origin, now)
        slot.ready.append(task)
        self.queued += 1
        if not slot.in_ring:
            self._offer(slot, now)
        return None

    def take(self, now: float) -> Task | None:
        """Return a task that may start now, counted against its origin; None when none may."""
        self._wake(now)
        self._held_until = None
        while self._ring:
            if self._spacing and now < self._not_before:
                self._held_until = self._not_before
                return None
            slot = self._ring.popleft()
            slot.in_ring = False
            if not slot.can_start(now):
                self._offer(slot, now)
                continue
            task = slot.start(now, self._chance)
            if self._spacing:
                self._not_before = find_next(self._not_before, self._spacing, now, self._chance())
            self.queued -= 1
            self.active += 1
            self._offer(slot, now)
            return task
        return None

    def has_next(self) -> bool:
        """Say whether a task may start now, as far as is known."""
        return bool(self._ring)

    def take_along(self, task: Task, most: int) -> list[Task]:
        """Return up to `most` tasks that follow `task`, just taken, in the same slot; often none."""
        if self._spacing:
            return []
        batch = self._slots[task.origin].ride_along(most)
        self.queued -= len(batch)
        return batch

    def answers_at_once(self, task: Task) -> bool:
        """Say whether the host of `task`, just taken, does."""
        return self._slots[task.origin].answers_at_once

    def give_back(self, tasks: Sequence[Task], now: float) -> None:
        """Take back tasks that were not started; they are the next ones again."""
        for task in reversed(tasks):
            slot = self._slot(task.origin, now)
            slot.ready.appendleft(task)
            self._offer(slot, now)
        self.queued += len(tasks)

    def share(self, sharing: Sharing, now: float) -> None:
        """Let further ranges of a file be asked for, each as a task behind those that wait already."""
        task, share, ranges = sharing
        self._groups[task.key] = Group(share, 1 + ranges, task.received)
        self._queue(as_range(task, share), ranges, now)

    def waiting(self, origin: Origin) -> int:
        """Return how many tasks of `origin` wait in memory."""
        slot = self._slots.get(origin)
        return len(slot.ready) if slot else 0

    def expire(self, now: float) -> Dropped:
        """Remove the tasks whose deadline has passed while their host was cooled, or busy with others."""
        late = [task for slot in self._slots.values() for task in slot.pop_late(now)]
        self.queued -= len(late)
        return tuple((task, _too_late(task)) for task in late)

    def governed(self) -> list[HostSlot]:
        """Return the hosts that were not just asked as the defaults have it."""
        return [slot for slot in self._slots.values() if slot.is_governed()]

    def next_time(self) -> float | None:
        """Return the monotonic time at which something may become ready by itself."""
        times = [self._timers[0][0]] if self._timers else []
        if self._held_until is not None:
            times.append(self._held_until)
        return min(times, default=None)

    @property
    def is_held(self) -> bool:
        """Say whether tasks are ready and wait for the rate of the whole run."""
        return self._held_until is not None

    def settle(self, task: Task, attempt: Attempt, now: float, *, frees: bool = True) -> Step:
        """Take back a task after an attempt and say what becomes of it; `frees`: its slot is free again."""
        slot = self._slots.get(task.origin) or self._slot(task.origin, now)
        allowance = slot.allowance
        if allowance is None and attempt.rate_limit is not None:
            allowance = slot.keep_account(now)
        if frees:
            slot.active -= 1
            self.active -= 1
        wait = 0.0 if allowance is None else slot.account(allowance, attempt, now)
        if slot.pacer is not None and (attempt.failure is None or attempt.failure.kind not in _THROTTLES):
            slot.pacer.accept(now)
        group = self._groups.get(task.key) if self._groups else None
        if group is not None:
            step = self._settle_range(slot, group, task, attempt, now)
        elif attempt.failure is None:
            slot.succeed(attempt.seconds, attempt.received, now)
            step = self._settle_good(task, attempt)
        elif is_stale(task, attempt):  # RFC 9112 section 9.3.1: our race, not their fault
            again = task._replace(stale=task.stale + 1, part=attempt.part)
            step = self._requeue(again, attempt.failure, 0.0, now)
        else:
            step = self._settle_failed(slot, task, attempt, now)
        if attempt.crawl_delay is not None:
            slot.obey(attempt.crawl_delay, now)
        if allowance is not None or attempt.crawl_delay is not None:
            step = self._hold_back(slot, step, wait, now)
        if not slot.in_ring:
            self._offer(slot, now)
        return step

    def settle_whole(
        self, origin: Origin, seconds: Sequence[float], received: Sequence[int], now: float
    ) -> bool:
        """Take back a batch all of whose files came whole; False: each must be settled by itself.

        Args:
            origin: of them all.
            seconds: what each took.
            received: bytes of each.
            now: monotonic time.
        """
        slot = self._slots.get(origin)
        if slot is None or slot.allowance is not None or slot.pacer is not None or self._groups:
            return False
        slot.succeed_all(seconds[:-1], received[:-1], now)  # the connection was in use up to the last one
        slot.active -= 1
        self.active -= 1
        slot.succeed(seconds[-1], received[-1], now)
        if not slot.in_ring:
            self._offer(slot, now)
        return True

    def drain(self) -> list[Task]:
        """Remove and return every task that has not been started."""
        tasks = [task for _, _, _, task in self._timers if task is not None]
        self._timers.clear()
        self._held_until = None
        for slot in self._slots.values():
            tasks.extend(slot.ready)
            slot.ready.clear()
            slot.delayed = 0
            slot.has_timer = False
        self.queued = 0
        return tasks

    def _hold_back(self, slot: HostSlot, step: Step, wait: float, now: float) -> Step:
        """Tell that a host allows no more for a while; where that is too long, its queue fails."""
        if slot.refused(now) is not None:
            return step._replace(dropped=(*step.dropped, *self._drop_all(slot, now)))
        return step._replace(cooldown=max(step.cooldown, wait)) if wait else step

    def _settle_good(self, task: Task, attempt: Attempt) -> Step:
        if attempt.redirect is not None:
            return Moved(self._count(task, attempt), attempt.redirect)
        return _new(Ended, (task, None, 0.0, NOTHING_DROPPED, None))

    # -- ranges of one file ----------------------------------------------------------------------

    def _queue(self, task: Task, times: int, now: float) -> None:
        slot = self._slot(task.origin, now)
        slot.ready.extend([task] * times)
        self.queued += times
        self._offer(slot, now)

    def _settle_range(self, slot: HostSlot, group: Group, task: Task, attempt: Attempt, now: float) -> Step:
        """Settle one of the attempts at a file; the last of them settles the file."""
        group.count(attempt)
        cooldown, dropped = 0.0, NOTHING_DROPPED
        if attempt.failure is not None and not is_stale(task, attempt):
            cooldown = self._judge_host(slot, attempt, now)
            dropped = self._drop_all(slot, now)
        elif attempt.received:
            slot.succeed(attempt.seconds, attempt.received, now)
        step: Step | None = self._next_range(slot, group, task, attempt, now)
        if group.share.is_over:
            group.tasks -= self._withdraw(slot, task.key)
        if step is None:
            group.tasks -= 1
            step = Partial(task, group.share.part, attempt.failure)
            if not group.tasks:
                step = self._conclude(group, task, now)
        if isinstance(step, Requeued):
            return step._replace(cooldown=cooldown, dropped=dropped)
        assert not isinstance(step, Moved)  # no range is redirected
        return step._replace(dropped=dropped) if dropped else step

    def _next_range(
        self, slot: HostSlot, group: Group, task: Task, attempt: Attempt, now: float
    ) -> Requeued | Partial | None:
        """Queue the worker's next range; None when it gets none."""
        share, failure = group.share, attempt.failure
        again = group.next_task(task, attempt, slot.limits.retry)
        refusal = slot.refused(now)
        if again is None or refusal is not None:
            group.note(task, attempt._replace(failure=attempt.failure or refusal) if again else attempt)
            return None
        if failure is None or is_stale(task, attempt):
            self._queue(again, 1, now)
            return Partial(again, share.part, None)
        step = self._requeue(again, failure, self._delay(slot, again, failure), now)
        if isinstance(step, Requeued):
            return step
        group.note(task, attempt._replace(failure=step.failure))
        return None

    def _conclude(self, group: Group, task: Task, now: float) -> Step:
        """Settle the file once the last of its attempts has ended."""
        del self._groups[task.key]
        task, attempt = group.conclude(task)
        if attempt.failure is None:
            return Ended(task, None, by=attempt)
        step = self._try_again(self._slot(task.origin, now), task, attempt, now)
        return step._replace(by=attempt)

    def _withdraw(self, slot: HostSlot, key: bytes) -> int:
        """Take back the tasks of one file that have not started; returns how many."""
        kept = [task for task in slot.ready if task.key != key]
        delayed = [row for row in self._timers if row[3] is not None and row[3].key == key]
        if delayed:
            self._timers = [row for row in self._timers if row[3] is None or row[3].key != key]
            heapq.heapify(self._timers)
        count = len(slot.ready) - len(kept) + len(delayed)
        slot.ready = deque(kept)
        slot.delayed -= len(delayed)
        self.queued -= count
        return count

    def _leave_groups(self, tasks: Sequence[Task]) -> list[Task]:
        """Return tasks of a host that is given up with a shared file as one, if nobody is at work on it."""
        alone = []
        for task in tasks:
            group = self._groups.get(task.key)
            if group is None:
                alone.append(task)
                continue
            group.tasks -= 1
            if not group.tasks:
                del self._groups[task.key]
                alone.append(task._replace(share=None, part=group.share.part, received=group.received))
        return alone

    # -- one attempt after another ---------------------------------------------------------------

    def _count(self, task: Task, attempt: Attempt) -> Task:
        return task._replace(received=task.received + attempt.received, part=attempt.part)

    def _delay(self, slot: HostSlot, task: Task, failure: Failure) -> float:
        if failure.kind == "range":
            return 0.0  # nothing is wrong with the host: only our part does not fit
        return slot.limits.retry.delay(task.failures, self._chance())

    def _settle_failed(self, slot: HostSlot, task: Task, attempt: Attempt, now: float) -> Step:
        if attempt.failure is not None and attempt.failure.kind == "auth":
            attempt = attempt._replace(failure=slot.deny(attempt.failure, own=attempt.has_credentials))
        cooldown = self._judge_host(slot, attempt, now)
        dropped = self._drop_all(slot, now)
        step = self._try_again(slot, task, attempt, now)
        if isinstance(step, Requeued):
            return step._replace(cooldown=cooldown, dropped=dropped)
        return step._replace(dropped=dropped)

    def _try_again(self, slot: HostSlot, task: Task, attempt: Attempt, now: float) -> Requeued | Ended:
        failure = attempt.failure
        assert failure is not None  # settle has looked
        counted = count_failure(task, attempt)
        if slot.limits.retry.may_retry(task, attempt):
            again = self._next_mirror(counted, now, wrap=True)
            if again is not None:
                return self._requeue(again, failure, self._delay(slot, again, failure), now)
        refusal = slot.refused(now)
        if refusal is not None and failure.retryable:
            failure = refusal
        if failure.retryable or failure.kind in _NEXT_MIRROR:
            again = self._next_mirror(counted, now)
            if again is not None:
                return self._requeue(again, failure, 0.0, now)
        return Ended(self._count(task, attempt), failure)

    def _next_mirror(self, task: Task, now: float, *, wrap: bool = False) -> Task | None:
        """Return the task at its next URL whose origin may be asked; `wrap` comes round to this one."""
        urls = task.entry.urls
        for step in range(1, len(urls) + 1 if wrap else len(urls) - task.mirror):
            mirror = (task.mirror + step) % len(urls)
            url, _, _ = split_userinfo(urls[mirror])
            origin = origin_of(url)
            if self._slot(origin, now).refused(now) is None:
                return task._replace(url=url, origin=origin, mirror=mirror, hops=0, refreshed=False)
        return None

    def _requeue(self, task: Task, failure: Failure, delay: float, now: float) -> Requeued | Ended:
        slot = self._slot(task.origin, now)
        when = max(now + delay, slot.cooling_until, slot.not_before)
        if task.deadline is not None and when >= task.deadline:
            text = f"{failure.message}; the entry's deadline leaves no time for another attempt"
            return Ended(task, Failure("deadline", text, failure.status_code))
        self.queued += 1
        if delay <= 0:
            slot.ready.appendleft(task)
        else:
            self._set_timer(now + delay, slot, task)
        self._offer(slot, now)
        return Requeued(task, when - now, failure)

    def _judge_host(self, slot: HostSlot, attempt: Attempt, now: float) -> float:
        """Let a failure act on the whole origin; returns its cooldown in seconds."""
        failure = attempt.failure
        assert failure is not None  # settle has looked
        if failure.kind == "login":  # the same for every file, and not the host's own word (fault B26)
            slot.shut_out(failure, now)
        elif failure.kind in _UNREACHED:
            slot.miss(failure, now, self._chance())
        elif failure.status_code is not None or attempt.received or failure.kind == "truncated":
            slot.answered()
        cooldown = 0.0
        slot.refusals += failure.kind in _THROTTLES
        if failure.kind in _THROTTLES or failure.retry_after is not None:
            cooldown = slot.cool(failure, now, self._chance())
        if failure.kind == "reset" or (failure.kind in _THROTTLES and not slot.is_paced):
            slot.shrink(now)
        return cooldown if slot.refused(now) is None else 0.0

    def _drop_all(self, slot: HostSlot, now: float) -> Dropped:
        """Empty the queue of a host that is refused; returns the tasks that have no other mirror."""
        refusal = slot.refused(now)
        if refusal is None:
            return ()
        tasks = [*slot.ready, *self._pop_delayed(slot)]
        slot.ready.clear()
        self.queued -= len(tasks)
        tasks = self._leave_groups(tasks)
        return tuple((task, refusal) for task in tasks if self.add(task, now) is not None)

    def _pop_delayed(self, slot: HostSlot) -> list[Task]:
        if not slot.delayed:
            return []
        tasks = [task for _, _, owner, task in self._timers if owner is slot and task is not None]
        self._timers = [row for row in self._timers if row[2] is not slot]
        heapq.heapify(self._timers)
        slot.delayed = 0
        slot.has_timer = False
        return tasks

    def _offer(self, slot: HostSlot, now: float) -> None:
        """Put a slot where it will be found: into the ring, or on a timer when it must wait."""
        if slot.in_ring or not slot.has_room():
            return
        when = slot.ready_at(now)
        if when <= now:
            slot.in_ring = True
            self._ring.append(slot)
        elif not slot.has_timer and when < _NEVER:  # else the next answer settles it
            slot.has_timer = True
            self._set_timer(when, slot, None)

    def _set_timer(self, when: float, slot: HostSlot, task: Task | None) -> None:
        slot.delayed += task is not None
        heapq.heappush(self._timers, (when, next(self._order), slot, task))

    def _wake(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, slot, task = heapq.heappop(self._timers)
            if task is None:
                slot.has_timer = False
            else:
                slot.delayed -= 1
                slot.ready.appendleft(task)  # what was begun comes first; a host may refuse all that is new
            self._offer(slot, now)

    def _slot(self, origin: Origin, now: float) -> HostSlot:
        slot = self._slots.get(origin)
        if slot is None:
            if len(self._slots) >= self._most_slots:
                self._forget_idle(now)
            slot = self._slots[origin] = HostSlot(origin, self._limits(origin))
        return slot

    def _forget_idle(self, now: float) -> None:
        """Forget the oldest hosts without tasks, those last that are not to be asked yet."""
        idle = [slot for slot in self._slots.values() if slot.is_idle()]
        idle.sort(key=lambda slot: slot.is_waiting(now))
        for slot in idle[: len(self._slots) // 2]:
            del self._slots[slot.origin]
        self._most_slots = max(_MOST_SLOTS, 2 * len(self._slots))  # not a search for each new host
