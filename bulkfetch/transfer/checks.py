"""What an answer must be like before, and while, its body is stored."""

from __future__ import annotations

import time

from bulkfetch import errors
from bulkfetch.headers import parse_date
from bulkfetch.models import Entry, Head, Task
from bulkfetch.policy import HostPolicy
from bulkfetch.safetext import clean
from bulkfetch.store import LocalStore

_LARGE = 8 * 1024 * 1024  # bytes; for less, asking costs more than finding out
_FUTURE = 86400.0  # seconds a modification time may be ahead of our clock (fault F18)
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_HTML_STARTS = tuple(
    f"<{tag}".encode() for tag in ("!doctype html", "html", "head", "body", "script", "meta", "!--")
)


def check_size(size: int, entry: Entry, policy: HostPolicy) -> None:
    """Compare the length the server names with what is declared and allowed."""
    if entry.size is not None and size != entry.size:
        raise errors.SizeMismatch(f"the server has {size} bytes, the manifest declares {entry.size}")
    if policy.max_size is not None and size > policy.max_size:
        raise errors.TooLarge(f"{size} bytes is over --max-size {policy.max_size}")


def check_growth(size: int, entry: Entry, policy: HostPolicy) -> None:
    """Compare what is stored so far of a body of unknown length with what is declared and allowed."""
    if entry.size is not None and size > entry.size:
        raise errors.SizeMismatch(f"the body is longer than the {entry.size} bytes the manifest declares")
    if policy.max_size is not None and size > policy.max_size:
        raise errors.TooLarge(f"the body is over --max-size {policy.max_size}")


def check_replacing(size: int, task: Task, store: LocalStore) -> None:
    """Refuse an empty answer in place of a file that holds something (fault B25)."""
    if size or not task.replace or task.entry.size == 0 or task.entry.digests:
        return
    found = store.find(task.path)
    if found is not None and found.st_size > 0:
        raise errors.WrongContent("an empty answer does not replace the file that is there")


def check_room(size: int, task: Task, store: LocalStore) -> None:
    """Refuse a large body that the disk has no room for, rather than fill it first (fault F01).

    It fails this entry alone: the length is only a claim, and one lie must not end the run (fault B10).
    """
    if size < _LARGE:
        return
    free = store.free_bytes()
    if free is not None and free < size:
        raise errors.DiskFailed(f"no room for {clean(task.path)}: {size} bytes are to come, {free} are free")


def check_html(
    head: Head, first: bytes | memoryview, task: Task, policy: HostPolicy, *, is_resuming: bool
) -> None:
    """Refuse a page under a name that promises something else (faults B26, R17)."""
    if head.content_type not in HTML_TYPES or policy.allow_html:
        return
    import mimetypes  # reads the system's tables when it is used

    promised, _ = mimetypes.guess_type(task.path, strict=False)
    if promised is None or promised in HTML_TYPES:
        return
    if not bytes(first[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")[:16].lower().startswith(_HTML_STARTS):
        return
    if is_resuming:
        text = "an HTML page came instead of the rest of the file: the link may have expired"
        raise errors.NotAuthorised(text, status_code=head.status)
    if not task.entry.digests:  # a digest decides better
        text = f"an HTML page came where {promised} was expected; --allow-html keeps it"
        raise errors.WrongContent(text, status_code=head.status)


def date_worth_setting(text: str | None) -> float | None:
    """Return a Last-Modified as a modification time worth setting (fault F18)."""
    when = parse_date(text) if text else None
    return when if when is not None and 0 < when <= time.time() + _FUTURE else None
