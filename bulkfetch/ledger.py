"""What a run has found out and is about to put on record; no outcome is told before it is in the journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bulkfetch.events import Progress
from bulkfetch.journal import AttemptRow, Journal
from bulkfetch.models import Outcome, PartInfo, Task

_FLUSH_AFTER = 0.05  # seconds an outcome may wait for others before they are written together
_FLUSH_COUNT = 256
_REMEMBERED = frozenset({"already fetched", "listed before"})  # skipped, yet the journal knows better
_NEVER = float("inf")


class Ledger:
    """Collects outcomes until it is worth writing them, and notes what becomes of parts."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._outcomes: list[Outcome] = []  # settled, not yet in the journal
        self._oldest = _NEVER  # monotonic time at which the first of them was settled
        self._is_open = False  # the journal has been given something since it was committed

    def __len__(self) -> int:
        return len(self._outcomes)

    @property
    def due(self) -> float:
        """The monotonic time at which outcomes have waited long enough."""
        return self._oldest + _FLUSH_AFTER

    def is_due(self, now: float) -> bool:
        """Say whether it is worth writing."""
        return len(self._outcomes) >= _FLUSH_COUNT or now >= self.due

    def add(self, outcomes: Iterable[Outcome], now: float) -> None:
        """Take what has been settled."""
        if not self._outcomes:
            self._oldest = now
        self._outcomes += outcomes

    def note_attempt(self, row: AttemptRow) -> None:
        """Record an attempt that was not all there was to its entry."""
        self._journal.add_attempt(row)
        self._is_open = True

    def note_progress(self, progress: Progress) -> None:
        """Record how much of a body could be resumed, if any."""
        if progress.part.token:
            self._journal.save_part(progress.key, progress.part, durable=progress.durable)
            self._is_open = True

    def keep_part(self, key: bytes, part: PartInfo) -> None:
        """Record what an attempt has left of a file, which may be nothing."""
        if part.token:
            self._journal.save_part(key, part)
        else:
            self._journal.drop_part(key)
        self._is_open = True

    def put_back(self, tasks: Sequence[Task]) -> None:
        """Leave on record the files that the server was to be asked about."""
        keys = [task.key for task in tasks if task.held is not None]
        if keys:
            self._journal.put_back(keys)
            self._is_open = True

    def write(self) -> list[Outcome]:
        """Put everything into the journal; returns the outcomes, which may now be told.

        Where it raises, they are still here.
        """
        if self._outcomes:
            self._journal.settle([o for o in self._outcomes if o.key and o.reason not in _REMEMBERED])
            self._is_open = True
        self.commit()
        return self.give_up()

    def give_up(self) -> list[Outcome]:
        """Return the outcomes and forget them."""
        outcomes, self._outcomes = self._outcomes, []
        self._oldest = _NEVER
        return outcomes

    def commit(self) -> None:
        """Make what the journal has been given survive the process."""
        if self._is_open:
            self._journal.commit()
            self._is_open = False
