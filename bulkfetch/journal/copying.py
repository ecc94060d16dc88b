"""A copy of a journal, for planning without touching the destination."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from bulkfetch.journal.opening import FILE, open_readable


def copy_journal(source: Path, target: Path) -> None:
    """Copy the journal of the state folder `source`, if it has one, into the folder `target`.

    Raises:
        BulkfetchError: it cannot be read.
    """
    if (source / FILE).exists():
        database, _ = open_readable(source)
        with closing(database):
            database.copy_to(target / FILE)
