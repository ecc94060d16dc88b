"""What is known of one origin during a run: its queue, slots, cooldown and whether it answers at all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from bulkfetch.allowance import Allowance
from bulkfetch.models import Attempt, Failure, Origin, Task
from bulkfetch.pacing import Pacer
from bulkfetch.retry import RetryPolicy
from bulkfetch.spacing import find_next
from bulkfetch.tuning import AutoLimit

PROBE_AFTER = 5  # connect or DNS failures in a row after which one attempt at a time probes the host
_GROW_AFTER = 20  # successes in a row for one more connection
_BATCH_SECONDS = 0.25  # how long tasks may wait behind one another on a connection
_AT_ONCE = 0.01  # seconds in which a host answers at once
_NEAR = 0.005  # seconds of its quickest answer that tell such a host however long the others took
_OWN_TURN = 0.05  # seconds an attempt may then take on average, waiting for the processor
_FORGOTTEN_OVER = 256  # attempts over which the quickest one is forgotten
_PACE_OVER = 8  # attempts over which the pace is smoothed
_SMALL = 256 * 1024  # bytes; what is declared larger gets a worker to itself
_SHRINK_EVERY = 1.0  # seconds; answers to requests already under way count once
_PATIENCE = 2  # times more probes for a host that has answered in this run
_TOLD_FROM = 5.0  # seconds of waiting for a limit that the user is told of
_RESTART_SPREAD = 0.5  # seconds over which a cooled host is started again (fault T06)
_MOST_DENIALS = 5  # in a row, of credentials that the user has configured
_FIRST = 6  # connections to begin with where as many are wanted as pay: the default
_DOWN_FOR = 300.0  # seconds after which a host that was given up is probed once more


class HostLimits(NamedTuple):
    """How one origin may be asked."""

    retry: RetryPolicy
    per_host: int  # connections at once, at most
    spacing: float = 0.0  # least seconds between the starts of two requests
    tell_time: Callable[[float], str] | None = None  # a monotonic time as the user's clock has it
    has_credentials: bool = False  # requests show who we are
    asks_first: bool = False  # one request at a time until robots.txt is known
    adapts: bool = False  # as many connections as pay, within `per_host`


class HostSlot:
    """The governor of one origin; the scheduler alone changes it."""

    __slots__ = (
        "active", "allowance", "asks_first", "auto", "cooling_until", "delayed", "denials", "has_answered",
        "has_timer", "in_ring", "limit", "limits", "misses", "not_before", "origin", "pace", "pacer",
        "quickest", "ready", "refusal", "refusals", "refused_until", "shrunk_at", "spacing", "streak",
        "throttles",
    )  # fmt: skip

    def __init__(self, origin: Origin, limits: HostLimits) -> None:
        self.origin = origin
        self.limits = limits
        self.ready: deque[Task] = deque()
        self.asks_first = limits.asks_first
        self.auto = AutoLimit(_FIRST, limits.per_host) if limits.adapts else None
        self.limit = 1 if self.asks_first else self._most()  # connections allowed now
        self.allowance: Allowance | None = None  # of a host that tells its limit
        self.pacer: Pacer | None = None  # of a host that has answered 429
        self.spacing = limits.spacing  # 0: requests start as they come
        self.active = 0
        self.delayed = 0  # tasks that wait for a back-off to end
        self.cooling_until = 0.0  # monotonic; nothing starts before
        self.not_before = 0.0  # monotonic; next start by the request rate
        self.misses = 0  # connect or DNS failures in a row
        self.refusals = 0  # 429 and 503 answers
        self.denials = 0  # refusals of our credentials in a row
        self.throttles = 0  # 429 and 503 in a row
        self.streak = 0  # successes in a row
        self.pace = 0.0  # seconds a good attempt takes, smoothed
        self.quickest = 0.0  # seconds the quickest one took lately
        self.shrunk_at = float("-inf")
        self.refusal: Failure | None = None  # why nothing is asked of this host before `refused_until`
        self.refused_until = 0.0
        self.has_answered = False
        self.in_ring = self.has_timer = False

    def has_room(self) -> bool:
        """Say whether a task waits and a connection is free for it."""
        limit = 1 if self.misses >= PROBE_AFTER else self.limit
        return bool(self.ready) and self.active < limit

    def ready_at(self, now: float) -> float:
        """Return the monotonic time from which a task may start; infinite: once an answer has come."""
        when = self.cooling_until
        if self.not_before > when:
            when = self.not_before
        return when if self.allowance is None else max(when, self.allowance.ready_at(now))

    def can_start(self, now: float) -> bool:
        """Say whether a task may start now."""
        return self.has_room() and self.ready_at(now) <= now

    def start(self, now: float, chance: Callable[[], float]) -> Task:
        """Hand out the next task."""
        if self.spacing:
            self.not_before = find_next(self.not_before, self._find_spacing(now), now, chance())
        if self.allowance is not None:
            self.allowance.start(now)
        self.active += 1
        return self.ready.popleft()

    def pop_late(self, now: float) -> list[Task]:
        """Remove and return the waiting tasks whose deadline has passed."""
        late = [task for task in self.ready if task.deadline is not None and task.deadline <= now]
        if late:
            keys = {task.key for task in late}
            self.ready = deque(task for task in self.ready if task.key not in keys)
        return late

    def _find_spacing(self, now: float) -> float:
        if self.pacer is not None and self.pacer.is_pacing:
            self.spacing = max(self.limits.spacing, self.pacer.spacing(now))
        return self.spacing

    def refused(self, now: float) -> Failure | None:
        """Return why nothing may be asked of this host now."""
        if self.refusal is not None and now >= self.refused_until:
            self.refusal = None
        return self.refusal

    def is_idle(self) -> bool:
        """Say whether no task has to do with this host."""
        return not (self.ready or self.delayed or self.active or self.in_ring or self.has_timer)

    def is_waiting(self, now: float) -> bool:
        """Say whether forgetting this host would mean asking it too early."""
        return self.ready_at(now) > now or self.refused(now) is not None

    def ride_along(self, most: int) -> list[Task]:
        """Hand out tasks that can follow another on its connection: small ones of a host that answers fast.

        A batch costs one hand-over between threads instead of one a file; it takes a moment at the most,
        and leaves enough for the other connections, which all end together.
        """
        most = min(most, len(self.ready) // max(1, 2 * self.limit))
        if self.allowance is not None or self.spacing or self.pace <= 0 or self.misses or self.throttles:
            return []
        batch: list[Task] = []
        room = min(most, int(_BATCH_SECONDS / self.pace)) - 1
        while len(batch) < room and _is_small(self.ready[0]):
            batch.append(self.ready.popleft())
        return batch

    @property
    def answers_at_once(self) -> bool:
        """Say whether its answers take next to no time; on a busy machine we wait for our own turn too."""
        is_near = 0.0 < self.quickest <= _NEAR and self.pace <= _OWN_TURN
        return is_near or 0.0 < self.pace <= _AT_ONCE

    def _most(self) -> int:
        """Return the connections allowed to a host that has refused nothing."""
        return self.limits.per_host if self.auto is None else self.auto.limit

    def succeed(self, seconds: float = 0.0, received: int = 0, now: float = 0.0) -> None:
        """Count a good answer; after a run of them one more connection is allowed (AIMD)."""
        self.succeed_all((seconds,), (received,), now)

    def succeed_all(self, seconds: Sequence[float], received: Sequence[int], now: float) -> None:
        """Count good answers in their order."""
        self.misses = self.throttles = self.denials = 0
        self.has_answered = True
        self._keep_pace(seconds)
        if self.auto is not None:
            limit = self.auto.note_all(now, seconds, received, self.active + 1 if self.ready else 0)
            self.limit = 1 if self.asks_first else limit
        elif self.limit < self.limits.per_host:
            grown, self.streak = divmod(self.streak + len(seconds), _GROW_AFTER)
            self.limit = min(self.limit + grown, self.limits.per_host)
            if self.limit == self.limits.per_host:
                self.streak = 0

    def _keep_pace(self, seconds: Sequence[float]) -> None:
        pace, quickest = self.pace, self.quickest
        for took in seconds:
            pace += (took - pace) / _PACE_OVER if pace else took
            later = took - quickest
            quickest += later / _FORGOTTEN_OVER if quickest and later > 0 else later
        self.pace, self.quickest = pace, quickest

    def answered(self) -> None:
        """Note that the host is there."""
        self.misses = 0
        self.has_answered = True

    def shrink(self, now: float) -> None:
        """Halve the connections, once for all answers of one moment."""
        self.streak = 0
        if now - self.shrunk_at >= _SHRINK_EVERY:
            self.limit = max(1, self.limit // 2)
            if self.auto is not None:
                self.auto.cut(self.limit, now)
            self.shrunk_at = now

    def miss(self, failure: Failure, now: float, chance: float) -> None:
        """Count a failure to reach the host; past the probes it is given up (fault T08)."""
        if self.misses >= PROBE_AFTER and self.active:
            return  # begun before the probes, each of which is alone
        self.misses += 1
        self._pause(now)
        if self.misses < PROBE_AFTER:
            return
        policy = self.limits.retry
        probes = self.misses - PROBE_AFTER
        most = policy.retries * (_PATIENCE if self.has_answered else 1)
        if probes >= most:
            text = f"{self.origin} does not answer after {self.misses} attempts in a row: {failure.message}"
            self._refuse(Failure("host-down", text), now + _DOWN_FOR)
        else:  # half fixed, half random: probes must spread, yet never come at once
            wait = policy.delay(probes + 1, 0.5 + chance / 2)
            self.cooling_until = max(self.cooling_until, now + wait)

    def deny(self, failure: Failure, *, own: bool = False) -> Failure:
        """Count a refusal of who we are; returns it with its reason. Past some in a row nothing is asked.

        A host that gets no credentials has nothing to be wrong about, and one that has granted something
        may well forbid the rest: a 403 from either is about that entry alone. `own`: the credentials were
        the entry's, and say nothing of those of others.
        """
        status = failure.status_code
        is_proxy = status == 407
        if not (is_proxy or own or failure.unasked or self.limits.has_credentials):
            return replace(failure, anonymous=True)
        is_granted = self.pace > 0 and status == 403
        if failure.unasked or (not is_proxy and (own or is_granted)):
            return failure
        self.denials += 1
        what = "the proxy" if is_proxy else str(self.origin)
        text = f"{what} refuses the credentials it was sent: {failure.message}"
        if self.denials >= _MOST_DENIALS:
            told = f"{text}, {self.denials} times in a row: nothing more is asked of this host"
            self._refuse(Failure("auth", told, status), float("inf"))
        return replace(failure, message=text)

    def cool(self, failure: Failure, now: float, chance: float) -> float:
        """Make the whole host wait as it asked; returns the seconds from now."""
        policy = self.limits.retry
        asked = failure.retry_after or 0.0
        self._pause(now)
        if asked > policy.max_wait:
            self._defer("asks to wait", asked, now, failure.status_code)
            return asked
        is_news = now >= self.cooling_until  # else it answers a request from before the cooldown
        self.throttles += is_news
        wait = asked
        if is_news and (not asked or self.throttles > 1):  # what it asked for was not enough
            wait = max(asked, policy.delay(self.throttles, 0.5 + chance / 2))
        if is_news and failure.status_code == 429 and self.allowance is None:
            self._learn(now, now + wait)
        if asked:  # what is spaced starts again one by one anyway
            wait += chance * min(_RESTART_SPREAD, self.spacing or _RESTART_SPREAD)
        self.cooling_until = max(self.cooling_until, now + wait)
        return self.cooling_until - now

    def _pause(self, now: float) -> None:
        """Measure nothing from a time in which little is asked."""
        if self.auto is not None:
            self.auto.pause(now)

    def shut_out(self, failure: Failure, now: float) -> None:
        """Ask nothing more for a while: something before the host answers in its place."""
        text = f"{self.origin}: {failure.message}"
        self._refuse(Failure(failure.kind, text, failure.status_code), now + _DOWN_FOR)

    def _learn(self, now: float, resume: float) -> None:
        if self.pacer is None:
            self.pacer = Pacer(resume)
            return
        self.pacer.refuse(now, resume)
        paced = self.pacer.spacing(resume) if self.pacer.is_pacing else 0.0
        self.spacing = max(self.limits.spacing, paced)

    @property
    def is_paced(self) -> bool:
        """Say whether refusals act on the rate of requests, not on the connections."""
        return self.pacer is not None and self.pacer.is_pacing

    def obey(self, crawl_delay: float, now: float) -> None:
        """Go on as robots.txt wishes, once it is known."""
        if not self.asks_first:
            return
        self.asks_first = False
        self.limit = self._most()
        if crawl_delay > self.limits.spacing:
            self.limits = self.limits._replace(spacing=crawl_delay)
            self.spacing = max(self.spacing, crawl_delay)
            self.not_before = max(self.not_before, now + crawl_delay)
        if crawl_delay > self.limits.retry.max_wait:
            self._defer("allows one request in", crawl_delay, now)

    def is_governed(self) -> bool:
        """Say whether the host has wished for anything, has a rate, or how it is asked was found out."""
        wished = self.allowance is not None or self.refusal is not None or self.spacing > self.limits.spacing
        is_found = self.auto is not None or self.limit < self.limits.per_host
        return wished or bool(self.refusals) or is_found or self.limits.spacing > 0

    def keep_account(self, now: float) -> Allowance:
        """Begin to count requests against a limit that the host has told for the first time."""
        self.allowance = Allowance()
        for _ in range(self.active):  # begun before it was known
            self.allowance.start(now)
        return self.allowance

    def account(self, allowance: Allowance, attempt: Attempt, now: float) -> float:
        """Count an attempt's end against what the host allows; returns the seconds worth telling of."""
        was_open = allowance.ready_at(now) <= now
        allowance.settle(attempt.started, now, attempt.rate_limit)
        wait = allowance.ready_at(now) - now
        if self.limits.retry.max_wait < wait < float("inf") and not self.active:  # nothing is in doubt
            self._defer("allows no more requests for", wait, now)
        return wait if was_open and _TOLD_FROM <= wait < float("inf") else 0.0

    def _defer(self, text: str, seconds: float, now: float, status: int | None = None) -> None:
        """Give the host up for this run: it wants a longer wait than the user does."""
        until = now + seconds
        text = (
            f"{self.origin} {text} {seconds:.0f} s, longer than --max-wait {self.limits.retry.max_wait:.0f} s"
        )
        if self.limits.tell_time is not None:
            text += f"; try again after {self.limits.tell_time(until)}"
        self._refuse(Failure("deferred", text, status, seconds), until)

    def _refuse(self, refusal: Failure, until: float) -> None:
        self.refusal = refusal
        self.refused_until = max(self.refused_until, until)


def _is_small(task: Task) -> bool:
    return task.share is None and (task.entry.size or 0) <= _SMALL
