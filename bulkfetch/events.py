"""What happened, as values: the display, `--events` and the library's callback all get these.

Every event renders as one flat JSON object with `v` (format version) and `event` (its name).
Text in events has secrets removed already; it may still hold control characters, which a
display must escape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from bulkfetch.models import NO_PART, BadLine, Failure, Outcome, PartInfo
from bulkfetch.summary import Summary
from bulkfetch.values import frozen

VERSION = 1


@frozen
class Event:
    """Base of all events."""

    name: ClassVar[str] = "event"

    def to_record(self) -> dict[str, Any]:
        """Return the event as a JSON-ready dict."""
        ours = {"v": VERSION, "event": self.name}
        return {**ours, **self._fields(), **ours}  # first to read, and never a column of the user's

    def _fields(self) -> dict[str, Any]:
        return {}


@frozen
class RunStarted(Event):
    """The run begins."""

    name: ClassVar[str] = "run_started"
    dest: str
    jobs: int  # workers, at most

    def _fields(self) -> dict[str, Any]:
        return {"dest": self.dest, "jobs": self.jobs}


@frozen
class Planned(Event):
    """Entries were admitted: running totals, so a display knows what is to come."""

    name: ClassVar[str] = "planned"
    entries: int  # read from the manifest so far
    size: int  # bytes declared by those entries so far
    complete: bool  # the manifest has been read to its end

    def _fields(self) -> dict[str, Any]:
        return {"entries": self.entries, "size": self.size, "complete": self.complete}


@frozen
class LineRejected(Event):
    """A manifest line could not be read."""

    name: ClassVar[str] = "line_rejected"
    bad: BadLine

    def _fields(self) -> dict[str, Any]:
        bad = self.bad
        return {"source": bad.source, "line": bad.line, "reason": bad.reason, "text": bad.text}


@frozen
class Started(Event):
    """An attempt was handed to a worker."""

    name: ClassVar[str] = "started"
    path: str
    url: str
    attempt: int

    def _fields(self) -> dict[str, Any]:
        return {"path": self.path, "url": self.url, "attempt": self.attempt}


@frozen
class Progress(Event):
    """Bytes of one body so far; at most about ten a second per task, none for small bodies."""

    name: ClassVar[str] = "progress"
    key: bytes
    path: str
    offset: int  # bytes in the part now
    total: int | None  # None: length not known
    received: int  # body bytes received by this attempt
    durable: int = 0  # bytes of the part that survive the machine
    part: PartInfo = NO_PART  # what could be resumed; empty when nothing could

    def _fields(self) -> dict[str, Any]:
        return {"path": self.path, "offset": self.offset, "total": self.total, "received": self.received}


@frozen
class Exchanged(Event):
    """A request and its answer as they went over the wire; told by `-vv` alone, once the attempt is over."""

    name: ClassVar[str] = "exchanged"
    path: str
    origin: str
    attempt: int
    request: tuple[str, ...]  # lines of the head; empty: no connection came about
    answer: tuple[str, ...]  # empty: there was none
    reused: bool  # the connection was there before
    seconds: Mapping[str, float]  # by phase: connect, tls, head, body

    def _fields(self) -> dict[str, Any]:
        return {
            "path": self.path, "origin": self.origin, "attempt": self.attempt, "request": list(self.request),
            "answer": list(self.answer), "reused": self.reused, "seconds": dict(self.seconds),
        }  # fmt: skip


@frozen
class Retrying(Event):
    """An attempt failed and the task waits for another."""

    name: ClassVar[str] = "retrying"
    key: bytes
    path: str
    url: str
    attempt: int  # the one that failed
    delay: float  # seconds until the next may start
    kept: int  # bytes kept
    failure: Failure
    goes_on: bool = False  # other ranges of the file are not affected

    def _fields(self) -> dict[str, Any]:
        fields = {"path": self.path, "url": self.url, "attempt": self.attempt}
        return {
            **fields,
            "delay": round(self.delay, 3),
            "kept": self.kept,
            "failure": self.failure.to_record(),
        }


@frozen
class Redirected(Event):
    """A task goes on under another origin."""

    name: ClassVar[str] = "redirected"
    path: str
    url: str
    location: str

    def _fields(self) -> dict[str, Any]:
        return {"path": self.path, "url": self.url, "location": self.location}


@frozen
class Cooling(Event):
    """An origin asked us to wait, or does not answer."""

    name: ClassVar[str] = "cooling"
    origin: str
    delay: float  # seconds
    reason: str

    def _fields(self) -> dict[str, Any]:
        return {"origin": self.origin, "delay": round(self.delay, 3), "reason": self.reason}


@frozen
class Finished(Event):
    """An entry reached its outcome."""

    name: ClassVar[str] = "finished"
    outcome: Outcome

    def _fields(self) -> dict[str, Any]:
        return self.outcome.to_record()


@frozen
class Notice(Event):
    """Something the user should read once: a stale lock taken over, a damaged journal set aside."""

    name: ClassVar[str] = "notice"
    message: str
    level: str = "warning"  # "info" | "warning" | "error"

    def _fields(self) -> dict[str, Any]:
        return {"message": self.message, "level": self.level}


@frozen
class RunFinished(Event):
    """The run is over."""

    name: ClassVar[str] = "run_finished"
    summary: Summary

    def _fields(self) -> dict[str, Any]:
        return self.summary.to_record()
