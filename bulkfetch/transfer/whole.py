"""Answers that are here as a whole once their head is, or soon after: most small files.

One look and one step store them. Whatever is not as it should be, or not usual, is left to the long way
(`body.Body`), which says what is wrong; only a disk that fails is told at once.
"""

from __future__ import annotations

from bulkfetch import checksums
from bulkfetch.exchange import Reply
from bulkfetch.freshness import fresh_until
from bulkfetch.limits import NoLimit
from bulkfetch.models import Done, Head, Task
from bulkfetch.transfer.checks import HTML_TYPES, date_worth_setting
from bulkfetch.transfer.context import Context
from bulkfetch.transfer.held import own

_new = tuple.__new__  # one for every file, made in a quarter of the time


def store_whole(task: Task, context: Context, reply: Reply, url: str, asked: float) -> Done | None:
    """Make a file of a reply's body; None, with nothing taken or stored, where that takes the long way.

    Args:
        url: whose answer it is.
        asked: Unix time of the request.
    """
    if task.part.token or task.share is not None or task.replace or context.config.fsync:
        return None
    head = own(reply.head, task, url)
    if not head.length or not may_store(task, head, head.length, context):
        return None
    data = reply.peek_whole()
    if data is None:
        return None
    done = store(task, head, data, asked, context)
    if done is not None:
        reply.take_whole()
    return done


def may_store(task: Task, head: Head, size: int, context: Context) -> bool:
    """Say whether a body of `size` bytes is what the task wants, as far as its head tells."""
    if head.status != 200 or head.range_start is not None or head.codings or head.content_type in HTML_TYPES:
        return False
    entry, policy = task.entry, context.policies.for_url(task.url)
    if (entry.size is not None and size != entry.size) or size > (policy.max_size or size):
        return False
    return isinstance(context.buckets.choose(task.origin, policy.limit_rate), NoLimit)


def store(task: Task, head: Head, data: memoryview, asked: float, context: Context) -> Done | None:
    """Check a body's digests and make it the task's file; None, with nothing stored, where that fails.

    `asked` is the Unix time of the request.

    Raises:
        DiskFailed: the bytes could not be written.
    """
    kind = context.config.digest
    digest = "" if kind == "none" else checksums.new(kind, data).hexdigest()
    for name, wanted in task.entry.digests:
        if wanted != (digest if name == kind else checksums.new(name, data).hexdigest()):
            return None
    context.lease.check()
    modified = date_worth_setting(head.last_modified)
    mtime_ns = context.store.put(task.key, data, task.path, mtime=modified)
    if mtime_ns is None:
        return None
    until = fresh_until(head, asked) if head.lifetime else None
    return _new(Done, (
        len(data), digest, kind, head.etag, head.last_modified, mtime_ns, (), "", until, False, True,
    ))  # fmt: skip
