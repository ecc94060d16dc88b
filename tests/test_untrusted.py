"""Lists from strangers: `--untrusted` asks public addresses only, and shows nobody anything."""

from __future__ import annotations

import threading
from ipaddress import IPv4Address
from socket import inet_aton

import pytest
from attempting import DATA, Attempts, assert_failed
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.addresses import is_public
from bulkfetch.config import FetchConfig
from bulkfetch.errors import UrlRefused, UsageError
from bulkfetch.exchange import Exchange
from bulkfetch.models import BadLine, Entry, Origin, Request
from bulkfetch.policy import NO_COOKIES, Policies, from_table
from bulkfetch.screening import MOST_BYTES, refuse_url, screen
from bulkfetch.urls import origin_of, parse_url
from bulkfetch.watchdog import Watchdog
from bulkfetch.wire.reply import Reply

PUBLIC = "93.184.216.34"


def seen_public(*servers):
    """Return what makes some servers seem to stand at a public address."""
    ports = {(server.host, server.port) for server in servers}
    return lambda address: PUBLIC if tuple(address[:2]) in ports else str(address[0])


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.org/a", None),
        ("https://example.org:8443/a", None),
        ("http://93.184.216.34/a", None),
        ("http://[2606:2800:220:1::1]/a", None),
        ("http://me:pw@example.org/a", "a login in the URL"),
        ("http://me@example.org/a", "a login in the URL"),
        ("http://example.org/a@b", None),
        ("http://example.org:22/a", "port 22 is not one of web servers"),
        ("http://127.0.0.1/a", "127.0.0.1 is no public address"),
        ("http://10.1.2.3/a", "10.1.2.3 is no public address"),
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254 is no public address"),
        ("http://[::1]/a", "::1 is no public address"),
        ("http://[fe80::1]/a", "fe80::1 is no public address"),
        ("http://[::ffff:10.0.0.1]/a", "::ffff:10.0.0.1 is no public address"),
        ("http://[64:ff9b::7f00:1]/a", "64:ff9b::7f00:1 is no public address"),
    ],
)
def test_urls_that_are_refused_before_anything_is_asked(url, reason):
    assert refuse_url(url) == reason


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "1572395042",
        "010.8.8.8",
        "1.2.3.0X10",
        "\uff11\u2461\uff17\u30020.0.\u2460",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "LocalHost.",
        "db.localhost",
        "localhost.localdomain",
        "printer.local",
        "metadata.google.internal",
        "metadata.google.internal.",
        "nas.home.arpa",
        "intranet",
    ],
)
def test_a_private_host_spelled_otherwise_would_have_passed_to_the_proxy(host):
    assert refuse_url(parse_url(f"http://{host}/a")) is not None


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "example.org.",
        "1.example",
        "0x7f.example.org",
        "local.example",
        "xn--e1afmkfd.xn--p1ai",
    ],
)
def test_public_names_are_asked_for(host):
    assert refuse_url(parse_url(f"http://{host}/a")) is None


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.lists(st.sampled_from(["{}", "0x{:x}", "0{:o}"]), min_size=4, max_size=4),
)
def test_what_inet_aton_reads_as_a_private_address_is_refused(number, parts, shapes):
    cut = 8 * (5 - parts)  # bits of the last part
    fields = [number >> shift & 255 for shift in range(24, cut - 1, -8)] + [number & (1 << cut) - 1]
    host = ".".join(shape.format(field) for shape, field in zip(shapes, fields, strict=False))
    assert inet_aton(host) == number.to_bytes(4), "the test knows what it writes"
    if not is_public(str(IPv4Address(number))):
        assert refuse_url(f"http://{host}/") is not None


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (Entry(("http://example.org/a",), headers=(("X", "y"),)), "headers are not taken from a list"),
        (Entry(("http://example.org/a",), request=Request()), "only plain GETs are taken from a list"),
        (Entry(("http://example.org/a",) * 17), "more than 16 mirrors"),
        (Entry(("http://example.org/a", "http://10.0.0.1/a")), "10.0.0.1 is no public address"),
    ],
)  # fmt: skip
def test_what_a_line_may_not_ask_for(entry, reason):
    (refused,) = screen([entry])
    assert isinstance(refused, BadLine)
    assert refused.reason == f"{reason} (--untrusted)"


def test_no_more_than_so_many_lines_are_read():
    endless = iter(lambda: Entry(("http://example.org/a",)), None)
    *kept, last = screen(endless, most=3)
    assert len(kept) == 3
    assert last.reason == "the list has more than 3 lines: the rest is left out (--untrusted)"


def test_headers_for_every_host_are_a_mistake():
    with pytest.raises(UsageError, match="put it into a host section"):
        FetchConfig(untrusted=True, headers=(("X", "y"),)).validate()


def test_sections_give_credentials_and_neither_cookies_nor_netrc():
    table = {
        "defaults": {"auth": "netrc"},
        "host": {
            "a.example": {"login": {"url": "http://a.example/in", "form": {"u": "x"}}, "cookies": {"a": "b"}},
            "b.example": {"auth": {"type": "bearer", "token": "env:T"}, "max_size": "20G"},
        },
    }
    policies = Policies(FetchConfig(untrusted=True), [from_table(table)])
    a = policies.for_url("http://a.example/x")
    assert (a.auth, a.login, a.cookies, a.keep_cookies, a.max_size) == (
        None,
        None,
        NO_COOKIES,
        False,
        MOST_BYTES,
    )
    b = policies.for_url("http://b.example/x")
    assert b.auth is not None
    assert b.max_size == 20 * 1024**3


@pytest.fixture(params=["auto", "requests"])
def exchange(request, server):
    """An exchange to which the server seems to stand at a public address."""
    config = FetchConfig(untrusted=True, transport=request.param)
    made = Exchange(config, Policies(config), peer_of=seen_public(server))
    yield made
    made.close()


@pytest.fixture
def lease():
    stop = threading.Event()
    watchdog = Watchdog(stop, 0.0)
    lease = watchdog.lease()
    lease.begin(float("inf"))
    yield lease
    watchdog.close()


def ask(exchange, lease, url):
    """Send a GET and return the body."""
    reply = exchange.open(origin_of(url), url, {}, lease)
    body = b""
    while data := bytes(reply.read(65536)):
        body += data
    reply.close()
    return body


def test_a_public_server_is_asked_and_its_cookies_are_dropped(server, exchange, lease):
    server.add("/a", body=DATA, extra_headers=[("Set-Cookie", "id=1; Path=/")])
    for _ in range(2):
        assert ask(exchange, lease, server.url("/a")) == DATA
    assert [request.headers.get("Cookie") for request in server.requests] == [None, None]
    assert server.connections == 1


def test_a_name_that_leads_to_a_private_address_is_not_asked(make_server, exchange, lease):
    private = make_server()
    private.add("/a", body=DATA)
    origin = Origin("http", "localhost", private.port)
    with pytest.raises(UrlRefused, match=r"the host is at (127\.0\.0\.1|::1), which is no public address"):
        exchange.open(origin, f"{origin}/a", {}, lease)
    assert private.requests == []


def test_nor_is_tls_begun_with_it(tls_server, exchange, lease):
    with pytest.raises(UrlRefused, match="no public address"):
        exchange.open(origin_of(tls_server.url("/a")), tls_server.url("/a"), {}, lease)
    assert tls_server.requests == []


def test_the_own_connections_serve_it(server, lease):
    config = FetchConfig(untrusted=True, transport="fast")
    exchange = Exchange(config, peer_of=seen_public(server))
    server.add("/a", body=DATA)
    assert ask(exchange, lease, server.url("/a")) == DATA
    reply = exchange.open(origin_of(server.url("/a")), server.url("/a"), {}, lease)
    assert isinstance(reply, Reply)
    reply.close()
    exchange.close()


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.1:1/x", "127.0.0.1 is no public address (--untrusted)"),
        ("http://[::ffff:169.254.169.254]/x", "is no public address (--untrusted)"),
        ("http://example.org:25/x", "port 25 is not one of web servers (--untrusted)"),
    ],
)
def test_no_redirect_leads_away_from_public_servers(server, tmp_path, location, reason):
    server.add("/a", redirect=location)
    with Attempts(tmp_path, transport={"peer_of": seen_public(server)}, untrusted=True) as attempts:
        failed = attempts.fetch(server.url("/a"))
    assert_failed(failed, "redirect", reason, retryable=False)


# -- with the real command -----------------------------------------------------------------------


def test_servers_of_this_machine_are_not_asked(server, tmp_path, command):
    server.add("/a", body=b"x")
    listed = tmp_path / "list.txt"
    name = server.url("/b").replace("127.0.0.1", "localhost")
    listed.write_text(f"{server.url('/a')}\n{name}\n")
    done = command("get", listed, "-d", tmp_path / "out", "--untrusted")
    assert done.returncode == 3
    assert "127.0.0.1 is no public address (--untrusted)" in done.stderr
    assert "localhost is a name of private networks (--untrusted)" in done.stderr
    assert server.requests == []


def test_a_header_for_all_hosts_is_refused(tmp_path, command):
    done = command("get", "http://example.org/a", "-d", tmp_path, "--untrusted", "-H", "X: y")
    assert done.returncode == 2
    assert "put it into a host section" in done.stderr


def test_plan_shows_what_would_be_refused(tmp_path, command):
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"url": "http://example.org/a", "header.X": "y"}\n{"url": "http://example.org/b"}\n')
    done = command("plan", listed, "-d", tmp_path / "out", "--untrusted")
    assert done.returncode == 3
    assert "headers are not taken from a list (--untrusted)" in done.stdout


def test_a_proxy_is_used_where_it_is_named_and_not_from_the_environment(make_server, tmp_path, run_bulkfetch):
    proxy = make_server(tunnel=True)
    proxy.add("/a", body=b"x")
    options = ("get", "http://files.invalid/a", "-d", tmp_path / "out", "--untrusted", "--retries", "0")
    assert run_bulkfetch(*options, env={"http_proxy": proxy.origin}).returncode == 1
    assert proxy.requests == []
    done = run_bulkfetch(*options, "--proxy", proxy.origin)
    assert done.returncode == 0, done.stderr
