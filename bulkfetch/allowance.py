"""How many requests may still be started under the limit a server has told.

Pure: times are monotonic seconds and arguments. One object per host, changed by the scheduler alone.
"""

from __future__ import annotations

from collections import deque

from bulkfetch.models import RateLimit

_LONG = 10.0  # seconds; in a window this long, a second lost to rounding costs little
_ROUNDING = 1.0
_COUNTED_BY = 5.0  # seconds after which a server has surely counted a request it was sent
_NEVER = float("inf")


class Allowance:
    """What a host's limit leaves of the present window.

    Answers overtake one another, but whatever the server counted after the request with the least left
    has not been answered yet: so the least told, less what is under way, may safely be started. Once
    nothing is left and the window has ended, one request asks how much the next one allows.
    """

    __slots__ = ("_least", "_open", "_since", "_told", "_until")

    def __init__(self) -> None:
        self._open: deque[float] = deque()  # when what is under way was started, oldest first
        self._least = _NEVER  # requests left in the window, by the answer that says the least
        self._told = _NEVER  # when that was
        self._since = -_NEVER  # what was started before may count in an earlier window
        self._until = _NEVER  # end of the window, as far as told

    def start(self, now: float) -> None:
        """Count a request that starts now."""
        self._open.append(now)

    def settle(self, started: float, now: float, limit: RateLimit | None = None) -> None:
        """Count the end of a request begun at `started`, and the limit its answer told of."""
        if self._open:
            self._open.popleft()  # whichever it was: the younger ones are the ones in doubt
        if limit is not None:
            self._learn(limit, started, now)
        elif self._least < _NEVER:
            self._least -= 1
            self._until = now if self._until == _NEVER else self._until  # it may be the one that asked

    def ready_at(self, now: float) -> float:
        """Return the time from which one more request may start; what has passed means now."""
        doubtful = sum(started > now - _COUNTED_BY for started in self._open)
        if self._least > doubtful:
            return now
        if now >= self._until:
            self._least = doubtful + 1  # the one that asks
            self._told = self._since = now
            self._until = _NEVER
            return now
        return self._until

    def _learn(self, limit: RateLimit, started: float, now: float) -> None:
        left, end = limit.remaining, now + _wait(limit)
        if self._least == _NEVER or (started >= self._told and left >= self._least):
            # Counted after the least left was told, yet no less is left: a new window, or it refills.
            self._least, self._told, self._since, self._until = left, now, started, end
        elif self._until < started + _least_wait(limit):  # surely of a later window: it ends after this one
            self._until = end
            self._lower(left, now)
        elif started >= self._since:
            self._until = min(self._until, end)
            self._lower(left, now)
        elif left < self._least:  # perhaps of the window before, perhaps counted since
            is_later = self._told < started + _least_wait(limit)
            self._least = left if is_later else self._least - 1

    def _lower(self, left: int, now: float) -> None:
        if left < self._least:
            self._least, self._told = left, now


def _least_wait(limit: RateLimit) -> float:
    """Return the seconds for which the window surely lasted: whole ones may be rounded up."""
    return limit.reset if limit.reset % 1.0 else limit.reset - _ROUNDING


def _wait(limit: RateLimit) -> float:
    """Return the seconds until the window has surely ended; servers round up, or down by a second."""
    if limit.reset <= 0.0:
        return min(limit.window or _ROUNDING, _ROUNDING)
    is_long = (limit.window or limit.reset) >= _LONG
    return limit.reset + _ROUNDING if is_long else limit.reset
