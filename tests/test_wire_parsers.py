"""The parsers of our own connection, against whatever bytes there are."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from faultserver import pattern
from hypothesis import example, given
from hypothesis import strategies as st
from wirepieces import connected

from bulkfetch import errors
from bulkfetch.wire.body import ChunkedBody, SizedBody
from bulkfetch.wire.buffers import SIZE
from bulkfetch.wire.head import MOST_BYTES, parse_answer, read_common
from bulkfetch.wire.mapping import map_error
from bulkfetch.wire.shapes import Shapes

OK = b"HTTP/1.1 200 OK\r\n"

# -- heads ----------------------------------------------------------------------------------------

DATE = "Fri, 21 Nov 2025 10:05:29 GMT"
NGINX = (
    f"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: {DATE}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    f"Content-Length: 10240\r\nLast-Modified: {DATE}\r\nConnection: keep-alive\r\n"
    'ETag: "69202b39-2800"\r\nAccept-Ranges: bytes\r\n\r\n'
)
APACHE = (
    f"HTTP/1.1 200 OK\r\nDate: {DATE}\r\nServer: Apache/2.4.57 (Debian)\r\nLast-Modified: {DATE}\r\n"
    'ETag: "2d-4fa"\r\nAccept-Ranges: bytes\r\nContent-Length: 45\r\nKeep-Alive: timeout=5, max=100\r\n'
    "Connection: Keep-Alive\r\nContent-Type: text/html\r\n\r\n"
)
BUCKET = (
    f"HTTP/1.1 200 OK\r\nx-amz-id-2: abc+/=\r\nx-amz-request-id: 0A\r\nDate: {DATE}\r\n"
    f'Last-Modified: {DATE}\r\nETag: "d41d8cd98f00b204e9800998ecf8427e"\r\n'
    "x-amz-server-side-encryption: AES256\r\nAccept-Ranges: bytes\r\n"
    "Content-Type: binary/octet-stream\r\nContent-Length: 0\r\nServer: AmazonS3\r\n\r\n"
)
LOWER = (
    f'HTTP/1.1 200 OK\r\ndate: {DATE}\r\ncontent-length: 1\r\netag: W/"a"\r\ncontent-type: Image/PNG\r\n\r\n'
)
UNCHANGED = f'HTTP/1.1 304 Not Modified\r\nServer: nginx\r\nDate: {DATE}\r\nETag: "69202b39-2800"\r\n\r\n'
CDN = (
    f"HTTP/1.1 200 OK\r\nDate: {DATE}\r\nContent-Length: 1\r\nCache-Control: public, max-age=60\r\n"
    f"Expires: {DATE}\r\nage: 7\r\nVary: Accept-Encoding\r\n\r\n"
)
USUAL = [NGINX, APACHE, BUCKET, LOWER, UNCHANGED, CDN]


@pytest.mark.parametrize("text", USUAL, ids=["nginx", "Apache", "S3", "lower case", "304", "CDN"])
def test_usual_heads_are_read_the_short_way(text):
    raw = text.encode()
    answer, end = read_common(bytearray(raw + b"body"), len(raw) + 4, Shapes())
    assert end == len(raw)
    assert answer == parse_answer(raw, 0.0)
    assert answer.keeps
    assert (answer.head.length is None) == (answer.head.status == 304)
    assert answer.head.date == 1763719529.0


NAMES = [
    "Date", "Content-Length", "Content-Type", "Content-Range", "Content-Encoding", "Last-Modified", "ETag",
    "Connection", "Location", "Transfer-Encoding", "Retry-After", "Set-Cookie", "Server", "X-A", "D", "C-D",
    "E", "T", "Content-Lengths", "Content-MD5", "RateLimit", "RateLimit-Remaining", "X-RateLimit-Remaining",
    "X-RateLimit-Reset", "X-Rate-Limit-Reset", "X-Request-Id", "Cache-Control", "Expires", "Age",
    "Ages", "Cache",
]  # fmt: skip
VALUES = [
    "", "0", "5", "007", "9" * 18, "9" * 19, "9" * 40, "5, 5", "5, 6", "-1", "+1", "1_0", "abc", DATE,
    "Fri, 99 Nov 2025 10:05:29 GMT", "Fri, 21 Foo 2025 10:05:29 GMT", "Friday, 21-Nov-25 10:05:29 GMT",
    '"a"', 'W/"a"', 'w/"a"', '""', '"a b"', '"a"b"', '"\xe9"', '"', "a", "text/html", "Text/HTML ; a=b", ";",
    "a;b;c", "text/html;\t\xe9", "\xe9", "close", "keep-alive", "Keep-Alive", "keep-alive, close", "upgrade",
    "chunked", "gzip", "identity", "bytes 0-4/5", "bytes */5", "120", "/elsewhere", "a=1", "\x01", "\0",
    "a\x7f", "\x85", "max-age=60", "public, max-age=60", "no-store", "max-age=x", "max-age=60, ,", "60, 70",
]  # fmt: skip
spaces = st.sampled_from(["", " ", "  ", "\t", " \t"])
cased = st.sampled_from(NAMES).flatmap(lambda n: st.sampled_from([n, n, n.lower(), n.upper(), n.title()]))
line = st.builds("{}:{}{}{}".format, cased, spaces, st.sampled_from(VALUES), spaces)
first = st.sampled_from(
    ["HTTP/1.1 200 OK"] * 6
    + ["HTTP/1.1 304 Not Modified"] * 2
    + ["HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.0 200 OK", "HTTP/1.1 206 OK", "HTTP/1.1 304 X"]
)


def outcome(raw):
    """Return what the long way makes of a head: an answer, or the class of its error."""
    try:
        return parse_answer(raw, 0.0)
    except errors.TransferError as exc:
        return type(exc)


def check_short_way(raw):
    """Whatever the short way reads, the long way must read alike."""
    common = read_common(bytearray(raw), len(raw), Shapes())
    if common is not None:
        answer, end = common
        assert answer == outcome(raw[:end])


@given(first, st.lists(line, max_size=8))
@example("HTTP/1.1 200 OK", ["Content-Length: 5", "content-length: 5"])
@example("HTTP/1.1 200 OK", ['ETag: "a"', 'etag: "b"'])
@example("HTTP/1.1 200 OK", ["Last-Modified: Fri, 99 Nov 2025 10:05:29 GMT"])
@example("HTTP/1.1 200 OK", ["Content-Type: a", "content-type: b"])
@example("HTTP/1.1 200 OK", [f"Date: {DATE}", f"date: {DATE.replace('21', '20')}"])
@example("HTTP/1.1 200 OK", [f"Last-Modified: {DATE}", f"last-modified: {DATE.replace('21', '20')}"])
@example("HTTP/1.1 200 OK", ["X-A: 1", " folded"])
@example("HTTP/1.1 200 OK", ["X-A: 1"] * 100)
@example("HTTP/1.1 200 OK", ["X-A: 1"] * 101)
def test_both_ways_say_the_same(status_line, lines):
    check_short_way("\r\n".join([status_line, *lines, "", ""]).encode("latin-1"))


@given(st.sampled_from(USUAL), st.integers(0, 300), st.integers(0, 12), st.binary(max_size=4))
def test_both_ways_say_the_same_of_damaged_heads(text, at, drop, extra):
    raw = text.encode()
    check_short_way(raw[:at] + extra + raw[at + drop :] + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("text", "keeps"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5", True),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", True),
        ("HTTP/1.1 204 No Content", True),
        ("HTTP/1.1 304 Not Modified", True),
        ("HTTP/1.1 304 X\r\nContent-Length: 5", True),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: x, Keep-Alive", True),
        ("HTTP/1.1 200 OK", False),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive, Close", False),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x\r\nConnection: close", False),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5", False),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive", False),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", False),
    ],
)
def test_which_connections_persist(text, keeps):
    assert parse_answer(f"{text}\r\n\r\n".encode(), 0.0).keeps is keeps


def test_a_nul_is_read_as_a_space():
    raw = b"HTTP/1.1 302 Found\r\nLocation: /a\0b\x1b\r\n\r\n"
    assert parse_answer(raw, 0.0).head.location == "/a b\x1b"


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_an_answer_or_a_known_error(noise, in_status):
    raw = noise if in_status else OK + noise
    with contextlib.suppress(errors.TransferError):
        parse_answer(raw + b"\r\n\r\n", 0.0)
    read_common(bytearray(raw), len(raw), Shapes())


def known(*texts):
    """Return shapes that have been learnt from heads, each from the first time it came."""
    shapes = Shapes(enough=0)
    for text in texts:
        read_common(bytearray(text.encode("latin-1")), len(text), shapes)
    return shapes


@pytest.mark.parametrize("text", [NGINX, APACHE, BUCKET, LOWER, UNCHANGED], ids=str.split)
def test_heads_of_a_known_shape_are_told_by_it(text):
    other = (
        text.replace("10:05:29", "11:06:30").replace("10240", "7").replace("request-id: 0A", "request-id: é")
    )
    facts, _, end = known(text).read(bytearray(other.encode("latin-1")), len(other))
    assert (facts.status, end) == (304 if text == UNCHANGED else 200, len(other))


@pytest.mark.parametrize("without", ["age: 7", f"Expires: {DATE}", "x"], ids=["expires", "age", "both"])
def test_no_shape_is_learnt_of_heads_whose_age_or_end_differs_each_time(without):
    text = CDN.replace(f"{without}\r\n", "")
    assert known(text).read(bytearray(text.encode()), len(text)) is None


def test_a_shape_is_learnt_when_it_has_come_often_and_the_next_one_later():
    raw, shapes = bytearray(NGINX.encode()), Shapes(enough=3)
    learnt = []
    for text in (NGINX, NGINX, NGINX, *[APACHE] * 6):
        read_common(bytearray(text.encode()), len(text), shapes)
        learnt.append(tuple(shapes.read(bytearray(t.encode()), len(t)) is not None for t in (NGINX, APACHE)))
    assert learnt == [(False, False)] * 2 + [(True, False)] * 6 + [(True, True)]
    assert shapes.read(raw, len(raw) - 1) is None


@st.composite
def alike(draw):
    """Return a head of the usual kind and another that differs from it in a few places."""
    lines = draw(st.lists(line, max_size=8))
    changed = list(lines)
    for at in draw(st.lists(st.integers(0, len(lines) - 1), max_size=3)) if lines else ():
        name = changed[at].partition(":")[0]
        changed[at] = draw(
            line | st.builds(f"{name}:{{}}{{}}{{}}".format, spaces, st.sampled_from(VALUES), spaces)
        )
    ends = [*draw(st.tuples(first, first))]
    return tuple(
        "\r\n".join([begin, *rest, "", ""]) for begin, rest in zip(ends, (lines, changed), strict=True)
    )


@given(alike())
@example(
    (NGINX.replace("Server: nginx/1.22.1", "Vary: Cookie"), NGINX.replace("Server: nginx/1.22.1", "Vary: *"))
)
@example((NGINX, NGINX.replace("keep-alive", "close")))
def test_a_known_shape_says_what_the_other_ways_say(texts):
    text, other = texts
    raw = bytearray(other.encode("latin-1"))
    by_shape = read_common(raw, len(raw), known(text))
    assert by_shape == read_common(raw, len(raw), Shapes())


@given(st.sampled_from(USUAL), st.integers(0, 300), st.integers(0, 12), st.binary(max_size=4))
def test_a_known_shape_says_what_the_other_ways_say_of_damaged_heads(text, at, drop, extra):
    raw = text.encode()
    raw = bytearray(raw[:at] + extra + raw[at + drop :] + b"\r\n\r\n")
    assert read_common(raw, len(raw), known(text)) == read_common(raw, len(raw), Shapes())


def test_the_short_way_keeps_to_the_limit():
    raw = (OK + b"X-A: " + b"v" * MOST_BYTES + b"\r\n\r\n").ljust(SIZE)
    assert read_common(bytearray(raw), len(raw), Shapes()) is None


# -- chunks ---------------------------------------------------------------------------------------


def read_all(body, size):
    """Return a body read `size` bytes at a time."""
    read = b""
    while piece := body.read(size):
        assert len(piece) <= size
        read += piece
    assert body.ended
    return read


def chunked(data, sizes, extension=b""):
    """Frame `data` in chunks of the sizes given, in turn."""
    framed, at, turn = b"", 0, 0
    while at < len(data):
        chunk = data[at : at + sizes[turn % len(sizes)]]
        framed += b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk)
        at, turn = at + len(chunk), turn + 1
    return framed + b"0" + extension + b"\r\n\r\n"


def cut(data, sizes):
    """Cut `data` in portions of the sizes given, in turn."""
    at, turn = 0, 0
    while at < len(data):
        yield data[at : at + sizes[turn % len(sizes)]]
        at, turn = at + sizes[turn % len(sizes)], turn + 1


sizes = st.lists(st.integers(1, 60), min_size=1, max_size=6)


EARLY = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@given(st.sampled_from([*USUAL, NGINX.replace("\r", ""), EARLY + NGINX, EARLY * 20 + APACHE]), sizes)
@example(NGINX, [1])
@example(NGINX.replace("\r", ""), [1])
@example(EARLY + NGINX, [1])
def test_a_head_is_read_however_it_comes(text, portions):
    connection = connected(cut(text.encode() + b"body", portions))
    connection.send(b"GET / HTTP/1.1\r\n\r\n")
    answer = connection.receive()
    assert answer == parse_answer(text.removeprefix(EARLY * text.count(EARLY)).encode(), 0.0)
    assert read_all(SizedBody(connection, 4), 10) == b"body"


@given(st.binary(max_size=300), sizes, sizes, st.integers(1, 400), st.sampled_from([b"", b";a=b", b" ; x"]))
def test_chunks_are_read_however_they_come(data, chunk_sizes, portions, size, extension):
    framed = chunked(data, chunk_sizes, extension)
    connection = connected(cut(framed + b"next", portions))
    assert read_all(ChunkedBody(connection), size) == data


@given(st.binary(min_size=1, max_size=60), sizes, sizes, st.data())
def test_cut_chunks_are_never_a_whole_body(data, chunk_sizes, portions, draw):
    framed = chunked(data, chunk_sizes)
    end = draw.draw(st.integers(0, len(framed) - len(b"0\r\n\r\n")))
    with pytest.raises(errors.Truncated):
        read_all(ChunkedBody(connected(cut(framed[:end], portions))), 50)


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 3), st.binary(max_size=3), sizes)
def test_damaged_chunks_are_a_body_or_a_known_error(data, at, drop, extra, portions):
    framed = chunked(data, [7])
    damaged = framed[:at] + extra + framed[at + drop :]
    with contextlib.suppress(errors.Truncated):
        read_all(ChunkedBody(connected(cut(damaged, portions))), 50)


@pytest.mark.parametrize("left", range(-1, 12))
def test_a_size_line_at_the_end_of_the_buffer(left):
    size = SIZE - len(b"12345\r\n") - left
    data = pattern(size + 5)
    body = ChunkedBody(connected([chunked(data, [size])]))
    assert read_all(body, SIZE * 2) == data


def test_tiny_chunks_come_in_few_reads():
    data = pattern(10_000)
    body = ChunkedBody(connected([chunked(data, [3])]))
    assert body.read(1 << 20) == data[: len(data)]
    assert body.read(1 << 20) == b""


@given(st.binary(max_size=300), sizes, st.integers(1, 400))
def test_a_body_of_known_length_ends_there(data, portions, size):
    connection = connected(cut(data + b"surplus", portions))
    assert read_all(SizedBody(connection, len(data)), size) == data


def test_a_cut_is_told_instead_of_the_error_it_causes():
    connection = connected([ConnectionResetError(104, "reset")])
    connection.lease.leave()  # no real socket to shut
    connection.lease.cut(lambda: errors.Stopped("stopped"), connection.lease.number)
    with pytest.raises(errors.Stopped):
        connection.fill()


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ConnectionResetError(104, "Connection reset"), errors.ConnectionLost, "was reset: Connection reset"),
        (BrokenPipeError(32, "Broken pipe"), errors.ConnectionLost, "was closed: Broken pipe"),
        (TimeoutError("timed out"), errors.TimedOut, "nothing came for the idle timeout"),
        (ssl.SSLEOFError(8, "EOF"), errors.ConnectionLost, "the TLS connection was cut"),
        (ssl.SSLError(1, "[SSL: BAD] bad"), errors.TlsFailed, "TLS failed"),
        (OSError(113, "No route\x1b"), errors.ConnectionLost, r"failed: No route\x1b"),
    ],
)
def test_what_the_errors_of_sockets_mean(error, kind, text):
    meant = map_error(error)
    assert type(meant) is kind
    assert text in str(meant)
