"""The starts of requests spread evenly over time, a little at random. Pure: times are monotonic seconds."""

from __future__ import annotations

_LATENESS = 1.0  # of a spacing; what is longer is a pause, and not made up for
_JITTER = 0.1  # of a spacing, so that many clients do not ask in step


def find_next(not_before: float, spacing: float, now: float, chance: float) -> float:
    """Return when the next request may start, after one that starts now and might have at `not_before`.

    Our own lateness does not slow the pace.

    Args:
        spacing: seconds between two starts.
        chance: a random number in [0, 1).
    """
    due = not_before if now - not_before <= spacing * _LATENESS else now
    return due + spacing * (1.0 + _JITTER * (chance - 0.5))
