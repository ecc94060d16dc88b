"""What `-vv` shows of an attempt: every exchange, its secrets removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bulkfetch.events import Exchanged
from bulkfetch.masking import MASK
from bulkfetch.models import Task
from bulkfetch.safetext import given_values, redact_head, redact_request
from bulkfetch.tracing import Heard, TracedLease
from bulkfetch.transfer.context import Context


def tell_exchanges(task: Task, context: Context) -> None:
    """Emit what went over the wire in the attempt that has just ended."""
    lease = context.lease
    if isinstance(lease, TracedLease):
        for heard in lease.exchanges:
            context.emit(_exchanged(task, heard))


def _exchanged(task: Task, heard: Heard) -> Exchanged:
    request = tuple(_hide_queries(redact_request(heard.request), task))
    answer = tuple(_hide_queries(_answer(heard), task))
    seconds = {name: round(value, 6) for name, value in heard.seconds.items()}
    return Exchanged(task.path, str(task.origin), task.attempt, request, answer, heard.reused, seconds)


def _answer(heard: Heard) -> Iterator[str]:
    """Yield the answer's head without what it echoes of the user's fields."""
    given = given_values(heard.request)
    for line in redact_head(heard.answer):
        for value in given:
            line = line.replace(value, MASK)
        yield line


def _hide_queries(lines: Iterable[str], task: Task) -> Iterator[str]:
    for line in lines:
        start, mark, _ = line.partition("?")
        # The whole query of a link that `refresh_url` gave is secret.
        yield f"{start}?{MASK}" if mark and task.refreshed else line
