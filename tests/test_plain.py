"""Plain GETs through `requests`: the short way, to the same end as the usual one."""

from __future__ import annotations

import itertools
import sys

import pytest
import requests
import urllib3
from attempting import DATA, read_all
from faultserver import CLOSE, STALL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkfetch import errors
from bulkfetch.config import FetchConfig
from bulkfetch.policy import Policies, from_table
from bulkfetch.transport import Transport
from bulkfetch.transport.plain import PlainReply
from bulkfetch.urls import origin_of
from bulkfetch.watchdog import Lease

OK = b"HTTP/1.1 200 OK\r\n"
SMALL = DATA[:5000]


class Watched(requests.auth.AuthBase):
    """Looks at every answer, so that the usual way is taken."""

    def __call__(self, request):
        request.register_hook("response", lambda _response, **_named: None)
        return request


class Signed(requests.auth.AuthBase):
    """Sets a field as `value`, and looks at nothing."""

    def __init__(self, value):
        self.value = value

    def __call__(self, request):
        request.headers["X-Signed"] = self.value
        return request


@pytest.fixture
def make_transport():
    """Return a function that makes `Transport`s of a configuration; all are closed at the end."""
    made = []

    def make(policy=None, **options):
        config = FetchConfig(**{"connect_timeout": 20.0, "idle_timeout": 20.0, **options})
        files = [from_table({"host": {"127.0.0.1": policy}})] if policy else []
        made.append(Transport(config, Policies(config, files)))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def ask(transport, url, lease=None, **headers):
    return transport.open(origin_of(url), url, headers, lease or Lease())


def usual(**options):
    return {"auth": {"127.0.0.1": Watched()}, **options}


# -- which way is taken ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "route", "is_plain"),
    [
        ({}, {}, True),
        ({"policy": {"headers": {"X-A": "1"}, "params": {"k": "v"}}}, {}, True),
        ({"auth": {"127.0.0.1": Signed("s")}}, {}, True),
        ({"auth": {"127.0.0.1": Signed(b"s")}}, {}, False),
        ({"auth": {"127.0.0.1": Watched()}}, {}, False),
        ({}, {"status": 404}, False),
        ({}, {"chunked": True}, False),
        ({}, {"no_length": True}, False),
        ({}, {"keep_alive": False}, False),
        ({}, {"extra_headers": [("Set-Cookie", "a=b")]}, False),
    ],
)
def test_which_way(server, make_transport, options, route, is_plain):
    server.add("/a", body=SMALL, **route)
    transport = make_transport(**options)
    for _ in range(2):
        reply = ask(transport, server.url("/a"))
        assert isinstance(reply, PlainReply) is is_plain
        assert reply.peer == "127.0.0.1"
        assert read_all(reply) == SMALL or reply.head.status == 404
    if "auth" in options and isinstance(options["auth"]["127.0.0.1"], Signed):
        assert server.requests[1].headers["X-Signed"] == "s"


def test_a_watched_lease_hears_all_of_it(server, make_transport):
    class Listening(Lease):
        traced = True
        lines = ()

        def said(self, head):
            self.lines = (*self.lines, *head)

        def heard(self, head):
            self.lines = (*self.lines, *head)

    server.add("/a", body=SMALL)
    lease = Listening()
    assert read_all(ask(make_transport(), server.url("/a"), lease)) == SMALL
    assert "GET /a HTTP/1.1" in lease.lines
    assert "HTTP/1.1 200 OK" in lease.lines


def count_calls(action):
    """Return how many functions `action` calls in this thread."""
    events = []
    sys.setprofile(lambda _frame, event, _argument: events.append(event))
    try:
        action()
    finally:
        sys.setprofile(None)
    return sum(event in ("call", "c_call") for event in events)


def test_a_plain_get_takes_few_calls(server, make_transport):
    server.add("/a", body=SMALL)
    transport, url, lease = make_transport(), server.url("/a"), Lease()
    origin = origin_of(url)

    def get():
        reply = transport.open(origin, url, {}, lease)
        reply.read(65536)
        reply.close()

    calls = [count_calls(get) for _ in range(3)]
    assert min(calls) < 160  # of which the session takes a third; the usual way takes 900


def test_cookies_go_out_the_short_way_too(server, make_transport):
    server.add("/a", body=SMALL, first=[{"extra_headers": [("Set-Cookie", "k=v; Path=/")]}])
    transport = make_transport()
    replies = []
    for _ in range(3):
        replies.append(ask(transport, server.url("/a"), Cookie="mine=1"))
        read_all(replies[-1])
    assert [isinstance(reply, PlainReply) for reply in replies] == [False, True, True]
    asked = [request.headers["Cookie"] for request in server.requests]
    assert asked == ["mine=1", "mine=1; k=v", "mine=1; k=v"]
    assert server.connections == 1


def test_of_a_field_given_twice_the_last_one_goes_out(server, make_transport):
    server.add("/a", body=SMALL)
    transport = make_transport({"headers": {"X-A": "1", "X-B": "2"}})
    reply = ask(transport, server.url("/a"), **{"x-a": "3"})
    assert isinstance(reply, PlainReply)
    assert read_all(reply) == SMALL
    (request,) = server.requests
    assert request.headers.get_all("X-A") == ["3"]
    assert request.headers.get_all("X-B") == ["2"]


# -- who stands in, or looks on -------------------------------------------------------------------


def test_who_wraps_the_session_sees_requests_and_answers(server, make_transport, monkeypatch):
    server.add("/a", body=SMALL, etag='"v1"')
    seen = []
    real = requests.Session.send

    def send(session, request, **named):
        response = real(session, request, **named)
        seen.append((request.method, request.url, request.headers["accept"], request.headers["X-A"]))
        seen.append((response.status_code, response.ok, response.headers["etag"], len(response.cookies)))
        return response

    monkeypatch.setattr(requests.Session, "send", send)
    reply = ask(make_transport(), server.url("/a"), **{"X-A": "1"})
    assert isinstance(reply, PlainReply)
    assert read_all(reply) == SMALL
    assert seen == [("GET", server.url("/a"), "*/*", "1"), (200, True, '"v1"', 0)]


@pytest.mark.parametrize(
    ("owner", "name"),
    [(requests.adapters.HTTPAdapter, "send"), (urllib3.HTTPConnectionPool, "urlopen")],
    ids=["adapter", "pool"],
)
def test_what_stands_in_is_asked(server, make_transport, monkeypatch, owner, name):
    server.add("/a", body=SMALL)
    asked = []
    real = getattr(owner, name)

    def stand_in(*args, **named):
        asked.append(name)
        return real(*args, **named)

    transport = make_transport()
    assert read_all(ask(transport, server.url("/a"))) == SMALL
    monkeypatch.setattr(owner, name, stand_in)
    assert read_all(ask(transport, server.url("/a"))) == SMALL
    assert asked == [name]
    assert server.connections == 1


# -- the same answers -----------------------------------------------------------------------------

ANSWERS = {
    "small": [OK + b"Content-Length: 5\r\n\r\nhello"],
    "head and body apart": [OK + b"Content-Length: 5\r\n\r\n", 0.02, b"hel", 0.02, b"lo"],
    "a head in pieces": [OK[:9], 0.02, OK[9:] + b"Content-Le", 0.02, b"ngth: 5\r\n\r", 0.02, b"\nhello"],
    "empty": [OK + b"Content-Length: 0\r\n\r\n"],
    "interim": [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello"],
    "folded": [OK + b'X-A: b\r\n c\r\nETag: "v\r\n 1"\r\nContent-Length: 5\r\n\r\nhello'],
    "bare line feeds": [b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"],
    "chunked": [OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: u\r\n\r\n"],
    "until the end": [OK + b"\r\nhello"],
    "last": [OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello"],
    "HTTP/1.0": [b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
    "partial": [b"HTTP/1.1 206 x\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n\r\nhello"],
    "unchanged": [b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\n\r\n'],
    "surplus": [OK + b"Content-Length: 5\r\n\r\nhello, world"],
    "surplus of a 304": [b"HTTP/1.1 304 Not Modified\r\n\r\nhello"],
    "cut": [OK + b"Content-Length: 5\r\n\r\nhel", CLOSE],
    "cut in the head": [OK + b"Content-Le", CLOSE],
    "cut at once": [CLOSE],
    "no HTTP": [b"SSH-2.0-OpenSSH\r\n"],
    "two lengths": [OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"],
    "huge length": [OK + b"Content-Length: 99999999999999999999\r\n\r\nhello"],
    "a long line": [OK + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n"],
    "many lines": [OK + b"X-A: b\r\n" * 101 + b"\r\n"],
    "a colon is missing": [OK + b"X-A\r\nContent-Length: 5\r\n\r\nhello"],
    "coded": [OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"],
    "limits": [OK + b"X-RateLimit-Remaining: 5\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nhello"],
}


def outcome(transport, url, asked=2):
    """Return all that can be told of `asked` requests one after another."""
    told = []
    for _ in range(asked):
        try:
            reply = ask(transport, url)
        except errors.TransferError as exc:
            told.append((type(exc), str(exc)))
            continue
        data = b""
        try:
            while piece := reply.read(3):
                data += piece
            failure = None
        except errors.TransferError as exc:
            failure = (type(exc), str(exc))
        surplus = reply.surplus
        reply.close()
        told.append((reply.head, data, failure, surplus, reply.peer))
    return told


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_the_same_either_way(make_server, make_transport, name):
    told = []
    for options in ({}, usual()):
        server = make_server()
        server.add("/a", raw=ANSWERS[name], keep_alive=name != "until the end")
        transport = make_transport(**options)
        told.append((outcome(transport, server.url("/a")), server.connections))
        assert [session.users for session in transport._sessions.values()] == [0]
    if name == "surplus of a 304":  # the usual way does not see that one
        assert told[0][0][0][3]
        assert not told[1][0][0][3]
        return
    assert told[0] == told[1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([name for name, steps in ANSWERS.items() if len(steps) == 1 and steps != [CLOSE]]),
    cuts=st.lists(st.integers(1, 80), max_size=3),
)
def test_wherever_an_answer_is_cut_it_is_the_same_either_way(server, make_transport, name, cuts):
    raw = ANSWERS[name][0]
    places = [0, *sorted(cut for cut in set(cuts) if cut < len(raw)), len(raw)]
    pieces = [raw[begin:end] for begin, end in itertools.pairwise(places)]
    steps = [step for piece in pieces for step in (piece, 0.002)][:-1]
    server.add("/a", raw=steps, keep_alive=name != "until the end")
    told = [outcome(make_transport(**options), server.url("/a"), 1)[0][:3] for options in ({}, usual())]
    assert told[0] == told[1]


def test_a_body_that_is_here_as_a_whole_is_told(server, make_transport):
    server.add("/a", raw=ANSWERS["small"], keep_alive=True)
    server.add("/more", raw=ANSWERS["surplus"], keep_alive=True)
    transport = make_transport()
    reply = ask(transport, server.url("/a"))
    assert bytes(reply.peek_whole()) == b"hello"
    reply.take_whole()
    assert reply.read(10) == b""
    reply.close()
    reply = ask(transport, server.url("/more"))
    assert reply.peek_whole() is None
    assert read_all(reply) == b"hello"
    assert reply.surplus
    assert read_all(ask(transport, server.url("/a"))) == b"hello"
    assert server.connections == 2


def test_a_large_body_between_small_ones_takes_one_connection(server, make_transport):
    server.add("/small", body=SMALL)
    server.add("/large", body=DATA * 20)
    transport = make_transport()
    for path, body in (("/small", SMALL), ("/large", DATA * 20), ("/small", SMALL)):
        assert read_all(ask(transport, server.url(path))) == body
    assert server.connections == 1


def test_silence_ends_by_the_idle_time_out(server, make_transport):
    server.add("/head", raw=[STALL])
    server.add("/body", raw=[OK + b"Content-Length: 5\r\n\r\nhel", STALL])
    transport = make_transport(idle_timeout=0.2)
    with pytest.raises(errors.TimedOut, match="nothing came for the idle timeout"):
        ask(transport, server.url("/head"))
    reply = ask(transport, server.url("/body"))
    with pytest.raises(errors.TimedOut, match="nothing came for the idle timeout"):
        read_all(reply)
    reply.close()
    server.drop_connections()


@pytest.mark.parametrize("options", [{}, {"auth": {"127.0.0.1": Watched()}}], ids=["plain", "usual"])
def test_a_reply_closed_twice_leaves_its_session_once(server, make_transport, options):
    server.add("/a", body=SMALL)
    transport = make_transport(**options)
    first, second = (ask(transport, server.url("/a")) for _ in range(2))
    first.close()
    first.close()
    assert [session.users for session in transport._sessions.values()] == [1]
    second.close()
