"""A copy of a journal, for planning without touching the destination."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bulkfetch.journal.database import explain
from bulkfetch.journal.opening import FILE


def copy_journal(source: Path, target: Path) -> None:
    """Copy the journal of the state folder `source`, if it has one, into the folder `target`.

    Raises:
        BulkfetchError: it cannot be read.
    """
    path = source / FILE
    if not path.exists():
        return
    try:
        with (
            closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target / FILE)) as new,
        ):
            old.backup(new)
    except sqlite3.Error as exc:
        raise explain(exc, path) from exc
