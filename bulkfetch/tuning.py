"""How many connections, or workers, pay: measured, not guessed.

Pure: times are monotonic seconds and arguments; whoever owns an object is alone with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

_UNIT = 64 * 1024  # bytes that weigh as much as one more request
_DEMAND = 0.75  # of the limit; what is not used says nothing about it
_WORTH_MORE = 0.3  # of a proportional gain, for which more connections are kept
_WORTH_LESS = 0.1  # of a proportional loss, at most, for which fewer are
_PATIENCE = 2  # windows until something else is tried
_MOST_PATIENCE = 32
_WALL = 32  # windows until a number at which the host has refused is tried again
_LONGEST_WALL = 512
_SLOWER = 2.0  # times the latency that was usual: too many, here or of other clients
_STARTING = 2  # tries in a row after which the step is as large as the number itself
_LEAST = 2  # one alone leaves the line idle between an answer and the next request
_LEAST_SECONDS = 0.1  # of a window; what is shorter is noise
_LEAST_STARTING = 0.05  # a doubling is seen all the same
_LEAST_SETTLING = 0.02
_LEAST_ANSWERS = 8
_CROWD_LEAST = 4  # workers that the processor always has work for
_CROWD_SECONDS = 0.05
_BUSY, _IDLE = 0.9, 0.7  # of one core
_HALF = 0.5  # of one core, which is all there is on a machine that others keep busy
_FAST = 0.02  # seconds of an answer
_OVERLAP_LEAST = 2  # batches at work: one answer that is slow holds up no other batch
_OVERLAP_ANSWERS = 256  # a window's: of fewer, a batch that ends on its edge would decide
_OVERLAP_SECONDS = 0.2  # between looks whether it is idle
_OVERLAP_IDLE = 0.2  # of a core
_LARGEST_SHARE = 0.2  # of the time in a window that one answer may have taken


class Window(NamedTuple):
    """What a stretch of time brought."""

    elapsed: float  # seconds
    answers: int  # good ones
    received: int  # bytes
    waited: float  # seconds from request to end, summed over the answers
    peak: int  # most in use at once; 0: nothing waited for a free one for a while

    @property
    def work(self) -> float:
        """How much was done: requests and bytes each cost time."""
        return self.answers + self.received / _UNIT

    def goodput(self, limit: int) -> float:
        """Return the work of a second.

        Where answers take long, few of them begin and end within the window: what each took in its own time
        tells more. Where they come fast, our own turn between them counts too.
        """
        seconds = self.waited / limit if self.waited > self.answers * _FAST else self.elapsed
        return self.work / seconds


class Tuner:
    """Climbs while goodput does: doubles at first, then tries a little more or less now and then.

    By Little's law latency is what is in use over goodput, so what brings too little more goodput has cost
    latency: the smaller number is then kept.
    """

    __slots__ = (
        "_best", "_held", "_latency", "_most", "_patience", "_rate", "_streak",
        "_tries_more", "_wall", "_wall_left", "_wall_stands", "is_starting", "limit",
    )  # fmt: skip

    def __init__(self, first: int, most: int) -> None:
        self.limit = self._best = min(first, most)
        self._most = most
        self.is_starting = True
        self._tries_more = True
        self._rate = self._latency = 0.0  # goodput, and seconds of a unit of work, at `_best`; 0: not known
        self._streak = _STARTING  # tries in a row that have paid: each doubles the step of the next
        self._wall = most + 1  # the host has refused so many
        self._wall_left, self._wall_stands = 0, _WALL  # windows
        self._held = 0  # windows since the last try
        self._patience = _PATIENCE

    def judge(self, window: Window) -> int:
        """Return the limit from now on."""
        if window.peak >= self.limit * _DEMAND and window.elapsed > 0:
            rate, latency = window.goodput(self.limit), window.waited / window.work
            if self.limit == self._best:
                self._hold(rate, latency)
            elif self._has_paid(rate):
                self._keep(rate, latency)
            else:
                self._go_back()
        return self.limit

    def cut(self, limit: int) -> None:
        """Go on from fewer: the host cannot take what it was asked for."""
        self._wall = max(2, self.limit)
        self._wall_left, self._wall_stands = self._wall_stands, min(2 * self._wall_stands, _LONGEST_WALL)
        self.limit = self._best = max(1, min(limit, self._most))
        self.is_starting, self._tries_more, self._streak = False, True, 0
        self._rate = self._latency = 0.0
        self._held = 0
        self._patience = _PATIENCE

    def _has_paid(self, rate: float) -> bool:
        change = self.limit / self._best - 1.0
        return rate / self._rate - 1.0 >= change * (_WORTH_MORE if change > 0 else _WORTH_LESS)

    def _hold(self, rate: float, latency: float) -> None:
        is_slow = self._latency and latency > self._latency * _SLOWER and rate <= self._rate
        self._rate = (self._rate + rate) / 2 if self._rate else rate
        self._latency = (self._latency + latency) / 2 if self._latency else latency
        self._held += 1
        self._wall_left -= 1
        if self._wall_left < 0:
            self._wall = self._most + 1
        if is_slow:
            self._tries_more = False
        if is_slow or self.is_starting or self._held >= self._patience:
            self._try()

    def _keep(self, rate: float, latency: float) -> None:
        self._best, self._rate, self._latency = self.limit, rate, latency
        self._patience = _PATIENCE
        self._streak += 1
        self._try()

    def _go_back(self) -> None:
        was_starting, self.is_starting = self.is_starting, False
        self.limit = self._best
        self._tries_more = not self._tries_more
        self._held = self._streak = 0
        if was_starting:  # the knee is near, perhaps below
            self._held = self._patience
        else:
            self._patience = min(2 * self._patience, _MOST_PATIENCE)

    def _try(self) -> None:
        """Try the next number in the present direction; where there is none, hold and then turn round."""
        self._held = 0
        self.limit = self._next()
        if self.limit == self._best:
            self.is_starting, self._streak = False, 0
            self._tries_more = not self._tries_more

    def _next(self) -> int:
        best = self._best
        step = min(best, max(1, best // 4) << self._streak)
        if self._tries_more:
            return max(best, min(best + step, self._wall - 1))
        return min(best, max(best - step, _LEAST))


class AutoLimit:
    """A limit that follows what was measured under it."""

    __slots__ = (
        "_answers", "_begun", "_due", "_has_paused", "_is_settling", "_longest", "_peak", "_received",
        "_tuner", "_waited", "limit",
    )  # fmt: skip

    def __init__(self, first: int, most: int) -> None:
        self._tuner = Tuner(first, most)
        self.limit = self._tuner.limit
        self._answers = self._received = self._peak = 0
        self._waited = self._longest = 0.0
        self._open(float("-inf"), is_settling=True)  # the first window only tells when the first answers came

    def note(self, now: float, seconds: float, received: int, in_use: int) -> int:
        """Count a good answer and return the limit; `in_use` is 0 where nothing waits for a free one."""
        self._answers += 1
        self._received += received
        self._waited += seconds
        if seconds > self._longest:
            self._longest = seconds
        if in_use > self._peak:
            self._peak = in_use
        elif not in_use:
            self._has_paused = True
        if self._answers >= self._due:
            self._close(now)
        return self.limit

    def note_all(self, now: float, seconds: Sequence[float], received: Sequence[int], in_use: int) -> int:
        """Count good answers as `note` does, one after another."""
        if self._answers + len(seconds) >= self._due:
            for took, size in zip(seconds, received, strict=True):
                self.note(now, took, size, in_use)
        elif seconds:
            self._answers += len(seconds)
            self._received += sum(received)
            self._waited = sum(seconds, self._waited)
            self._longest = max(self._longest, max(seconds))
            self._peak = max(self._peak, in_use)
            self._has_paused = self._has_paused or not in_use
        return self.limit

    def cut(self, limit: int, now: float) -> None:
        """Go on from fewer."""
        self._tuner.cut(limit)
        self.limit = self._tuner.limit
        self._open(now, is_settling=True)

    def pause(self, now: float) -> None:
        """Begin again to measure: for a while nothing was asked."""
        self._open(now, is_settling=True)

    def _close(self, now: float) -> None:
        elapsed = now - self._begun
        is_lumpy = self._longest > self._waited * _LARGEST_SHARE and not self._is_settling
        if elapsed < self._least_seconds() or is_lumpy:
            self._due += self.limit
            return
        if self._is_settling or self._has_paused:
            self._open(now, is_settling=False)
            return
        window = Window(elapsed, self._answers, self._received, self._waited, self._peak)
        before, self.limit = self.limit, self._tuner.judge(window)
        self._open(now, is_settling=self.limit != before)

    def _least_seconds(self) -> float:
        if self._is_settling:
            return _LEAST_SETTLING
        return _LEAST_STARTING if self._tuner.is_starting else _LEAST_SECONDS

    def _open(self, now: float, *, is_settling: bool) -> None:
        """Begin a window; while settling, answers still tell of the limit before."""
        self._begun = now
        self._is_settling = is_settling
        rounds = 1 if is_settling or self._tuner.is_starting else 2
        self._due = self.limit if is_settling else max(_LEAST_ANSWERS, rounds * self.limit)
        self._answers = self._received = self._peak = 0
        self._waited = self._longest = 0.0
        self._has_paused = False


class Crowd:
    """Fewer workers where all wait for the processor: each hands the interpreter's lock on at every call.

    `limit` is for small files that come at once.
    """

    __slots__ = ("_cpu", "_least", "_most", "_since", "is_working", "limit")

    def __init__(self, most: int) -> None:
        self.limit = self._most = most
        self._least = min(_CROWD_LEAST, most)
        self._since = self._cpu = 0.0
        self.is_working = False  # the processor, for a good part of the time

    def look(self, now: float, cpu: float) -> None:
        """Compare the processor time used so far, `cpu`, with the clock, both in seconds."""
        elapsed = now - self._since
        if elapsed < _CROWD_SECONDS:
            return
        share = (cpu - self._cpu) / elapsed
        self.is_working = share > _HALF
        if share > _BUSY:
            self.limit = max(self._least, self.limit * 3 // 4)
        elif share < _IDLE:
            self.limit = min(self._most, self.limit * 2)
        self._since, self._cpu = now, cpu


class Overlap:
    """How many batches at once keep a process busy: as many as it can do while one answer is on its way.

    That time is the least one seen lately, as the others waited for the processor too. Where the processor is
    idle all the same, most answers take longer than that, and there may be twice as many.
    """

    __slots__ = ("_answers", "_begun", "_fastest", "_looked", "_most", "_since", "_used", "limit")

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = min(_OVERLAP_LEAST, most)
        self.begin(0.0, 0.0)

    def begin(self, cpu: float, now: float) -> None:
        """Start to measure; the process has used `cpu` seconds of its processor so far."""
        self._begun = self._used = cpu
        self._since = self._looked = now
        self._answers = 0
        self._fastest = float("inf")

    def note(self, answers: int, fastest: float, cpu: float, now: float, *, is_full: bool = True) -> None:
        """Count a batch that has ended.

        Args:
            answers: in it.
            fastest: least seconds of one of them.
            cpu: seconds of its processor the process has used so far.
            now: monotonic time.
            is_full: the process had as many batches as it may have.
        """
        self._answers += answers
        self._fastest = min(self._fastest, fastest)
        spent = cpu - self._begun
        if self._answers >= _OVERLAP_ANSWERS and spent > 0:
            enough = ceil(min(self._fastest * self._answers / spent, self._most))
            least = _OVERLAP_LEAST if spent > _HALF * (now - self._since) else self.limit
            self.limit = min(max(least, enough), self._most)
            self.begin(cpu, now)
        elif now - self._looked >= _OVERLAP_SECONDS:
            if is_full and cpu - self._used < _OVERLAP_IDLE * (now - self._looked):
                self.limit = min(self.limit * 2, self._most)
            self._looked, self._used = now, cpu
