"""A strict reading of the header fields that decide what happens to a body."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from bulkfetch.errors import ProtocolViolation, TooLarge
from bulkfetch.expressions import late
from bulkfetch.freshness import lifetime, parse_age
from bulkfetch.models import Head, RateLimit
from bulkfetch.ratelimit import has_rate_limit, parse_rate_limit

_OWS = " \t"  # RFC 9110 section 5.6.3; str.strip() alone takes other characters too
_DIGITS = late(r"[0-9]+")
_RANGE = late(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
_UNSATISFIED = late(r"bytes \*/([0-9]{1,18})", re.IGNORECASE)
_LARGEST = 2**63 - 1  # no file can be larger
_LONGEST = 1e30  # seconds
_ETAG = late(r'(?:W/)?"[\x21\x23-\x7e\xa0-\xff]*"')  # RFC 9110 section 8.8.3, without C1 controls
_CLOCK = r"\d\d:\d\d:\d\d"
_HTTP_DATE = late(  # RFC 9110 section 5.6.7; any other Expires counts as past (RFC 9111 section 5.3)
    rf"[A-Z][a-z]{{2}}, \d\d [A-Z][a-z]{{2}} \d{{4}} {_CLOCK} GMT"
    rf"|[A-Z][a-z]{{2,5}}day, \d\d-[A-Z][a-z]{{2}}-\d\d {_CLOCK} GMT"
    rf"|[A-Z][a-z]{{2}} [A-Z][a-z]{{2}} [ \d]\d {_CLOCK} \d{{4}}",
    re.ASCII,
)
_IMF = re.compile(r"[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_MONTHS = {
    "Jan": 1,
    "Feb": 2,
    "Mar": 3,
    "Apr": 4,
    "May": 5,
    "Jun": 6,
    "Jul": 7,
    "Aug": 8,
    "Sep": 9,
    "Oct": 10,
}
_MONTHS |= {"Nov": 11, "Dec": 12}


def parse_head(status: int, reason: str, pairs: Iterable[tuple[str, str]], now: float = 0.0) -> Head:
    """Read a final answer's head.

    Args:
        status: the status code.
        reason: the reason phrase, unchecked.
        pairs: header fields as received; a repeated field comes as repeated pairs.
        now: wall-clock time, for a `Retry-After` date beside no `Date`.

    Raises:
        ProtocolViolation: the framing cannot be trusted (RFC 9112 section 6.3).
        TooLarge: the length is more than any file can have (fault B10).
    """
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name.lower(), []).append(value.strip(_OWS))
    chunked = parse_transfer_encoding(fields.get("transfer-encoding", ()))
    start, end, total = parse_content_range(_single(fields, "content-range"))
    sent = parse_date(_single(fields, "date"))
    modified = _single(fields, "last-modified")
    answered = now if sent is None else sent
    return Head(
        status=status,
        reason=reason,
        length=None if chunked else parse_length(fields.get("content-length", ())),
        chunked=chunked,
        range_start=start,
        range_end=end,
        total=total,
        etag=parse_etag(_single(fields, "etag")),
        last_modified=modified if parse_date(modified) is not None else None,
        date=sent,
        content_type=_single(fields, "content-type").partition(";")[0].strip(_OWS).lower(),
        codings=parse_codings(fields.get("content-encoding", ())),
        retry_after=parse_retry_after(_single(fields, "retry-after"), answered),
        location=fields["location"][0] if "location" in fields else None,
        has_ranges=status == 206 or _single(fields, "accept-ranges").lower() == "bytes",
        rate_limit=_rate_limit(fields, answered) if has_rate_limit(fields) else None,
        lifetime=_read_lifetime(fields, answered),
        age=parse_age(fields["age"][0]) if "age" in fields else 0.0,
    )


def _read_lifetime(fields: dict[str, list[str]], sent: float) -> float | None:
    names = (_joined(fields, "vary") or "").split(",")
    if "*" in map(str.strip, names):  # RFC 9111 section 4.1: no later request matches
        return 0.0
    return read_lifetime(_joined(fields, "cache-control"), _joined(fields, "expires"), sent)


def read_lifetime(control: str | None, expires: str | None, sent: float) -> float | None:
    """Return how many seconds from `sent` on an answer is fresh; None where it has neither field."""
    if control is None and expires is None:
        return None
    when = parse_date(expires) if expires is not None and _HTTP_DATE.fullmatch(expires) else None
    return lifetime(control, None if expires is None else 0.0 if when is None else when - sent)


def parse_length(values: Iterable[str]) -> int | None:
    """Return the one length all Content-Length values agree on (RFC 9112 section 6.3)."""
    lengths = {part.strip(_OWS) for value in values for part in value.split(",")}
    if not lengths:
        return None
    if len(lengths) > 1:
        raise ProtocolViolation("the answer has two different Content-Length values")
    text = lengths.pop()
    if not _DIGITS.fullmatch(text):
        raise ProtocolViolation("the answer's Content-Length is not a number")
    if len(text) > 30 or int(text) > _LARGEST:
        raise TooLarge(f"the server claims {text[:30]} bytes, more than a file can have")
    return int(text)


def parse_transfer_encoding(values: Iterable[str]) -> bool:
    """Say whether the body is chunked; any other transfer coding is refused (fault B15)."""
    codings = [part.strip(_OWS).lower() for value in values for part in value.split(",")]
    if codings and codings != ["chunked"]:
        raise ProtocolViolation("the answer uses a transfer coding that was not asked for")
    return bool(codings)


def parse_content_range(value: str) -> tuple[int | None, int | None, int | None]:
    """Return (start, inclusive end, total); None where the field does not say (RFC 9110 section 14.4)."""
    if not value:
        return None, None, None
    if match := _UNSATISFIED.fullmatch(value):
        return None, None, int(match[1])
    match = _RANGE.fullmatch(value)
    if match is None:
        return None, None, None
    start, end = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if end < start or (total is not None and end >= total):
        return None, None, None
    return start, end, total


def parse_etag(value: str) -> str | None:
    """Return an entity tag as it must be sent back, or None for a malformed one."""
    return value if _ETAG.fullmatch(value) else None


def parse_codings(values: Iterable[str]) -> tuple[str, ...]:
    """Return the content codings in the order they were applied, without `identity`."""
    codings = (part.strip(_OWS).lower() for value in values for part in value.split(","))
    return tuple(c for c in codings if c not in ("", "identity"))


def parse_retry_after(value: str, now: float) -> float | None:
    """Return the seconds asked for, at least 0; None for no number and no date (RFC 9110 section 10.2.3)."""
    if _DIGITS.fullmatch(value):
        return min(float(value), _LONGEST)
    when = parse_date(value)
    return None if when is None else max(0.0, when - now)


@lru_cache(maxsize=1024)
def parse_date(value: str) -> float | None:
    """Return an HTTP date as Unix seconds, or None (RFC 9110 section 5.6.7)."""
    match = _IMF.fullmatch(value)
    try:
        if match is None:
            return _parse_other_date(value)
        day, month, year, hour, minute, second = match.groups()
        clock = (int(hour), int(minute), min(int(second), 59))  # 60 is a leap second
        return datetime(int(year), _MONTHS[month], int(day), *clock, tzinfo=UTC).timestamp()
    except (ValueError, KeyError, OverflowError, TypeError, OSError):
        return None


def _parse_other_date(value: str) -> float | None:
    """Read the obsolete forms, and what servers make of them; a date that names no zone is in UTC."""
    if not value or not value.isascii() or not value.isprintable():  # fault B30
        return None
    from email.utils import parsedate_to_datetime  # loads a whole mail parser

    when = parsedate_to_datetime(value)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def choose_validator(head: Head) -> str | None:
    """Return what may pin a resume: a strong ETag, or a Last-Modified that is strong by its date.

    RFC 9110 sections 13.1.5 and 8.8.2.2: a weak tag never goes into If-Range, and a date is strong only
    when it is at least a second older than the answer.
    """
    if head.codings:
        return None
    if head.etag is not None and not head.etag.startswith("W/"):
        return head.etag
    return head.last_modified if _date_is_strong(head) else None


def _date_is_strong(head: Head) -> bool:
    if head.last_modified is None or head.date is None:
        return False
    modified = parse_date(head.last_modified)
    return modified is not None and head.date - modified >= 1.0


def _rate_limit(fields: dict[str, list[str]], now: float) -> RateLimit | None:
    return parse_rate_limit({name: ", ".join(values) for name, values in fields.items()}, now)


def _joined(fields: dict[str, list[str]], name: str) -> str | None:
    return ", ".join(fields[name]) if name in fields else None


def _single(fields: dict[str, list[str]], name: str) -> str:
    """Return the field's one value; a field repeated with other values says nothing."""
    values = fields.get(name)
    if not values:
        return ""
    return values[0] if len(values) == 1 or len(set(values)) == 1 else ""
