"""What a run has come to so far, counted cheaply from its events; rates are worked out when drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from bulkfetch import events
from bulkfetch.models import Outcome, Status

WINDOW = 10.0  # seconds over which a rate is averaged
STEP = 0.5  # seconds between samples
COOLING_SHOWN = 1000  # origins noted as waiting between two looks
# Looking them up is slow before Python 3.12.
_FETCHED, _SKIPPED, _FAILED = Status.FETCHED, Status.SKIPPED, Status.FAILED


class Speed:
    """Rate of a growing number over the last seconds."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()

    def sample(self, now: float, value: float) -> float | None:
        """Take note of `value` and return its growth per second, or None while it is too early to say."""
        samples = self._samples
        if samples and value < samples[-1][1]:  # started again: the old rate says nothing (L06)
            samples.clear()
        while len(samples) > 1 and samples[1][0] <= now - WINDOW:
            samples.popleft()
        if not samples or now - samples[-1][0] >= STEP:
            samples.append((now, value))
        first_time, first_value = samples[0]
        elapsed = now - first_time
        return (value - first_value) / elapsed if elapsed >= STEP else None


class Transfer:
    """One large body under way."""

    __slots__ = ("counted", "offset", "path", "received", "shown", "speed", "total")

    def __init__(self, path: str) -> None:
        self.path = path
        self.offset = 0
        self.total: int | None = None
        self.received = 0  # body bytes of this attempt
        self.counted = 0  # body bytes of all attempts, already in the tally
        self.shown = True  # False between a failed attempt and the next
        self.speed = Speed()


class Tally:
    """Running totals; `note` is called for every event."""

    def __init__(self) -> None:
        self.entries = 0
        self.complete = False  # `entries` is final
        self.done = 0
        self.failed = 0
        self.worked = 0  # entries that took work: what a rate of files is made of
        self.bad_lines = 0
        self.received = 0  # body bytes over the wire
        self.transfers: dict[bytes, Transfer] = {}  # in the order they began
        self._asked: dict[str, float] = {}  # origin -> seconds it asked for since the last look
        self._cooling_until: dict[str, float] = {}  # origin -> monotonic time
        self._declared = 0  # bytes the manifest promises
        self._undeclared = False  # some entry came without a size: `_declared` is not the whole
        self._settled = 0  # declared bytes of entries that are done
        self._stored = 0  # bytes of files that are done
        self._actions: dict[type[events.Event], Callable[[Any], None]] = {
            events.Finished: lambda event: self._ended(event.outcome),
            events.Progress: self._progress,
            events.Planned: self._planned,
            events.Retrying: self._retrying,
            events.Cooling: self._cooling,
            events.LineRejected: self._line_rejected,
        }

    def note(self, event: events.Event) -> None:
        """Count `event`."""
        action = self._actions.get(type(event))
        if action is not None:
            action(event)

    def note_ends(self, outcomes: Sequence[Outcome]) -> None:
        """Count entries that have ended."""
        for outcome in outcomes:
            self._ended(outcome)

    @property
    def total(self) -> int | None:
        """Entries there will be; never less than those done, None until the manifest is read (L06)."""
        return max(self.entries, self.done) if self.complete else None

    def sizes(self) -> tuple[int, int | None]:
        """Return bytes of all files so far and, where every entry declared its size, their total."""
        under_way = sum(transfer.offset for transfer in self.transfers.values())
        if self._undeclared or not self._declared or not self.complete:
            return self._stored + under_way, None
        done = self._settled + under_way
        return done, max(done, self._declared)

    def waiting(self, now: float) -> list[tuple[str, float]]:
        """Return the origins that cool down and the seconds left, longest first."""
        for origin, delay in self._asked.items():
            self._cooling_until[origin] = now + delay
        self._asked.clear()
        left = {origin: until - now for origin, until in self._cooling_until.items() if until > now}
        self._cooling_until = {origin: self._cooling_until[origin] for origin in left}
        return sorted(left.items(), key=lambda one: -one[1])

    def _planned(self, event: events.Planned) -> None:
        self.entries = event.entries
        self._declared = event.size
        self.complete = event.complete

    def _ended(self, outcome: Outcome) -> None:
        status = outcome.status
        self.done += 1
        if status is _FAILED:
            self.failed += 1
        elif status is _FETCHED:
            self._stored += outcome.size or 0
        if status is not _SKIPPED:
            self.worked += 1
        declared = outcome.entry.size
        if declared is None:
            self._undeclared = True
        else:
            self._settled += declared
        self.received += outcome.received
        if self.transfers and status is not _SKIPPED:  # a line listed before shares its key with that one
            transfer = self.transfers.pop(outcome.key, None)
            if transfer is not None:
                self.received -= min(transfer.counted, outcome.received)

    def _progress(self, event: events.Progress) -> None:
        transfer = self.transfers.get(event.key)
        if transfer is None:
            transfer = self.transfers[event.key] = Transfer(event.path)
        elif not transfer.shown or event.received < transfer.received:  # the next attempt
            transfer.received = 0
            transfer.shown = True
        fresh = event.received - transfer.received
        transfer.received = event.received
        transfer.counted += fresh
        transfer.offset = event.offset
        transfer.total = event.total
        self.received += fresh

    def _retrying(self, event: events.Retrying) -> None:
        transfer = self.transfers.get(event.key)
        if transfer is not None and not event.goes_on:
            transfer.shown = False
            transfer.offset = event.kept

    def _cooling(self, event: events.Cooling) -> None:
        if len(self._asked) < COOLING_SHOWN:
            self._asked[event.origin] = event.delay

    def _line_rejected(self, event: events.LineRejected) -> None:
        self.bad_lines += 1
