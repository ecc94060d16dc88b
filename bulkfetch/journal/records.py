"""Outcomes as rows, and failed rows as records of a manifest. No secret gets past here (fault L03)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bulkfetch.asking import METHODS, body_digest
from bulkfetch.checksums import ALGORITHMS, is_hex_digest
from bulkfetch.errors import TransferError, UnsafePath
from bulkfetch.journal.database import NULL
from bulkfetch.journal.rows import PendingRow, size_of
from bulkfetch.models import Entry, Outcome, Status
from bulkfetch.naming import checked_path
from bulkfetch.safetext import redact, redact_url

# What another run may mend, though no further attempt of the same run would.
_LATER = frozenset({"deadline", "deferred", "disk-full", "host-down", "login", "stopped"})
_FETCHED = Status.FETCHED  # looking it up is slow before Python 3.12


def pending_values(row: PendingRow, number: int, run: int) -> tuple[Any, ...]:
    """Return the values of ADD_PENDING."""
    entry, url = row.entry, redact_url(row.entry.urls[0])
    return (number, bytearray(row.key), 1, row.path, url, entry.source, entry.line, run, "pending")


def finished_values(outcome: Outcome, number: int, run: int, now: float) -> tuple[Any, ...]:
    """Return the values of SETTLE_FINISHED; an unchanged entry's message is the reason."""
    (
        entry, status, path, url, final_url, size, received, _, digest, etag, last_modified, mtime_ns,
        attempts, seconds, _, reason, _, key, fresh_until,
    ) = outcome  # fmt: skip
    return (
        number, bytearray(key), path, url, status._value_, run, attempts, received, seconds, now,
        entry.source, entry.line, _pack(entry, url) or NULL, NULL if final_url == url else final_url or NULL,
        size, digest or NULL, NULL if etag is None else etag,
        NULL if last_modified is None else last_modified, mtime_ns, run,
        NULL if fresh_until is None else fresh_until, reason or NULL,
    )  # fmt: skip


def plain_values(outcome: Outcome, number: int, run: int, now: float) -> tuple[Any, ...] | None:
    """Return the values of SETTLE_PLAIN; None where there is more to tell than that a file came at once."""
    (
        entry, status, _, url, final_url, size, received, _, digest, etag, last_modified, mtime_ns,
        attempts, seconds, _, reason, _, _, fresh_until,
    ) = outcome  # fmt: skip
    if status is not _FETCHED or attempts != 1 or received != size or final_url != url or reason:
        return None
    return (
        number, run, seconds, now, _pack(entry, url) or NULL, size, digest or NULL,
        NULL if etag is None else etag, NULL if last_modified is None else last_modified, mtime_ns,
        NULL if fresh_until is None else fresh_until,
    )  # fmt: skip


def other_values(outcome: Outcome, number: int, run: int, now: float) -> tuple[Any, ...]:
    """Return the values of SETTLE_OTHER; a skipped entry's message is the reason."""
    failure, entry, url = outcome.failure, outcome.entry, outcome.url
    final_url = outcome.final_url if outcome.final_url != url else ""
    result = (
        number, outcome.key, outcome.path, url, outcome.status._value_, run, outcome.attempts,
        outcome.received, outcome.seconds, now, entry.source, entry.line, _pack(entry, url),
        final_url or None,
    )  # fmt: skip
    if failure is None:
        return (*result, None, None, outcome.reason or None)
    return (*result, failure.kind, failure.status_code, redact(failure.message))


def failure_record(values: Sequence[Any], kinds: frozenset[str] | None) -> dict[str, Any] | None:
    """Return what FAILED selects as a row of a manifest; None for another kind or an unusable row.

    The user's columns come first; `redacted` is set where the URL had a secret, or
    where there was a body.
    """
    _, url, path, kind, status, message, attempts, packed = values
    if not isinstance(url, str) or not url or (kinds is not None and kind not in kinds):
        return None
    facts = _unpack(packed)
    record: dict[str, Any] = facts.pop("extra", {})
    record["url"] = url
    if (checked := _safe_path(path)) is not None or (kind == "path" and isinstance(path, str)):
        record["path"] = checked or path  # one that was refused is refused again
    record.update(facts)
    record["attempts"] = size_of(attempts) or 0
    record["failure"] = {
        "kind": kind if isinstance(kind, str) else "internal",
        "status": status if isinstance(status, int) else None,
        "message": message if isinstance(message, str) else "",
    }
    return record


def transient_kinds() -> frozenset[str]:
    """Return the kinds of failure that may pass by themselves."""
    return _LATER | {error.kind for error in _descendants(TransferError) if error.retryable} - {
        TransferError.kind
    }


def _descendants(kind: type[TransferError]) -> list[type[TransferError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _descendants(child))]


def _pack(entry: Entry, url: str) -> str | None:
    """Return what the row's columns do not say of an entry as JSON; None for a bare URL."""
    if entry.size is None and not (entry.digests or entry.extra or entry.request) and entry.urls == (url,):
        return None
    facts: dict[str, Any] = {}
    if entry.request is not None:
        facts["method"] = entry.request.method
        if entry.request.body:  # it may hold secrets
            facts.update(body_sha256=body_digest(entry.request), redacted=True)
    if len(entry.urls) > 1:
        facts["urls"] = [redact_url(mirror) for mirror in entry.urls[1:]]
    if entry.size is not None:
        facts["size"] = entry.size
    if entry.digests:
        facts["digests"] = entry.digests
    if entry.extra:
        facts["extra"] = {str(name): value for name, value in entry.extra.items() if not _is_header(name)}
    if entry.urls[0] != url or any(
        a != b for a, b in zip(entry.urls[1:], facts.get("urls", ()), strict=False)
    ):
        facts["redacted"] = True
    return _dump(facts) if facts else None


def _is_header(name: Any) -> bool:
    return str(name).lower().startswith("header.")


def _dump(facts: dict[str, Any]) -> str:
    """Return JSON in which every URL is redacted; a value JSON cannot hold becomes its text."""
    try:
        text = json.dumps(facts, separators=(",", ":"), default=str, skipkeys=True)
        if "://" in text:
            text = json.dumps(_redacted(json.loads(text)), separators=(",", ":"))
    except (ValueError, RecursionError):  # a column that holds itself
        return _dump({name: value for name, value in facts.items() if name != "extra"})
    return text


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(name): _redacted(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    return value


def _unpack(packed: Any) -> dict[str, Any]:
    """Return the usable facts of `_pack`, digests as columns; the text may have been edited."""
    try:
        given = json.loads(packed) if isinstance(packed, str) else {}
    except (ValueError, RecursionError):
        given = {}
    given = given if isinstance(given, dict) else {}
    facts: dict[str, Any] = {}
    if isinstance(given.get("extra"), Mapping):
        facts["extra"] = given["extra"]
    if isinstance(given.get("urls"), list):
        facts["urls"] = [url for url in given["urls"] if isinstance(url, str)]
    if (size := size_of(given.get("size"))) is not None:
        facts["size"] = size
    facts.update(_digests(given.get("digests")))
    if given.get("method") in METHODS:
        facts["method"] = given["method"]
    if is_hex_digest("sha256", str(given.get("body_sha256"))):
        facts["body_sha256"] = given["body_sha256"]
    if given.get("redacted") is True:
        facts["redacted"] = True
    return facts


def _digests(given: Any) -> dict[str, str]:
    pairs = given if isinstance(given, list) else []
    pairs = [tuple(pair) for pair in pairs if isinstance(pair, list) and len(pair) == 2]
    return {name: digits for name, digits in pairs if _is_digest(name, digits)}


def _is_digest(name: Any, digits: Any) -> bool:
    return (
        isinstance(name, str)
        and isinstance(digits, str)
        and name in ALGORITHMS
        and is_hex_digest(name, digits)
    )


def _safe_path(path: Any) -> str | None:
    try:
        return checked_path(path) if isinstance(path, str) else None
    except UnsafePath:
        return None
