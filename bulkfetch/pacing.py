"""The request rate of a host that refuses what is past its limit and never tells the limit.

Pure: times are monotonic seconds and arguments. One object per host, changed by the scheduler alone.
"""

from __future__ import annotations

import math
from collections import deque

_RARE = 60.0  # seconds; a host that refuses less often than this is left to its cooldowns
_FEW = 5  # accepted requests from which a rate can be told
_BELOW = 0.97  # of what was measured: a little less than too much
_BACK = 0.96  # of the rate at which a host refused
_WINDOW = 1.0  # seconds; hardly a limit is counted over less
_SOON = 3.0  # seconds; a refusal so early means that the rate was far off
_SEARCH = 6.0  # seconds in which a rate grows e-fold until the first refusal at it
_PROBE = 250.0  # seconds in which it does so from then on, slowly at first
_LONGEST_PROBE = 600.0
_SLOWEST = 1 / 60.0  # requests a second
_FREE = 500.0  # requests a second from which keeping to a rate is of no use
_JUDGED = 6  # refusals in each group; the latest is compared with the one before it and with the first
_SLOWER = 1.5  # times slower than the earlier group: so much must have been given up
_FEWER = 1.2  # times the root of that: so much less often must it have been refused


class Pacer:
    """Learns the rate from what was accepted between two refusals; then probes upward (AIMD on the rate).

    One refusal means nothing yet: a cooldown follows, as ever. From the second on requests are spaced.
    The rate grows fast until it is refused once, and is then held just below, ever longer. Where a lower
    rate is refused as often, the host refuses for another reason, and no rate is kept.
    """

    __slots__ = ("_accepted", "_base", "_begun", "_first", "_latest", "_probe", "_since", "is_in_vain")

    def __init__(self, resume: float) -> None:
        """Note the first refusal, after which requests start again at `resume`."""
        self._accepted = 0
        self._since = self._first = resume  # when requests started again, and when the first answer came
        self._base = 0.0  # requests a second at `_since`; 0: not known
        self._probe = 0.0  # seconds; 0: the rate has not been refused yet
        self._begun: list[tuple[float, int]] = []  # the first refusals: their rate, accepted before each
        self._latest: deque[tuple[float, int]] = deque(maxlen=2 * _JUDGED)
        self.is_in_vain = False  # the rate has nothing to do with the refusals

    @property
    def is_pacing(self) -> bool:
        """Say whether a rate is known."""
        return self._base > 0

    def accept(self, now: float) -> None:
        """Count an answer that was no refusal."""
        if now < self._since:
            return  # begun before the refusal
        if not self._accepted:
            self._first = now
        self._accepted += 1

    def refuse(self, now: float, resume: float) -> None:
        """Learn from a refusal at `now`, after which requests start again at `resume`."""
        if self.is_in_vain:
            return
        if self._base:
            row = (self.rate(now), self._accepted)
            self._lower(now, resume)
            self._judge(row)
        elif now - self._since < _RARE:
            if self._accepted < _FEW:
                return  # refused again at once: the time goes on in which the next ones are counted
            self._base = max(self._measure(now, resume), _SLOWEST)
        self._since, self._accepted = resume, 0

    def _lower(self, now: float, resume: float) -> None:
        rate = self.rate(now)
        if not self._accepted:  # still closed: nothing is learnt of the rate
            self._base = min(rate, self._base)
            return
        lower = rate * _BACK
        if self._accepted >= _FEW and now - self._since < _SOON:
            lower = min(max(self._measure(now, resume), rate / 2), lower)
        self._base = max(lower, _SLOWEST)
        self._probe = min(self._probe * 1.5, _LONGEST_PROBE) if self._probe else _PROBE

    def _judge(self, row: tuple[float, int]) -> None:
        """Give up where giving up speed has brought nothing."""
        if len(self._begun) < _JUDGED:
            self._begun.append(row)
        self._latest.append(row)
        rows = list(self._latest)
        if len(rows) < 2 * _JUDGED:
            return
        earlier = (self._begun, rows[:_JUDGED])
        if any(_has_brought_nothing(before, rows[_JUDGED:]) for before in earlier):
            self.is_in_vain, self._base = True, 0.0

    def _measure(self, now: float, resume: float) -> float:
        """Return a little less than what was accepted a second; a burst is paid for by the wait after it."""
        return self._accepted / max(now - self._first, resume - now, _WINDOW) * _BELOW

    def rate(self, now: float) -> float:
        """Return the requests a second that may start now."""
        seconds = max(now - self._since, 0.0)
        growth = (seconds / self._probe) ** 2 if self._probe else seconds / _SEARCH
        return min(self._base * math.exp(min(growth, 50.0)), _FREE)

    def spacing(self, now: float) -> float:
        """Return the least seconds between the starts of two requests; 0: as they come."""
        rate = self.rate(now)
        return 1.0 / rate if 0.0 < rate < _FREE else 0.0


def _has_brought_nothing(before: list[tuple[float, int]], after: list[tuple[float, int]]) -> bool:
    """Say whether a lower rate was refused about as often; rows are rates and what was accepted at them."""
    slower = sum(rate for rate, _ in before) / sum(rate for rate, _ in after)
    if slower <= _SLOWER:
        return False
    wanted = _FEWER * math.sqrt(slower) * sum(n for _, n in before)
    return _FEW * len(after) <= sum(n for _, n in after) < wanted
