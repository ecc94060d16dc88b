"""What the journal gives and takes; rows read back are checked, as they may have been edited (fault K07)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from bulkfetch.checksums import is_hex_digest
from bulkfetch.errors import UnsafePath
from bulkfetch.expressions import late
from bulkfetch.models import Entry, Gap, PartInfo, Status
from bulkfetch.naming import checked_path

KEY_SIZE = 16  # bytes
_FACTS = 11  # columns of a row, before what else a query selects
_LIMIT = 1 << 63
_STATES = {str(state): state for state in Status}
_TOKEN = late(r"[0-9a-f]{1,64}")
_GAPS = late(r"[0-9]{1,19}-[0-9]{1,19}(,[0-9]{1,19}-[0-9]{1,19}){0,99999}")
_SHA256 = late(r"sha256:[0-9a-f]{64}")
_FIELD = late(r"[\x20-\x7e\x80-\xff]{1,4096}")  # it goes into a request (RFC 9110 section 5.5)
_new_row = tuple.__new__  # a re-run makes one for every line, in half the time


class Row(NamedTuple):
    """An entry as earlier runs left it; size, time, digest and validators are of the file last put there."""

    key: bytes
    path: str
    state: Status
    size: int | None
    mtime_ns: int  # 0: not known
    digest: str  # "ALGORITHM:HEX" or ""
    run: int  # the last run that saw the entry
    etag: str | None
    last_modified: str | None
    needs_check: bool  # the machine may have gone down before the file was on disk
    owns: bool = True  # its path; else another entry has it, or nobody


class Answer(NamedTuple):
    """What is on record of the answer that a file came with, besides its validators."""

    fresh_until: int | None  # Unix time
    final_url: str  # "" where it is the entry's own


class PathOwner(NamedTuple):
    """The entry that has a destination."""

    key: bytes
    run: int
    path: str
    state: Status
    size: int | None
    mtime_ns: int
    url: str = ""


class PendingRow(NamedTuple):
    """An entry that this run is going to fetch."""

    key: bytes
    path: str
    path_key: str  # its collision key
    entry: Entry


class Interruption(NamedTuple):
    """Runs since the last clean one that did not end as they should."""

    started: float  # Unix time at which the first of them began
    same_boot: bool  # the machine has been up since: what they wrote is there
    ended: float  # Unix time at which the last of them ended; infinite where one was killed


def parse_row(values: Sequence[Any], doubted: frozenset[int], safe_path: str = "") -> Row | None:
    """Return what FIND_ROWS and its kin select as a row; None when it cannot be ours.

    A path needs no look if it is `safe_path`.
    """
    key, path, state, size, mtime_ns, digest, run, etag, last_modified, written, owns = values[:_FACTS]
    if not isinstance(key, bytes) or len(key) != KEY_SIZE or not isinstance(run, int) or state not in _STATES:
        return None
    checked = path if path == safe_path else _checked(path)
    if not checked:
        return None
    return _new_row(Row, (
        key, checked, _STATES[state], size_of(size), mtime_ns if isinstance(mtime_ns, int) else 0,
        digest if isinstance(digest, str) and _SHA256.fullmatch(digest) else _digest(digest),
        run, None if etag is None else _field(etag),
        None if last_modified is None else _field(last_modified),
        (written if isinstance(written, int) else run) in doubted, owns == 1,
    ))  # fmt: skip


def parse_answer(values: Sequence[Any]) -> tuple[Any, Answer]:
    """Return what FIND_ANSWERS selects as a key and an answer; nothing is fresh by what cannot be ours."""
    key, fresh_until, final_url = values
    return key, Answer(size_of(fresh_until), final_url if isinstance(final_url, str) else "")


def _checked(path: Any) -> str:
    try:
        return checked_path(path) if isinstance(path, str) else ""
    except UnsafePath:
        return ""


def parse_part(values: Sequence[Any], boot: str) -> tuple[bytes, PartInfo] | None:
    """Return what FIND_PARTS selects as a key and its part; None when it cannot be ours.

    Bytes written before the present boot count only as far as they were synced.
    """
    key, token, validator, total, offset, durable, wrote_boot, missing = values
    if not isinstance(key, bytes) or not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return None
    is_sure = boot and wrote_boot == boot
    kept = size_of(offset if is_sure else durable) or 0
    if total is not None and (size_of(total) is None or kept > total):
        return None
    gaps = _gaps(missing, kept, total) if is_sure else ()
    return key, PartInfo(kept, _field(validator), total, token, gaps)


def missing_text(part: PartInfo) -> str | None:
    """Return the gaps of a part as the journal keeps them: 0-99,500-999, both ends included."""
    return ",".join(f"{start}-{end - 1}" for start, end in part.missing) or None


def _gaps(text: Any, kept: int, total: int | None) -> tuple[Gap, ...]:
    """Return the gaps of a part, the first where its offset is; none that cannot be right."""
    if not isinstance(text, str) or total is None or not _GAPS.fullmatch(text):
        return ()
    pairs = (gap.split("-") for gap in text.split(","))
    gaps = tuple((int(first), int(last) + 1) for first, last in pairs)
    edges = [edge for gap in gaps for edge in gap]
    in_order = all(a < b for a, b in pairwise(edges))
    return gaps if in_order and edges[0] == kept and edges[-1] <= total else ()


def size_of(value: Any) -> int | None:
    """Return a number of bytes, or None when `value` is none."""
    return value if type(value) is int and 0 <= value < _LIMIT else None


def _digest(value: Any) -> str:
    name, _, digits = value.partition(":") if isinstance(value, str) else ("", "", "")
    return value if is_hex_digest(name, digits) else ""


def _field(value: Any) -> str | None:
    return value if isinstance(value, str) and _FIELD.fullmatch(value) else None
