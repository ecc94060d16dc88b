"""What a display is, the one that shows nothing, and the guard that keeps its errors from a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bulkfetch.events import Event, Finished
from bulkfetch.models import Outcome


class Display(Protocol):
    """Shows events; one thread calls all methods.

    One with a true `skips_starts` need not be told that an attempt starts, which comes for every file. One
    whose class defines `show_ends` beside `show` gets the outcomes of many entries at once there, in place
    of `Finished` events.

    Workers never touch a display, so a terminal that blocks (Ctrl-S, a stopped pipe) holds up the
    coordinator's drawing and nothing that is under way (K09).
    """

    def show(self, event: Event) -> None:
        """Take note of `event`; cheap, draws nothing."""

    def refresh(self, now: float) -> None:
        """Draw what has changed; `now` is monotonic time."""

    def close(self) -> None:
        """Write the lines still held back, leave the stream clean, and stay silent from then on."""


PACE = 0.09  # seconds from one drawing to the next, however often the coordinator comes round


class NullDisplay:
    """Shows nothing."""

    def show(self, event: Event) -> None:
        """Ignore `event`."""

    def show_ends(self, outcomes: Sequence[Outcome]) -> None:
        """Ignore them."""

    def refresh(self, now: float) -> None:
        """Draw nothing."""

    def close(self) -> None:
        """Do nothing."""


class GuardedDisplay:
    """A display that is turned off for good by its first error (P07, P08): `error` says which."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self.skips_starts = skips_starts(display)
        self.error: Exception | None = None
        self._drawn: float | None = None

    def show(self, event: Event) -> None:
        """Pass `event` on while the display works."""
        try:
            self._display.show(event)
        except Exception as exc:  # noqa: BLE001 - whatever a stream raises, the run is worth more than its display
            self._give_up(exc)

    def show_ends(self, outcomes: Sequence[Outcome]) -> None:
        """Pass outcomes on while the display works."""
        try:
            show_ends(self._display, outcomes)
        except Exception as exc:  # noqa: BLE001 - as in show
            self._give_up(exc)

    def refresh(self, now: float) -> None:
        """Draw while the display works, at most about ten times a second."""
        if self._drawn is not None and now - self._drawn < PACE:
            return
        self._drawn = now
        try:
            self._display.refresh(now)
        except Exception as exc:  # noqa: BLE001 - as in show
            self._give_up(exc)

    def close(self) -> None:
        """Close the display; a second call does nothing."""
        try:
            self._display.close()
        except Exception as exc:  # noqa: BLE001 - as in show
            self._give_up(exc)
        self._display = NullDisplay()

    def _give_up(self, exc: Exception) -> None:
        self.error = exc
        self._display = NullDisplay()


def show_ends(display: Display, outcomes: Sequence[Outcome]) -> None:
    """Have a display take note of entries that have ended: all at once if it can, or one by one."""
    kind = next((one for one in type(display).__mro__ if "show" in vars(one)), object)
    if "show_ends" in vars(kind):  # else it is not meant for what this one shows
        display.show_ends(outcomes)  # type: ignore[attr-defined]
        return
    for outcome in outcomes:
        display.show(Finished(outcome))


def skips_starts(display: Display) -> bool:
    """Say whether a display shows nothing of starts."""
    return bool(getattr(display, "skips_starts", False))
