"""Our own connection against a server that lies."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest
from faultserver import RESET, STALL, Filled, Forever, pattern
from faultserver.certificates import ca_file
from wirepieces import connected

from bulkfetch import errors
from bulkfetch.config import FetchConfig
from bulkfetch.models import Head, Origin
from bulkfetch.transport import Transport
from bulkfetch.urls import origin_of
from bulkfetch.watchdog import Lease, Watchdog
from bulkfetch.wire import Wire
from bulkfetch.wire import connect as connect_module
from bulkfetch.wire import reply as reply_module
from bulkfetch.wire.buffers import SIZE, Buffers
from bulkfetch.wire.connection import Connection
from bulkfetch.wire.head import parse_answer
from bulkfetch.wire.reply import Reply
from bulkfetch.wire.request import Template

BODY = pattern(100_000)
FOREVER = float("inf")
IDLE = 1.0  # seconds, where a test waits for it
CONFIG = FetchConfig(idle_timeout=10.0, connect_timeout=10.0, ca_bundle=ca_file(), user_agent="test/1")
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
both_links = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a Linux listen queue")


@dataclass
class Got:
    """What one exchange came to."""

    head: Head | None = None
    body: bytes = b""
    error: errors.TransferError | None = None
    surplus: bool = False
    reused: bool = False  # as the lease said at the end


class Asker:
    """One worker: a wire and a lease that a quick watchdog looks at."""

    def __init__(self, config: FetchConfig = CONFIG, **options) -> None:
        self.stop = threading.Event()
        self.watchdog = Watchdog(self.stop, 0.0, tick=0.02)
        self.wire = Wire(config, **options)
        self.lease = self.watchdog.lease()

    def open(self, url, headers=None, deadline=FOREVER):
        self.lease.begin(deadline)
        return self.wire.open(origin_of(url), url, headers or {}, self.lease)

    def get(self, url, headers=None, deadline=FOREVER, size=1 << 20):
        got = Got()
        try:
            with contextlib.closing(self.open(url, headers, deadline)) as reply:
                got.head = reply.head
                while piece := reply.read(size):
                    assert len(piece) <= size
                    got.body += piece
            got.surplus = reply.surplus
        except errors.TransferError as exc:
            got.error = exc
        got.reused = self.lease.reused
        return got

    def close(self):
        self.wire.close()
        self.watchdog.close()


@pytest.fixture
def make_asker():
    with contextlib.ExitStack() as opened:
        yield lambda **changes: opened.enter_context(contextlib.closing(Asker(replace(CONFIG, **changes))))


@pytest.fixture
def asker(make_asker):
    return make_asker()


# -- whole bodies ---------------------------------------------------------------------------------


def kept(raw):
    """Return the options of a literal answer after which the server goes on listening."""
    return {"raw": raw, "keep_alive": True}


SHAPES = {
    "length": {},
    "empty": {"body": b""},
    "one byte": {"body": b"x"},
    "larger than the buffer": {"body": pattern(3 * SIZE + 17)},
    "chunks": {"chunked": True},
    "chunks of 7": {"chunked": 7, "body": BODY[:5000]},
    "chunks larger than the buffer": {"chunked": SIZE + 1, "body": pattern(2 * SIZE + 9)},
    "no chunk": {"chunked": True, "body": b""},
    "until close": {"no_length": True},
    "HTTP/1.0": {"http10": True},
    "HTTP/1.0, kept": kept(b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello"),
    "chunks in HTTP/1.0": {"http10": True, "chunked": 1000},
    "connection: close": {"keep_alive": False},
    "chunks and a length (B14)": {"chunked": 1000, "length": 7},
    "the same length twice": {"length": [len(BODY), len(BODY)]},
    "bare line feeds": kept(b"HTTP/1.1 200 OK\nContent-Length: 100000\n\n" + BODY),
    "folded": kept(OK + b"X-A: 1\r\n  2\r\nContent-Length:\r\n\t100000 \r\n\r\n" + BODY),
    "no reason": kept(b"HTTP/1.1 200\r\nContent-Length: 100000\r\n\r\n" + BODY),
    "NUL and ESC in a field (B30)": {"extra_headers": [("Content-Disposition", b"a\0b\x1b]0;x")]},
    "100 header lines": {"extra_headers": [(f"X-{n}", "v") for n in range(96)]},
    "a head of many packets": {"trickle_head": (40, 0.001), "extra_headers": [("X-Long", "v" * 500)]},
    "early hints first (B22)": {"early": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"},
    "20 interim answers": {"early": b"HTTP/1.1 100 Continue\r\n\r\n" * 20},
    "chunk extensions": kept(CHUNKED + b"5;a=b\r\nhello\r\n0;c\r\n\r\n"),
    "padded chunk size": kept(CHUNKED + b"05  \r\nhello\r\n000\r\n\r\n"),
    "trailers": kept(CHUNKED + b"5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n"),
    "no end of the trailers": {"raw": CHUNKED + b"5\r\nhello\r\n0\r\n"},
    "204": {"status": 204, "body": b""},
    "304": {"status": 304, "body": b"", "etag": '"a"'},
}
SINGLE_USE = {  # shapes after which the connection must not serve again
    "until close", "HTTP/1.0", "chunks in HTTP/1.0", "connection: close", "chunks and a length (B14)",
    "the same length twice", "no end of the trailers",
}  # fmt: skip


@both_links
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_body_is_read_whole(make_server, asker, tls, shape):
    server = make_server(tls=tls)
    options = {"body": BODY, **SHAPES[shape]}
    server.add("/a", **options)
    wanted = b"hello" if "hello" in repr(options.get("raw")) else options["body"]
    for _ in range(2):
        got = asker.get(server.url("/a"))
        assert (got.error, got.body, got.surplus) == (None, wanted, False)
    assert server.connections == (2 if shape in SINGLE_USE else 1)


def test_too_many_trailers_end_the_connection_and_not_the_body(server, asker):
    server.add("/a", raw=[CHUNKED + b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 2000, STALL])
    got = asker.get(server.url("/a"))
    assert (got.body, got.error) == (b"hello", None)
    server.wait_until(lambda: server.open_connections == 0)


@both_links
@pytest.mark.parametrize(
    "options", [{}, {"chunked": 333}, {"no_length": True}], ids=["sized", "chunked", "open"]
)
def test_reads_keep_to_the_size_asked_for(make_server, asker, tls, options):
    server = make_server(tls=tls)
    server.add("/a", body=BODY[:20_000], **options)
    assert asker.get(server.url("/a"), size=129).body == BODY[:20_000]


@both_links
def test_a_real_server(nginx, asker, tls):
    data = pattern(700_001)
    path = nginx.put("wire/a.bin", data)
    url = nginx.tls_url(path) if tls else nginx.url(path)
    got = asker.get(url)
    assert got.body == data
    rest = asker.get(url, {"Range": "bytes=700000-", "If-Range": got.head.etag})
    assert (rest.head.status, rest.head.range_start, rest.body) == (206, 700_000, data[-1:])
    assert rest.head.last_modified == got.head.last_modified


def test_a_piece_is_unusable_after_the_next_read(server, asker):
    server.add("/a", body=BODY)
    with contextlib.closing(asker.open(server.url("/a"))) as reply:
        first = reply.read(5)
        assert first == BODY[:5]
        second = reply.read(5)
        with pytest.raises(ValueError, match="released"):
            first.tobytes()
    with pytest.raises(ValueError, match="released"):
        second.tobytes()


def test_many_threads_share_a_wire(server):
    asker = Asker(replace(CONFIG, per_host=8))
    bodies = {f"/{n}": pattern(2000 + 777 * n, seed=n) for n in range(8)}
    for n, (path, body) in enumerate(bodies.items()):
        server.add(path, body=body, chunked=100 if n % 2 else None)

    def work(path):
        lease = asker.watchdog.lease()
        for _ in range(25):
            lease.begin(FOREVER)
            reply = asker.wire.open(origin_of(server.url()), server.url(path), {}, lease)
            body = b""
            while piece := reply.read(500):
                body += piece
            reply.close()
            assert body == bodies[path]
        return True

    with contextlib.closing(asker), ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, bodies))
    assert server.connections <= 8


# -- broken answers -------------------------------------------------------------------------------

BROKEN = {
    "B01 cut": ({"cut": 60_000}, errors.Truncated, 60_000),
    "B02 reset": ({"cut": 60_000, "cut_how": "reset"}, errors.ConnectionLost, 60_000),
    "B03 stalled": ({"cut": 60_000, "cut_how": "stall"}, errors.TimedOut, 60_000),
    "B07 no length, reset": (
        {"no_length": True, "cut": 60_000, "cut_how": "reset"},
        errors.ConnectionLost,
        60_000,
    ),
    "B08 abc": ({"length": "abc"}, errors.ProtocolViolation, 0),
    "B08 -5": ({"length": "-5"}, errors.ProtocolViolation, 0),
    "B08 +5": ({"length": "+5"}, errors.ProtocolViolation, 0),
    "B08 0x5": ({"length": "0x5"}, errors.ProtocolViolation, 0),
    "B08 5 5": ({"length": "5 5"}, errors.ProtocolViolation, 0),
    "B08 5_5": ({"length": "5_5"}, errors.ProtocolViolation, 0),
    "B08 empty": ({"length": ""}, errors.ProtocolViolation, 0),
    "B08 folded": ({"raw": OK + b"Content-Length: 5\r\n 5\r\n\r\nhello"}, errors.ProtocolViolation, 0),
    "B09 two lengths": ({"length": ["5", "7"]}, errors.ProtocolViolation, 0),
    "B10 2^65": ({"length": str(2**65)}, errors.TooLarge, 0),
    "B11 no last chunk": ({"chunked": 100_000, "cut": 100_000}, errors.Truncated, 100_000),
    "B12 cut in a chunk": ({"chunked": 100_000, "cut": 60_000}, errors.Truncated, 60_000),
    "B13 zz": ({"raw": [CHUNKED + b"zz\r\n", STALL]}, errors.Truncated, 0),
    "B13 -5": ({"chunked": True, "chunk_line": "-5"}, errors.Truncated, 0),
    "B13 0x5": ({"chunked": True, "chunk_line": "0x5"}, errors.Truncated, 0),
    "B13 empty": ({"chunked": True, "chunk_line": ""}, errors.Truncated, 0),
    "B13 2^63": ({"chunked": True, "chunk_line": "8000000000000000"}, errors.Truncated, 0),
    "B13 long line": ({"raw": [CHUNKED + b"5;" + b"x" * 70_000, STALL]}, errors.Truncated, 0),
    "B13 bare LF": ({"raw": CHUNKED + b"5\nhello\n0\n\n"}, errors.Truncated, 0),
    "B13 no line break after a chunk": ({"raw": [CHUNKED + b"5\r\nhelloXY", STALL]}, errors.Truncated, 5),
    "B15 gzip, chunked": ({"transfer_encoding": "gzip, chunked"}, errors.ProtocolViolation, 0),
    "B15 chunked twice": ({"transfer_encoding": "chunked, chunked"}, errors.ProtocolViolation, 0),
    "B23 endless 100": (
        {"early": Forever(b"HTTP/1.1 100 Continue\r\n\r\n", 0.0)},
        errors.ProtocolViolation,
        0,
    ),
    "B23 slow 100": ({"early": Forever(b"HTTP/1.1 100 Continue\r\n\r\n", 0.1)}, errors.TimedOut, 0),
    "101": ({"early": b"HTTP/1.1 101 Switching Protocols\r\n\r\n"}, errors.ProtocolViolation, 0),
    "B28 SSH": ({"raw": [b"SSH-2.0-OpenSSH_9.2\r\n", STALL]}, errors.NotHttp, 0),
    "B28 HTTP/0.9": ({"raw": b"<html>hello</html>"}, errors.NotHttp, 0),
    "B28 HTTP/2": ({"raw": b"HTTP/2 200 OK\r\n\r\n"}, errors.NotHttp, 0),
    "B28 status 99": ({"raw": b"HTTP/1.1 99 Odd\r\n\r\n"}, errors.NotHttp, 0),
    "B28 status abc": ({"raw": b"HTTP/1.1 abc Odd\r\n\r\n"}, errors.NotHttp, 0),
    "B28 status 2000": ({"raw": b"HTTP/1.1 2000 OK\r\n\r\n"}, errors.NotHttp, 0),
    "B28 a blank line first": ({"raw": b"\r\n" + OK + b"\r\n"}, errors.NotHttp, 0),
    "B29 101 fields": (
        {"extra_headers": [(f"X-{n}", "v") for n in range(101)]},
        errors.ProtocolViolation,
        0,
    ),
    "B29 66 kB line": ({"extra_headers": [("X-A", "v" * 66_000)]}, errors.ProtocolViolation, 0),
    "B29 66 kB without a line": (
        {"raw": [OK + b"X-A: " + b"v" * 66_000, STALL]},
        errors.ProtocolViolation,
        0,
    ),
    "B29 endless head": ({"raw": [OK, Forever(b"X: y\r\n", 0.0)]}, errors.ProtocolViolation, 0),
    "bare CR": ({"raw": OK + b"X-A: 1\rContent-Length: 3\r\n\r\nabc"}, errors.ProtocolViolation, 0),
    "space before the colon": ({"raw": OK + b"Content-Length : 3\r\n\r\nabc"}, errors.ProtocolViolation, 0),
    "space before the first field": ({"raw": OK + b" X: 1\r\n\r\n"}, errors.ProtocolViolation, 0),
    "no colon": ({"raw": OK + b"hello\r\n\r\n"}, errors.ProtocolViolation, 0),
    "no name": ({"raw": OK + b": hello\r\n\r\n"}, errors.ProtocolViolation, 0),
    "closed unanswered": ({"raw": b""}, errors.ConnectionLost, 0),
    "closed in the head": ({"raw": OK + b"Content-Le"}, errors.ConnectionLost, 0),
    "reset in the head": ({"raw": [OK + b"Content-Le", RESET]}, errors.ConnectionLost, 0),
    "C03 head trickles": ({"trickle_head": (1, 0.05)}, errors.TimedOut, 0),
    "silence": ({"head_delay": 60.0}, errors.TimedOut, 0),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_answer_is_one_clear_error(server, make_asker, fault):
    options, kind, size = BROKEN[fault]
    asker = make_asker(idle_timeout=IDLE if kind is errors.TimedOut else 10.0)
    server.add("/a", body=BODY, **options)
    got = asker.get(server.url("/a"))
    assert type(got.error) is kind
    assert got.body == (b"hello" if fault.startswith("B13 no line") else BODY)[:size]
    server.add("/b", body=b"good")
    assert asker.get(server.url("/b")).body == b"good"
    assert server.connections == 2  # an anomaly closes its connection


@pytest.mark.parametrize(
    ("options", "kind", "size"),
    [
        ({"cut": 60_000}, errors.Truncated, 60_000),
        ({"cut": 60_000, "cut_how": "clean"}, errors.Truncated, 60_000),
        ({"cut": 60_000, "chunked": 1000}, errors.Truncated, 60_000),
        ({"cut": 60_000, "cut_how": "stall"}, errors.TimedOut, 60_000),
        ({"cut": 60_000, "no_length": True}, None, 60_000),  # S02, as B06: who asked says "unverified"
        ({"cut": 60_000, "no_length": True, "cut_how": "clean"}, None, 60_000),
        ({"head_delay": 60.0}, errors.TimedOut, 0),
    ],
)
def test_broken_answers_under_tls(tls_server, make_asker, options, kind, size):
    asker = make_asker(idle_timeout=IDLE if kind is errors.TimedOut else 10.0)
    tls_server.add("/a", body=BODY, **options)
    got = asker.get(tls_server.url("/a"))
    assert (type(got.error) if got.error else None) is kind
    assert got.body == BODY[:size]
    if kind is None:
        assert (got.head.length, got.head.chunked) == (None, False)


@pytest.mark.parametrize("status", [300, 404, 500, 600, 999])
def test_any_status_of_three_digits_is_an_answer(server, asker, status):
    server.add("/a", status=status, body=b"text")
    got = asker.get(server.url("/a"))
    assert (got.head.status, got.body, got.error) == (status, b"text", None)


# -- surplus and reuse ----------------------------------------------------------------------------

FAKE = OK + b"Content-Length: 4\r\n\r\nFAKE"


@both_links
def test_surplus_is_told_and_closes_the_connection(make_server, asker, tls):
    server = make_server(tls=tls)
    server.add("/a", body=BODY[:70], raw=OK + b"Content-Length: 60\r\n\r\n" + BODY[:70], keep_alive=True)
    server.add("/b", body=b"mine")
    got = asker.get(server.url("/a"))
    assert (got.body, got.surplus) == (BODY[:60], True)
    assert asker.get(server.url("/b")).body == b"mine"
    assert server.connections == 2


@both_links
def test_late_surplus_never_answers_the_next_request(make_server, asker, tls):
    server, go = make_server(tls=tls), threading.Event()
    server.add("/a", body=b"first", after=[go, FAKE])
    server.add("/b", body=b"mine")
    assert asker.get(server.url("/a")).body == b"first"
    go.set()
    server.wait_until(lambda: server.requests[0].done)
    assert asker.get(server.url("/b")).body == b"mine"
    assert server.connections == 2


def test_surplus_within_a_tls_record_is_noticed(tls_server, asker, monkeypatch):
    head = OK + b"Content-Length: 5\r\n\r\n"
    monkeypatch.setattr("bulkfetch.wire.connection.SIZE", len(head) + 5)  # no room for the rest of the record
    tls_server.add("/a", raw=head + b"first" + FAKE, keep_alive=True)
    tls_server.add("/b", body=b"mine", date=None, content_type=None)
    assert asker.get(tls_server.url("/a")).body == b"first"
    assert asker.get(tls_server.url("/b")).body == b"mine"
    assert tls_server.connections == 2


def test_a_connection_closed_while_idle_is_noticed(server, asker):
    server.add("/a", body=b"a")
    assert asker.get(server.url("/a")).body == b"a"
    server.drop_connections()
    server.wait_until(lambda: server.open_connections == 0)
    got = asker.get(server.url("/a"))
    assert (got.body, got.error) == (b"a", None)


@both_links
def test_a_connection_closed_as_we_reuse_it_is_told_apart(make_server, asker, tls):
    server = make_server(tls=tls)
    server.add("/a", body=b"a", close_after=1)
    assert asker.get(server.url("/a")).reused is False
    got = asker.get(server.url("/a"))
    assert type(got.error) is errors.ConnectionLost
    assert got.reused is True
    got = asker.get(server.url("/a"))
    assert (got.error, got.reused) == (None, False)


def test_a_failure_after_the_first_byte_is_not_stale(server, asker):
    server.add("/a", body=b"a", first=[{}, {"raw": [OK, RESET]}])
    asker.get(server.url("/a"))
    got = asker.get(server.url("/a"))
    assert type(got.error) is errors.ConnectionLost
    assert got.reused is False
    assert server.connections == 1


def test_idle_connections_are_bounded_and_the_last_used_goes_first(server, make_asker):
    asker = make_asker(per_host=2)
    server.add("/a", body=b"a")
    leases = [asker.watchdog.lease() for _ in range(4)]
    replies = [asker.wire.open(origin_of(server.url()), server.url("/a"), {}, lease) for lease in leases]
    for reply in replies:
        assert reply.read(10) == b"a"
        reply.close()
    server.wait_until(lambda: server.open_connections == 2)
    for _ in range(3):
        assert asker.get(server.url("/a")).body == b"a"
    assert server.connections == 4
    assert {request.connection for request in server.hits("/a")[4:]} == {server.hits("/a")[3].connection}


def test_a_long_idle_connection_is_not_trusted(server, asker, monkeypatch):
    server.add("/a", body=b"a")
    asker.get(server.url("/a"))
    monkeypatch.setattr("bulkfetch.wire.pool._LONGEST_IDLE", -1.0)
    asker.get(server.url("/a"))
    assert server.connections == 2


def test_closing_a_wire_closes_its_connections(server, asker):
    server.add("/a", body=BODY)
    asker.get(server.url("/a"))
    with contextlib.closing(asker.open(server.url("/a"))) as reply:
        asker.wire.close()
        assert reply.read(1 << 20)
    server.wait_until(lambda: server.open_connections == 0)


def test_the_origins_kept_are_bounded(make_server):
    asker, one, other = Asker(most_origins=1), make_server(), make_server()
    with contextlib.closing(asker):
        for server in (one, other):
            server.add("/a", body=b"a")
            assert asker.get(server.url("/a")).body == b"a"
        one.wait_until(lambda: one.open_connections == 0)
        assert other.open_connections == 1
        assert asker.get(one.url("/a")).body == b"a"


def test_the_peer_is_named(server, asker):
    server.add("/a", body=b"a")
    for _ in range(2):
        with contextlib.closing(asker.open(server.url("/a"))) as reply:
            assert reply.peer == server.host
    assert server.connections == 1


def test_a_connection_reset_at_once_is_a_known_error(make_server, asker):
    server = make_server(accept="reset")
    assert isinstance(asker.get(server.url("/a")).error, errors.ConnectionLost | errors.ConnectFailed)


# -- unwanted bodies ------------------------------------------------------------------------------


@both_links
@pytest.mark.parametrize("options", [{}, {"chunked": 2000}], ids=["length", "chunks"])
def test_small_unwanted_bodies_keep_their_connection(make_server, asker, tls, options):
    server = make_server(tls=tls)
    server.add("/a", body=BODY[:60_000], status=404, **options)
    for _ in range(5):
        asker.open(server.url("/a")).close()
    assert server.connections == 1


@pytest.mark.parametrize(
    "options",
    [
        {"body": Filled(1 << 30)},
        {"body": Forever(b"x" * 1000), "chunked": 1000},
        {"body": b"", "no_length": True},
    ],
    ids=["large", "endless", "open"],
)
def test_other_unwanted_bodies_are_not_read(server, asker, options):
    server.add("/a", status=503, **options)
    asker.open(server.url("/a")).close()
    server.add("/b", body=b"b")
    assert asker.get(server.url("/b")).body == b"b"
    assert server.connections == 2


@both_links
def test_an_unwanted_body_that_stalls_is_left_and_harms_nothing(make_server, make_asker, monkeypatch, tls):
    server, asker = make_server(tls=tls), make_asker()
    monkeypatch.setattr(reply_module, "_DRAIN_SECONDS", 0.1)
    server.add("/a", body=BODY[:1000], cut=10, cut_how="stall")
    reply = asker.open(server.url("/a"))
    reply.close()
    assert not asker.lease.is_cut
    server.add("/b", body=b"b")
    assert asker.get(server.url("/b")).body == b"b"


def test_a_body_read_to_its_end_by_closing_leaves_the_bounds_as_they_were(server, asker, monkeypatch):
    monkeypatch.setattr(reply_module, "_DRAIN_SECONDS", 1.0)
    server.add("/a", body=b"late", at={0: 0.02})
    asker.open(server.url("/a")).close()
    server.add("/b", body=b"b", head_delay=1.2)
    assert asker.get(server.url("/b")).body == b"b"
    assert server.connections == 1


class Keeper:
    """What a reply gives its connection back to."""

    def release(self, connection, *, keep):
        self.kept = keep


def closed_with(connection, head, *reads, error=None):
    """Say whether a reply keeps its connection when it is closed after the reads."""
    keeper = Keeper()
    reply = Reply(parse_answer(OK + head + b"\r\n\r\n", 0.0), connection, keeper)
    with contextlib.nullcontext() if error is None else pytest.raises(error):
        for size in reads:
            reply.read(size)
    reply.close()
    return keeper.kept


def test_what_is_drained():
    assert closed_with(connected([b"12345"]), b"Content-Length: 5") is True
    connection = connected([AssertionError("not to be read")])
    assert closed_with(connection, b"Content-Length: 65537") is False
    connection = connected([AssertionError("not to be read")])
    connection.lease.leave()
    connection.lease.cut(lambda: errors.Stopped("stopped"), connection.lease.number)
    assert closed_with(connection, b"Content-Length: 5") is False
    chunk = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    pieces = [chunk] * 6 + [AssertionError("not to be read")]
    assert closed_with(connected(pieces), b"Transfer-Encoding: chunked") is False


def test_a_broken_body_is_not_drained():
    connection = connected([b"12345", ConnectionResetError(104, "reset"), b"67890"])
    assert closed_with(connection, b"Content-Length: 10", 10, 10, error=errors.ConnectionLost) is False


def test_closing_twice_is_harmless(server, asker):
    server.add("/a", body=b"a")
    reply = asker.open(server.url("/a"))
    reply.close()
    other = asker.open(server.url("/a"))
    reply.close()
    assert other.read(10) == b"a"
    other.close()
    assert server.connections == 1


# -- bounds and cancelling ------------------------------------------------------------------------


def stop_when(asker, condition):
    """Stop the run from another thread once `condition` holds."""

    def wait():
        end = time.monotonic() + 30.0
        while not condition() and time.monotonic() < end:
            threading.Event().wait(0.005)
        asker.stop.set()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@both_links
@pytest.mark.parametrize(
    "options",
    [
        {"head_delay": 60.0},
        {"cut": 10_000, "cut_how": "stall"},
        {"no_length": True, "cut": 10_000, "cut_how": "stall"},  # C14: a shut socket looks like a clean end
        {"chunked": 100, "cut": 10_050, "cut_how": "stall"},
    ],
    ids=["head", "sized", "open", "chunked"],
)
def test_stopping_wakes_a_wait(make_server, make_asker, tls, options):
    server, asker = make_server(tls=tls), make_asker(idle_timeout=60.0)
    server.add("/a", body=BODY, **options)
    wanted = options.get("cut", 0)
    stopper = stop_when(asker, lambda: server.requests and server.requests[0].sent >= wanted)
    started = time.monotonic()
    got = asker.get(server.url("/a"))
    stopper.join()
    assert type(got.error) is errors.Stopped
    assert time.monotonic() - started < 30.0
    asker.stop.clear()
    server.add("/b", body=b"b")
    assert asker.get(server.url("/b")).body == b"b"  # the shut connection did not go back


@pytest.mark.parametrize(
    ("tls", "mode"),
    [(True, "silent"), pytest.param(False, "blackhole", marks=linux_only)],
    ids=["handshake", "connecting"],
)
def test_stopping_wakes_a_connect(make_server, make_asker, tls, mode):
    server, asker = make_server(tls=tls, accept=mode), make_asker(connect_timeout=60.0)
    stopper = stop_when(asker, lambda: asker.lease.what)
    got = asker.get(server.url("/a"))
    stopper.join()
    assert type(got.error) is errors.Stopped


def test_a_deadline_ends_a_body_that_comes_well(server, asker):
    server.add("/a", body=Forever(b"x" * 100, 0.01))
    got = asker.get(server.url("/a"), deadline=time.monotonic() + 1.0)
    assert type(got.error) is errors.DeadlinePassed
    assert got.body


def test_an_idle_timeout_counts_from_the_last_byte(server, make_asker):
    asker = make_asker(idle_timeout=1.0)
    server.add("/a", body=BODY[:60], trickle=(1, 0.02))
    assert asker.get(server.url("/a")).body == BODY[:60]


def test_a_handshake_has_a_bound(make_server, make_asker):
    server, asker = make_server(tls=True, accept="silent"), make_asker(connect_timeout=0.2)
    got = asker.get(server.url("/a"))
    assert type(got.error) is errors.TimedOut
    assert "TLS handshake took too long" in str(got.error)


def test_a_handshake_that_trickles_has_a_bound_too(make_asker):
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        asker = make_asker(connect_timeout=0.3)
        threads.submit(trickle_a_record, listener)
        got = asker.get(f"https://127.0.0.1:{listener.getsockname()[1]}/a")
    assert type(got.error) is errors.TimedOut
    assert "TLS handshake took too long" in str(got.error)


def trickle_a_record(listener):
    """Begin a long TLS record and send a byte of it now and then until the peer goes."""
    sock, _ = listener.accept()
    with sock, contextlib.suppress(OSError):
        sock.sendall(b"\x16\x03\x03\x40\x00")
        while True:
            sock.sendall(b"\0")
            threading.Event().wait(0.05)


def test_a_given_back_connection_is_out_of_reach(server, asker):
    server.add("/a", body=b"a")
    asker.get(server.url("/a"))
    asker.lease.cut(lambda: errors.Stopped("too late"), asker.lease.number)
    assert asker.get(server.url("/a")).body == b"a"
    assert server.connections == 1


def test_a_body_is_under_the_minimum_speed(server, asker):
    server.add("/a", body=b"a")
    with contextlib.closing(asker.open(server.url("/a"))):
        assert asker.lease.streaming
    assert not asker.lease.streaming


def test_a_refused_connection(make_server, asker):
    server = make_server(accept="refuse")
    got = asker.get(server.url("/a"))
    assert type(got.error) is errors.ConnectFailed
    assert f"cannot connect to {server.host}:{server.port}: " in str(got.error)


@linux_only
def test_connecting_has_one_budget(make_server, make_asker):
    server, asker = make_server(accept="blackhole"), make_asker(connect_timeout=0.3)
    got = asker.get(server.url("/a"))
    assert type(got.error) is errors.ConnectFailed
    assert "within 0.3 s" in str(got.error)


@pytest.mark.parametrize("mode", ["refuse", pytest.param("blackhole", marks=linux_only)])
def test_another_address_is_tried_while_the_budget_lasts(make_server, make_asker, monkeypatch, mode):
    dead, good, asker = make_server(accept=mode), make_server(), make_asker(connect_timeout=10.0)
    good.add("/a", body=b"a")
    servers = [dead, *[good] * 39]  # each has its share
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one.host, one.port)) for one in servers]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args: rows)
    assert asker.get(f"http://two.example:{good.port}/a").body == b"a"
    assert good.requests[0].headers["Host"] == f"two.example:{good.port}"


def test_no_descriptor_left_is_told_as_such(server, asker, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(24, os.strerror(24))

    server.add("/a", body=b"a")
    monkeypatch.setattr(connect_module.socket, "socket", refuse)
    got = asker.get(server.url("/a"))
    assert type(got.error) is errors.ConnectFailed
    assert os.strerror(24) in str(got.error)


# -- TLS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cert", ["self-signed", "expired", "wrong-name", "unknown-ca"])
def test_a_bad_certificate_is_refused(make_server, asker, cert):
    server = make_server(tls=True, cert=cert)
    server.add("/a", body=b"a")
    got = asker.get(server.url("/a"))
    assert type(got.error) is errors.TlsFailed
    assert str(got.error).startswith("the certificate was refused: ")
    assert server.requests == []


def test_plain_http_to_a_tls_server(tls_server, asker):
    got = asker.get(tls_server.url("/a").replace("https:", "http:"))
    assert isinstance(got.error, errors.NotHttp | errors.ConnectionLost)


def test_a_folder_of_roots(make_server, make_asker, tmp_path):
    server = make_server(tls=True)
    server.add("/a", body=b"a")
    got = make_asker(ca_bundle=str(tmp_path)).get(server.url("/a"))
    assert type(got.error) is errors.TlsFailed  # an empty folder trusts nobody


def test_a_missing_bundle_and_the_public_roots(tls_server, make_asker, tmp_path):
    got = make_asker(ca_bundle=str(tmp_path / "none.pem")).get(tls_server.url("/a"))
    assert "none.pem cannot be read" in str(got.error)
    got = make_asker(ca_bundle=None).get(tls_server.url("/a"))
    assert "certificate was refused" in str(got.error)


def test_the_trailing_dot_of_a_host_is_not_in_its_certificate(tls_server, asker, monkeypatch):
    tls_server.add("/a", body=b"a")
    row = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (tls_server.host, tls_server.port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args: [row])
    got = asker.get(f"https://localhost.:{tls_server.port}/a")
    assert (got.error, got.body) == (None, b"a")


def test_the_next_handshake_is_short(tls_server, asker):
    tls_server.add("/a", body=b"a")
    reused = []
    for _ in range(3):
        reply = asker.open(tls_server.url("/a"))
        sock = reply._connection.sock
        reused.append(sock.session_reused)
        assert reply.read(10) == b"a"
        reply.close()
        tls_server.drop_connections()
        tls_server.wait_until(lambda: tls_server.open_connections == 0)
    assert reused == [False, True, True]


def test_a_session_is_copied_only_when_another_connection_follows(tls_server, asker, monkeypatch):
    session, copied = ssl.SSLSocket.session, []
    monkeypatch.setattr(
        ssl.SSLSocket, "session", property(lambda self: (copied.append(1), session.fget(self))[1])
    )
    tls_server.add("/a", body=b"a")
    for _ in range(2):
        assert asker.get(tls_server.url("/a")).body == b"a"
    assert (tls_server.connections, copied) == (1, [])
    tls_server.drop_connections()
    tls_server.wait_until(lambda: tls_server.open_connections == 0)
    assert asker.get(tls_server.url("/a")).body == b"a"
    assert (tls_server.connections, copied) == (2, [1])


# -- requests -------------------------------------------------------------------------------------

OWN = [("User-Agent", "test/1"), ("Accept", "*/*"), ("Accept-Encoding", "identity")]


@pytest.mark.parametrize(
    ("headers", "host", "pairs"),
    [
        ({}, None, OWN),
        (
            {"Range": "bytes=0-", "X-Name": "\xe9\t x"},
            None,
            [*OWN, ("Range", "bytes=0-"), ("X-Name", "\xe9\t x")],
        ),
        ({"user-agent": "mine", "ACCEPT": ""}, None, [OWN[2], ("user-agent", "mine"), ("ACCEPT", "")]),
        ({"host": "other.example"}, "other.example", OWN),
    ],
    ids=["own", "more", "replaced", "host"],
)
def test_a_request_is_as_plain_as_can_be(server, asker, headers, host, pairs):
    server.add("/a?b=%20c&d=e:/@!$'()*+,;", body=b"a")
    assert asker.get(server.url("/a?b=%20c&d=e:/@!$'()*+,;"), headers).body == b"a"
    (request,) = server.requests
    assert request.target == "/a?b=%20c&d=e:/@!$'()*+,;"
    assert request.headers["Host"] == (host or server.netloc)
    assert [pair for pair in request.headers.pairs if pair[0].lower() != "host"] == pairs


def test_a_request_that_the_socket_takes_in_parts_is_sent_whole():
    request = pattern(1 << 20)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        ours = socket.create_connection(server.getsockname(), 10.0)  # with a time-out, as on Windows
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        theirs, _ = server.accept()
        with ours, theirs, theirs.makefile("rb") as stream:
            arrived = pool.submit(stream.read)
            connection = Connection(ours, 10.0)
            connection.begin(Lease(), Buffers().take())
            connection.send(request)
            ours.shutdown(socket.SHUT_WR)
            assert arrived.result(10.0) == request


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "b\r\nX-Evil: 1"}, {"X-A": "b\nX"}, {"X-A": "b\rX"}, {"X-A": "b\0"}, {"X-A": "\x7f"},
        {"X-A": " b"},
        {"X-A": "b "}, {"X-A": "\u20ac"}, {"X-A\r\nX-Evil": "1"}, {"X A": "1"}, {"X:A": "1"}, {"": "1"},
        {"X-\xdc": "1"}, {"Content-Length": "5"}, {"transfer-encoding": "chunked"},
        {"User-Agent": "a\r\nX-Evil: 1"}, {"Host": "a\r\nX-Evil: 1"},
    ],
)  # fmt: skip
def test_what_no_field_can_be_is_not_sent(server, asker, headers):
    got = asker.get(server.url("/a"), headers)
    assert type(got.error) is errors.ProtocolViolation
    assert "Evil" not in str(got.error)
    assert server.connections == 0


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: 1", "/a\0", "/a#b", "/\xe9", "/a\x7f"])
def test_what_no_target_can_be_is_not_asked_for(server, asker, path):
    got = asker.get(f"http://{server.netloc}{path}")
    assert type(got.error) is errors.UrlRefused
    assert server.connections == 0


def test_a_url_is_asked_for_at_its_own_origin_only(server, asker):
    server.add("/a", body=b"a")
    origin = origin_of(server.url())
    for url in (f"http://127.0.0.1:{server.port}1/a", "http://other.example/a", f"https://{server.netloc}/a"):
        asker.lease.begin(FOREVER)
        with pytest.raises(errors.UrlRefused):
            asker.wire.open(origin, url, {}, asker.lease)
    asker.lease.begin(FOREVER)
    asker.wire.open(origin, f"http://me:pw@{server.netloc}/a", {}, asker.lease).close()
    assert "me" not in repr(server.requests[0].headers.pairs)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (Origin("http", "example.org", 80), b"example.org"),
        (Origin("https", "example.org", 443), b"example.org"),
        (Origin("http", "example.org", 443), b"example.org:443"),
        (Origin("http", "::1", 8080), b"[::1]:8080"),
    ],
)
def test_the_host_field_has_no_default_port(origin, host):
    assert b"\r\nHost: %b\r\n" % host in Template(origin, "x").render(f"{origin}/", {})


def test_a_user_agent_is_checked_too(server, make_asker):
    got = make_asker(user_agent="a\r\nX-Evil: 1").get(server.url("/a"))
    assert type(got.error) is errors.ProtocolViolation


def test_cookies_are_told_and_not_kept(server, asker):
    server.add("/a", body=b"a", extra_headers=[("Set-Cookie", "a=1; Path=/"), ("set-cookie", "b=2")])
    reply = asker.open(server.url("/a"))
    reply.close()
    assert reply.cookies == ("a=1; Path=/", "b=2")
    asker.get(server.url("/a"))
    assert "Cookie" not in server.requests[1].headers


# -- the same as over requests -------------------------------------------------------------------

DATE = "Fri, 21 Nov 2025 10:05:29 GMT"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"etag": '"a"', "last_modified": 1e9}, 200),
        ({"etag": 'W/"a"', "content_type": "Text/HTML ; charset=x"}, 200),
        ({"etag": "bare", "last_modified": "never"}, 200),
        ({"etag": '"\xc3\xa9"', "content_type": None}, 200),
        ({"extra_headers": [("ETag", '"b"'), ("ETag", '"c"')]}, 200),
        ({"extra_headers": [("ETag", '"b"'), ("etag", '"b"')]}, 200),
        ({"date": None}, 200),
        ({"date": "Friday, 21-Nov-25 10:05:29 GMT"}, 200),
        ({"content_encoding": "gzip, identity"}, 200),
        ({"chunked": 10}, 200),
        ({"no_length": True, "reason": "Fine\x1b[31m"}, 200),
        ({"status": 503, "retry_after": "120"}, 503),
        ({"status": 429, "retry_after": "Fri, 21 Nov 2025 10:06:29 GMT"}, 429),
        ({"redirect": "/\xc3\xa9?x=1"}, 302),
        ({"ranges": "206-unasked", "etag": '"a"'}, 206),
        ({"status": 416, "content_range": "bytes */100"}, 416),
        ({"extra_headers": [("X-Folded", "a\r\n b"), ("Retry-After", "7")]}, 200),
    ],
)
def test_heads_mean_what_they_mean_to_requests(server, asker, options, status):
    server.add("/a", **{"body": b"hello world", "date": DATE, "keep_alive": False, **options})
    url = server.url("/a")
    own = asker.get(url)
    with contextlib.closing(Transport(CONFIG)) as other:
        asker.lease.begin(FOREVER)
        reply = other.open(origin_of(url), url, {}, asker.lease)
        head = reply.head
        body = b"".join(iter(lambda: reply.read(1000), b""))
        reply.close()
    assert own.head == head
    assert (own.head.status, own.body) == (status, body)
