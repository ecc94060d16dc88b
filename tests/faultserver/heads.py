"""The head of an answer: status line, fields, declared length, and whether the connection ends with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from .bodies import Content
from .ranges import Part
from .routes import Route, http_date
from .steps import as_bytes
from .wire import Request

BOUNDARY = "faultserver-boundary"
BODYLESS = (204, 304)
PHRASES: dict[int | str, str] = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer says: status, body and the bytes of it that go out."""

    status: int | str
    content: Content
    part: Part
    headers: tuple[tuple[str | bytes, str | bytes], ...] = ()

    @property
    def payload_size(self) -> int | None:
        return None if self.content.size is None else self.part.stop - self.part.start


def date_text(value: str | float | None) -> str | None:
    return value if value is None or isinstance(value, str) else http_date(value)


def is_chunked(route: Route) -> bool:
    """Say whether the body is framed in chunks: asked for, or implied by a literal Transfer-Encoding."""
    if route.chunked is not None:
        return bool(route.chunked)
    return (route.transfer_encoding or "").endswith("chunked")


def declared_lengths(route: Route, request: Request, reply: Reply) -> list[str]:
    """Return the Content-Length values to send."""
    if route.length is not None:
        values = route.length if isinstance(route.length, list | tuple) else [route.length]
        return [str(value) for value in values]
    size = reply.payload_size
    if route.no_length or size is None or is_chunked(route) or reply.status in BODYLESS:
        return []
    return [str(size)]


def is_closing(route: Route, request: Request, reply: Reply) -> bool:
    """Say whether the connection ends with this answer."""
    if route.keep_alive is not None:
        return not route.keep_alive
    if route.http10 or route.no_length or request.version == "HTTP/1.0":
        return True
    if "close" in (request.headers.get("Connection") or "").lower():
        return True
    if is_chunked(route):
        return route.length is not None
    if request.method == "HEAD" or reply.status in BODYLESS:
        return False
    lengths = declared_lengths(route, request, reply)
    if reply.payload_size is None or len(lengths) != 1 or not lengths[0].isdecimal():
        return True
    return int(lengths[0]) > reply.payload_size  # short of the promise; a surplus stays for the next answer


def head_bytes(route: Route, request: Request, reply: Reply, closing: bool) -> bytes:
    """Return status line and header fields."""
    pairs: list[tuple[str | bytes, str | bytes]] = [*_general(route, closing), *reply.headers]
    content_range = reply.part.content_range
    if route.content_range is not None and (content_range or reply.status != 200):
        content_range = route.content_range
    if content_range is not None:
        pairs.append(("Content-Range", content_range))
    pairs += [("Content-Length", value) for value in declared_lengths(route, request, reply)]
    if is_chunked(route) or route.transfer_encoding:
        pairs.append(("Transfer-Encoding", route.transfer_encoding or "chunked"))
    coding = route.content_encoding or route.encoding
    if coding:
        pairs.append(("Content-Encoding", coding))
    kind = f"multipart/byteranges; boundary={BOUNDARY}" if reply.part.multipart else route.content_type
    if kind is not None and reply.status not in BODYLESS:
        pairs.append(("Content-Type", kind))
    pairs += route.extra_headers
    fields = (as_bytes(name) + b": " + as_bytes(value) for name, value in pairs)
    return b"\r\n".join([_status_line(route, reply.status), *fields, b"\r\n"])


def _general(route: Route, closing: bool) -> Iterator[tuple[str, str]]:
    date = http_date(time.time()) if route.date == "now" else date_text(route.date)
    if date is not None:
        yield "Date", date
    if closing and route.keep_alive is not True:
        yield "Connection", "close"


def _status_line(route: Route, status: int | str) -> bytes:
    reason = route.reason
    if reason is None:
        reason = PHRASES.get(status, "Odd")
    return f"HTTP/1.{0 if route.http10 else 1} {status} ".encode() + as_bytes(reason)
