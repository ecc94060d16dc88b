"""Events worth a line of their own, as text: what the bar prints above itself and the log prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bulkfetch import events
from bulkfetch.display.flood import LINES_PER_GROUP, Flood
from bulkfetch.formatting import format_duration, format_size
from bulkfetch.models import Outcome, Status
from bulkfetch.safetext import clean

NAME_LIMIT, REASON_LIMIT = 300, 500  # characters; the journal has the rest
_OF_A_HOST = frozenset({"auth", "deferred", "host-down"})  # failures of entries that were not even asked for
_FAILED = Status.FAILED  # looking it up is slow before Python 3.12
_WARNINGS = {"empty": "the answer has no bytes"}
_LEVELS = {"info": "note", "error": "error"}


class Lines:
    """Collects lines until they are taken; with `verbose` every attempt gets one and none is held back."""

    def __init__(self, *, verbose: int = 0, quiet: bool = False, cooling: bool = False) -> None:
        self._flood = Flood()
        self._quiet = quiet
        self._verbose = verbose > 0
        self._pending: list[str] = []
        self._wanted: dict[type[events.Event], Callable[[Any], None]] = {
            events.Finished: lambda event: self._ended(event.outcome),
            events.LineRejected: self._line_rejected,
            events.Notice: self._notice,
        }
        if self._verbose:
            self._wanted[events.Started] = self._started
            self._wanted[events.Retrying] = self._retrying
            self._wanted[events.Redirected] = self._redirected
        if verbose > 1:
            self._wanted[events.Exchanged] = self._exchanged
        if cooling or self._verbose:
            self._wanted[events.Cooling] = self._cooling

    def note(self, event: events.Event) -> None:
        """Keep the line `event` deserves, if any."""
        write = self._wanted.get(type(event))
        if write is not None:
            write(event)

    def note_ends(self, outcomes: Sequence[Outcome]) -> None:
        """Keep the lines that entries deserve which have ended: of most of them none."""
        for outcome in outcomes:
            if self._verbose or outcome.warnings or outcome.status is _FAILED:  # else a call for each file
                self._ended(outcome)

    def take(self, now: float) -> list[str]:
        """Return the lines to show now."""
        held = self._flood.report(now)
        if not self._pending and not held:
            return []
        lines, self._pending = self._pending, []
        return lines + [clean(line) for line in held]

    def rest(self) -> list[str]:
        """Return everything not taken yet, at the end of a run."""
        lines, self._pending = self._pending, []
        return lines + [clean(line) for line in self._flood.rest()]

    def _admits(self, kind: str, source: str, most: int = LINES_PER_GROUP) -> bool:
        return self._verbose or self._flood.admits(kind, source, most)

    def _add(self, word: str, *rest: str) -> None:
        self._pending.append("  ".join((word, *filter(None, rest))))

    def _ended(self, outcome: Outcome) -> None:
        if outcome.status is _FAILED:
            self._failed(outcome)
            return
        if outcome.warnings and not self._quiet:
            self._warned(outcome)
        if self._verbose:
            self._good(outcome)

    def _failed(self, outcome: Outcome) -> None:
        failure = outcome.failure
        kind = failure.kind if failure else "internal"
        if not outcome.attempts and kind in _OF_A_HOST:
            kind, most = f"{kind} (not asked)", 1  # the same words for each of its entries
        else:
            most = 1 if kind == "auth" else LINES_PER_GROUP  # one mistake, however many entries need it
        if self._admits(kind, _authority(outcome.url), most):
            reason = failure.message if failure and failure.message else kind
            self._add("failed", _name(outcome), clean(reason, REASON_LIMIT), _place(outcome))

    def _warned(self, outcome: Outcome) -> None:
        for warning in outcome.warnings:
            if self._admits("warning", _authority(outcome.url)):
                self._add("warning", _name(outcome), clean(_WARNINGS.get(warning, warning), REASON_LIMIT))

    def _good(self, outcome: Outcome) -> None:
        word, name = str(outcome.status), _name(outcome)
        if outcome.status is Status.FETCHED:
            size = format_size(outcome.size or 0)
            self._add(word, name, f"{size} in {format_duration(outcome.seconds)}")
        else:
            self._add(word, name, clean(outcome.reason, REASON_LIMIT))

    def _line_rejected(self, event: events.LineRejected) -> None:
        bad = event.bad
        if self._admits("bad line", bad.source):
            text = clean(bad.text, NAME_LIMIT)
            place = f"{clean(bad.source, NAME_LIMIT)}:{bad.line}"
            self._add("bad line", place, clean(bad.reason, REASON_LIMIT) + (f": {text}" if text else ""))

    def _notice(self, event: events.Notice) -> None:
        if self._quiet and event.level != "error":
            return
        if event.level == "error" or self._admits("notice", ""):  # an error ends the run: never held back
            self._add(_LEVELS.get(event.level, "warning"), clean(event.message, REASON_LIMIT))

    def _started(self, event: events.Started) -> None:
        number = f"attempt {event.attempt}" if event.attempt > 1 else ""
        self._add("start", clean(event.path, NAME_LIMIT), clean(event.url, REASON_LIMIT), number)

    def _exchanged(self, event: events.Exchanged) -> None:
        took = ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in event.seconds.items())
        connection = "reused connection" if event.reused else "new connection"
        name = clean(event.path, NAME_LIMIT)
        self._add("exchange", name, f"attempt {event.attempt}", clean(event.origin), connection, took)
        self._pending += [f"  > {clean(line, REASON_LIMIT)}" for line in event.request]
        self._pending += [f"  < {clean(line, REASON_LIMIT)}" for line in event.answer or ("(no answer)",)]

    def _retrying(self, event: events.Retrying) -> None:
        wait = f"attempt {event.attempt} failed, next in {format_duration(event.delay)}"
        kept = f"{format_size(event.kept)} kept" if event.kept else ""
        reason = clean(event.failure.message or event.failure.kind, REASON_LIMIT)
        self._add("retry", clean(event.path, NAME_LIMIT), wait, kept, reason)

    def _redirected(self, event: events.Redirected) -> None:
        self._add("redirect", clean(event.path, NAME_LIMIT), "to " + clean(event.location, REASON_LIMIT))

    def _cooling(self, event: events.Cooling) -> None:
        if self._admits("wait", event.origin):
            reason = clean(event.reason, REASON_LIMIT)
            self._add("wait", clean(event.origin, NAME_LIMIT), format_duration(event.delay), reason)


def is_error(event: events.Event) -> bool:
    """Say whether `--quiet` shows `event`."""
    if isinstance(event, events.Finished):
        return event.outcome.status is Status.FAILED
    if isinstance(event, events.Notice):
        return event.level == "error"
    return isinstance(event, events.LineRejected)


def _name(outcome: Outcome) -> str:
    return clean(outcome.path or outcome.url, NAME_LIMIT)


def _place(outcome: Outcome) -> str:
    """Return the line of an entry that was refused before anything was asked: there it must be mended."""
    is_refused = outcome.failure is not None and outcome.failure.kind in ("path", "exists")
    if not is_refused or outcome.attempts or not outcome.entry.line:
        return ""
    return f"{clean(outcome.entry.source, NAME_LIMIT)}:{outcome.entry.line}"


def _authority(url: str) -> str:
    return url.split("/", 3)[2] if "://" in url else ""  # a group's name, so nothing needs parsing
