"""Which of the files that are there the server is asked about again: `--respect-cache`, and failed asks."""

from __future__ import annotations

import os
from collections.abc import Mapping

from bulkfetch.config import FetchConfig
from bulkfetch.journal import Answer, Row
from bulkfetch.models import Entry, Held, Status, Task
from bulkfetch.safetext import redact_url
from bulkfetch.standing import NOBODYS, is_as_promised

_UNKNOWN = Answer(None, "")
_FAILED = Status.FAILED  # looking it up is slow before Python 3.12


class Revisits:
    """What holds for a batch of entries.

    Args:
        config: of the run.
        answers: what the files that are there came with.
        now: Unix time.
    """

    def __init__(self, config: FetchConfig, answers: Mapping[bytes, Answer], now: float) -> None:
        self._config = config
        self._answers = answers
        self._now = now

    def held(self, entry: Entry, row: Row, found: os.stat_result) -> Held | None:
        """Return the file as the server is to be asked about it; None where it counts as it is.

        What is posted, or has a declared digest, does not change behind its URL.
        """
        has_failed = row.state is _FAILED  # the last ask: it is made again, whatever was fresh before
        wants = self._config.respect_cache or has_failed
        if not wants or entry.request is not None or entry.digests:
            return None
        answer = self._answers.get(row.key, _UNKNOWN)
        if not has_failed and answer.fresh_until is not None and self._now < answer.fresh_until:
            return None
        url = answer.final_url or redact_url(entry.urls[0])
        facts = (found.st_size, found.st_mtime_ns, row.digest, row.etag, row.last_modified)
        return Held(url, *facts)

    def after(self, task: Task, row: Row, found: os.stat_result, *, is_sure: bool) -> Task:
        """Have the server asked about a file once it was checked; one that is not ours stays.

        Args:
            task: checks the file.
            row: what is on record of it.
            found: what is there.
            is_sure: no run that broke off can have put it there.
        """
        if not is_as_promised(task.entry, row) or (task.check is None and not is_sure):
            return task
        task = task._replace(held=self.held(task.entry, row, found))
        if task.check is None or not self.spares(task.entry, row, is_sure=is_sure):
            return task
        return task._replace(check=task.check._replace(spares=True))

    def spares(self, entry: Entry, row: Row, *, is_sure: bool) -> bool:
        """Say whether a file that is not the one on record is left to the user (fault K08)."""
        if not self._config.respect_cache or entry.digests or self._config.existing == "overwrite":
            return False
        return is_sure and not row.needs_check and row.mtime_ns != NOBODYS and is_as_promised(entry, row)
