"""How many requests may still be started under the limit a server has told.

Pure: times are monotonic seconds and arguments. One object per host, changed by the scheduler alone.
"""

from __future__ import annotations

from bulkfetch.ratelimit import RateLimit

_LONG = 10.0  # seconds; in a window this long, a second lost to rounding costs little
_ROUNDING = 1.0


class Allowance:
    """What a host's limit leaves of the present window.

    Answers overtake one another, but whatever the server counted after the request with the least left
    is still under way: so the least told, less what is under way, may safely be started. Until an answer
    of a new window is there, it is taken to allow what the last one did.
    """

    __slots__ = ("_best", "_capacity", "_least", "_length", "_since", "_until")

    def __init__(self) -> None:
        self._since = self._until = float("-inf")  # the present window
        self._length = 0.0
        self._least: int | None = None  # least left by any answer of this window; None: no answer yet
        self._best = 0  # most left by any answer of this window, and that request itself
        self._capacity = 1  # requests a whole window allows, as far as known

    def learn(self, limit: RateLimit, started: float, told: float) -> None:
        """Take note of what an answer said at `told` to a request begun at `started`."""
        self._roll(told, 0)
        if started < self._since:
            return  # it may count in the window before; `_roll` has set it aside
        wait = _wait(limit)
        if self._best == 0:  # the first of its window
            self._length = limit.window or wait
            self._until = told + wait if self._least is None else min(self._until, told + wait)
            self._least = limit.remaining
        self._least = min(self._least or 0, limit.remaining)
        self._best = max(self._best, limit.remaining + 1)
        self._until = min(self._until, told + wait)

    def ready_at(self, active: int, now: float) -> float:
        """Return the time from which a request may start beside `active` others; what has passed means now."""
        self._roll(now, active)
        return now if self._least is None or self._least > active else self._until

    def _roll(self, now: float, active: int) -> None:
        """Begin the next window once the present one has ended; what is under way may count in it."""
        if self._least is None or now < self._until:
            return
        self._capacity = max(self._best if self._since > 0 else 1, 1)
