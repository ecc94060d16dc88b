"""A file that is there already: whether it is the one that is wanted, and whose it is."""

from __future__ import annotations

import stat

from bulkfetch import errors
from bulkfetch.checksums import Digests
from bulkfetch.models import Done, Task
from bulkfetch.transfer.context import Context
from bulkfetch.transfer.held import is_there

_FOREIGN = "a file is already there"


def judge_existing(task: Task, context: Context) -> Task | Done:
    """Return the file that is there as done, or the task as it must be fetched or asked about.

    Raises:
        DestinationTaken: the user has changed the file, and no such file may be in the way.
    """
    if task.check is not None:
        done = _compare(task, context)
        if done is None:
            return _judge_other(task, task.check.spares, context)
        if task.held is None:
            return done
    if task.held is not None and not is_there(task.held, task, context):
        return task._replace(held=None)
    return task


def _judge_other(task: Task, spares: bool, context: Context) -> Task | Done:
    """Keep a file that is the user's; another is ours, and damaged."""
    found = context.store.find(task.path)
    if not spares or found is None:
        return task._replace(check=None, held=None)
    if context.config.existing == "fail":
        raise errors.DestinationTaken(_FOREIGN)
    return Done(found.st_size, "", kept=_FOREIGN, is_foreign=True, is_asked=False)


def _compare(task: Task, context: Context) -> Done | None:
    """Return the file that is there as done, or None when it is not what it must be."""
    check, config = task.check, context.config
    found = context.store.find(task.path)
    if check is None or found is None or not stat.S_ISREG(found.st_mode):
        return None
    if check.size is not None and check.size != found.st_size:
        return None
    digests = Digests({config.digest, *(name for name, _ in check.digests)} - {"none"})
    try:
        for data in context.store.read(task.path):
            context.lease.check()
            digests.update(data)
    except errors.DiskFailed:
        return None
    if any(digests.hexdigest(name) != wanted for name, wanted in check.digests):
        return None
    digest = "" if config.digest == "none" else digests.hexdigest(config.digest)
    facts = (found.st_size, digest, config.digest)
    return Done(*facts, mtime_ns=found.st_mtime_ns, kept=check.reason, is_asked=False)
