"""What earlier runs did and how far this one is: one SQLite file in the destination, one writer."""

from bulkfetch.journal.attempts import AttemptRow, EntryStory
from bulkfetch.journal.boot import boot_id, boot_time
from bulkfetch.journal.copying import copy_journal
from bulkfetch.journal.journal import Journal
from bulkfetch.journal.opening import FILE
from bulkfetch.journal.rows import Answer, Interruption, PathOwner, PendingRow, Row

__all__ = [
    "FILE",
    "Answer",
    "AttemptRow",
    "EntryStory",
    "Interruption",
    "Journal",
    "PathOwner",
    "PendingRow",
    "Row",
    "boot_id",
    "boot_time",
    "copy_journal",
]
