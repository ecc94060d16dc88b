"""Proxies of every kind: what they are asked, what they are shown, and how they fail."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from attempting import DATA, Attempts, assert_failed
from faultserver import STALL, certificates
from socksproxy import SocksServer, TlsFront

from bulkfetch.errors import UsageError
from bulkfetch.extras import load_extra
from bulkfetch.safetext import redact
from bulkfetch.transport.proxies import check_proxy
from bulkfetch.transport.socks import parse_socks

PASSWORD = "pr0xy-secret"


@pytest.fixture
def attempts(tmp_path):
    """Return a function that makes `Attempts` behind a proxy; all are closed at the end."""
    made = []

    def make(proxy, **options):
        made.append(Attempts(tmp_path / "out", proxies=(("all", proxy),), **options))
        return made[-1]

    yield make
    for each in made:
        each.__exit__()


@pytest.fixture
def socks():
    """Return a function that starts a `SocksServer(**options)`; all are closed at the end."""
    pytest.importorskip("socks")
    made = []

    def make(*args, **options):
        made.append(SocksServer(*args, **options))
        return made[-1]

    yield make
    for each in made:
        each.__exit__()


# -- SOCKS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("scheme", "asked"),
    [("socks5h", "localhost"), ("socks5", "127.0.0.1"), ("socks4a", "localhost"), ("socks4", "127.0.0.1")],
)
def test_a_socks_proxy_of_each_kind(make_server, socks, attempts, scheme, asked, tls):
    server, proxy = make_server(tls=tls), socks()
    server.add("/a", body=DATA)
    client = attempts(proxy.url(scheme), ca_bundle=server.ca_file if tls else None)
    for path in ("1.bin", "2.bin"):
        assert client.fetch(server.url("/a", host="localhost"), path).failure is None
    assert client.file("2.bin") == DATA
    assert [port for _, port in proxy.targets] == [server.port], "one connection for both"
    assert proxy.targets[0][0] in (asked, "::1" if scheme == "socks5" else asked)


def test_credentials_are_for_the_socks_proxy_alone(server, socks, attempts):
    proxy = socks(("me", PASSWORD))
    server.add("/a", body=DATA)
    assert attempts(proxy.url(login=f"me:{PASSWORD}")).fetch(server.url("/a")).failure is None
    assert proxy.logins == [("me", PASSWORD)]
    assert PASSWORD not in str(server.requests[0].headers)
    assert redact(f"a {PASSWORD} b") == "a *** b"


def test_a_socks_proxy_that_refuses_our_credentials(server, socks, attempts):
    proxy = socks(("me", PASSWORD))
    failed = attempts(proxy.url(login="me:pr0xy-wrong")).fetch(server.url("/a"))
    assert_failed(failed, "auth", "refuses us: SOCKS5 authentication failed", retryable=False)
    assert "pr0xy" not in failed.failure.message


def test_a_socks_proxy_that_cannot_reach_the_host(server, socks, attempts):
    failed = attempts(socks(reply=5).url()).fetch(server.url("/a"))
    assert_failed(failed, "connect", "0x05: Connection refused", retryable=True)


def test_a_socks_proxy_that_is_not_there(server, make_server, attempts):
    pytest.importorskip("socks")
    dead = make_server(accept="refuse")
    failed = attempts(f"socks5h://{dead.netloc}").fetch(server.url("/a"))
    assert_failed(failed, "connect", f"no connection through the proxy {dead.netloc}", retryable=True)


def test_a_socks_proxy_that_says_nothing_is_given_up_in_time(server, socks, attempts):
    proxy = socks(silent=True)
    started = time.monotonic()
    failed = attempts(proxy.url(), connect_timeout=0.3).fetch(server.url("/a"))
    assert_failed(failed, "connect", "within 0.3 s", retryable=True)
    assert time.monotonic() - started < 20.0


@pytest.mark.parametrize("where", ["handshake", "body"])
def test_a_stop_cuts_a_connection_through_socks(server, socks, attempts, where):
    proxy = socks(silent=where == "handshake")
    server.add("/a", body=DATA, cut=1000, cut_how="stall")
    client = attempts(proxy.url(), connect_timeout=30.0, idle_timeout=30.0)
    results = []
    thread = threading.Thread(target=lambda: results.append(client.fetch(server.url("/a"))))
    thread.start()
    if where == "handshake":
        assert proxy.arrived.wait(30)
    else:
        server.wait_until(lambda: any(request.sent for request in server.requests))
    started = time.monotonic()
    client.stop.set()
    thread.join(30)
    assert time.monotonic() - started < 20.0
    assert_failed(results[0], "stopped")


def test_a_missing_extra_is_one_clear_sentence(server, attempts, monkeypatch):
    monkeypatch.setitem(sys.modules, "socks", None)
    with pytest.raises(UsageError):
        load_extra("socks", "x")
    failed = attempts("socks5://127.0.0.1:1").fetch(server.url("/a"))
    message = f"no proxy for {server.origin}: a SOCKS proxy needs socks: install bulkfetch[socks]"
    assert failed.failure.message == message
    assert not failed.failure.retryable


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("socks5h://h:1081", (5, "h", 1081, True, None, None)),
        ("SOCKS5://u%40:p%2F@[::1]", (5, "::1", 1080, False, "u@", "p/")),
        ("socks4a://u@h", (4, "h", 1080, True, "u", None)),
        ("socks4://h", (4, "h", 1080, False, None, None)),
    ],
)
def test_the_url_of_a_socks_proxy(url, found):
    pytest.importorskip("socks")
    assert tuple(parse_socks(url)) == found


# -- HTTP and HTTPS -------------------------------------------------------------------------------


@pytest.fixture
def front():
    """Return a function that puts TLS in front of a server; all are closed at the end."""
    made = []

    def make(server):
        made.append(TlsFront(server.port))
        return made[-1]

    yield make
    for each in made:
        each.__exit__()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_an_https_proxy(make_server, attempts, front, tls):
    server, proxy = make_server(tls=tls), make_server(tunnel=True)
    for each in (server, proxy):
        each.add("/a", body=DATA)
    url = front(proxy).origin.replace("://", f"://me:{PASSWORD}@")
    client = attempts(url, ca_bundle=certificates.ca_file())
    for path in ("1.bin", "2.bin"):
        done = client.fetch(server.url("/a"), path)
        assert done.failure is None, done.failure
    assert client.file("2.bin") == DATA
    assert proxy.requests[0].target == (server.netloc if tls else server.url("/a"))
    assert "Proxy-Authorization" in proxy.requests[0].headers
    assert proxy.connections == 1
    assert all("Proxy-Authorization" not in request.headers for request in server.requests)


def test_a_stop_cuts_a_body_in_tls_within_tls(make_server, attempts, front):
    server, proxy = make_server(tls=True), make_server(tunnel=True)
    server.add("/a", body=DATA, cut=1000, cut_how="stall")
    client = attempts(front(proxy).origin, ca_bundle=certificates.ca_file(), idle_timeout=30.0)
    results = []
    thread = threading.Thread(target=lambda: results.append(client.fetch(server.url("/a"))))
    thread.start()
    server.wait_until(lambda: any(request.sent for request in server.requests))
    client.stop.set()
    thread.join(30)
    assert_failed(results[0], "stopped")


def test_an_https_proxy_is_verified(make_server, attempts, server):
    front = make_server(tls=True, cert="self-signed")
    failed = attempts(f"https://{front.netloc}", ca_bundle=front.ca_file).fetch(server.url("/a"))
    assert_failed(failed, "tls", "certificate", retryable=False)
    assert front.requests == []


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_proxy_that_refuses_our_credentials(make_server, attempts, tls):
    server, proxy = make_server(tls=tls), make_server(tunnel=True)
    proxy.add("/a" if not tls else server.netloc, status=407)
    failed = attempts(f"http://me:{PASSWORD}@{proxy.netloc}", ca_bundle=server.ca_file).fetch(
        server.url("/a")
    )
    assert_failed(failed, "auth", "407", retryable=False)
    assert PASSWORD not in failed.failure.message
    assert server.requests == []


def test_a_stop_cuts_a_tunnel_that_is_being_made(make_server, attempts):
    server, proxy = make_server(tls=True), make_server(tunnel=True)
    proxy.add(server.netloc, raw=[STALL])
    client = attempts(proxy.origin, ca_bundle=server.ca_file, connect_timeout=30.0)
    results = []
    thread = threading.Thread(target=lambda: results.append(client.fetch(server.url("/a"))))
    thread.start()
    proxy.wait_until(lambda: bool(proxy.requests))
    client.stop.set()
    thread.join(30)
    assert_failed(results[0], "stopped")


@pytest.mark.parametrize(
    "proxy",
    ["ftp://p:1", f"p0rt://me:{PASSWORD}@p", f"http://me:{PASSWORD}@p:99999", "http://", "socks6://p"],
)
def test_what_is_not_the_url_of_a_proxy_is_not_told(proxy):
    with pytest.raises(UsageError, match="a proxy is a URL whose scheme is one of") as caught:
        check_proxy(proxy)
    assert PASSWORD not in str(caught.value)


def test_a_proxy_without_a_scheme_is_an_http_proxy():
    assert check_proxy("p:3128") == "http://p:3128"


# -- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("no_proxy", "is_used"), [("", True), ("127.0.0.1", False), ("example.org", True), ("*", False)]
)
@pytest.mark.parametrize("kind", ["http", "socks5h"])
def test_proxies_of_the_environment(make_server, socks, tmp_path, run_bulkfetch, kind, no_proxy, is_used):
    server, plain, sock = make_server(), make_server(), socks()
    for one in (server, plain):
        one.add("/a", body=b"a")
    proxy = plain.origin if kind == "http" else sock.url()
    environment = {"ALL_PROXY": proxy, "NO_PROXY": no_proxy}
    done = run_bulkfetch("get", server.url("/a"), "-d", tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert bool(plain.requests or sock.targets) is is_used


def test_a_host_has_a_proxy_of_its_own(make_server, socks, tmp_path, run_bulkfetch):
    first, second, third = (make_server(host=f"127.0.0.{n}") for n in (1, 2, 3))
    proxy, sock = make_server(), socks(("me", PASSWORD))
    for one in (first, second, third, proxy):
        one.add("/a", body=b"a")
    config = tmp_path / "p.toml"
    config.write_text('[host."127.0.0.1"]\nproxy = "none"\n[host."127.0.0.2"]\nproxy = "env:SOCKS_URL"\n')
    config.chmod(0o600)
    environment = {
        "HTTP_PROXY": proxy.origin,
        "http_proxy": proxy.origin,
        "SOCKS_URL": sock.url(login=f"me:{PASSWORD}"),
    }
    urls = [one.url("/a") for one in (first, second, third)]
    done = run_bulkfetch("get", *urls, "-d", tmp_path / "out", "--config", config, "-v", env=environment)
    assert done.returncode == 0, done.stderr
    assert [request.target for request in proxy.requests] == [third.url("/a")]
    assert sock.targets == [("127.0.0.2", second.port)]
    assert PASSWORD not in done.stderr
