"""Answers that are here as a whole once their head is: most small files.

One look and one step store them. Whatever is not as it should be, or not usual, is left to the long way
(`body.Body`), which says what is wrong; only a disk that fails is told at once.
"""

from __future__ import annotations

from bulkfetch import checksums
from bulkfetch.exchange import Reply
from bulkfetch.freshness import fresh_until
from bulkfetch.limits import NoLimit
from bulkfetch.models import Done, Entry, Head, Task
from bulkfetch.policy import HostPolicy
from bulkfetch.transfer.checks import HTML_TYPES, date_worth_setting
from bulkfetch.transfer.context import Context
from bulkfetch.transfer.held import own

_new = tuple.__new__  # one for every file, made in a quarter of the time


def store_whole(task: Task, context: Context, reply: Reply, url: str, asked: float) -> Done | None:
    """Make a file of an answer's body; None, with nothing taken or stored, where that takes the long way.

    Args:
        url: whose answer it is.
        asked: Unix time of the request.
    """
    head, config, policy = reply.head, context.config, context.policies.for_url(task.url)
    if task.part.token or task.share is not None or task.replace or config.fsync or not _is_plain(head):
        return None
    if not isinstance(context.buckets.choose(task.origin, policy.limit_rate), NoLimit):
        return None
    data = reply.peek_whole()
    if data is None or not _is_expected(len(data), task.entry, policy):
        return None
    digest = "" if config.digest == "none" else checksums.new(config.digest, data).hexdigest()
    for name, wanted in task.entry.digests:
        if wanted != (digest if name == config.digest else checksums.new(name, data).hexdigest()):
            return None
    context.lease.check()
    modified = date_worth_setting(head.last_modified)
    mtime_ns = context.store.put(task.key, data, task.path, mtime=modified)
    if mtime_ns is None:
        return None
    reply.take_whole()
    until = fresh_until(own(head, task, url), asked) if head.lifetime else None
    return _new(Done, (
        len(data), digest, config.digest, head.etag, head.last_modified, mtime_ns, (), "", until, False, True,
    ))  # fmt: skip


def _is_plain(head: Head) -> bool:
    is_whole = head.status == 200 and head.range_start is None
    return is_whole and not head.codings and head.content_type not in HTML_TYPES


def _is_expected(size: int, entry: Entry, policy: HostPolicy) -> bool:
    if entry.size is not None and size != entry.size:
        return False
    return policy.max_size is None or size <= policy.max_size
