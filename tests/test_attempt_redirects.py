"""Sections A and S of the fault catalogue, one attempt at a time: redirects, credentials, TLS."""

from __future__ import annotations

import itertools
import socket
import sys
import threading
import tracemalloc
from contextlib import contextmanager

import pytest
from attempting import DATA, Attempts, assert_failed
from faultserver import STALL, Filled, Forever, gzip_bomb, pattern

from bulkfetch.groups import as_range
from bulkfetch.models import Sharing
from bulkfetch.urls import origin_of

SECRETS = (("Authorization", "Bearer s3cret"), ("X-Api-Key", "k3y"), ("Cookie", "session=s3cret"))
LONG = "a" * 64


@pytest.fixture
def make(tmp_path):
    """Return a function that makes `Attempts(**options)`; all are closed at the end."""
    made = []

    def make(**options):
        made.append(Attempts(tmp_path / "out", **options))
        return made[-1]

    yield make
    for attempts in made:
        attempts.__exit__()


@pytest.fixture
def attempts(make):
    return make()


@pytest.fixture
def other(make_server):
    """A server under another origin."""
    return make_server()


def moved(task, attempt):
    """Return the task under the origin a redirect named, as the run plans it."""
    assert attempt.redirect is not None, attempt
    return task._replace(
        url=attempt.redirect,
        origin=origin_of(attempt.redirect),
        hops=attempt.hops,
        part=attempt.part,
        came_from_public=attempt.came_from_public,
    )


def secrets_in(request):
    """Return what must stay with one origin."""
    names = ("Authorization", "X-Api-Key", "Cookie", "Proxy-Authorization")
    return {name: request.headers[name] for name in names if name in request.headers}


# -- credentials ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["config", "entry"])
def test_a01_a02_the_users_headers_go_to_the_manifests_origin_alone(server, other, make, by):
    attempts = make(headers=SECRETS if by == "config" else ())
    task = attempts.task(server.url("/a"), headers=SECRETS if by == "entry" else ())
    server.add("/a", redirect="/b")
    server.add("/b", redirect=other.url("/c"))
    other.add("/c", redirect="/d")
    other.add("/d", redirect=server.url("/e"))
    server.add("/e", body=DATA)
    first = attempts.run(task)
    second = attempts.run(moved(task, first))
    third = attempts.run(moved(task, second))
    assert third.done
    assert (first.hops, second.hops, third.hops) == (2, 4, 4)
    for path in ("/a", "/b", "/e"):
        assert secrets_in(server.hits(path)[0]) == dict(SECRETS)
    for path in ("/c", "/d"):
        assert secrets_in(other.hits(path)[0]) == {}


@pytest.mark.parametrize("tls", [False, True], ids=["host", "scheme"])
def test_a01_another_host_or_scheme_is_another_origin(make_server, server, make, tls):
    elsewhere = make_server(host="127.0.0.2" if not tls else "127.0.0.1", tls=tls)
    attempts = make(headers=SECRETS, ca_bundle=elsewhere.ca_file if tls else None)
    server.add("/a", redirect=elsewhere.url("/b"))
    elsewhere.add("/b", body=DATA)
    task = attempts.task(server.url("/a"))
    assert attempts.run(moved(task, attempts.run(task))).done
    assert secrets_in(elsewhere.hits("/b")[0]) == {}


def test_a11_userinfo_becomes_a_header_for_its_origin_alone(server, other, attempts):
    url = server.url("/a").replace("http://", "http://us%40er:p%C3%A4ss@")
    server.add("/a", redirect="/b", require={"Authorization": "Basic dXNAZXI6cMOkc3M="})
    server.add("/b", redirect=other.url("/c"))
    other.add("/c", body=DATA)
    task = attempts.task(url)
    first = attempts.run(task)
    assert attempts.run(moved(task, first)).done
    assert secrets_in(server.hits("/b")[0]) == {"Authorization": "Basic dXNAZXI6cMOkc3M="}
    assert secrets_in(other.hits("/c")[0]) == {}
    assert "@" not in first.url
    assert server.hits("/a")[0].target == "/a"


def test_a11_a_header_the_user_gave_wins_over_userinfo(server, make):
    attempts = make(headers=(("authorization", "Bearer mine"),))
    server.add("/a", body=DATA)
    assert attempts.fetch(server.url("/a").replace("http://", "http://user:r3direct-pass@")).done
    assert secrets_in(server.hits("/a")[0]) == {"Authorization": "Bearer mine"}


def test_a11_userinfo_of_a_location_is_not_sent(server, other, attempts):
    server.add("/a", redirect=other.url("/b").replace("http://", "http://user:r3direct-pass@"))
    other.add("/b", body=DATA)
    task = attempts.task(server.url("/a"))
    first = attempts.run(task)
    assert first.redirect == other.url("/b")
    assert attempts.run(moved(task, first)).done
    assert secrets_in(other.hits("/b")[0]) == {}


def test_a03_cookies_stay_with_their_origin(server, other, attempts):
    cookies = [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Domain=127.0.0.1; Path=/")]
    server.add("/a", body=b"a", extra_headers=cookies)
    server.add("/b", redirect="/c", extra_headers=[("Set-Cookie", "c=3; Path=/")])
    server.add("/c", body=b"c")
    other.add("/d", body=b"d")
    for url, name in ((server.url("/a"), "a"), (server.url("/b"), "c"), (other.url("/d"), "d")):
        assert attempts.fetch(url, name).done
    assert "a=1" in server.hits("/b")[0].headers["Cookie"]
    assert "c=3" in server.hits("/c")[0].headers["Cookie"]
    assert secrets_in(other.hits("/d")[0]) == {}


def test_a03_cookies_are_added_to_those_the_user_gave(server, make):
    attempts = make(headers=(("Cookie", "mine=1"),))
    server.add("/a", body=b"a", extra_headers=[("Set-Cookie", "yours=2; Path=/")])
    assert attempts.fetch(server.url("/a"), "one").done
    assert attempts.fetch(server.url("/a"), "two").done
    assert [request.headers["Cookie"] for request in server.requests] == ["mine=1", "mine=1; yours=2"]


def test_x07_a_flood_of_cookies_is_forgotten(server, attempts):
    for batch in range(4):
        flood = [("Set-Cookie", f"c{batch}-{n}={'x' * 100}; Path=/") for n in range(40)]
        server.add(f"/{batch}", body=b"a", extra_headers=flood)
        assert attempts.fetch(server.url(f"/{batch}"), f"{batch}").done
    sizes = [len(request.headers.get("Cookie") or "") for request in server.requests]
    assert max(sizes) < 64 * 120
    assert sizes[0] == 0 < sizes[1]
    assert sizes[2] == 0


def test_a04_netrc_is_not_read(server, attempts, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password pass\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    server.add("/a", body=DATA)
    assert attempts.fetch(server.url("/a")).done
    assert secrets_in(server.hits("/a")[0]) == {}


# -- where redirects lead -------------------------------------------------------------------------


def test_a_redirect_to_another_origin_is_handed_back(server, other, attempts):
    server.add("/a", redirect=other.url("/b?x=1#frag"))
    attempt = attempts.fetch(server.url("/a"))
    assert attempt.redirect == other.url("/b?x=1")
    assert (attempt.failure, attempt.done, attempt.hops) == (None, None, 1)
    assert attempt.url == server.url("/a")
    assert other.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_statuses(server, attempts, status):
    server.add("/a/b", redirect="../c?d", status=status)
    server.add("/c?d", body=DATA)
    attempt = attempts.fetch(server.url("/a/b"))
    assert attempt.done
    assert attempt.url == server.url("/c?d")


def test_a05_from_https_to_http(tls_server, server, make):
    attempts = make(ca_bundle=tls_server.ca_file)
    tls_server.add("/a", redirect=server.url("/b"))
    assert_failed(attempts.fetch(tls_server.url("/a")), "redirect", "https to http", retryable=False)
    assert server.requests == []


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,hello", "javascript:alert(1)", "gopher://x/"],
)
def test_a06_to_another_scheme(server, attempts, location):
    server.add("/a", redirect=location)
    assert_failed(attempts.fetch(server.url("/a")), "redirect", "not followed", retryable=False)
    assert attempts.left() == set()


@contextmanager
def little_memory(most=16 << 20):
    """Fail when the block takes more memory than `most`."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most


BODIES = {
    "512 MiB": {"body": Filled(512 << 20)},
    "bomb": {"body": gzip_bomb(256 << 20), "content_encoding": "gzip"},
    "endless": {"body": Forever(b"x" * 65536), "no_length": True},
    "endless chunks": {"body": Forever(b"x" * 65536), "chunked": True},
    "trickle": {"body": Forever(b"x", 0.05), "chunked": True},
}


@pytest.mark.parametrize("name", BODIES)
def test_a07_c04_the_body_of_a_redirect_is_not_read(server, attempts, name):
    server.add("/a", redirect="/b", **BODIES[name])
    server.add("/b", body=DATA)
    with little_memory():
        attempt = attempts.fetch(server.url("/a"))
    assert attempt.done, attempt.failure
    assert server.connections == 2
    assert attempt.seconds < 10.0
    server.wait_until(lambda: server.hits("/a")[0].done or server.open_connections == 1)


FOUND = b"HTTP/1.1 302 Found\r\nLocation: /b\r\n"
CHUNKED = FOUND + b"Transfer-Encoding: chunked\r\n\r\n"
STUCK = {
    "sized body": [FOUND + b"Content-Length: 1000\r\n\r\n0123", STALL],
    "sized body, byte by byte": [FOUND + b"Content-Length: 1000\r\n\r\n", Forever(b"x", 0.02)],
    "chunk": [CHUNKED + b"5\r\nab", STALL],
    "size of a chunk": [CHUNKED + b"5", STALL],
    "size of a chunk, byte by byte": [CHUNKED + b"5;", Forever(b"x", 0.02)],
    "trailer": [CHUNKED + b"1\r\na\r\n0\r\nX: ", STALL],
    "trailer, byte by byte": [CHUNKED + b"1\r\na\r\n0\r\nX: ", Forever(b"x", 0.02)],
}


@pytest.mark.parametrize("where", STUCK)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_redirect_that_gets_stuck_in_its_body_is_followed_all_the_same(make_server, make, where, tls):
    server = make_server(tls=tls)
    server.add("/a", raw=STUCK[where])
    server.add("/b", body=DATA)
    attempts = make(ca_bundle=server.ca_file if tls else None, watchdog={"window": 1.0})
    attempt = attempts.fetch(server.url("/a"))
    assert attempt.done, attempt.failure
    assert attempts.file() == DATA
    assert attempt.seconds < 10.0
    assert server.connections == 2


def test_a08_a_loop_ends(server, attempts):
    server.add("/a", redirect="/a")
    assert_failed(attempts.fetch(server.url("/a")), "redirect", "more than 10 redirects", retryable=False)
    assert len(server.requests) == 11


def test_a08_ten_hops_are_allowed(server, attempts):
    for number in range(10):
        server.add(f"/{number}", redirect=f"/{number + 1}")
    server.add("/10", body=DATA)
    assert attempts.fetch(server.url("/0")).hops == 10


def test_a08_hops_of_earlier_origins_count(server, attempts):
    server.add("/a", redirect="/b")
    attempt = attempts.fetch(server.url("/a"), hops=10)
    assert_failed(attempt, "redirect", "more than 10 redirects")


@pytest.mark.parametrize(
    "location",
    ["http://[::1", f"http://{LONG}.example/", "http://a..b/", "http://127.0.0.1:99999/", "//", "http:///x",
     "http://a\\@b/", "http://a b/", "http://user@@127.0.0.1/", "http://127.0.0.1\x01/", "http:127.0.0.1", "http://"],
)  # fmt: skip
def test_a12_a14_a_malformed_location(server, attempts, location):
    server.add("/a", redirect=location)
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "redirect", retryable=False)
    assert attempt.failure.status_code == 302
    assert attempt.failure.message.isprintable()


def test_a_location_of_bytes_beyond_ascii(server, attempts):
    server.add("/a", redirect="/f\u00fcr")
    server.add("/f%C3%BCr", body=DATA)
    assert attempts.fetch(server.url("/a")).done


# -- public and private addresses -----------------------------------------------------------------

PUBLIC = "93.184.216.34"


@pytest.fixture
def make_seen(make):
    """Return a function that makes attempts to which some servers seem to stand at a public address."""

    def make_seen(*public, **options):
        ports = {(server.host, server.port) for server in public}
        return make(transport={"peer_of": lambda a: PUBLIC if a[:2] in ports else str(a[0])}, **options)

    return make_seen


def test_a09_a_public_server_cannot_redirect_to_a_private_one(server, other, make_seen):
    attempts = make_seen(server)
    server.add("/a", redirect=other.url("/b"))
    task = attempts.task(server.url("/a"))
    first = attempts.run(task)
    assert first.came_from_public
    second = attempts.run(moved(task, first))
    assert_failed(second, "redirect", "private address (127.0.0.1)", retryable=False)
    assert other.requests == []
    assert second.came_from_public


def test_a09_nor_over_a_connection_that_is_open_already(server, other, make_seen):
    attempts = make_seen(server)
    other.add("/b", body=DATA)
    assert attempts.fetch(other.url("/b"), "b").done  # asked for by the manifest itself
    server.add("/a", redirect=other.url("/b"))
    task = attempts.task(server.url("/a"))
    assert_failed(attempts.run(moved(task, attempts.run(task))), "redirect", "private address")
    assert len(other.requests) == 1
    assert attempts.fetch(other.url("/b"), "c").done


def test_a09_nor_in_several_steps(server, other, make_server, make_seen):
    third = make_server()
    attempts = make_seen(server, other)
    server.add("/a", redirect=other.url("/b"))
    other.add("/b", redirect=third.url("/c"))
    task = attempts.task(server.url("/a"))
    second = attempts.run(moved(task, attempts.run(task)))
    assert_failed(attempts.run(moved(task, second)), "redirect", "private address")
    assert third.requests == []


def test_a09_nor_with_tls(tls_server, make_server, make_seen):
    other = make_server(tls=True)
    attempts = make_seen(tls_server, ca_bundle=tls_server.ca_file)
    tls_server.add("/a", redirect=other.url("/b"))
    task = attempts.task(tls_server.url("/a"))
    assert_failed(attempts.run(moved(task, attempts.run(task))), "redirect", "private address")
    assert other.requests == []


@pytest.mark.parametrize("seen", ["neither", "both", "second"])
def test_a09_other_redirects_are_followed(server, other, make_seen, seen):
    attempts = make_seen(*{"neither": (), "both": (server, other), "second": (other,)}[seen])
    server.add("/a", redirect=other.url("/b"))
    other.add("/b", body=DATA)
    task = attempts.task(server.url("/a"))
    assert attempts.run(moved(task, attempts.run(task))).done


def test_a09_ranges_of_a_file_could_go_to_a_private_address_after_a_redirect(server, make):
    """The name of a public server that redirects within itself leads elsewhere by the time of the ranges."""
    told = []
    seen = itertools.chain([PUBLIC], itertools.repeat("127.0.0.1"))
    peers = {"peer_of": lambda _address: next(seen)}
    attempts = make(transport=peers, segments=2, jobs=2, per_host=2)
    attempts.context = attempts.new_context(told.append)
    server.add("/a", redirect="/b")
    body = pattern(3 * 1024 * 1024)
    server.add("/b", body=body, etag='"v1"', first=[{"cut": 1000, "cut_how": "reset"}])
    task = attempts.task(server.url("/a"))
    assert attempts.run(task).failure
    (sharing,) = [message for message in told if isinstance(message, Sharing)]
    failed = attempts.run(as_range(task, sharing.share))
    assert_failed(failed, "redirect", "private address (127.0.0.1)", retryable=False)
    assert len(server.hits("/b")) == 1


def test_a09_a_retry_starts_from_the_manifest_and_is_free_again(server, make_seen):
    attempts = make_seen()
    server.add("/a", body=DATA)
    assert attempts.fetch(server.url("/a"), came_from_public=True, hops=0).done


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="what a resolver makes of such names differs"
)
@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost", "[::ffff:127.0.0.1]"]
)
def test_a09_the_address_counts_not_how_it_is_written(server, other, make_seen, host):
    attempts = make_seen(server)
    server.add("/a", redirect=f"http://{host}:{other.port}/b")
    task = attempts.task(server.url("/a"))
    second = attempts.run(moved(task, attempts.run(task)))
    assert_failed(second, "redirect", "private address")
    assert other.requests == []


def test_a10_a_name_that_changes_its_address_between_two_hops(server, make_server, make_seen, monkeypatch):
    inner = make_server(host="127.0.0.2", port=server.port)
    attempts = make_seen(server)
    answers = iter([server.host, inner.host])

    def look_up(_host, port, *_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    server.add("/a", redirect="/b", keep_alive=False)
    attempt = attempts.fetch(f"http://rebound.test:{server.port}/a")
    assert_failed(attempt, "redirect", "private address (127.0.0.2)")
    assert inner.requests == []


# -- TLS ------------------------------------------------------------------------------------------


def test_a_good_certificate(tls_server, make):
    attempts = make(ca_bundle=tls_server.ca_file)
    tls_server.add("/a", body=DATA)
    for name in ("one", "two"):
        assert attempts.fetch(tls_server.url("/a"), name).done
    assert tls_server.connections == 1


@pytest.mark.parametrize(
    ("cert", "text"),
    [("self-signed", "self-signed certificate"), ("expired", "certificate has expired"),
     ("wrong-name", "certificate is not valid for '127.0.0.1'"),
     ("unknown-ca", "unable to get local issuer")],
)  # fmt: skip
def test_s01_a_bad_certificate_is_refused_once_in_plain_words(make_server, make, cert, text):
    server = make_server(tls=True, cert=cert)
    attempts = make(ca_bundle=server.ca_file)
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "tls", "the certificate was refused", retryable=False)
    assert text in attempt.failure.message
    assert server.requests == []


def test_s01_the_host_name_is_checked(tls_server, make):
    attempts = make(ca_bundle=tls_server.ca_file)
    tls_server.add("/a", body=DATA)
    assert attempts.fetch(tls_server.url("/a", host="localhost")).done
    attempt = attempts.fetch(tls_server.url("/a", host="127.0.0.3"), "b")
    assert attempt.failure.kind in ("tls", "connect")  # macOS has no such address


@pytest.mark.parametrize("how", ["close", "clean"])
def test_s02_a_tls_body_without_a_length_is_marked(tls_server, make, how):
    attempts = make(ca_bundle=tls_server.ca_file)
    tls_server.add("/a", body=DATA, no_length=True, cut=60_000, cut_how=how)
    attempt = attempts.fetch(tls_server.url("/a"))
    assert attempt.done.warnings == ("length unverified",)


@pytest.mark.parametrize("how", ["close", "clean", "reset"])
def test_s02_a_tls_body_with_a_length_is_incomplete(tls_server, make, how):
    attempts = make(ca_bundle=tls_server.ca_file)
    tls_server.add("/a", body=DATA, etag='"v1"', cut=60_000, cut_how=how)
    attempt = attempts.fetch(tls_server.url("/a"))
    assert attempt.failure.kind in ("truncated", "reset")
    assert attempt.failure.retryable
    assert "60000 of 100000" in attempt.failure.message
    assert attempt.part.offset == 60_000


def test_s03_variables_cannot_change_whom_we_trust(tls_server, attempts, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, tls_server.ca_file)
    assert_failed(attempts.fetch(tls_server.url("/a")), "tls", "refused", retryable=False)
    assert tls_server.requests == []


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "garbage"])
def test_s04_a_ca_bundle_that_cannot_be_read(tls_server, make, tmp_path, content):
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    attempts = make(ca_bundle=str(bundle))
    attempt = attempts.fetch(tls_server.url("/a"))
    assert_failed(attempt, "tls", str(bundle), retryable=False)
    assert attempts.fetch(tls_server.url("/a")).failure.kind == "tls"


def test_tls_with_a_server_that_speaks_none(attempts):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        speaker = threading.Thread(target=answer)
        speaker.start()
        attempt = attempts.fetch(f"https://127.0.0.1:{listener.getsockname()[1]}/a")
        speaker.join(30)
    assert_failed(attempt, "tls", "TLS failed", retryable=False)


def test_plain_http_with_a_server_that_speaks_tls(tls_server, attempts):
    attempt = attempts.fetch(tls_server.url("/a").replace("https:", "http:"))
    assert attempt.failure.kind in ("reset", "not-http")


def test_a11_a_user_name_with_a_colon_is_refused_before_it_is_sent_as_another(server, attempts):
    url = server.url("/a").replace("://", "://me%3Ayou:pw@")
    assert_failed(attempts.fetch(url), "url", "a user name with a colon", retryable=False)
    assert server.requests == []
