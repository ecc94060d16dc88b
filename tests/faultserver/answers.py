"""From a route and a request to the script of the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

from .bodies import PIECE, Blob, Content, Forever, encode, to_bytes, to_content
from .heads import BODYLESS, BOUNDARY, Reply, date_text, head_bytes, is_chunked, is_closing
from .ranges import Part, faulty_part, honest_part
from .routes import CUTS, Route
from .steps import CLEAN, Payload, Step, framed, insert, trickled, trickled_bytes
from .wire import Request

Fields = tuple[tuple[str, str], ...]


def answer(base: Route, request: Request) -> Iterator[Step]:
    """Yield the script of the answer to `request`, ending included."""
    route = base.for_request(request)
    if route.raw is not None:
        yield from script(route.raw, request)
        yield () if route.keep_alive else CLEAN
        return
    reply = plan_reply(route, request)
    request.status = reply.status
    closing = is_closing(route, request, reply)
    head = head_bytes(route, request, reply, closing)
    yield route.head_delay
    yield from script(route.early, request)
    yield trickled_bytes(head, *route.trickle_head) if route.trickle_head else head
    if (request.method != "HEAD" or route.head_body) and reply.status not in BODYLESS:
        yield from shaped_body(route, reply)
    yield from script(route.after, request)
    yield CLEAN if closing else ()


def script(steps: Any, request: Request) -> Iterator[Step]:
    """Yield the steps a user gave as bytes, a list, or a function of the request."""
    made = steps(request) if callable(steps) else steps
    yield made


def plan_reply(route: Route, request: Request) -> Reply:
    """Choose status, body and range."""
    for name, value in route.require.items():
        if request.headers.get(name) != value:
            return _plain(route, 401, None, (("WWW-Authenticate", 'Basic realm="faultserver"'),))
    if route.redirect is not None:
        target = route.redirect(request) if callable(route.redirect) else route.redirect
        status = 302 if route.status == 200 else route.status
        return _plain(route, status, _body_of(route, request), (("Location", target),))
    if route.status != 200:
        return _with_status(route, request)
    if _is_unchanged(route, request):
        return Reply(304, Blob(b""), Part(0, 0), _validators(route, request))
    return _ranged(route, request, _resource(route, request))


def _with_status(route: Route, request: Request) -> Reply:
    headers: Fields = () if route.retry_after is None else (("Retry-After", str(route.retry_after)),)
    if route.status in BODYLESS or (isinstance(route.status, int) and 200 <= route.status < 300):
        content = _resource(route, request)
        headers = (*headers, *_validators(route, request))
        return Reply(route.status, content, Part(0, content.size or 0), headers)
    body = _body_of(route, request)
    return _plain(route, route.status, route.error_body if body is None else body, headers)


def _plain(route: Route, status: int | str, body: object, headers: Fields) -> Reply:
    content = _encoded(route, to_content(f"{status} from the fault server\n" if body is None else body))
    return Reply(status, content, Part(0, content.size or 0), headers)


def _body_of(route: Route, request: Request) -> Any:
    return route.body(request) if callable(route.body) else route.body


def _resource(route: Route, request: Request) -> Content:
    body = _body_of(route, request)
    content = _encoded(route, to_content(b"" if body is None else body))
    if route.flip is None:
        return content
    data = bytearray(to_bytes(content))
    data[route.flip] ^= 0xFF
    return Blob(bytes(data))


def _encoded(route: Route, content: Content) -> Content:
    return Blob(encode(to_bytes(content), route.encoding)) if route.encoding else content


def _is_unchanged(route: Route, request: Request) -> bool:
    if not route.conditional or request.method not in ("GET", "HEAD"):
        return False
    wanted = request.headers.get("If-None-Match")
    if wanted is not None:
        tags = [tag.strip().removeprefix("W/") for tag in wanted.split(",")]
        etag = etag_for(route, request)
        return etag is not None and (etag.removeprefix("W/") in tags or "*" in tags)
    date = date_text(route.last_modified)
    return date is not None and request.headers.get("If-Modified-Since") == date


def etag_for(route: Route, request: Request) -> str | None:
    """Return the ETag of one answer: lists take turns."""
    if route.etag is None or isinstance(route.etag, str):
        return route.etag
    return route.etag[(request.number - 1) % len(route.etag)]


def _validators(route: Route, request: Request) -> Fields:
    pairs = (("ETag", etag_for(route, request)), ("Last-Modified", date_text(route.last_modified)))
    return tuple((name, value) for name, value in pairs if value is not None)


def _ranged(route: Route, request: Request, content: Content) -> Reply:
    part = _part(route, request, content)
    headers = _validators(route, request)
    if route.ranges and not route.encoding:
        headers += (("Accept-Ranges", "bytes"),)
    if part.status == 416:
        return Reply(416, Blob(b""), part, headers)
    if part.multipart:
        content = _multipart(route, content, part)
        part = Part(0, content.size or 0, part.status, None, True)
    return Reply(part.status, content, part, headers)


def _part(route: Route, request: Request, content: Content) -> Part:
    size = content.size
    if size is None or not route.ranges or route.encoding or request.method != "GET":
        return Part(0, size or 0, 200)
    spec = route.ranges if isinstance(route.ranges, str) else ""
    if request.range is None and spec == "206-unasked":
        return Part(0, size // 2, 206, f"bytes 0-{size // 2 - 1}/{size}")
    honest = honest_part(request.range, size) if request.range is not None else None
    if honest is None or spec == "ignore":
        return Part(0, size, 200)
    if spec != "ignore-if-range" and not if_range_holds(route, request):
        return Part(0, size, 200)
    return faulty_part(spec, honest, size) if spec else honest


def if_range_holds(route: Route, request: Request) -> bool:
    """Compare If-Range as RFC 9110 section 13.1.5 asks: strongly, or by the exact date."""
    value = request.headers.get("If-Range")
    if value is None:
        return True
    current = etag_for(route, request) if value.startswith('"') else date_text(route.last_modified)
    return value == current


def _multipart(route: Route, content: Content, part: Part) -> Content:
    size = content.size
    head = f"--{BOUNDARY}\r\nContent-Type: {route.content_type}\r\n"
    head += f"Content-Range: bytes {part.start}-{part.stop - 1}/{size}\r\n\r\n"
    body = b"".join(content.pieces(part.start, part.stop))
    return Blob(head.encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode())


def shaped_body(route: Route, reply: Reply) -> Iterable[Step]:
    """Return the body's steps, framed, then slowed, interrupted and cut as the route says."""
    stream = _chunked_stream(route, reply) if is_chunked(route) else map(Payload, _pieces(reply))
    if isinstance(reply.content, Forever) and reply.content.every:
        stream = trickled(stream, len(reply.content.data), reply.content.every)
    if route.trickle:
        stream = trickled(stream, *route.trickle)
    for position, step in route.at.items():
        stream = insert(stream, position, step)
    if route.cut is not None:
        stream = insert(stream, route.cut, CUTS[route.cut_how])
    return stream


def _pieces(reply: Reply) -> Iterator[memoryview]:
    stop = None if reply.content.size is None else reply.part.stop
    return reply.content.pieces(reply.part.start, stop)


def _chunked_stream(route: Route, reply: Reply) -> Iterator[Step]:
    if isinstance(reply.content, Forever):
        sizes = repeat(len(reply.content.data))
        return framed(([piece] for piece in _pieces(reply)), sizes, route.chunk_line)
    stop = reply.part.stop
    size = PIECE if route.chunked in (True, None) else int(route.chunked or PIECE)
    spans = [(start, min(start + size, stop)) for start in range(reply.part.start, stop, size)]
    chunks = (reply.content.pieces(*span) for span in spans)
    return framed(chunks, (end - start for start, end in spans), route.chunk_line)
