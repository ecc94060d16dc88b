"""Sessions, pools, proxies and the meaning of foreign errors."""

from __future__ import annotations

import errno
import http.client
import logging
import re
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import responses
import urllib3
from attempting import DATA, OTHER, Attempts, assert_failed, read_all
from faultserver import Filled

from bulkfetch import errors
from bulkfetch.config import FetchConfig
from bulkfetch.models import Origin
from bulkfetch.transport import Transport, map_error, versions
from bulkfetch.transport.mapping import map_read_error
from bulkfetch.transport.proxies import proxy_for
from bulkfetch.urls import origin_of
from bulkfetch.watchdog import Lease


@pytest.fixture
def attempts(tmp_path):
    with Attempts(tmp_path / "out") as made:
        yield made


@pytest.fixture
def make_transport():
    """Return a function that makes `Transport`s of a configuration; all are closed at the end."""
    made = []

    def make(*, most_sessions=256, **options):
        config = FetchConfig(**{"connect_timeout": 20.0, "idle_timeout": 20.0, **options})
        made.append(Transport(config, most_sessions=most_sessions))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def open_reply(transport, url, lease=None, **headers):
    return transport.open(origin_of(url), url, headers, lease or Lease())


# -- one session per origin -----------------------------------------------------------------------


def test_a_reply_has_a_head_a_peer_and_a_body(server, make_transport):
    server.add("/a", body=DATA, etag='"v1"', content_type="Text/Plain; charset=x")
    reply = open_reply(make_transport(), server.url("/a"), X_Odd="1")
    assert (reply.head.status, reply.head.length, reply.head.etag) == (200, len(DATA), '"v1"')
    assert reply.head.content_type == "text/plain"
    assert reply.peer == "127.0.0.1"
    assert read_all(reply) == DATA
    assert reply.read(10) == b""
    assert not reply.surplus
    headers = server.requests[0].headers
    assert headers["User-Agent"].startswith("bulkfetch/")
    assert (headers["Accept"], headers["Accept-Encoding"], headers["X_Odd"]) == ("*/*", "identity", "1")


def test_the_users_headers_replace_our_own_whatever_their_case(server, make_transport):
    server.add("/a", body=b"a")
    url = server.url("/a")
    reply = make_transport().open(origin_of(url), url, {"user-agent": "mine", "ACCEPT": "x/y"}, Lease())
    read_all(reply)
    (request,) = server.requests
    assert request.headers.get_all("User-Agent") == ["mine"]
    assert request.headers.get_all("Accept") == ["x/y"]


def test_workers_share_the_session_and_the_connections_of_an_origin(server, make_transport, caplog):
    caplog.set_level(logging.WARNING)
    transport = make_transport(per_host=6)
    server.add("/a", body=DATA)
    together = threading.Barrier(6)

    def work(_number):
        lease = Lease()
        together.wait(30)
        return [read_all(open_reply(transport, server.url("/a"), lease)) == DATA for _ in range(10)]

    with ThreadPoolExecutor(6) as pool:
        assert all(all(results) for results in pool.map(work, range(6)))
    assert len(transport._sessions) == 1
    assert server.connections <= 6
    assert not caplog.records


def test_c08_as_many_connections_are_kept_as_a_host_may_have(server, make_transport, caplog):
    caplog.set_level(logging.WARNING)
    transport = make_transport(per_host=5)
    server.add("/a", body=DATA)
    for _ in range(3):
        replies = [open_reply(transport, server.url("/a")) for _ in range(5)]
        assert [read_all(reply) for reply in replies] == [DATA] * 5
    assert server.connections == 5
    assert not caplog.records


def test_c09_many_origins_keep_their_connections(make_server, make_transport):
    servers = [make_server() for _ in range(12)]
    transport = make_transport()
    for _ in range(3):
        for server in servers:
            server.add("/a", body=b"a")
            assert read_all(open_reply(transport, server.url("/a"))) == b"a"
    assert [server.connections for server in servers] == [1] * 12
    assert len(transport._sessions) == 12


def test_c10_answers_nobody_reads_do_not_block_others(server, make_transport):
    transport = make_transport(per_host=2)
    server.add("/a", body=Filled(10 << 20))
    replies = [open_reply(transport, server.url("/a")) for _ in range(4)]
    for reply in replies:
        assert reply.read(10)
        reply.close()
    server.wait_until(lambda: server.open_connections == 0)


def test_idle_sessions_beyond_the_cap_are_closed_oldest_first(make_server, make_transport):
    servers = [make_server() for _ in range(4)]
    transport = make_transport(most_sessions=2)
    for server in servers:
        server.add("/a", body=b"a")
        read_all(open_reply(transport, server.url("/a")))
    assert list(transport._sessions) == [origin_of(server.url("/")) for server in servers[2:]]
    for server in servers[:2]:
        server.wait_until(lambda server=server: server.open_connections == 0)
    assert [server.open_connections for server in servers[2:]] == [1, 1]


def test_a_session_in_use_is_never_closed(make_server, make_transport):
    servers = [make_server() for _ in range(4)]
    transport = make_transport(most_sessions=1)
    for server in servers:
        server.add("/a", body=DATA)
    replies = [open_reply(transport, server.url("/a")) for server in servers]
    assert len(transport._sessions) == 4
    assert [read_all(reply) for reply in replies] == [DATA] * 4
    read_all(open_reply(transport, servers[0].url("/a")))
    assert list(transport._sessions) == [origin_of(servers[0].url("/"))]
    assert servers[0].connections == 1


def test_a_failed_request_leaves_its_session_idle(make_server, make_transport):
    dead, alive = make_server(accept="refuse"), make_server()
    alive.add("/a", body=b"a")
    transport = make_transport(most_sessions=1)
    with pytest.raises(errors.ConnectFailed):
        open_reply(transport, dead.url("/a"))
    read_all(open_reply(transport, alive.url("/a")))
    assert list(transport._sessions) == [origin_of(alive.url("/"))]


def test_the_ca_file_is_loaded_once(make_server, make_transport, monkeypatch):
    servers = [make_server(tls=True) for _ in range(2)]
    loads = []
    real = ssl.SSLContext.load_verify_locations
    monkeypatch.setattr(
        ssl.SSLContext,
        "load_verify_locations",
        lambda *args, **named: loads.append(1) or real(*args, **named),
    )
    transport = make_transport(ca_bundle=servers[0].ca_file)
    for server in servers:
        server.add("/a", body=b"a", keep_alive=False)
        for _ in range(3):
            read_all(open_reply(transport, server.url("/a")))
    assert sum(server.connections for server in servers) == 6
    assert loads == [1]


def test_a_folder_of_certificates(tls_server, make_transport, tmp_path):
    with pytest.raises(errors.TlsFailed):
        open_reply(make_transport(ca_bundle=str(tmp_path)), tls_server.url("/a"))


def test_a_request_that_was_cut_before_it_began(server, make_transport):
    lease = Lease()
    lease.begin(float("inf"))
    lease.cut(lambda: errors.Stopped("the run was stopped"), lease.number)
    transport = make_transport()
    with pytest.raises(errors.Stopped):
        open_reply(transport, server.url("/a"), lease)
    assert server.connections == 0
    assert [session.users for session in transport._sessions.values()] == [0]


def test_requests_auth_objects_serve_their_host(server, make_transport):
    server.add("/a", body=b"a", require={"Authorization": "Basic dTpw"})
    transport = make_transport(auth={"127.0.0.1": requests.auth.HTTPBasicAuth("u", "p")})
    assert read_all(open_reply(transport, server.url("/a"))) == b"a"


@pytest.mark.parametrize(("name", "value"), [("X-A", "a\r\nX-B: b"), ("X-A", "a\nb"), ("X-A", "\u20ac")])
def test_a_header_that_cannot_be_sent_is_not_the_servers_fault(server, make_transport, name, value):
    url = server.url("/a")
    with pytest.raises(errors.UrlRefused, match="the request"):
        make_transport().open(origin_of(url), url, {name: value}, Lease())
    assert server.requests == []


# -- a mocked adapter -----------------------------------------------------------------------------


@pytest.fixture
def mocked():
    with responses.RequestsMock() as mock:
        yield mock


def test_responses_can_stand_in_for_the_network(mocked, attempts):
    length = {"Content-Length": str(len(DATA)), "ETag": '"v1"'}
    mocked.get("https://example.org/a", body=DATA, headers=length)
    attempt = attempts.fetch("https://example.org/a")
    assert attempt.done.etag == '"v1"'
    assert attempt.done.warnings == ()
    assert attempts.file() == DATA
    assert mocked.calls[0].request.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (404, {}, "not-found"), (429, {"Retry-After": "7"}, "throttled"), (302, {}, "redirect"),
        (206, {}, "protocol"), (200, {"Content-Length": "5x"}, "protocol"),
        (200, {"Transfer-Encoding": "gzip"}, "protocol"),
    ],
)  # fmt: skip
def test_responses_show_what_statuses_and_headers_mean(mocked, attempts, status, headers, kind):
    mocked.get("https://example.org/a", body=b"x", status=status, headers=headers)
    attempt = attempts.fetch("https://example.org/a")
    assert_failed(attempt, kind)
    assert attempt.failure.retry_after == (7.0 if status == 429 else None)


def test_responses_redirects_are_followed_by_us(mocked, attempts):
    mocked.get("https://example.org/a", status=301, headers={"Location": "/b"})
    mocked.get("https://example.org/b", body=DATA, headers={"Content-Length": str(len(DATA))})
    attempt = attempts.fetch("https://example.org/a")
    assert attempt.done
    assert attempt.url == "https://example.org/b"


def test_an_error_that_requests_raises(mocked, attempts):
    mocked.get("https://example.org/a", body=requests.ConnectionError("no luck"))
    assert_failed(attempts.fetch("https://example.org/a"), "connect", retryable=True)


# -- proxies --------------------------------------------------------------------------------------

PROXIES = (("http", "http://p:1"), ("all", "http://q:2"))


@pytest.mark.parametrize(
    ("origin", "no_proxy", "proxy"),
    [
        (Origin("http", "example.org", 80), "", "http://p:1"),
        (Origin("https", "example.org", 443), "", "http://q:2"),
        (Origin("http", "example.org", 80), "*", None),
        (Origin("http", "example.org", 80), "other.net, Example.org", None),
        (Origin("http", "www.example.org", 80), "example.org", None),
        (Origin("http", "www.example.org", 80), ".example.org", None),
        (Origin("http", "www.example.org", 80), "*.example.org", None),
        (Origin("http", "badexample.org", 80), "example.org", "http://p:1"),
        (Origin("http", "example.org", 8080), "example.org:8080", None),
        (Origin("http", "example.org", 80), "example.org:8080", "http://p:1"),
        (Origin("http", "10.1.2.3", 80), "10.0.0.0/8", None),
        (Origin("http", "11.1.2.3", 80), "10.0.0.0/8", "http://p:1"),
        (Origin("http", "127.0.0.1", 80), "127.0.0.1", None),
        (Origin("http", "::1", 80), "::1", None),
        (Origin("http", "::1", 8080), "[::1]:8080", None),
    ],
)
def test_which_proxy(origin, no_proxy, proxy):
    assert proxy_for(origin, PROXIES, no_proxy) == proxy


def test_no_proxy_at_all():
    assert proxy_for(Origin("http", "example.org", 80), (), "") is None
    assert proxy_for(Origin("https", "example.org", 443), (("http", "http://p:1"),), "") is None


@pytest.fixture
def proxy(make_server):
    return make_server(tunnel=True)


def credentials(server):
    return "http://user:pr0xy-a13@" + server.netloc


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a13_a_proxy_alone_gets_its_credentials(make_server, proxy, make_transport, tls):
    server, direct = make_server(tls=tls), make_server(host="127.0.0.2")
    scheme = "https" if tls else "http"
    transport = make_transport(
        proxies=((scheme, credentials(proxy)),),
        ca_bundle=server.ca_file if tls else None,
        no_proxy="127.0.0.2",
    )
    for each in (server, proxy, direct):
        each.add("/a", body=DATA)
    reply = open_reply(transport, server.url("/a"))
    assert reply.peer is None
    assert read_all(reply) == DATA
    (asked,) = proxy.requests
    assert asked.headers["Proxy-Authorization"] == "Basic dXNlcjpwcjB4eS1hMTM="
    assert asked.target == (server.netloc if tls else server.url("/a"))
    assert [dict(request.headers.pairs).get("Proxy-Authorization") for request in server.requests] == [
        None
    ] * tls
    assert read_all(open_reply(transport, direct.url("/a"))) == DATA
    assert "Proxy-Authorization" not in direct.requests[0].headers
    assert len(proxy.requests) == 1


def test_a_tunnel_is_used_again(make_server, proxy, make_transport):
    server = make_server(tls=True)
    server.add("/a", body=DATA)
    transport = make_transport(proxies=(("https", proxy.origin),), ca_bundle=server.ca_file)
    for _ in range(3):
        assert read_all(open_reply(transport, server.url("/a"))) == DATA
    assert proxy.connections == 1


@pytest.mark.parametrize(
    ("status", "kind", "why"),
    [
        (403, errors.NotAuthorised, "the proxy refuses us: 403"),
        (407, errors.NotAuthorised, "the proxy refuses us: 407"),
        (502, errors.ConnectFailed, "the proxy could not be used.*502"),
    ],
)
def test_a_proxy_that_refuses_a_tunnel(make_server, proxy, make_transport, status, kind, why):
    server = make_server(tls=True)
    proxy.add(server.netloc, status=status)
    transport = make_transport(proxies=(("https", proxy.origin),), ca_bundle=server.ca_file)
    with pytest.raises(kind, match=why):
        open_reply(transport, server.url("/a"))


@pytest.mark.parametrize("mode", ["refuse", "close", "silent"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_proxy_that_is_not_there(make_server, make_transport, mode, tls):
    server, proxy = make_server(tls=tls), make_server(accept=mode)
    options = {"connect_timeout": 0.3, "idle_timeout": 0.3, "ca_bundle": server.ca_file if tls else None}
    transport = make_transport(proxies=(("all", proxy.origin),), **options)
    with pytest.raises((errors.ConnectFailed, errors.ConnectionLost, errors.TimedOut)) as caught:
        open_reply(transport, server.url("/a"))
    assert caught.value.retryable
    assert server.connections == 0


# -- foreign errors -------------------------------------------------------------------------------


def wrapped(cause, *outer):
    """Return `cause` wrapped as urllib3 and requests do it."""
    for make in outer:
        cause = make(cause)
    return cause


def broken(cause):
    return urllib3.exceptions.ProtocolError("Connection aborted.", cause)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (http.client.RemoteDisconnected("x"), "reset", "closed the connection unanswered"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "reset", "was reset"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "reset", "was closed"),
        (ConnectionAbortedError(errno.ECONNABORTED, "Aborted"), "reset", "was aborted"),
        (TimeoutError("timed out"), "timeout", "idle timeout"),
        (http.client.InvalidURL("x"), "url", "cannot be asked for"),
        (http.client.HTTPException("x"), "protocol", "breaks HTTP"),
        (ssl.SSLEOFError(8, "EOF occurred"), "reset", "was cut"),
        (OSError(errno.ENOBUFS, "No buffer space"), "reset", "No buffer space"),
        (OSError(errno.EMFILE, "Too many open files"), "reset", "Too many open files"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.parametrize(
    "outer", [(), (broken,), (broken, requests.ConnectionError)], ids=["bare", "urllib3", "requests"]
)
def test_what_an_error_means_however_it_is_wrapped(error, kind, text, outer):
    mapped = map_error(wrapped(error, *outer))
    assert mapped.kind == kind
    assert text in str(mapped)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (urllib3.exceptions.ReadTimeoutError(None, None, "x"), "timeout"),
        (urllib3.exceptions.ConnectTimeoutError("x"), "connect"),
        (urllib3.exceptions.IncompleteRead(5, 5), "truncated"),
        (urllib3.exceptions.LocationParseError("http://a..b"), "url"),
        (urllib3.exceptions.SSLError("x"), "tls"),
        (urllib3.exceptions.ProxyError("x", OSError("y")), "connect"),
        (requests.exceptions.SSLError("x"), "tls"),
        (requests.exceptions.ReadTimeout("x"), "timeout"),
        (requests.exceptions.ConnectionError("x"), "connect"),
        (requests.exceptions.InvalidURL("x"), "url"),
        (requests.exceptions.MissingSchema("x"), "url"),
        (UnicodeEncodeError("latin-1", "\u20ac", 0, 1, "no"), "url"),
        (ValueError("x"), "url"),
        (RuntimeError("x"), "internal"),
        (AttributeError("x"), "internal"),
        (errors.NotHttp("x"), "not-http"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_other_errors_mean(error, kind):
    assert map_error(error).kind == kind


def test_our_own_error_inside_a_foreign_one_counts():
    inner = errors.Stopped("the run was stopped")
    assert map_error(broken(inner)) is inner
    outer = urllib3.exceptions.HTTPError("x")
    outer.__cause__ = inner
    assert map_error(outer) is inner


def test_an_error_nobody_foresaw_hides_secrets():
    text = str(map_error(RuntimeError("at http://user:pass@host/?token=abc \x1b[31m")))
    assert "pass" not in text
    assert "abc" not in text
    assert text.isprintable()


def test_a_certificates_fault_is_told_in_its_own_words():
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_message = "certificate has expired"
    assert str(map_error(requests.exceptions.SSLError(error))).endswith("refused: certificate has expired")


@pytest.mark.parametrize(("mapping", "kind"), [(map_error, "tls"), (map_read_error, "reset")])
def test_a_tls_error_within_a_body_is_a_broken_connection(mapping, kind):
    error = urllib3.exceptions.SSLError(ssl.SSLError(1, "[SSL] record layer failure"))
    assert mapping(error).kind == kind


def test_versions_name_what_matters():
    assert re.fullmatch(r"requests [\d.]+, urllib3 [\d.]+, Python [\d.]+, OpenSSL .*", versions())


def test_a_loopback_connection_has_no_delay(server, make_transport, monkeypatch):
    options = []
    real = socket.socket.setsockopt
    monkeypatch.setattr(
        socket.socket, "setsockopt", lambda sock, *args: options.append(args) or real(sock, *args)
    )
    server.add("/a", body=OTHER)
    read_all(open_reply(make_transport(), server.url("/a")))
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options
