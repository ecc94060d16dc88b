"""What `-vv` shows of an attempt: every exchange, its secrets removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bulkfetch.events import Exchanged
from bulkfetch.masking import MASK
from bulkfetch.models import Task
from bulkfetch.safetext import redact_head
from bulkfetch.tracing import Heard, TracedLease
from bulkfetch.transfer.context import Context


def tell_exchanges(task: Task, context: Context) -> None:
    """Emit what went over the wire in the attempt that has just ended."""
    lease = context.lease
    if isinstance(lease, TracedLease):
        for heard in lease.exchanges:
            context.emit(_exchanged(task, heard))


def _exchanged(task: Task, heard: Heard) -> Exchanged:
    request, answer = (tuple(_redacted(lines, task)) for lines in (heard.request, heard.answer))
    seconds = {name: round(value, 6) for name, value in heard.seconds.items()}
    return Exchanged(task.path, str(task.origin), task.attempt, request, answer, heard.reused, seconds)


def _redacted(lines: Sequence[str], task: Task) -> Iterator[str]:
    for line in redact_head(lines):
        start, mark, _ = line.partition("?")
        # The whole query of a link that `refresh_url` gave is secret.
        yield f"{start}?{MASK}" if mark and task.refreshed else line
