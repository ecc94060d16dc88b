"""Keeps a million failures from becoming a million lines: pure, time is passed in."""

from __future__ import annotations

from bulkfetch.formatting import format_count, format_number_of

LINES_PER_GROUP = 20  # lines shown of one kind from one host
LINES_PER_SECOND = 10.0
BURST = 20.0
FIRST_REPORT, LONGEST_REPORT = 10.0, 300.0  # seconds between reports of what was held back
GROUPS = 1000  # counted apart; a manifest of a million hosts must not grow memory
GROUPS_REPORTED = 5
MANY = "other hosts"

Group = tuple[str, str]  # kind, and the host or manifest it came from


class Flood:
    """Admits lines by group and by rate, and counts those it holds back."""

    def __init__(self) -> None:
        self._seen: dict[Group, int] = {}
        self._held: dict[Group, int] = {}
        self._tokens = BURST
        self._clock: float | None = None
        self._interval = FIRST_REPORT
        self._due: float | None = None

    def admits(self, kind: str, source: str, most: int = LINES_PER_GROUP) -> bool:
        """Say whether one more line of this kind may be shown; if not, it is counted as held back."""
        group = (kind, source)
        if group not in self._seen and len(self._seen) >= GROUPS:
            group = (kind, MANY)
        seen = self._seen.setdefault(group, 0)
        if seen < most and self._tokens >= 1.0:
            self._seen[group] = seen + 1
            self._tokens -= 1.0
            return True
        self._held[group] = self._held.get(group, 0) + 1
        return False

    def report(self, now: float) -> list[str]:
        """Return lines about what was held back when such a report is due, and renew the allowance."""
        elapsed = 0.0 if self._clock is None else max(now - self._clock, 0.0)
        self._clock = now
        self._tokens = min(BURST, self._tokens + elapsed * LINES_PER_SECOND)
        if not self._held or self._due is None:
            self._due = now + self._interval
        if now < self._due:
            return []
        self._interval = min(self._interval * 2, LONGEST_REPORT)
        self._due = now + self._interval
        return self.rest()

    def rest(self) -> list[str]:
        """Return lines about everything held back since the last report."""
        held = sorted(self._held.items(), key=lambda group: -group[1])
        self._held = {}
        lines = [_held(count, group, self._seen.get(group)) for group, count in held[:GROUPS_REPORTED]]
        if others := held[GROUPS_REPORTED:]:
            total = format_count(sum(count for _, count in others))
            lines.append(f"... and {total} more in {format_number_of(len(others), 'other group')}")
        return lines


def _held(count: int, group: Group, shown: int | None) -> str:
    kind, source = group
    more = " more" if shown else ""  # none of a group may have been shown: lines come too fast
    return f"... and {format_count(count)}{more} of kind {kind}" + (f" from {source}" if source else "")
