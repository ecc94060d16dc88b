"""The fault server itself: what tests build on must do exactly what it says."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import itertools
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib

import faultserver
import pytest
from conftest import clean_environment, is_loopback
from faultserver import CLOSE, RESET, STALL, Filled, Forever, Server, gzip_bomb, http_date, pattern, route
from faultserver.routes import OPTIONS

DATA = pattern(100_000)
HALF = 60_000
NOT_LINUX = not sys.platform.startswith("linux")


def connect(server, seconds=30.0):
    """Return a raw client socket."""
    return socket.create_connection((server.host, server.port), seconds)


def ask(server, path, method="GET", connection=None, **headers):
    """Return (status, headers, body) by http.client, fields written with _ for -."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    link = connection or http.client.HTTPConnection(server.host, server.port, timeout=30)
    try:
        link.request(method, path, headers=fields)
        answer = link.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        if connection is None:
            link.close()


def exchange(server, path="/x", version="1.1", extra=""):
    """Return every byte the server sends until it ends the connection, and how that ended."""
    with connect(server) as sock:
        sock.sendall(f"GET {path} HTTP/{version}\r\nHost: x\r\n{extra}\r\n".encode())
        return read_all(sock)


def read_all(sock):
    """Return (bytes, exception or None)."""
    received = bytearray()
    try:
        while data := sock.recv(1 << 16):
            received += data
    except OSError as error:
        return bytes(received), error
    return bytes(received), None


def body_of(answer):
    """Return what follows the first empty line."""
    return answer.partition(b"\r\n\r\n")[2]


# The honest server


def test_plain_route_answers_get_and_head(server):
    server.add("/a.bin", body=DATA, etag='"v1"', last_modified=1e9, content_type="image/png")
    status, headers, body = ask(server, "/a.bin")
    assert (status, body) == (200, DATA)
    assert headers["Content-Length"] == "100000"
    assert headers["ETag"] == '"v1"'
    assert headers["Last-Modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Type"] == "image/png"
    status, headers, body = ask(server, "/a.bin", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "100000", b"")


@pytest.mark.parametrize(
    ("sent", "status", "content_range", "span"),
    [
        ("bytes=60000-", 206, "bytes 60000-99999/100000", (60_000, 100_000)),
        ("bytes=10-19", 206, "bytes 10-19/100000", (10, 20)),
        ("bytes=99990-200000", 206, "bytes 99990-99999/100000", (99_990, 100_000)),
        ("bytes=-5", 206, "bytes 99995-99999/100000", (99_995, 100_000)),
        ("bytes=100000-", 416, "bytes */100000", (0, 0)),
        ("bytes=5-4", 200, None, (0, 100_000)),
        ("bytes=-", 200, None, (0, 100_000)),
        ("bytes=0-1,5-6", 200, None, (0, 100_000)),
        ("items=0-1", 200, None, (0, 100_000)),
    ],
)
def test_ranges_are_byte_exact(server, sent, status, content_range, span):
    server.add("/a", body=DATA)
    got, headers, body = ask(server, "/a", Range=sent)
    assert (got, headers["Content-Range"], body) == (status, content_range, DATA[slice(*span)])


@pytest.mark.parametrize(
    ("etag", "if_range", "status"),
    [
        ('"v1"', '"v1"', 206),
        ('"v1"', '"v0"', 200),
        ('W/"v1"', 'W/"v1"', 200),
        ('"v1"', http_date(1e9), 206),
        ('"v1"', http_date(2e9), 200),
        (None, '"v1"', 200),
    ],
)
def test_if_range_is_compared_strongly(server, etag, if_range, status):
    server.add("/a", body=DATA, etag=etag, last_modified=1e9)
    assert ask(server, "/a", Range="bytes=5-", If_Range=if_range)[0] == status


@pytest.mark.parametrize(
    ("headers", "conditional", "status"),
    [
        ({"If_None_Match": '"v1"'}, True, 304),
        ({"If_None_Match": '"v0", W/"v1"'}, True, 304),
        ({"If_None_Match": '"v0"', "If_Modified_Since": http_date(1e9)}, True, 200),
        ({"If_Modified_Since": http_date(1e9)}, True, 304),
        ({"If_Modified_Since": http_date(2)}, True, 200),
        ({"If_None_Match": '"v1"'}, False, 200),
    ],
)
def test_conditions(server, headers, conditional, status):
    server.add("/a", body=DATA, etag='"v1"', last_modified=1e9, conditional=conditional)
    got, fields, body = ask(server, "/a", **headers)
    assert (got, len(body), fields["ETag"]) == (status, 0 if status == 304 else 100_000, '"v1"')


def test_one_connection_serves_many_requests(server):
    server.add("/n/*", body=lambda request: request.path.encode())
    link = http.client.HTTPConnection(server.host, server.port, timeout=30)
    bodies = [ask(server, f"/n/{n}", connection=link)[2] for n in range(20)]
    link.close()
    assert bodies == [f"/n/{n}".encode() for n in range(20)]
    assert {request.connection for request in server.requests} == {1}
    server.wait_until(lambda: server.open_connections == 0)
    assert (server.connections, server.peak_connections, server.peak_requests) == (1, 1, 1)


def test_records(server):
    server.add("/a", body=DATA)
    before = time.monotonic()
    with connect(server) as sock:
        sock.sendall(b"POST http://other.example/a?x=1 HTTP/1.1\r\nX-A: 1\r\nx-a: 2\r\n")
        sock.sendall(b"Content-Length: 4\r\n\r\nbody")
        server.wait_until(lambda: server.requests and server.requests[0].done)
    (request,) = server.hits("/a?x=1")
    assert (request.method, request.target, request.path) == ("POST", "http://other.example/a?x=1", "/a")
    assert (request.query, request.body, request.status) == ("x=1", b"body", 200)
    assert (request.headers["X-A"], request.headers.get("nope")) == ("1, 2", None)
    assert "x-A" in request.headers
    assert request.headers.pairs[:2] == [("X-A", "1"), ("x-a", "2")]
    assert (request.sent, request.number, request.connection) == (100_000, 1, 1)
    assert before <= request.time <= time.monotonic()
    assert server.hits("/a") == server.hits("/*") == [request]
    assert not server.hits("/a?x=2")


def test_chunked_request_body(server):
    server.add("/a", body=lambda request: request.body)
    with connect(server) as sock:
        sock.sendall(b"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        sock.sendall(b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n")
        assert body_of(read_all(sock)[0]) == b"abcde"


def test_a_request_that_is_none_gets_400(server):
    with connect(server) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert read_all(sock)[0].startswith(b"HTTP/1.1 400 ")
    assert server.requests == []


def test_choice_of_route(server):
    server.add("/a*", body="prefix")
    server.add("/a/b*", body="longer")
    server.add("/a/b", body="exact")
    server.add("/a/b?q=1", body="query")
    server.add_generator(lambda request: route(body="made") if request.path.startswith("/z") else None)
    paths = ("/a/b?q=1", "/a/b?q=2", "/a/bc", "/ax", "/z9")
    assert [ask(server, path)[2] for path in paths] == [b"query", b"exact", b"longer", b"prefix", b"made"]
    server.remove("/a*")
    status, _, body = ask(server, "/ax")
    assert (status, body) == (404, b"no route for /ax\n")


def test_a_replaced_path_counts_anew(server):
    server.add("/a", body="old", statuses=[503, 200])
    assert [ask(server, "/a")[0] for _ in range(2)] == [503, 200]
    server.add("/a", body="new", statuses=[500, 200])
    assert [ask(server, "/a")[2] for _ in range(2)] == [b"500 from the fault server\n", b"new"]


# Faults of the body


@pytest.mark.parametrize("how", ["close", "clean"])
def test_cut_at_the_exact_byte(server, how):
    server.add("/x", body=DATA, cut=HALF, cut_how=how)
    answer, error = exchange(server)
    assert (body_of(answer), error) == (DATA[:HALF], None)
    assert server.requests[0].sent == HALF
    assert b"Content-Length: 100000" in answer


@pytest.mark.parametrize("options", [{}, {"no_length": True}, {"chunked": True}])
def test_reset_comes_after_the_bytes(server, options):
    server.add("/x", body=DATA, cut=HALF, cut_how="reset", **options)
    answer, error = exchange(server)
    assert isinstance(error, ConnectionResetError)
    if sys.platform != "win32":  # which drops what was not read yet
        assert len(answer) > HALF
        assert answer.endswith(DATA[HALF - 100 : HALF])


def test_stall_is_silence(server):
    server.add("/x", body=DATA, cut=HALF, cut_how="stall")
    with connect(server, 0.3) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        server.wait_until(lambda: server.requests and server.requests[0].sent == HALF)
        answer, error = read_all(sock)
        assert isinstance(error, TimeoutError)
        assert len(body_of(answer)) == HALF
        assert (server.active_requests, server.open_connections) == (1, 1)
    server.wait_until(lambda: server.open_connections == 0)
    assert not server.requests[0].done


def test_times_limits_faults_but_not_the_resource(server):
    options = {"cut": HALF, "flip": 5, "reason": "Odd", "extra_headers": [("X-A", "b")], "chunked": True}
    server.add("/x", body=DATA, etag='"1"', times=2, **options)
    cuts = [len(body_of(exchange(server)[0])) < 100_000 for _ in range(2)]
    status, headers, body = ask(server, "/x")
    assert cuts == [True, True]
    assert (status, body, headers["X-A"], headers["ETag"]) == (200, DATA, "b", '"1"')
    assert headers["Transfer-Encoding"] == "chunked"
    assert [request.number for request in server.requests] == [1, 2, 3]


def test_first_on_range_and_head_vary_options(server):
    refused = {"status": 403, "body": "expired"}
    server.add("/x", body=DATA, first=[{"status": 500}], on_range=refused, head={"length": 7})
    assert ask(server, "/x", "HEAD")[0] == ask(server, "/x")[0] == 500
    assert ask(server, "/x", "HEAD")[1]["Content-Length"] == "7"
    assert ask(server, "/x")[::2] == (200, DATA)
    assert ask(server, "/x", Range="bytes=5-")[::2] == (403, b"expired")


@pytest.mark.parametrize("value", ["abc", "-5", "+5", "0x5", "5 5", "5_5", str(2**65), "", 5])
def test_literal_length(server, value):
    server.add("/x", body=DATA[:5], length=value, keep_alive=False)
    assert f"\r\nContent-Length: {value}\r\n".encode() in exchange(server)[0]


def test_two_lengths(server):
    server.add("/x", body="12345", length=["5", "7"])
    answer, error = exchange(server)
    assert answer.count(b"Content-Length: ") == 2
    assert (body_of(answer), error) == (b"12345", None)  # and the connection is closed


def test_surplus_becomes_the_next_answer(server):
    fake = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfake"
    server.add("/x", body="12345", after=[0.01, fake])
    server.add("/long", body=DATA, length=HALF, keep_alive=True)
    with connect(server, 1.0) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        server.wait_until(lambda: server.requests and server.requests[0].done)
        assert read_all(sock)[0].endswith(b"12345" + fake)
    with connect(server, 0.3) as sock:
        sock.sendall(b"GET /long HTTP/1.1\r\n\r\n")
        server.wait_until(lambda: len(server.requests) == 2 and server.requests[1].done)
        assert body_of(read_all(sock)[0]) == DATA


def test_no_length_ends_with_the_connection(server):
    server.add("/x", body=DATA, no_length=True)
    answer, error = exchange(server)
    assert (body_of(answer), error) == (DATA, None)
    assert b"Content-Length" not in answer
    assert b"Transfer-Encoding" not in answer


def test_http10(server):
    server.add("/x", body=DATA, http10=True)
    answer, _ = exchange(server)
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert body_of(answer) == DATA


def test_an_old_client_is_not_kept(server):
    server.add("/x", body="1")
    assert body_of(exchange(server, version="1.0")[0]) == b"1"
    assert body_of(exchange(server, extra="Connection: close\r\n")[0]) == b"1"


@pytest.mark.parametrize("size", [True, 1, 1000, 300_000])
def test_chunked(server, size):
    data = DATA if size != 1 else DATA[:50]
    server.add("/x", body=data, chunked=size)
    status, headers, body = ask(server, "/x")
    assert (status, body) == (200, data)
    assert headers["Content-Length"] is None


@pytest.mark.parametrize(
    ("size", "head", "tail"),
    [
        (HALF, b"ea60\r\n", DATA[HALF - 9 : HALF] + b"\r\n"),  # after a whole chunk, before the last one
        (100_000, b"186a0\r\n", DATA[HALF - 9 : HALF]),  # within a chunk
        (30_000, b"7530\r\n", DATA[HALF - 9 : HALF] + b"\r\n"),
    ],
)
def test_chunked_and_cut(server, size, head, tail):
    server.add("/x", body=DATA, chunked=size, cut=HALF)
    body = body_of(exchange(server)[0])
    assert body.startswith(head + DATA[:100])
    assert body.endswith(tail)
    assert server.requests[0].sent == HALF


@pytest.mark.parametrize("line", ["zz", "-5", "f" * 40, "0" * 65_536])
def test_bad_chunk_line(server, line):
    server.add("/x", body="12345", chunked=True, chunk_line=line, keep_alive=False)
    assert body_of(exchange(server)[0]).startswith(f"{line}\r\n12345\r\n0\r\n".encode())


def test_transfer_encodings(server):
    server.add("/a", body=DATA, chunked=True, length=7)
    server.add("/b", body=gzip.compress(DATA), transfer_encoding="gzip, chunked")
    answer = exchange(server, "/a")[0]
    assert b"Content-Length: 7\r\n" in answer
    assert b"Transfer-Encoding: chunked\r\n" in answer
    answer = exchange(server, "/b", extra="Connection: close\r\n")[0]
    assert b"\r\nTransfer-Encoding: gzip, chunked\r\n" in answer
    assert b"\r\n\x1f\x8b" in answer


def test_content_codings(server):
    server.add("/gzip", body=DATA, encoding="gzip")
    server.add("/deflate", body=DATA, encoding="deflate")
    server.add("/label", body=DATA, content_encoding="bogus")
    _, headers, body = ask(server, "/gzip", Range="bytes=5-")
    assert (headers["Content-Encoding"], gzip.decompress(body)) == ("gzip", DATA)
    assert (headers["Content-Length"], headers["Accept-Ranges"]) == (str(len(body)), None)
    assert zlib.decompress(ask(server, "/deflate")[2]) == DATA
    _, headers, body = ask(server, "/label")
    assert (headers["Content-Encoding"], body) == ("bogus", DATA)


def test_flip(server):
    server.add("/x", body=DATA, flip=500, times=1)
    wrong, right = ask(server, "/x")[2], ask(server, "/x")[2]
    assert [n for n in range(len(DATA)) if wrong[n] != DATA[n]] == [500]
    assert right == DATA


def test_large_and_endless_bodies(server):
    server.add("/big", body=Filled(5 << 20, b"0123456789"))
    server.add("/endless", body=Forever(b"x" * 1000))
    server.add("/chunks", body=Forever(b"x" * 1000, every=0.001), chunked=True)
    server.add("/claimed", body=Forever(b"x"), length=2**40)
    body = ask(server, "/big")[2]
    assert hashlib.sha256(body).digest() == hashlib.sha256(b"0123456789" * (1 << 19)).digest()
    assert ask(server, "/big", Range="bytes=7-26")[2] == b"78901234567890123456"
    for path, start in (("/endless", b"xxx"), ("/chunks", b"3e8\r\nxxx"), ("/claimed", b"x")):
        with connect(server) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            received = b"".join(itertools.islice(iter(lambda s=sock: s.recv(4096), b""), 20))
            assert body_of(received).startswith(start)
    server.wait_until(lambda: server.open_connections == 0)


def test_pattern_and_bomb():
    assert pattern(10) == pattern(10) != pattern(10, seed=1)
    bomb = gzip_bomb(4 << 20)
    assert len(bomb) < 10_000
    assert gzip.decompress(bomb) == bytes(4 << 20)


# Faults of ranges


@pytest.mark.parametrize(
    ("fault", "status", "content_range", "span"),
    [
        (True, 206, "bytes 60000-99999/100000", (60_000, 100_000)),
        (False, 200, None, (0, 100_000)),
        ("ignore", 200, None, (0, 100_000)),
        ("shift:-1000", 206, "bytes 59000-99999/100000", (59_000, 100_000)),
        ("shift:1000", 206, "bytes 61000-99999/100000", (61_000, 100_000)),
        ("start:0", 206, "bytes 0-99999/100000", (0, 100_000)),
        ("lie:-1000", 206, "bytes 60000-99999/100000", (59_000, 99_000)),
        ("short:10000", 206, "bytes 60000-69999/100000", (60_000, 70_000)),
        ("no-header", 206, None, (60_000, 100_000)),
        ("no-header-whole", 206, None, (0, 100_000)),
        ("garbage", 206, "bytes banana", (60_000, 100_000)),
        ("other-total", 206, "bytes 60000-99999/100777", (60_000, 100_000)),
        ("other-total:-1", 206, "bytes 60000-99999/99999", (60_000, 100_000)),
        ("no-total", 206, "bytes 60000-99999/*", (60_000, 100_000)),
        ("200-slice", 200, "bytes 60000-99999/100000", (60_000, 100_000)),
        ("416", 416, "bytes */100000", (0, 0)),
        ("416:5", 416, "bytes */100005", (0, 0)),
        ("416-no-header", 416, None, (0, 0)),
    ],
)
def test_range_faults(server, fault, status, content_range, span):
    server.add("/x", body=DATA, ranges=fault)
    got, headers, body = ask(server, "/x", Range="bytes=60000-")
    assert (got, headers["Content-Range"], body) == (status, content_range, DATA[slice(*span)])
    assert ask(server, "/x")[::2] == (200, DATA)


def test_more_range_faults(server):
    server.add("/unasked", body=DATA, ranges="206-unasked")
    server.add("/to-end", body=DATA, ranges="to-end")
    server.add("/changed", body=DATA, ranges="ignore-if-range", etag='"new"')
    server.add("/literal", body=DATA, content_range="bytes 5-4/3")
    server.add("/slice", body=DATA[:10], status=206, content_range="bytes 0-9/100000")
    assert ask(server, "/unasked")[::2] == (206, DATA[:50_000])
    assert ask(server, "/unasked", Range="bytes=9-")[::2] == (206, DATA[9:])
    assert ask(server, "/to-end", Range="bytes=9-10")[::2] == (206, DATA[9:])
    status, headers, body = ask(server, "/changed", Range="bytes=9-", If_Range='"old"')
    assert (status, headers["ETag"], body) == (206, '"new"', DATA[9:])
    assert ask(server, "/literal", Range="bytes=9-")[1]["Content-Range"] == "bytes 5-4/3"
    assert ask(server, "/literal")[1]["Content-Range"] is None
    assert ask(server, "/slice")[1]["Content-Range"] == "bytes 0-9/100000"


def test_multipart(server):
    server.add("/x", body=DATA, ranges="multipart")
    status, headers, body = ask(server, "/x", Range="bytes=60000-")
    assert (status, headers.get_content_type()) == (206, "multipart/byteranges")
    assert headers["Content-Range"] is None
    assert body.startswith(b"--")
    assert b"Content-Range: bytes 60000-99999/100000\r\n\r\n" + DATA[HALF:] in body


def test_etags_take_turns(server):
    server.add("/x", body=DATA, etag=['"a"', '"b"'])
    assert [ask(server, "/x")[1]["ETag"] for _ in range(3)] == ['"a"', '"b"', '"a"']


# Faults of status and head


def test_statuses_then_the_body(server):
    server.add("/x", body=DATA, statuses=[429, 503, 200], retry_after="2", error_body="wait")
    answers = [ask(server, "/x") for _ in range(4)]
    assert [status for status, _, _ in answers] == [429, 503, 200, 200]
    assert [body for _, _, body in answers] == [b"wait", b"wait", DATA, DATA]
    assert [headers["Retry-After"] for _, headers, _ in answers] == ["2", "2", None, None]


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_body(server, status):
    server.add("/x", body=DATA, status=status)
    link = http.client.HTTPConnection(server.host, server.port, timeout=30)
    answers = [ask(server, "/x", connection=link)[::2] for _ in range(2)]
    link.close()
    assert answers == [(status, b"")] * 2
    assert server.connections == 1


@pytest.mark.parametrize("status", [300, 404, 511, 600, 999, "99", "abc"])
def test_any_status(server, status):
    server.add("/x", body="text", status=status, reason=b"\x1b[1mOdd", keep_alive=False)
    answer = exchange(server)[0]
    assert answer.startswith(f"HTTP/1.1 {status} \x1b[1mOdd\r\n".encode())
    assert body_of(answer) == b"text"


def test_redirects(server):
    server.add("/a", redirect="http://other.example/x", body=DATA)
    server.add("/b", redirect=lambda request: f"/x?n={request.number}", status=307)
    server.add("/c", redirect="")
    status, headers, body = ask(server, "/a")
    assert (status, headers["Location"], body) == (302, "http://other.example/x", DATA)
    assert [ask(server, "/b")[1]["Location"] for _ in range(2)] == ["/x?n=1", "/x?n=2"]
    assert ask(server, "/c")[1]["Location"] == ""


def test_a_redirect_without_an_end(server):
    server.add("/x", redirect="/y", body=Forever(b"x", every=0.001))
    with connect(server) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        received = b"".join(sock.recv(4096) for _ in range(20))
    assert received.startswith(b"HTTP/1.1 302 Found\r\n")
    assert body_of(received).startswith(b"xx")
    assert b"Content-Length" not in received


def test_literal_headers(server):
    fields = [("X-A", b"nul\x00esc\x1b"), ("X-A", "folded\r\n more"), (b"X-\xff", "\u00e9")]
    server.add("/x", body="", extra_headers=fields, content_type=None, date=None, keep_alive=False)
    head = exchange(server)[0]
    lines = [b"X-A: nul\x00esc\x1b", b"X-A: folded\r\n more", b"X-\xff: \xc3\xa9"]
    assert b"\r\n".join(lines) in head
    assert b"Date" not in head
    assert b"Content-Type" not in head


def test_dates(server):
    server.add("/a", date=0.0, last_modified="abc")
    server.add("/b", date="yesterday")
    headers = ask(server, "/a")[1]
    assert (headers["Date"], headers["Last-Modified"]) == (http_date(0), "abc")
    assert ask(server, "/b")[1]["Date"] == "yesterday"


def test_require(server):
    server.add("/x", body=DATA, require={"Authorization": "Bearer t"})
    status, headers, _ = ask(server, "/x")
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="faultserver"')
    assert ask(server, "/x", Authorization="Bearer t")[2] == DATA


def test_head_with_a_body(server):
    server.add("/x", body="12345", head_body=True, keep_alive=False)
    with connect(server) as sock:
        sock.sendall(b"HEAD /x HTTP/1.1\r\n\r\n")
        assert body_of(read_all(sock)[0]) == b"12345"


def test_early_answers(server):
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    server.add("/x", body="12345", early=[hints, 0.0, hints], keep_alive=False)
    answer, _ = exchange(server)
    assert answer.startswith(hints * 2 + b"HTTP/1.1 200 OK\r\n")


def test_endless_early_answers(server):
    server.add("/x", early=Forever(b"HTTP/1.1 100 Continue\r\n\r\n", every=0.001))
    with connect(server) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        received = b""
        while received.count(b"100 Continue") < 10:
            received += sock.recv(4096)
    server.wait_until(lambda: server.open_connections == 0)


# Scripts


def test_raw_bytes(server):
    server.add("/x", raw=b"SSH-2.0-OpenSSH_9.9\r\n")
    assert exchange(server) == (b"SSH-2.0-OpenSSH_9.9\r\n", None)
    (request,) = server.requests
    assert (request.status, request.sent, request.done) == (None, 21, True)


@pytest.mark.parametrize(
    ("ending", "kind"), [(CLOSE, type(None)), (RESET, ConnectionResetError), (STALL, TimeoutError)]
)
def test_raw_script_with_an_ending(server, ending, kind):
    server.add("/x", raw=lambda request: iter([b"a", 0.001, [b"b", request.path.encode()], ending, b"never"]))
    with connect(server, 0.3) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        server.wait_until(lambda: server.requests and server.requests[0].sent == 4)
        answer, error = read_all(sock)
    assert (answer, type(error)) == (b"ab/x", kind)


def test_raw_can_keep_the_connection(server):
    server.add("/x", raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", keep_alive=True)
    link = http.client.HTTPConnection(server.host, server.port, timeout=30)
    assert [ask(server, "/x", connection=link)[2] for _ in range(2)] == [b"1", b"1"]
    link.close()
    assert server.connections == 1


def test_steps_within_the_body(server):
    gate = threading.Event()
    server.add("/x", body=DATA, at={HALF: [gate, b""], 70_000: CLOSE})
    with connect(server) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        server.wait_until(lambda: server.requests and server.requests[0].sent == HALF)
        gate.set()
        assert len(body_of(read_all(sock)[0])) == 70_000


def test_a_script_that_breaks_is_told_on_close():
    server = Server()
    server.add("/x", raw=lambda request: 1 / 0)
    assert isinstance(exchange(server)[1], ConnectionResetError)
    server.wait_until(lambda: server.open_connections == 0)
    with pytest.raises(AssertionError, match="script is broken") as caught:
        server.close()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


# Slowness


def test_trickled_body_is_whole(server):
    server.add("/a", body=DATA, trickle=(40_000, 0.001))
    server.add("/b", body=DATA[:500], trickle=(40, 0.0), chunked=100)
    assert ask(server, "/a")[2] == DATA
    assert ask(server, "/b")[2] == DATA[:500]


def test_trickled_head_and_delays(server):
    server.add("/x", body="12345", trickle_head=(1, 0.0), head_delay=0.05)
    before = time.monotonic()
    assert ask(server, "/x")[2] == b"12345"
    assert time.monotonic() - before >= 0.05


@pytest.mark.parametrize(
    "options",
    [
        {"cut": 10, "cut_how": "stall"},
        {"trickle": (1, 60.0)},
        {"trickle_head": (1, 60.0)},
        {"head_delay": 60.0},
        {"early": Forever(b"HTTP/1.1 100 Continue\r\n\r\n", every=60.0)},
        {"at": {5: threading.Event()}},
        {"raw": [b"x", STALL]},
        {"body": Forever(b"x" * 100_000)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_close_interrupts_anything(options):
    server = Server()
    server.add("/x", **{"body": DATA, **options})
    with connect(server) as sock, connect(server):
        sock.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        server.wait_for_hits("/x")
        before = time.monotonic()
        server.close()
        server.close()
        assert time.monotonic() - before < 20.0
    assert server.open_connections == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("faultserver")]


def test_drop_connections(server):
    server.add("/x", body=DATA, cut=HALF, cut_how="stall")
    with connect(server) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        server.wait_until(lambda: server.requests and server.requests[0].sent == HALF)
        server.drop_connections()
        assert len(body_of(read_all(sock)[0])) == HALF
    server.wait_until(lambda: server.open_connections == 0)


# Connections


def test_stale_keep_alive(server):
    server.add("/x", body="1", close_after=2)
    link = http.client.HTTPConnection(server.host, server.port, timeout=30)
    assert [ask(server, "/x", connection=link)[2] for _ in range(2)] == [b"1", b"1"]
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server, "/x", connection=link)
    link.close()
    assert [request.status for request in server.requests] == [200, 200, None]


def test_keep_alive_off(server):
    server.add("/x", body="1", keep_alive=False)
    answer, error = exchange(server)
    assert b"Connection: close\r\n" in answer
    assert error is None


def end_of(server):
    """Return how a connection ends that says nothing; the reset may be there before connect() returns."""
    try:
        with connect(server) as sock:
            return read_all(sock)[1]
    except ConnectionResetError as error:
        return error


@pytest.mark.parametrize("mode", ["reset", "close"])
def test_accept_and_end(make_server, mode):
    server = make_server()
    server.add("/x", body="1", keep_alive=False)
    server.accept_as(mode, times=2)
    expected = ConnectionResetError if mode == "reset" else type(None)
    assert [type(end_of(server)) for _ in range(2)] == [expected] * 2
    assert body_of(exchange(server)[0]) == b"1"
    assert (server.connections, len(server.requests)) == (3, 1)


@pytest.mark.parametrize("tls", [False, True])
def test_silent_listener(make_server, tls):
    server = make_server(accept="silent", tls=tls)
    with connect(server, 0.2) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        assert isinstance(read_all(sock)[1], TimeoutError)
        assert server.connections == 1
    if not NOT_LINUX:  # elsewhere a departure behind unread bytes is not seen
        server.wait_until(lambda: server.open_connections == 0)
    assert server.requests == []


def test_refused_and_back(make_server):
    server = make_server(accept="refuse")
    server.add("/x", body="1", keep_alive=False)
    with pytest.raises(ConnectionRefusedError):
        connect(server)
    server.accept_as("serve")
    assert body_of(exchange(server)[0]) == b"1"
    server.accept_as("refuse")
    with pytest.raises(ConnectionRefusedError):
        connect(server)
    server.accept_as("serve")
    assert body_of(exchange(server)[0]) == b"1"


@pytest.mark.skipif(NOT_LINUX, reason="other systems refuse when the queue is full")
def test_blackhole(make_server):
    server = make_server(accept="blackhole")
    with pytest.raises(TimeoutError):
        connect(server, 0.2)
    server.accept_as("serve")
    assert ask(server, "/x")[0] == 404


def test_many_origins(make_server):
    one, other = make_server(host="127.0.0.2"), make_server(host="127.0.0.3")
    assert ask(one, "/")[0] == ask(other, "/")[0] == 404
    assert one.url("/a") == f"http://127.0.0.2:{one.port}/a"
    assert one.origin == one.url("")
    assert one.netloc == f"127.0.0.2:{one.port}"
    assert one.url("/a", host="localhost") == f"http://localhost:{one.port}/a"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6(make_server):
    try:
        server = make_server(host="::1")
    except OSError as error:
        pytest.skip(str(error))
    server.add("/x", body="1", keep_alive=False)
    assert body_of(exchange(server)[0]) == b"1"
    assert server.origin == f"http://[::1]:{server.port}"


def test_many_clients_at_once(server):
    server.add_generator(lambda request: route(body=request.path))
    got = []

    def client(number):
        link = http.client.HTTPConnection(server.host, server.port, timeout=30)
        got.extend(ask(server, f"/n/{number}/{n}", connection=link)[2] for n in range(50))
        link.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == sorted(f"/n/{a}/{b}".encode() for a in range(16) for b in range(50))
    assert (server.connections, len(server.requests)) == (16, 800)
    assert server.peak_connections <= 16


# Throttling


def test_first_request_of_each_path_is_refused(server):
    server.add("/n/*", body="1")
    throttle = server.throttle(first_of_each_path=True, retry_after="2")
    statuses = [ask(server, path)[0] for path in ("/n/1", "/n/2", "/n/1", "/n/2")]
    assert statuses == [429, 429, 200, 200]
    assert throttle.refused == 2
    assert ask(server, "/n/3")[1]["Retry-After"] == "2"
    server.unthrottle()
    assert ask(server, "/n/4")[0] == 200


def test_statuses_count_each_path_of_a_prefix(server):
    server.add("/n/*", body="1", statuses=[503, 200])
    assert [ask(server, path)[0] for path in ("/n/1", "/n/2", "/n/1")] == [503, 503, 200]


def test_requests_per_second(server):
    server.add("/x", body="1")
    server.throttle(per_second=3, status=503, extra_headers=[("RateLimit-Remaining", "0")])
    answers = [ask(server, "/x") for _ in range(5)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 503, 503]
    assert answers[-1][1]["RateLimit-Remaining"] == "0"


def test_requests_at_once(server):
    gate = threading.Event()
    server.add("/slow", body="1", at={0: gate})
    server.throttle(concurrent=1)
    with connect(server) as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        server.wait_for_hits("/slow")
        assert ask(server, "/slow")[0] == 429
        gate.set()
        server.wait_until(lambda: server.active_requests == 0)
    assert ask(server, "/slow")[0] == 200
    assert server.peak_requests == 2


# TLS and tunnels


def tls_body(server, cafile=None, **certificate):
    """Fetch /x over TLS and return (body, connection's end)."""
    context = ssl.create_default_context(cafile=cafile or server.ca_file)
    if certificate:
        context.load_cert_chain(**certificate)
    with connect(server) as plain, context.wrap_socket(plain, server_hostname=server.host) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n")
        return body_of(read_all(sock)[0])


def test_tls_with_its_ca(tls_server, make_server):
    tls_server.add("/x", body=DATA)
    assert tls_body(tls_server) == DATA
    assert tls_server.origin.startswith("https://127.0.0.1:")
    other = make_server(tls=True, host="127.0.0.2")
    other.add("/x", body=DATA)
    assert tls_body(other) == DATA
    assert other.ca_file == tls_server.ca_file


@pytest.mark.parametrize(
    ("cert", "reason"),
    [
        ("self-signed", "self.signed"),
        ("expired", "expired"),
        ("wrong-name", "mismatch"),
        ("unknown-ca", "unable to get local issuer|self.signed certificate in"),
    ],
)
def test_bad_certificates(make_server, cert, reason):
    server = make_server(tls=True, cert=cert)
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        tls_body(server)
    assert server.requests == []


@pytest.mark.parametrize(
    ("how", "error"),
    [("close", ssl.SSLEOFError), ("clean", type(None)), ("reset", (ConnectionResetError, ssl.SSLEOFError))],
)
def test_tls_cut_with_and_without_notice(tls_server, how, error):  # Python's ssl may show a reset as an end
    tls_server.add("/x", body=DATA, no_length=True, cut=HALF, cut_how=how)
    context = ssl.create_default_context(cafile=tls_server.ca_file)
    settings = {"server_hostname": "127.0.0.1", "suppress_ragged_eofs": False}
    with connect(tls_server) as plain, context.wrap_socket(plain, **settings) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        answer, got = read_all(sock)
    assert len(body_of(answer)) == HALF
    assert isinstance(got, error)


def test_close_interrupts_a_handshake(tls_server):
    with connect(tls_server) as plain:  # never says hello
        tls_server.wait_until(lambda: tls_server.connections == 1)
        before = time.monotonic()
        tls_server.close()
        assert time.monotonic() - before < 20.0
        assert read_all(plain)[0] == b""


def test_client_certificates(make_server):
    server = make_server(tls=True, client_cert=True)
    server.add("/x", body=DATA)
    assert tls_body(server, certfile=server.client_cert_file) == DATA
    assert tls_body_refused(server)
    assert len(server.requests) == 1


def tls_body_refused(server):
    """Say whether a client without certificate is turned away (TLS 1.3: only once it reads)."""
    try:
        return tls_body(server) == b""
    except OSError:
        return True


def test_tunnel(make_server, tls_server):
    proxy = make_server(tunnel=True)
    tls_server.add("/x", body=DATA)
    context = ssl.create_default_context(cafile=tls_server.ca_file)
    with connect(proxy) as plain:
        plain.sendall(f"CONNECT {tls_server.netloc} HTTP/1.1\r\nProxy-Authorization: x\r\n\r\n".encode())
        assert plain.recv(4096) == b"HTTP/1.1 200 Connection established\r\n\r\n"
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            sock.sendall(b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert body_of(read_all(sock)[0]) == DATA
    assert proxy.requests[0].headers["Proxy-Authorization"] == "x"
    assert "Proxy-Authorization" not in tls_server.requests[0].headers


def test_tunnel_refusals(make_server):
    proxy, dead = make_server(tunnel=True), make_server(accept="refuse")
    proxy.add("1.2.3.4:443", status=407)
    targets = {"1.2.3.4:443": 407, "9.9.9.9:443": 403, dead.netloc: 502}
    for target, status in targets.items():
        with connect(proxy) as sock:
            sock.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
            assert sock.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())


# Misuse


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"bodi": b""}, TypeError, "did you mean 'body'"),
        ({"first": [{"statu": 3}]}, TypeError, "did you mean 'status'"),
        ({"head": {"qqqqq": 3}}, TypeError, "there are status, "),
        ({"cut_how": "fall"}, ValueError, "not one of close, clean, reset, stall"),
        ({"ranges": "shift"}, ValueError, "shift:N"),
        ({"ranges": "sideways"}, ValueError, "206-unasked"),
        ({"ranges": "garbage:5"}, ValueError, "not one of"),
        ({"encoding": "br"}, ValueError, "not gzip or deflate"),
        ({"no_length": True, "length": 5}, ValueError, "excludes"),
        ({"statuses": "503"}, TypeError, "must be a list"),
        ({"trickle": (0, 1)}, ValueError, "bytes at a time"),
        ({"raw": iter([b""])}, TypeError, "runs only once"),
        ({"raw": "text"}, TypeError, "not a step"),
        ({"after": [b"", ["text"]]}, TypeError, "not a step"),
        ({"at": {5: None}}, TypeError, "at\\[5\\]"),
        ({"early": object()}, TypeError, "not a step"),
    ],
)
def test_misuse_is_refused_when_the_route_is_made(server, options, error, text):
    with pytest.raises(error, match=text):
        server.add("/x", **options)


def test_misuse_of_the_server(server):
    with pytest.raises(ValueError, match="a path begins with /"):
        server.add("x")
    with pytest.raises(TypeError, match="retries"):
        Server(retries=3)
    with pytest.raises(ValueError, match="not one of serve"):
        Server(accept="gladly")
    with pytest.raises(ValueError, match="cannot be limited"):
        server.accept_as("refuse", times=3)
    with pytest.raises(ValueError, match="need tls"):
        Server(cert="expired")
    with pytest.raises(ValueError, match="not one of good"):
        Server(tls=True, cert="fine")
    with pytest.raises(TypeError, match="give per_second"):
        server.throttle()
    with pytest.raises(AssertionError, match="not within"):
        server.wait_for_hits("/never", seconds=0.01)
    with pytest.raises(OSError, match="cannot bind"):
        Server(port=server.port)


def test_every_option_is_explained():
    text = faultserver.__doc__
    assert [name for name in OPTIONS if f"\n    {name} " not in text] == []
    names = [name for name in vars(Server) if not name.startswith("_")]
    assert [name for name in names if name not in text] == []


def test_a_body_of_the_wrong_type_is_told():
    server = Server()
    server.add("/x", body=5)
    exchange(server)
    server.wait_until(lambda: server.open_connections == 0)
    with pytest.raises(AssertionError) as caught:
        server.close()
    assert "body must be bytes" in str(caught.value.__cause__)


def test_a_context_closes_the_server():
    with Server() as server:
        assert ask(server, "/")[0] == 404
    with pytest.raises(ConnectionRefusedError):
        connect(server)


# Fixtures


@pytest.mark.parametrize(
    ("family", "address", "loopback"),
    [
        (socket.AF_INET, ("127.0.0.1", 80), True),
        (socket.AF_INET, ("127.9.8.7", 80), True),
        (socket.AF_INET, ("localhost", 80), True),
        (socket.AF_INET, ("93.184.215.14", 80), False),
        (socket.AF_INET, ("example.org", 80), False),
        (socket.AF_INET, ("0.0.0.0", 80), False),
        (socket.AF_INET6, ("::1", 80, 0, 0), True),
        (socket.AF_INET6, ("::ffff:127.0.0.1", 80, 0, 0), True),
        (socket.AF_INET6, ("::ffff:9.9.9.9", 80, 0, 0), False),
        (socket.AF_INET6, ("fe80::1%lo", 80, 0, 1), False),
    ],
)
def test_what_is_loopback(family, address, loopback):
    assert is_loopback(family, address) is loopback


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_unix_sockets_are_local():
    assert is_loopback(socket.AF_UNIX, "/run/x")


@pytest.mark.parametrize("name", ["connect", "connect_ex"])
def test_the_network_is_out_of_reach(no_network, name):
    with socket.socket() as sock, pytest.raises(OSError, match="loopback only"):
        getattr(sock, name)(("192.0.2.1", 80))
    assert no_network == ["('192.0.2.1', 80)"]
    no_network.clear()


def test_clock(clock):
    start = clock()
    clock.advance(2.5)
    assert (clock(), clock.now) == (start + 2.5, start + 2.5)


def test_clean_environment(tmp_path, monkeypatch):
    unwanted = {"HTTPS_PROXY", "no_proxy", "BULKFETCH_CONFIG", "XDG_CONFIG_HOME", "REQUESTS_CA_BUNDLE"}
    for name in (*unwanted, "KEPT"):
        monkeypatch.setenv(name, "x")
    environment = clean_environment(tmp_path, {"LANG": "C", "PATH": None})
    assert environment["KEPT"] == "x"
    assert environment["HOME"] == str(tmp_path)
    assert environment["LANG"] == "C"
    assert not (unwanted | {"PATH"}) & environment.keys()


def test_run_bulkfetch_gives_code_and_texts(run_bulkfetch):
    done = run_bulkfetch("no-such-command", stdin="")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "bulkfetch" in done.stderr


def test_start_bulkfetch_gives_a_process(start_bulkfetch):
    process = start_bulkfetch("no-such-command", stdin=subprocess.DEVNULL)
    output, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert output == ""
    assert "bulkfetch" in errors


def test_nginx(nginx):
    path = nginx.put("faultserver/a.bin", DATA)
    link = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=30)
    assert ask(None, path, connection=link, Range="bytes=60000-")[::2] == (206, DATA[HALF:])
    assert ask(None, path, connection=link)[2] == DATA
    link.close()
    context = ssl.create_default_context(cafile=nginx.ca_file)
    link = http.client.HTTPSConnection("127.0.0.1", nginx.tls_port, timeout=30, context=context)
    assert ask(None, path, connection=link)[2] == DATA
    link.close()
    assert nginx.url(path) == f"http://127.0.0.1:{nginx.port}{path}"
    assert nginx.tls_url(path) == f"https://127.0.0.1:{nginx.tls_port}{path}"
