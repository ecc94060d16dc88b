"""A file that is there already: whether it is the one that is wanted."""

from __future__ import annotations

import stat

from bulkfetch import errors
from bulkfetch.checksums import Digests
from bulkfetch.models import Done, Task
from bulkfetch.transfer.context import Context


def judge_existing(task: Task, context: Context) -> Done | None:
    """Return the file that is there as done, or None when it must be fetched."""
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
    return Done(found.st_size, digest, config.digest, mtime_ns=found.st_mtime_ns, kept=check.reason)
