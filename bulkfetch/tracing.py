"""Requests and answers as they went over the wire, for `-vv`; without it nothing here is made."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from bulkfetch.watchdog import Lease

_PHASES = (("connecting to ", "connect"), ("the answer's head", "head"), ("body", "body"))
_SHOWN = ("connect", "tls", "head", "body")
_MOST = 100  # exchanges of one attempt


class Heard(NamedTuple):
    """One request and its answer: the lines of both heads, and what took how long. Secrets are in it."""

    request: tuple[str, ...]
    answer: tuple[str, ...]  # empty: none came
    seconds: dict[str, float]  # by phase: connect, tls, head, body

    @property
    def reused(self) -> bool:
        """Whether the connection had been there before."""
        return "connect" not in self.seconds


class TracedLease(Lease):
    """A lease that remembers what its phases were, and what the transports say of each exchange."""

    __slots__ = ("_marks", "_said", "exchanges")
    traced = True

    def __init__(self) -> None:
        super().__init__()
        self._marks: list[tuple[str, float]] = []
        self._said: list[tuple[str, ...]] = []  # the request, then its answer
        self.exchanges: list[Heard] = []

    def begin(self, deadline: float, path: str = "", url: str = "") -> None:
        """Start an attempt."""
        super().begin(deadline, path, url)
        self.exchanges = []

    def enter(self, what: str, seconds: float) -> float:
        """Start a phase."""
        if self._marks and self._marks[-1][0] == "body":
            self._finish()
        self._marks.append((_phase(what), time.monotonic()))
        return super().enter(what, seconds)

    def stream(self) -> None:
        """Start the body."""
        self._marks.append(("body", time.monotonic()))
        super().stream()

    def end(self) -> None:
        """Finish the attempt."""
        self._finish()
        super().end()

    def said(self, head: Sequence[str]) -> None:
        """Take the lines of a request's head."""
        if self._said:  # the same request once more, with other credentials
            self._finish()
            self._marks.append(("head", time.monotonic()))
        self._said = [tuple(head)]

    def heard(self, head: Sequence[str]) -> None:
        """Take the lines of the head that answered it."""
        self._said.append(tuple(head))

    def _finish(self) -> None:
        marks, self._marks = self._marks, []
        said, self._said = self._said, []
        ends = [*(at for _, at in marks[1:]), time.monotonic()]
        spent: dict[str, float] = {}
        for (phase, started), ended in zip(marks, ends, strict=True):
            spent[phase] = spent.get(phase, 0.0) + ended - started
        seconds = {phase: spent[phase] for phase in _SHOWN if phase in spent}
        if (said or "connect" in seconds) and len(self.exchanges) < _MOST:
            self.exchanges.append(Heard(said[0] if said else (), said[-1] if len(said) > 1 else (), seconds))


def _phase(what: str) -> str:
    if "TLS handshake" in what:
        return "tls"
    return next((name for begin, name in _PHASES if what.startswith(begin)), "other")
