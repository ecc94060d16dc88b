"""Logging in before the first entry and again once that has expired; cookies to begin with."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from faultserver import STALL, route
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.config import FetchConfig
from bulkfetch.errors import NotAuthorised, ServerFailed, Stopped, TransferError, UsageError
from bulkfetch.exchange import Exchange
from bulkfetch.headers import parse_head
from bulkfetch.models import Origin
from bulkfetch.policy import Cookies, Expiry, Policies, from_table
from bulkfetch.secrets import Secret
from bulkfetch.transport.cookies import OriginCookies, read_cookie_file
from bulkfetch.transport.login import is_expired
from bulkfetch.transport.oneasks import OneAsks
from bulkfetch.urls import origin_of
from bulkfetch.watchdog import Lease

FORM = {"user": "me", "password": "l0gin-secret"}


class Portal:
    """Grants a session to who logs in at /login; every other path wants it."""

    def __init__(self, server, *, lasts=10**6, refusal=None):
        self.server = server
        self.lasts = lasts  # answers one session is good for
        self.refusal = refusal or {"status": 401, "body": b"no"}
        self.asked = []  # bodies of logins
        self.grant = {}  # further options of the answer
        self.served = 0
        self.lock = threading.Lock()
        server.add_generator(self.answer)

    @property
    def cookie(self):
        return f"sid=l0gin-session-{len(self.asked)}"

    def answer(self, request):
        with self.lock:
            if request.path == "/login" and request.method == "POST":
                return self.log_in(request)
            if request.path in ("/login", "/welcome"):
                return route(body=b"<html>welcome", content_type="text/html")
            is_in = self.cookie in (request.headers.get("Cookie") or "") and self.served < self.lasts
            self.served += is_in
            return route(body=b"yes") if is_in else route(**self.refusal)

    def log_in(self, request):
        self.asked.append(request.body)
        sent = dict(parse_qsl(request.body.decode()))
        if request.headers["Content-Type"] == "application/json":
            sent = json.loads(request.body)
        if sent != FORM:
            return route(status=403, body=b"wrong")
        self.served = 0
        return route(**{"extra_headers": [("Set-Cookie", f"{self.cookie}; Path=/; HttpOnly")], **self.grant})


@pytest.fixture
def portal(server):
    return Portal(server)


@pytest.fixture
def ask():
    """Return a function that asks an exchange of these sections, and gives the body."""
    opened = []

    def make(sections):
        config = FetchConfig(connect_timeout=20.0, idle_timeout=20.0)
        exchange = Exchange(config, Policies(config, [from_table({"host": sections})]))
        opened.append(exchange)

        def get(url, lease=None):
            reply = exchange.open(origin_of(url), url, {}, lease or Lease())
            try:
                return reply.head.status, bytes(reply.read(1000))
            finally:
                reply.close()

        return get

    yield make
    for exchange in opened:
        exchange.close()


def section(portal, **changes):
    """Return the sections of a policy that logs in at the portal."""
    login = {"url": portal.server.url("/login"), "form": FORM, **changes}
    return {portal.server.netloc: {"login": {k: v for k, v in login.items() if v is not None}}}


# -- one login ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"form": None, "json": FORM}], ids=["form", "json"])
def test_one_login_comes_before_the_first_entry(portal, ask, how):
    get = ask(section(portal, **how))
    for path in ("/a", "/b"):
        assert get(portal.server.url(path)) == (200, b"yes")
    assert [(r.method, r.path) for r in portal.server.requests] == [
        ("POST", "/login"), ("GET", "/a"), ("GET", "/b")
    ]  # fmt: skip


def test_workers_share_one_login(portal, ask):
    get, together = ask(section(portal)), threading.Barrier(6)

    def work(number):
        together.wait(30)
        return get(portal.server.url(f"/{number}"))

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(work, range(6))) == {(200, b"yes")}
    assert len(portal.asked) == 1


@pytest.mark.parametrize("status", [302, 303, 307, 308])
def test_redirects_of_a_login_are_followed_within_its_origin(portal, ask, status):
    server = portal.server
    server.add("/start", redirect=server.url("/login"), status=status)
    portal.grant = {"redirect": server.url("/welcome")}
    got = ask(section(portal, url=server.url("/start")))
    if status in (307, 308):  # the form goes on
        assert got(server.url("/a")) == (200, b"yes")
        assert len(portal.asked) == 1
    else:
        with pytest.raises(NotAuthorised, match="it set no cookie for"):
            got(server.url("/a"))
        assert portal.asked == []


@pytest.mark.parametrize("status", [302, 307])
def test_a_login_goes_to_no_other_origin(portal, ask, make_server, status):
    other = make_server()
    portal.grant = {"redirect": other.url("/login"), "status": status}
    assert ask(section(portal))(portal.server.url("/a")) == (200, b"yes")
    assert other.requests == []


def test_a_login_at_another_port_is_for_the_host(portal, ask, make_server):
    files = make_server()
    files.add("/a", body=b"yes", require={"Cookie": "sid=l0gin-session-1"})
    sections = {files.netloc: section(portal)[portal.server.netloc]}
    assert ask(sections)(files.url("/a")) == (200, b"yes")


# -- once it has expired --------------------------------------------------------------------------


def test_it_is_redone_when_it_has_expired(portal, ask):
    portal.lasts = 2
    get = ask(section(portal))
    assert [get(portal.server.url(f"/{n}"))[0] for n in range(5)] == [200] * 5
    assert len(portal.asked) == 3


@pytest.mark.parametrize(
    ("refusal", "expired_when"),
    [
        ({"redirect": "/login"}, {"location": "/login$"}),
        ({"body": b"<html>log in", "content_type": "text/html; charset=x"}, {"content_type": "text/html"}),
        ({"status": 440, "body": b""}, {"status": [440]}),
        ({"status": 403, "body": b""}, None),
    ],
    ids=["a redirect", "a page", "a status", "403"],
)
def test_what_an_expired_login_looks_like(server, ask, refusal, expired_when):
    portal = Portal(server, lasts=1, refusal=refusal)
    get = ask(section(portal, expired_when=expired_when))
    assert [get(server.url(f"/{n}")) for n in range(3)] == [(200, b"yes")] * 3
    assert len(portal.asked) == 3


def test_what_is_forbidden_is_not_asked_for_again_and_again(portal, ask):
    portal.server.add("/secret", status=403)
    get = ask(section(portal))
    assert get(portal.server.url("/a"))[0] == 200
    for _ in range(5):
        with pytest.raises(NotAuthorised, match="the server answered 403, also after a new login") as caught:
            get(portal.server.url("/secret"))
        assert caught.value.status_code == 403
    assert len(portal.asked) == 2
    assert get(portal.server.url("/b"))[0] == 200


@given(
    status=st.integers(200, 599),
    location=st.sampled_from([None, "/login?next=/a", "https://sso.example/auth", "/files/b"]),
    content_type=st.sampled_from([None, "text/html; charset=utf-8", "text/csv"]),
    expiry=st.none()
    | st.builds(
        Expiry,
        st.frozensets(st.sampled_from([200, 302, 440])),
        st.sampled_from(["", "/login", "^https://sso\\."]),
        st.sampled_from(["", "text/html"]),
    ),
)
def test_all_that_expired_when_gives_must_fit(status, location, content_type, expiry):
    fields = [("Location", location), ("Content-Type", content_type)]
    head = parse_head(status, "", [(name, value) for name, value in fields if value], 0.0)
    found = is_expired(head, expiry)
    if status in (401, 403):
        assert found
    elif expiry is None:
        assert not found
    elif found:
        assert not expiry.status or status in expiry.status
        assert not expiry.location or "login" in location or "sso" in location
        assert not expiry.content_type or content_type.startswith("text/html")


# -- when it fails --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "grant", "kind", "why"),
    [
        ({"form": {**FORM, "password": "l0gin-wrong"}}, {}, NotAuthorised, "it answered 403"),
        ({}, {"extra_headers": []}, NotAuthorised, "it set no cookie for 127.0.0.1"),
        ({}, {"redirect": "ftp://x/"}, NotAuthorised, "a redirect that is not followed"),
        ({}, {"redirect": "/loop", "status": 307}, NotAuthorised, "more than 10 redirects"),
        ({}, {"status": 503}, ServerFailed, "it answered 503"),
        ({}, {"raw": [b"HTTP/1.1 200"]}, ServerFailed, "the connection closed inside"),
        ({"form": {**FORM, "password": "env:BULKFETCH_NOT_SET"}}, {}, NotAuthorised, "NOT_SET is not set"),
    ],
)  # fmt: skip
def test_a_login_that_fails(portal, ask, how, grant, kind, why):
    portal.server.add("/loop", redirect="/loop", status=307)
    portal.grant = grant
    with pytest.raises(kind, match=f"login at 127.0.0.1.*{why}") as caught:
        ask(section(portal, **how))(portal.server.url("/a"))
    assert "l0gin" not in str(caught.value)
    assert portal.server.hits("/a") == []


def test_a_wrong_password_is_sent_once_not_once_an_entry(portal, ask):
    get = ask(section(portal, form={**FORM, "password": "l0gin-wrong"}))
    for path in ("/a", "/b", "/c"):
        with pytest.raises(NotAuthorised, match=r"the login at 127\.0\.0\.1 failed: it answered 403"):
            get(portal.server.url(path))
    assert len(portal.asked) == 1


def test_a_login_that_may_pass_is_tried_by_the_next_attempt(portal, ask):
    portal.grant = {"status": 503}
    get = ask(section(portal))
    with pytest.raises(ServerFailed):
        get(portal.server.url("/a"))
    portal.grant = {}
    assert get(portal.server.url("/a")) == (200, b"yes")


def test_whoever_waits_for_a_login_hears_the_stop(portal, ask):
    portal.grant = {"raw": [STALL]}
    get, first, second = ask(section(portal)), Lease(), Lease()
    failures = []

    def work(lease):
        try:
            get(portal.server.url("/a"), lease)
        except TransferError as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(lease,)) for lease in (first, second)]
    threads[0].start()
    portal.server.wait_for_hits("/login")
    threads[1].start()
    started = time.monotonic()
    for lease in (second, first):  # the one that only waits goes first
        lease.cut(lambda: Stopped("the run was stopped"), lease.number)
    for thread in threads:
        thread.join(30)
    assert [type(exc) for exc in failures] == [Stopped, Stopped]
    assert time.monotonic() - started < 20.0


def test_a_refusal_holds_for_a_while(clock):
    answers = [NotAuthorised("no"), "token"]

    def ask():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    asking = OneAsks(ask, lambda got: None, lambda: None, clock)
    for _ in range(2):
        with pytest.raises(NotAuthorised, match="no"):
            asking.get(lambda: None)
    clock.advance(301.0)
    assert asking.get(lambda: None) == "token"


# -- cookies to begin with ------------------------------------------------------------------------

FILE = """# Netscape HTTP Cookie File
# a comment

127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tc00kie-session
#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t4102444800\thidden\tc00kie-hidden
127.0.0.1\tTRUE\t/sub\tFALSE\t4102444800\tsub\tc00kie-sub
127.0.0.1\tFALSE\t/\tFALSE\t1000000000\told\tc00kie-old
127.0.0.1\tFALSE\t/\tTRUE\t0\tsecure\tc00kie-secure
.example.org\tTRUE\t/\tFALSE\t0\tforeign\tc00kie-foreign
localhost\tFALSE\t/\tFALSE\t0\tlocal\tc00kie-local
"""


@pytest.fixture
def cookie_file(tmp_path):
    path = tmp_path / "cookies.txt"
    path.write_text(FILE)
    path.chmod(0o600)
    return path


def test_cookies_of_a_file_go_to_their_host_alone(server, ask, cookie_file):
    server.add("/*", body=b"yes")
    get = ask(
        {
            server.netloc: {"cookies": str(cookie_file)},
            f"localhost:{server.port}": {"cookies": str(cookie_file)},
        }
    )
    for url in (server.url("/a"), server.url("/sub/a"), server.url("/a", host="localhost")):
        get(url)
    sent = [request.headers.get("Cookie") for request in server.requests]
    both = "session=c00kie-session; hidden=c00kie-hidden"
    assert sent == [both, f"sub=c00kie-sub; {both}", "local=c00kie-local"]


def test_cookies_that_are_written_down_go_with_those_that_come(server, ask):
    server.add("/*", body=b"yes", extra_headers=[("Set-Cookie", "b=2")])
    get = ask({server.netloc: {"cookies": {"a": "c00kie-value"}}})
    for _ in range(2):
        get(server.url("/a"))
    assert [r.headers.get("Cookie") for r in server.requests] == ["a=c00kie-value", "a=c00kie-value; b=2"]


def test_too_many_cookies_of_a_server_leave_those_to_begin_with(server, ask):
    server.add("/*", body=b"yes", extra_headers=[("Set-Cookie", f"n{n}=1") for n in range(80)])
    get = ask({server.netloc: {"cookies": {"a": "c00kie-value"}}})
    for _ in range(2):
        get(server.url("/a"))
    assert server.requests[1].headers["Cookie"] == "a=c00kie-value"


@pytest.mark.parametrize(
    ("domain", "host", "is_sent"),
    [
        (".example.org", "example.org", True),
        (".example.org", "www.example.org", True),
        ("example.org", "example.org", True),
        ("example.org", "www.example.org", False),
        (".example.org", "badexample.org", False),
        (".www.example.org", "example.org", False),
    ],
)
def test_whose_cookie_it_is(tmp_path, domain, host, is_sent):
    path = tmp_path / "cookies.txt"
    path.write_text(f"{domain}\t{'TRUE' if domain[0] == '.' else 'FALSE'}\t/\tFALSE\t0\ta\tb\n")
    from requests.cookies import RequestsCookieJar

    jar = RequestsCookieJar()
    OriginCookies(Origin("https", host, 443), Cookies(file=str(path)), jar)
    assert (len(jar) == 1) is is_sent


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("127.0.0.1 FALSE / FALSE 0 a c00kie-spaces\n", "line 1: not a cookie in Netscape format"),
        (f"{FILE}127.0.0.1\tFALSE\t/\tFALSE\tsoon\ta\tc00kie-time\n", "line 11: not a cookie"),
    ],
)
def test_a_broken_cookie_file_is_told_by_its_line_alone(tmp_path, text, why):
    path = tmp_path / "cookies.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match=why) as caught:
        list(read_cookie_file(path, 0.0))
    assert "c00kie" not in str(caught.value)


def test_cookies_that_cannot_be_had(server, ask):
    get = ask({server.netloc: {"cookies": {"a": "env:BULKFETCH_NOT_SET"}}})
    with pytest.raises(
        NotAuthorised, match=f"no cookies for {server.origin}: the variable BULKFETCH_NOT_SET"
    ):
        get(server.url("/a"))
    broken = OriginCookies.__init__
    with pytest.raises(NotAuthorised, match="a character no cookie may have"):
        broken(OriginCookies.__new__(OriginCookies), Origin("http", "h.example", 80),
               Cookies(values=(("a", Secret("literal:x;y")),)), None)  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_a_cookie_file_that_others_may_read_is_warned_about(cookie_file):
    table = {"host": {"h.example": {"cookies": str(cookie_file)}}}
    assert from_table(table).warnings == ()
    Path(cookie_file).chmod(0o644)
    assert from_table(table).warnings == (f"other users may read {cookie_file}: chmod 600 it",)


# -- connections ----------------------------------------------------------------------------------


def test_a_login_again_met_a_connection_that_had_gone_stale(server, ask):
    portal = Portal(server, lasts=1)
    portal.grant = {"close_after": 1}  # whatever comes on a used connection is lost
    get = ask(section(portal))
    assert [get(server.url(path)) for path in ("/a", "/b", "/c")] == [(200, b"yes")] * 3
    assert len(portal.asked) == 3
