"""Credentials on the wire: what each kind sends, to whom, and what it does when it is refused.

A secret is registered for as long as the process lives: those here begin with "4uth", as nothing else does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import threading
from base64 import b64encode
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests
from awssignature import signature
from faultserver import Forever, route
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from bulkfetch.auth import (
    Basic,
    Bearer,
    Digest,
    HeaderKey,
    Netrc,
    OAuth2,
    QueryKey,
    SigV4,
    add_params,
    field_text,
)
from bulkfetch.config import FetchConfig
from bulkfetch.errors import NotAuthorised, ServerFailed, Stopped, UsageError
from bulkfetch.exchange import Exchange
from bulkfetch.models import Origin
from bulkfetch.netrcfile import netrc_path, read_netrc
from bulkfetch.policy import Policies, from_table
from bulkfetch.safetext import redact
from bulkfetch.secrets import Secret
from bulkfetch.transport.auth import HeaderAuth, make_auth
from bulkfetch.transport.oauth import TokenSource
from bulkfetch.transport.route import Route
from bulkfetch.urls import origin_of
from bulkfetch.watchdog import Lease

ORIGIN = Origin("http", "127.0.0.1", 80)
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes")


def basic(user, password):
    """Return the value of an Authorization field."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.fixture
def session():
    """A session as a transport makes one: no environment, no redirects of its own."""
    with requests.Session() as opened:
        opened.trust_env = False
        opened.headers.update({"Accept-Encoding": "identity"})
        opened.request = lambda *args, call=opened.request, **options: call(
            *args, **{"stream": True, "allow_redirects": False, "timeout": 10, **options}
        )
        yield opened


def no_route(origin):
    """Stand for the way to a token endpoint where none is needed."""
    pytest.fail(f"nobody wants to know how to get to {origin}")


def made(auth, origin=ORIGIN, route_to=no_route) -> AuthBase | None:
    """Return the `requests` object for what a policy says."""
    return make_auth(auth, origin, route_to, lambda: None)


# -- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        (Basic("me", Secret("4uth-pass")), "Authorization", basic("me", "4uth-pass")),
        (
            Basic("m\u00e9", Secret("4uth-\u20ac")),
            "Authorization",
            basic("m\u00e9", "4uth-\u20ac"),
        ),
        (Bearer(Secret("4uth-token")), "Authorization", "Bearer 4uth-token"),
        (HeaderKey("X-Api-Key", Secret("4uth-key")), "X-Api-Key", "4uth-key"),
        (lambda origin: HeaderAuth("X-Origin", str(origin)), "X-Origin", "http://127.0.0.1"),
        (HeaderAuth("X-Own", "own"), "X-Own", "own"),
        (lambda _: ("me", "4uth-pair"), "Authorization", basic("me", "4uth-pair")),
    ],
    ids=["basic", "basic in UTF-8", "bearer", "header", "factory", "requests object", "factory of a pair"],
)
def test_a_header_is_sent(server, session, auth, name, value):
    server.add("/a", body=b"yes", require={name: value})
    assert session.get(server.url("/a"), auth=made(auth)).content == b"yes"
    assert session.get(server.url("/a")).status_code == 401


def test_a_query_key_is_sent_behind_what_is_there(server, session):
    server.add("/a?x=%2F&key=4uth%2F%20%26", body=b"yes")
    auth = made(QueryKey("key", Secret("4uth/ &")))
    assert session.get(server.url("/a?x=%2F"), auth=auth).content == b"yes"


@pytest.mark.parametrize("auth", [None, lambda origin: None])
def test_nothing_is_sent(auth):
    assert made(auth) is None


@pytest.mark.parametrize(
    ("auth", "why"),
    [
        (Basic("a:b", Secret("4uth-pass")), "a user name with a colon"),
        (
            Bearer(Secret("env:BULKFETCH_NO_SUCH_VARIABLE")),
            "the variable BULKFETCH_NO_SUCH_VARIABLE is not set",
        ),
        (Bearer(Secret("4uth\nX-Evil: 1")), "has a character no header may have"),
        (HeaderKey("X", Secret("4uth-\u20ac")), "the value of X from .* has a character no header may have"),
        (lambda origin: 5, "the program's auth made int, not a requests auth object"),
    ],
)
def test_credentials_that_cannot_be_sent(auth, why):
    with pytest.raises(NotAuthorised, match=f"^no credentials for http://127.0.0.1: .*{why}") as caught:
        made(auth)
    assert "4uth" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("pair", [("me", "4uth-redacted"), ("4uth-as-user", ""), ("4uth-as-user", "x")])
def test_basic_authentication_is_redacted(pair):
    made(Basic(*map(Secret, pair)))
    assert redact(f"Authorization: {basic(*pair)}") == "Authorization: Basic ***"


@pytest.mark.parametrize(
    ("url", "added"),
    [
        ("http://h/", "http://h/?a=1&b=%2F"),
        ("http://h/?", "http://h/?a=1&b=%2F"),
        ("http://h/x?q", "http://h/x?q&a=1&b=%2F"),
        ("http://h/x?q&", "http://h/x?q&a=1&b=%2F"),
    ],
)
def test_params_are_added(url, added):
    assert add_params(url, [("a", "1"), ("b", Secret("literal:/"))]) == added
    assert add_params(url, []) == url


@pytest.mark.parametrize("text", ["", "a b\t~", "\xe9"])
def test_field_values(text):
    assert field_text("X", text) == text


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "\0", "\x7f", "\u20ac"])
def test_no_field_values(text):
    with pytest.raises(UsageError, match="the value of X has a character no header may have"):
        field_text("X", text)


# -- digest ---------------------------------------------------------------------------------------


class DigestHost:
    """A path behind digest authentication (RFC 7616, SHA-256, qop=auth)."""

    def __init__(self, server, **challenge):
        self.challenge = challenge
        self.nonce = "n0nce"
        server.add_generator(self.answer)

    def answer(self, request):
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', request.headers.get("Authorization", "")))
        if given.get("nonce") == self.nonce and given["response"] == self.expected(request, given):
            return route(body=b"yes")
        told = f'Digest realm="r", nonce="{self.nonce}", qop="auth", algorithm=SHA-256'
        return route(status=401, extra_headers=[("WWW-Authenticate", told)], **self.challenge)

    def expected(self, request, given):
        def digest(text):
            return hashlib.sha256(text.encode()).hexdigest()

        secret, asked = digest("me:r:4uth-digest"), digest(f"{request.method}:{request.target}")
        return digest(f"{secret}:{self.nonce}:{given['nc']}:{given['cnonce']}:auth:{asked}")


@pytest.fixture
def digest():
    """Digest credentials, ready to send."""
    return made(Digest("me", Secret("4uth-digest")))


def test_digest(server, session, digest):
    DigestHost(server, body=b"x" * 1000)
    for path in ("/a?b=c", "/d"):
        assert session.get(server.url(path), auth=digest).content == b"yes"
    assert [r.status for r in server.requests] == [401, 200, 200], "the second is authorised at once"
    assert server.connections == 1


def test_digest_with_a_new_nonce(server, session, digest):
    host = DigestHost(server)
    assert session.get(server.url("/a"), auth=digest).content == b"yes"
    host.nonce = "another"
    assert session.get(server.url("/a"), auth=digest).content == b"yes"


def test_digest_with_the_wrong_password(server, session):
    DigestHost(server)
    auth = made(Digest("me", Secret("4uth-wrong")))
    assert session.get(server.url("/a"), auth=auth).status_code == 401
    assert len(server.requests) == 2


def test_the_endless_body_of_a_challenge_is_not_read(server, session, digest):
    DigestHost(server, body=Forever(b"x" * 1000, 0.0))
    assert session.get(server.url("/a"), auth=digest).content == b"yes"
    assert server.connections == 2, "the first was closed"


def test_the_broken_body_of_a_challenge_does_no_harm(server, session, digest):
    DigestHost(server, body=b"x" * 1000, cut=10)
    assert session.get(server.url("/a"), auth=digest).content == b"yes"


# -- netrc ----------------------------------------------------------------------------------------

NETRC = """\
machine example.org login me password 4uth-netrc
machine EXAMPLE.net login you password 4uth-upper
machine nopass.org login me
default login anyone password 4uth-anyone
"""


@pytest.fixture
def netrc(tmp_path):
    """A netrc file that only its owner may read."""
    path = tmp_path / "netrc"
    path.write_text(NETRC)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("example.org", ("me", "4uth-netrc")),
        ("example.net", ("you", "4uth-upper")),
        ("nopass.org", None),
        ("www.example.org", None),
        ("org", None),
        ("default", None),
        ("evil.test", None),
    ],
)
def test_netrc_is_for_the_exact_host(netrc, host, found):
    assert read_netrc(netrc, host) == found


def test_netrc_on_the_wire(netrc, server, session):
    server.add("/a", body=b"yes")
    for host, sent in (("example.org", basic("me", "4uth-netrc")), ("evil.test", None)):
        auth = made(Netrc(str(netrc)), Origin("https", host, 443))
        session.get(server.url("/a"), auth=auth)
        assert server.requests[-1].headers.get("Authorization") == sent
    assert "4uth-netrc" not in redact("password 4uth-netrc")


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_netrc_that_others_may_open_is_not_used(netrc, mode):
    netrc.chmod(mode)
    with pytest.raises(NotAuthorised, match=f"other users may read {netrc}, so it is not used: chmod 600 it"):
        made(Netrc(str(netrc)), Origin("https", "example.org", 443))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("machine a login b password c\n4uth-nonsense\n", "line [23]: not a netrc file"),
        (None, "cannot be read"),
    ],
)
def test_netrc_that_is_none(netrc, content, why):
    netrc.unlink()
    if content is not None:
        netrc.write_text(content)
        netrc.chmod(0o600)
    with pytest.raises(UsageError, match=why) as caught:
        read_netrc(netrc, "example.org")
    assert "4uth" not in str(caught.value)


def test_where_netrc_is(tmp_path):
    assert netrc_path({"NETRC": "/x/y"}, tmp_path) == Path("/x/y")
    assert netrc_path({}, tmp_path) == tmp_path / ".netrc"
    (tmp_path / "_netrc").write_text("")
    assert netrc_path({"NETRC": ""}, tmp_path) == tmp_path / ("_netrc" if os.name == "nt" else ".netrc")


# -- OAuth 2 --------------------------------------------------------------------------------------


class TokenHost:
    """A token endpoint at /token, and a resource at every other path for the latest token."""

    def __init__(self, server, **answer):
        self.answer_with = {"expires_in": 3600, "token_type": "Bearer", **answer}
        self.options = {}
        self.asked: list[dict[str, list[str]]] = []
        self.number = 0
        self.lock = threading.Lock()
        server.add_generator(self.answer)
        self.server = server

    @property
    def valid(self):
        return f"4uth-token-{self.number}"

    def answer(self, request):
        if request.path == "/token":
            return self.grant(request)
        is_valid = request.headers.get("Authorization") == f"Bearer {self.valid}"
        return route(body=b"yes") if is_valid else route(status=401, body=b"no")

    def grant(self, request):
        with self.lock:
            self.asked.append(
                {**parse_qs(request.body.decode()), "sent": [request.headers.get("Authorization")]}
            )
            self.number += 1
            told = {"access_token": self.valid, **self.answer_with}
        kept = json.dumps({name: value for name, value in told.items() if value is not None})
        return route(**{"body": kept.encode(), "content_type": "application/json", **self.options})

    def policy(self, **changes):
        values = {"client_id": "me", "client_secret": Secret("4uth-client"), **changes}
        return OAuth2(token_url=self.server.url("/token"), **values)

    def route_to(self, origin):
        options = {"timeout": 10, "verify": str(self.server.ca_file), "proxies": {}, "cert": None}
        return Route(HTTPAdapter(), options)


@pytest.fixture
def tokens(tls_server, session):
    """A token host whose certificate the session trusts."""
    pytest.importorskip("requests_oauthlib")
    session.verify = str(tls_server.ca_file)
    return TokenHost(tls_server)


CLIENT = basic("me", "4uth-client")


def test_oauth_token_is_asked_for_once(tokens, session):
    auth = made(tokens.policy(scope=("a", "b"), params=(("audience", "x y"),)), route_to=tokens.route_to)
    for path in ("/a", "/b"):
        assert session.get(tokens.server.url(path), auth=auth).content == b"yes"
    assert tokens.asked == [
        {"grant_type": ["client_credentials"], "scope": ["a b"], "audience": ["x y"], "sent": [CLIENT]}
    ]


def test_a_request_for_a_token_met_a_connection_that_had_gone_stale(tokens):
    tokens.answer_with, tokens.options = {"expires_in": -1}, {"close_after": 1}
    config = FetchConfig(ca_bundle=str(tokens.server.ca_file))
    auth = {"type": "oauth2", "token_url": tokens.server.url("/token"), "client_id": "me"}
    sections = {"host": {tokens.server.netloc: {"auth": {**auth, "client_secret": "4uth-client"}}}}
    with contextlib.closing(Exchange(config, Policies(config, [from_table(sections)]))) as exchange:
        for path in ("/a", "/b"):
            url = tokens.server.url(path)
            reply = exchange.open(origin_of(url), url, {}, Lease())
            assert bytes(reply.read(1000)) == b"yes"
            assert not reply.read(1000)
            reply.close()
    assert len(tokens.asked) == 2


def test_oauth_credentials_in_the_body(tokens, session):
    auth = made(tokens.policy(in_body=True), route_to=tokens.route_to)
    assert session.get(tokens.server.url("/a"), auth=auth).content == b"yes"
    assert tokens.asked == [
        {
            "grant_type": ["client_credentials"],
            "client_id": ["me"],
            "client_secret": ["4uth-client"],
            "sent": [None],
        }
    ]


def test_oauth_refresh_token_that_changes(tokens, session):
    tokens.answer_with["refresh_token"] = "4uth-refresh-2"
    policy = tokens.policy(refresh_token=Secret("4uth-refresh-1"), client_secret=None)
    auth = made(policy, route_to=tokens.route_to)
    assert session.get(tokens.server.url("/a"), auth=auth).content == b"yes"
    tokens.number += 1  # revoked
    assert session.get(tokens.server.url("/a"), auth=auth).content == b"yes"
    assert tokens.asked == [
        {
            "grant_type": ["refresh_token"],
            "refresh_token": [f"4uth-refresh-{n}"],
            "client_id": ["me"],
            "sent": [None],
        }
        for n in (1, 2)
    ]
    assert redact("4uth-refresh-2 4uth-token-3") == "*** ***"


def test_oauth_token_that_is_refused_is_replaced_once(tokens, session):
    auth = made(tokens.policy(), route_to=tokens.route_to)
    assert session.get(tokens.server.url("/a"), auth=auth).content == b"yes"
    tokens.number += 1
    answer = session.get(tokens.server.url("/a"), auth=auth)
    assert (answer.status_code, answer.content) == (200, b"yes")
    assert len(tokens.asked) == 2
    tokens.server.add("/never", status=401)
    assert session.get(tokens.server.url("/never"), auth=auth).status_code == 401
    assert len(tokens.asked) == 3
    assert len(tokens.server.hits("/never")) == 2


@pytest.mark.parametrize(
    ("lifetime", "after", "asked"),
    [(3600, 3500.0, 1), (3600, 3571.0, 2), (10, 7.0, 1), (10, 8.5, 2), (None, 1e9, 1)],
)
def test_oauth_token_is_renewed_before_its_end(tokens, clock, lifetime, after, asked):
    tokens.answer_with["expires_in"] = lifetime
    source = TokenSource(tokens.policy(), tokens.route_to, lambda: None, clock)
    source.current()
    clock.advance(after)
    assert source.current() == f"4uth-token-{asked}"


def test_oauth_token_with_another_scope_is_taken(tokens):
    tokens.answer_with["scope"] = "less"
    assert (
        TokenSource(tokens.policy(scope=("a", "b")), tokens.route_to, lambda: None).current()
        == "4uth-token-1"
    )


def test_oauth_workers_share_one_request(tokens):
    gate = threading.Event()
    tokens.options = {"at": {0: gate}}
    source = TokenSource(tokens.policy(), tokens.route_to, lambda: None)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(source.current())) for _ in range(5)]
    for thread in threads:
        thread.start()
    tokens.server.wait_for_hits("/token", 1)
    gate.set()
    for thread in threads:
        thread.join()
    assert found == ["4uth-token-1"] * 5


def test_oauth_when_the_one_that_asks_is_cut_another_asks(tokens):
    gate = threading.Event()
    tokens.options = {"at": {0: gate}, "cut": 5}
    cut = threading.local()

    def check():
        if getattr(cut, "reason", None):
            raise cut.reason

    source = TokenSource(tokens.policy(), tokens.route_to, check)
    results: dict[str, object] = {}

    def first():
        cut.reason = Stopped("the run was stopped")
        try:
            source.current()
        except Stopped as exc:
            results["first"] = exc

    threads = [threading.Thread(target=first)]
    threads[0].start()
    tokens.server.wait_until(lambda: any(request.status for request in tokens.server.requests))
    tokens.options = {}
    threads.append(threading.Thread(target=lambda: results.update(second=source.current())))
    threads[1].start()
    gate.set()
    for thread in threads:
        thread.join()
    assert isinstance(results["first"], Stopped)
    assert results["second"] == "4uth-token-2"


REFUSALS = {
    "wrong client": (
        {
            "status": 401,
            "body": b'{"error": "invalid_client", "error_description": "no \\u001b 4uth-client"}',
        },
        NotAuthorised,
        r"no token from 127.0.0.1: invalid_client: no \\x1b \*\*\*",
    ),
    "no token": ({"body": b"{}"}, NotAuthorised, "no token from 127.0.0.1: missing_token"),
    "a page": ({"body": b"<html>hello"}, NotAuthorised, "no token from 127.0.0.1: missing_token"),
    "redirect": (
        {"redirect": "https://127.0.0.1:1/"},
        NotAuthorised,
        "answered 302, a redirect, which is not followed",
    ),
    "redirect with its body": (
        {"redirect": "https://127.0.0.1:1/", "status": 307},
        NotAuthorised,
        "answered 307, a redirect, which is not followed",
    ),
    "endless": (
        {"body": Forever(b"x" * 65536, 0.0)},
        NotAuthorised,
        "its answer is longer than 262144 bytes",
    ),
    "busy": ({"status": 503}, ServerFailed, "no token from 127.0.0.1: it answered 503"),
    "limited": ({"status": 429}, ServerFailed, "no token from 127.0.0.1: it answered 429"),
    "cut": ({"cut": 3}, ServerFailed, "no token from 127.0.0.1: "),
}


@pytest.mark.parametrize(("options", "kind", "why"), REFUSALS.values(), ids=REFUSALS)
def test_oauth_without_a_token(tokens, session, caplog, options, kind, why):
    caplog.set_level(logging.DEBUG)
    tokens.options = options
    auth = made(tokens.policy(), route_to=tokens.route_to)
    with pytest.raises(kind, match=why) as caught:
        session.get(tokens.server.url("/a"), auth=auth)
    assert len(tokens.asked) == 1
    assert "4uth" not in str(caught.value)
    assert "4uth" not in caplog.text


def test_oauth_logs_no_secrets(tokens, session, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("requests_oauthlib").setLevel(logging.NOTSET)
    auth = made(tokens.policy(), route_to=tokens.route_to)
    assert session.get(tokens.server.url("/a"), auth=auth).content == b"yes"
    assert "4uth" not in caplog.text
    assert CLIENT not in caplog.text


def test_oauth_endpoint_that_cannot_be_reached(tokens):
    tokens.server.accept_as("close")
    with pytest.raises(ServerFailed, match=r"no token from 127\.0\.0\.1: "):
        TokenSource(tokens.policy(), tokens.route_to, lambda: None).current()


def test_oauth_endpoint_with_a_bad_certificate(make_server):
    pytest.importorskip("requests_oauthlib")
    host = TokenHost(make_server(tls=True, cert="self-signed"))
    with pytest.raises(NotAuthorised, match=r"no token from 127\.0\.0\.1: the certificate was refused"):
        TokenSource(host.policy(), host.route_to, lambda: None).current()
    assert host.asked == []


# -- SigV4 ----------------------------------------------------------------------------------------

KEYS = {"access_key": Secret("4uthKEYID"), "secret_key": Secret("4uth/sigv4/secret")}


@pytest.mark.parametrize(
    ("service", "target"),
    [
        *(
            (service, target)
            for service in ("s3", "es")
            for target in ("/", "/a%20b/c~d.bin", "/a?x=1&b=%2F")
        ),
        ("s3", "/a//b"),  # other services sign a normalised path
    ],
)
def test_sigv4_signs_what_is_sent(server, session, service, target):
    pytest.importorskip("botocore")
    server.add_generator(lambda request: route(body=b"yes"))
    auth = made(SigV4(service, "eu-central-1", **KEYS, session_token=Secret("4uth-session")))
    answer = session.get(server.url(target), auth=auth, headers={"Range": "bytes=0-", "X-Amz-Meta": "1"})
    assert answer.content == b"yes"
    (request,) = server.requests
    assert request.headers["Authorization"].endswith(
        f"Signature={signature(request, service, '4uth/sigv4/secret')}"
    )
    signed = re.search("SignedHeaders=([^,]*)", request.headers["Authorization"])[1].split(";")
    assert {"host", "x-amz-date", "x-amz-meta", "x-amz-security-token"} <= set(signed)
    assert "range" not in signed
    assert request.headers["X-Amz-Security-Token"] == "4uth-session"


def test_sigv4_with_the_keys_of_the_aws_tools(monkeypatch, tmp_path, server, session):
    pytest.importorskip("botocore")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    (tmp_path / "credentials").write_text(
        "[work]\naws_access_key_id = 4uthWORK\naws_secret_access_key = 4uth/work/secret\n"
    )
    server.add("/a", body=b"yes")
    auth = made(SigV4("s3", "eu-central-1", profile="work"))
    assert session.get(server.url("/a"), auth=auth).content == b"yes"
    (request,) = server.requests
    assert signature(request, "s3", "4uth/work/secret") in request.headers["Authorization"]
    assert redact("4uth/work/secret") == "***"
    with pytest.raises(NotAuthorised, match="the AWS credentials cannot be read: ProfileNotFound"):
        made(SigV4("s3", "eu-central-1", profile="other"))
    with pytest.raises(NotAuthorised, match="no AWS credentials"):
        made(SigV4("s3", "eu-central-1"))


@pytest.mark.parametrize(
    ("auth", "module", "extra"),
    [
        (OAuth2("https://h/", "me", Secret("4uth-client")), "requests_oauthlib", "oauth"),
        (SigV4("s3", "r", **KEYS), "botocore.auth", "aws"),
    ],
)
def test_a_missing_library_is_named(monkeypatch, auth, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    library = module.partition(".")[0]
    with pytest.raises(NotAuthorised, match=rf"needs {library}: install bulkfetch\[{extra}\]"):
        made(auth)


def test_no_secret_is_in_what_auth_objects_show():
    for auth in (
        Basic("me", Secret("4uth-shown")),
        Bearer(Secret("4uth-shown")),
        OAuth2("https://h/", "me", Secret("4uth-shown")),
    ):
        assert "4uth" not in repr(auth)
    assert unquote(urlsplit(add_params("http://h/", [("a", "b c")])).query) == "a=b c"
