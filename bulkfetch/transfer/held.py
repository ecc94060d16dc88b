"""A finished file that the server is asked about: whether it is still there, and still the same."""

from __future__ import annotations

import time

from bulkfetch import errors
from bulkfetch.checksums import Digests
from bulkfetch.freshness import fresh_until
from bulkfetch.models import Done, Head, Held, Task
from bulkfetch.safetext import clean
from bulkfetch.transfer.context import Context

_NOT_MODIFIED = "not modified"
_SAME_BYTES = "the same bytes came"


def is_there(held: Held, task: Task, context: Context) -> bool:
    """Say whether the file is there; raises `DestinationTaken` for one that must stay in its place."""
    found = context.store.find(task.path)
    if found is None:
        return False
    if (found.st_size, found.st_mtime_ns) == (held.size, held.mtime_ns):
        return True
    if context.config.existing == "overwrite":
        return False
    text = f"{clean(task.path)} was changed by another program; --existing overwrite replaces it"
    raise errors.DestinationTaken(text)


def confirm(task: Task, head: Head, asked: float, context: Context) -> Done:
    """Return the file held as done, as a 304 answer says (RFC 9111 section 4.3.4)."""
    held = task.held
    if held is None or not is_there(held, task, context):
        raise errors.RangeMismatch("the file went away while the server was asked whether it has changed")
    if head.etag is not None and held.etag is not None and _opaque(head.etag) != _opaque(held.etag):
        head = Head(head.status)  # of another version: it updates nothing
    etag, modified = head.etag or held.etag, head.last_modified or held.last_modified
    return _kept(held, head._replace(etag=etag, last_modified=modified), asked, _NOT_MODIFIED)


def compare(
    task: Task, size: int, digests: Digests, head: Head, asked: float, context: Context
) -> Done | None:
    """Return the file held as done if what came has the same bytes; else it may be replaced."""
    held = task.held
    if held is None or not is_there(held, task, context) or size != held.size or not held.digest:
        return None
    name, _, digest = held.digest.partition(":")
    return _kept(held, head, asked, _SAME_BYTES) if digests.hexdigest(name) == digest else None


def own(head: Head, task: Task, url: str) -> Head:
    """Return the head of an answer from `url` as far as it holds for the entry.

    Nothing says how long a redirect, or a link that was renewed, leads where it did.
    """
    is_led = task.hops > 0 or task.refreshed or url != task.url
    return head._replace(lifetime=None) if is_led and head.lifetime else head


def dated(head: Head) -> Head:
    """Return `head` with a `Date`, for an answer that is kept longer (RFC 9110 section 6.6.1)."""
    return head._replace(date=time.time()) if head.lifetime and head.date is None else head


def _kept(held: Held, head: Head, asked: float, reason: str) -> Done:
    """Return the file held as done, with the validators of `head`: what that does not say no longer holds."""
    name, _, digest = held.digest.partition(":")
    facts = (held.size, digest, name or "sha256", head.etag, head.last_modified, held.mtime_ns)
    return Done(*facts, (), reason, fresh_until(head, asked))


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/")
