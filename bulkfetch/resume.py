"""What to ask for when bytes are already there, and where the answer's body goes."""

from __future__ import annotations

from bulkfetch.errors import ProtocolViolation, RangeMismatch, WrongContent
from bulkfetch.headers import choose_validator
from bulkfetch.models import Action, BodyPlan, Head, Held, PartInfo


def plan_request(part: PartInfo, *, digest_known: bool = False) -> tuple[tuple[str, str], ...]:
    """Return the request fields that continue `part`, or none to start at byte 0.

    Without a validator a part is continued only when a declared digest will judge the whole (fault R09).
    """
    if part.offset <= 0:
        return ()
    if part.validator is not None:
        return (("Range", f"bytes={part.offset}-"), ("If-Range", part.validator))
    return (("Range", f"bytes={part.offset}-"),) if digest_known else ()


def plan_condition(held: Held, *, asked_range: bool) -> tuple[tuple[str, str], ...]:
    """Return the fields that ask for a file only if it is not the one held (RFC 9111 section 4.3.1)."""
    fields = (("If-None-Match", held.etag),) if held.etag is not None else ()
    if held.last_modified is None or asked_range:  # a date is not for requests with a range
        return fields
    return (*fields, ("If-Modified-Since", held.last_modified))


def plan_body(part: PartInfo, head: Head, *, asked_range: bool, asked_change: bool = False) -> BodyPlan:
    """Say where the body goes.

    Args:
        part: what was stored when the request was made.
        head: the final answer's head, with a status below 300 or 304 or 416.
        asked_range: whether the request had a Range field.
        asked_change: whether the request was only for a file that differs from the one held.

    Raises:
        RangeMismatch: the part cannot be continued with this answer; start again without it.
        ProtocolViolation: the answer does not fit the request at all.
        WrongContent: the answer has no body by definition.
    """
    if head.status == 206:
        return _plan_partial(part, head, asked_range)
    if head.status == 416:
        return _plan_unsatisfied(part, head, asked_range)
    if head.status in (204, 205):
        raise WrongContent(f"the server answered {head.status}: there is no content", status_code=head.status)
    if head.status == 304 and asked_change:
        return BodyPlan(Action.UNCHANGED)
    if head.status != 200:
        raise ProtocolViolation(f"status {head.status} does not answer this request", status_code=head.status)
    if head.range_start is not None and not _is_whole(head):
        raise _misfit(asked_range, "a 200 answer carries only a slice")  # fault R16
    size = None if head.codings else head.length
    return BodyPlan(Action.RESTART, start=0, size=size, validator=choose_validator(head))


def _plan_partial(part: PartInfo, head: Head, asked_range: bool) -> BodyPlan:
    if not asked_range:
        raise ProtocolViolation("the server sent a part of the file that was not asked for", status_code=206)
    if head.content_type == "multipart/byteranges" or head.codings:
        raise RangeMismatch("the server sent the range in a form that cannot be continued")
    if head.range_start != part.offset or head.range_end is None:
        wanted, got = part.offset, head.range_start
        raise RangeMismatch(f"asked for bytes from {wanted}, got {'no usable range' if got is None else got}")
    if not _is_same_version(part, head):
        raise RangeMismatch("the file has changed since its first part was fetched")
    total = _agreed_total(part, head)
    if head.range_end >= total:
        raise RangeMismatch(f"the range ends after the {total} bytes of the file")
    if head.length not in (None, head.range_end - part.offset + 1):
        raise RangeMismatch("Content-Length and Content-Range disagree")
    return BodyPlan(Action.APPEND, start=part.offset, size=total, validator=part.validator)


def _agreed_total(part: PartInfo, head: Head) -> int:
    """Return the whole length; without one, a range that ends early would pass for the end of the file."""
    if part.total is not None and head.total not in (None, part.total):
        raise RangeMismatch(f"the file has {head.total} bytes now, it had {part.total}")
    total = part.total if head.total is None else head.total
    if total is None:
        raise RangeMismatch("the server does not say where the file ends")
    return total


def _plan_unsatisfied(part: PartInfo, head: Head, asked_range: bool) -> BodyPlan:
    if not asked_range:
        raise ProtocolViolation("the server refused a range that was not asked for", status_code=416)
    if head.total != part.offset or part.total not in (None, head.total):
        raise RangeMismatch("the server has no bytes after the ones that are stored")
    if _contradicts(part, head):
        raise RangeMismatch("the file has changed since it was fetched")
    return BodyPlan(Action.COMPLETE, start=part.offset, size=head.total, validator=part.validator)


def _is_same_version(part: PartInfo, head: Head) -> bool:
    """Compare what pins the stored bytes with what the 206 says of itself (fault R07)."""
    if part.validator is None:
        return True
    if part.validator.startswith('"'):
        return head.etag == part.validator  # RFC 9110 section 15.3.7: a 206 repeats the ETag
    return head.last_modified in (None, part.validator)


def _contradicts(part: PartInfo, head: Head) -> bool:
    """Say whether a 416 names another version; it need not name any."""
    if part.validator is None:
        return False
    named = head.etag if part.validator.startswith('"') else head.last_modified
    return named not in (None, part.validator)


def _is_whole(head: Head) -> bool:
    if head.range_start != 0 or head.total is None or head.length not in (None, head.total):
        return False
    return head.range_end == head.total - 1


def _misfit(asked_range: bool, message: str) -> RangeMismatch | ProtocolViolation:
    return RangeMismatch(message) if asked_range else ProtocolViolation(message)
