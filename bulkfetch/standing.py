"""Whose file it is that stands at a destination, judged by what the journal and the manifest say of it."""

from __future__ import annotations

from bulkfetch.errors import DestinationTaken, to_failure
from bulkfetch.journal import PathOwner, Row
from bulkfetch.models import Check, Entry, Failure, Status

NOBODYS = 1  # the time of a file that was another entry's, and is to be replaced
_MTIME_SLACK = 2_000_000_000  # nanoseconds; the coarsest file systems keep two seconds


def is_intact(row: Row, size: int, mtime_ns: int) -> bool:
    """Say whether a file looks untouched; with a digest to go by, a doubt costs no more than hashing it."""
    slack = 0 if row.digest else _MTIME_SLACK
    return size == row.size and (not row.mtime_ns or abs(mtime_ns - row.mtime_ns) <= slack)


def may_be_intact(row: Row, size: int, mtime_ns: int) -> bool:
    """Say whether a file may be the one on record; hashing it tells where there is a digest."""
    return size == row.size and (bool(row.digest) or is_intact(row, size, mtime_ns))


def ask_failed(row: Row) -> bool:
    """Say whether asking about the file on record has failed."""
    return row.state is Status.FAILED and row.size is not None


def is_edited(entry: Entry, row: Row, size: int) -> bool:
    """Say whether another program surely changed the file on record; one of the same size takes hashing."""
    is_file = row.size is not None and row.mtime_ns != NOBODYS and not row.needs_check
    return is_file and row.size != size and is_as_promised(entry, row)


def is_as_promised(entry: Entry, row: Row) -> bool:
    """Say whether the file on record is what the manifest promises."""
    if entry.size is not None and entry.size != row.size:
        return False
    if not entry.digests:
        return True
    name, _, digest = row.digest.partition(":")
    return not any(algorithm == name and wanted != digest for algorithm, wanted in entry.digests)


def in_the_way(path: str) -> Failure:
    """Return why an entry has no destination: an earlier line got it."""
    return Failure("path", f"an earlier line has the destination {path} already")


def is_below(path: str, above: str) -> Failure:
    """Return why an entry has no destination: it would be below the file of an earlier line."""
    return Failure("path", f"{path}: an earlier line has a file where this needs the folder {above}")


def is_needed_as_folder(path: str) -> Failure:
    """Return why an entry has no destination: what earlier lines name is below it."""
    return Failure("path", f"{path}: earlier lines need a folder of this name")


def taken_by(owner: PathOwner) -> Failure:
    """Return why an entry has no destination: the file of another entry stands there."""
    other = f"of {owner.url}" if owner.url else "of another URL"
    text = f"{owner.path} is the file {other}; --existing overwrite replaces it"
    return to_failure(DestinationTaken(text))


def declares(entry: Entry) -> bool:
    """Say whether the manifest tells what the file must be."""
    return bool(entry.digests) or entry.size is not None


def declared(entry: Entry, reason: str) -> Check:
    """Return what a file must be to be what the manifest declares; `reason` is told where it is."""
    return Check(entry.size, entry.digests, reason)
