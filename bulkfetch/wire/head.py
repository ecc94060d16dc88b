"""An answer's head: bytes to `models.Head`, strictly (RFC 9112 sections 4 and 5); no I/O.

Nearly every head is of one kind: 200 or 304, a length, dates, an ETag, and fields nobody needs. One
expression checks and reads that kind, or another one those of a shape that comes often (`shapes.py`).
Everything else is read line by line; where two ways apply, both say the same.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from bulkfetch.errors import NotHttp, ProtocolViolation
from bulkfetch.headers import parse_date, parse_head, read_lifetime
from bulkfetch.models import Head
from bulkfetch.safetext import clean
from bulkfetch.wire.shapes import ANY, DATE, ETAG, LENGTH, READ, TOKEN, Facts, Shapes, Values

MOST_BYTES = 64 * 1024  # of one head (fault B29)
MOST_FIELDS = 100  # lines
_OWS = " \t"
_BEGIN = b"HTTP/1."
_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: (.*))?")
_FIELD = re.compile(rf"({TOKEN}+):[ \t]*(.*)", re.DOTALL)

_LINES = (
    # Settles most of what nobody reads by its first letter.
    rf"(?![CDELRTcdelrt]|[Ss][Ee][Tt]|[Xx]-[Rr]|(?i:accept-ranges|age:|vary:[^\r]*\*)){ANY}",
    rf"[Dd]ate:(?(2)(?!)) *+({DATE})[ \t]*+",  # (?(2)(?!)): no second one here
    rf"[Cc]ontent-[Ll]ength:(?(3)(?!)) *+({LENGTH})[ \t]*+",
    rf"[Ll]ast-[Mm]odified:(?(4)(?!)) *+({DATE})[ \t]*+",
    rf"[Ee][Tt]ag:(?(5)(?!)) *+({ETAG})[ \t]*+",
    r"[Cc]ontent-[Tt]ype:(?(6)(?!)) *+([!-:<-~]++)[ \t]*+(?:;[\t -~]*+)?",
    r"[Aa]ccept-[Rr]anges:(?(7)(?!)) *+(bytes)[ \t]*+",
    r"[Cc]ache-[Cc]ontrol:(?(8)(?!)) *+([!-~](?:[ -~]*[!-~])?+)[ \t]*+",
    rf"[Ee]xpires:(?(9)(?!)) *+({DATE})[ \t]*+",
    r"[Aa]ge:(?(10)(?!)) *+([0-9]{1,9})[ \t]*+",
    r"[Cc]onnection: *+[Kk]eep-[Aa]live[ \t]*+",
    rf"(?!(?i:{READ})){ANY}",
)
_ANY_LINES = rf"(?:(?:{'|'.join(_LINES)})\r\n){{0,{MOST_FIELDS}}}+"
_COMMON = re.compile(
    rf"HTTP/1\.1 (?:200 OK|(304) Not Modified)\r\n{_ANY_LINES}\r\n".encode("ascii"),
)

_new = tuple.__new__  # one for every file, made in a quarter of the time


class Answer(NamedTuple):
    """A final answer's head, and what becomes of its connection."""

    head: Head
    keeps: bool  # the connection may serve again once the body is at its end
    cookies: tuple[str, ...] = ()  # Set-Cookie values, as received


def read_common(data: bytearray, end: int, shapes: Shapes) -> tuple[Answer, int] | None:
    """Return the answer at the start of `data` and where its body begins; None: not of the usual kind.

    `shapes` are of those that came over the same connection.
    """
    end = min(end, MOST_BYTES)
    known = shapes.read(data, end)
    if known is not None:
        return _answer(known[0], known[1]), known[2]
    match = _COMMON.match(data, 0, end)
    if match is None:
        return None
    unchanged, sent, length, modified, etag, kind, ranges, control, expires, age = match.groups()
    when = _read_date(sent)[1]
    if when is None and expires is not None:  # a time that the line-by-line reading knows
        return None
    lifetime = None
    if control is not None or expires is not None:
        lifetime = read_lifetime(_text(control), _text(expires), when or 0.0)
    status, reason = (304, "Not Modified") if unchanged else (200, "OK")
    content_type = "" if kind is None else str(kind, "ascii").lower()
    facts = Facts(status, reason, content_type, ranges is not None, lifetime)
    if expires is None and age is None:  # else each head says something else
        shapes.note(match[0], facts)
    return _answer(facts, (sent, length, modified, etag), 0.0 if age is None else float(age)), match.end()


def _answer(facts: Facts, values: Values, age: float = 0.0) -> Answer:
    sent, length, modified, etag = values
    status, reason, content_type, has_ranges, lifetime = facts
    head = _new(Head, (
        status, reason, None if length is None else int(length), False, None, None, None,
        _text(etag), _read_date(modified)[0], _read_date(sent)[1], content_type, (),
        None, None, has_ranges, None, lifetime, age,
    ))  # fmt: skip
    return _new(Answer, (head, length is not None or status == 304, ()))


def _text(value: bytes | None) -> str | None:
    return None if value is None else str(value, "ascii")


@lru_cache(maxsize=1024)
def _read_date(value: bytes | None) -> tuple[str | None, float | None]:
    """Return a date as it came, and as Unix seconds; None and None for none."""
    text = str(value or b"", "ascii")
    when = parse_date(text)
    return (None if when is None else text), when


def find_end(data: bytearray, start: int, end: int) -> int:
    """Return where the head that ends at or after `start` has its end; -1: not here yet."""
    match = _END.search(data, start, end)
    return -1 if match is None else match.end()


def check_begin(data: bytearray, start: int, end: int) -> None:
    """Raise `NotHttp` as soon as that is certain: an SSH banner has no blank line to wait for (fault B28)."""
    size = min(end - start, len(_BEGIN))
    if data[start : start + size] != _BEGIN[:size]:
        raise NotHttp("the answer is not HTTP")


def parse_answer(raw: bytes, now: float) -> Answer | None:
    """Read a whole head, blank line included; None for an interim answer (RFC 9110 section 15.2).

    A line may end in a bare LF (RFC 9112 section 2.2 allows to accept it, and old servers send it), never
    in a bare CR. A folded value is unfolded, as section 5.2 asks of a client.
    """
    first, *rest = _split(raw)
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise NotHttp("the answer is not HTTP")
    pairs = _parse_fields(rest)
    status = int(match[2])
    if status == 101:
        raise ProtocolViolation("the server changes to another protocol unasked", status_code=101)
    if status < 200:
        return None
    head = parse_head(status, clean(match[3] or "", 80), pairs, now)
    cookies = tuple(value for name, value in pairs if name == "set-cookie")
    return Answer(head, _keeps(head, match[1], pairs), cookies)


def _split(raw: bytes) -> list[str]:
    lines = [line.removesuffix("\r") for line in str(raw, "latin-1").split("\n")[:-2]]
    if any("\r" in line for line in lines):
        raise ProtocolViolation("the answer's head has a bare CR")
    return lines


def _parse_fields(lines: list[str]) -> list[tuple[str, str]]:
    if len(lines) > MOST_FIELDS:
        raise ProtocolViolation(f"the answer has more than {MOST_FIELDS} header lines")
    pairs: list[tuple[str, str]] = []
    for line in lines:
        line = line.replace("\0", " ")  # RFC 9110 section 5.5
        if line.startswith((" ", "\t")):
            if not pairs:
                raise ProtocolViolation("the answer's first header line begins with a space")
            name, value = pairs.pop()
            pairs.append((name, f"{value} {line.strip(_OWS)}".strip(_OWS)))
            continue
        match = _FIELD.fullmatch(line)
        if match is None:
            raise ProtocolViolation("the answer has a line that is no header field")
        pairs.append((match[1].lower(), match[2].rstrip(_OWS)))
    return pairs


def _keeps(head: Head, minor: str, pairs: list[tuple[str, str]]) -> bool:
    """Say whether the connection persists (RFC 9112 section 9.3) and its next answer can be told apart."""
    values = [value for name, value in pairs if name == "connection"]
    tokens = {token.strip(_OWS).lower() for value in values for token in value.split(",")}
    if "close" in tokens or (minor == "0" and "keep-alive" not in tokens):
        return False
    if head.chunked:  # fault B14; chunks in HTTP/1.0 are as doubtful (RFC 9112 section 6.1)
        return minor != "0" and all(name != "content-length" for name, _ in pairs)
    return head.length is not None or has_no_body(head)


def has_no_body(head: Head) -> bool:
    """Say whether the status alone ends the answer with its head (RFC 9112 section 6.3)."""
    return head.status in (204, 304)
