"""The leak matrix: each kind of credential, each way to leave its origin; the other side receives nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from faultserver import certificates, route
from leftovers import forms_of

from bulkfetch.config import FetchConfig
from bulkfetch.fetcher import Fetcher
from bulkfetch.models import Status
from bulkfetch.policy import Policies, from_table

SECRET, USER = "l3aked+secret/value", "reader"
HIDDEN = "literal:" + SECRET
CHALLENGE = ("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth"')
KEYS = {"service": "s3", "region": "eu-central-1", "access_key": "env:LEAK_ID", "secret_key": HIDDEN}


@dataclass
class Kind:
    """A credential of the home origin."""

    section: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)  # of FetchConfig
    column: dict[str, str] = field(default_factory=dict)  # of the entry
    userinfo: str = ""
    sets_cookie: bool = False
    is_cert: bool = False
    for_named: bool = False  # a mirror is named by the manifest, and gets it
    shows: str = SECRET  # what home must have seen, or the test shows nothing

    @property
    def is_auth(self) -> bool:
        return "auth" in self.section


def auth(kind, shows=SECRET, **values):
    return Kind({"auth": {"type": kind, **values}}, shows=shows)


CERT = certificates.client_cert_file()
KINDS = {
    "basic": auth("basic", username=USER, password=HIDDEN),
    "digest": auth("digest", "Digest username", username=USER, password=HIDDEN),
    "bearer": auth("bearer", token=HIDDEN),
    "header key": auth("header", name="X-Api-Key", value=HIDDEN),
    "query key": auth("query", name="key", value=HIDDEN),
    "oauth2": auth("oauth2", token_url="TOKENS/token", client_id=USER, client_secret=HIDDEN),
    "refresh token": auth("oauth2", token_url="TOKENS/token", client_id=USER, refresh_token=HIDDEN),
    "sigv4": auth("sigv4", "Signature=", **KEYS),
    "netrc": auth("netrc", file="NETRC"),
    "header": Kind({"headers": {"X-Team": HIDDEN}}),
    "param": Kind({"params": {"team": HIDDEN}}),
    "cookie": Kind({"cookies": {"sid": HIDDEN}}),
    "cookie file": Kind({"cookies": "COOKIES"}),
    "login": Kind({"login": {"url": "HOME/login", "form": {"user": USER, "password": HIDDEN}}}),
    "cookie that was set": Kind(sets_cookie=True),
    "header of the run": Kind(options={"headers": (("X-Run", SECRET),)}, for_named=True),
    "header of an entry": Kind(column={"header.X-Entry": SECRET}, for_named=True),
    "userinfo": Kind(userinfo=f"{USER}:l3aked%2Bsecret%2Fvalue@"),
    "proxy": Kind({"proxy": f"http://{USER}:l3aked%2Bsecret%2Fvalue@PROXY"}, shows=""),
    "certificate of a host": Kind({"client_cert": CERT}, is_cert=True, shows=""),
    "certificate of the run": Kind(options={"client_cert": CERT}, is_cert=True, for_named=True, shows=""),
}
WAYS = ("another host", "another port", "http to https", "https to http", "mirror", "token", "login", "proxy")
EXTRAS = {"oauth2": "requests_oauthlib", "refresh token": "requests_oauthlib", "sigv4": "botocore"}


def makes_sense(kind, way):
    found = KINDS[kind]
    if way == "mirror" and found.for_named:
        return False  # the manifest names it: by contract it gets these
    if way == "token" and found.is_auth:
        return False  # an origin has one kind of auth; what the endpoint gets of its own is `test_schemes`
    if way == "login" and kind == "login":
        return False  # the login's own place
    return not (way == "proxy" and kind == "proxy") and not (found.is_cert and way == "http to https")


CASES = [(kind, way) for kind in KINDS for way in WAYS if makes_sense(kind, way)]


class World:
    """A home that wants a credential, another place, and a way that leads from here to there."""

    def __init__(self, make_server, folder, kind, way):
        self.kind, self.way = KINDS[kind], way
        is_tls = way in ("https to http", "proxy") or self.kind.is_cert or "proxy" in self.kind.section
        self.home = make_server(tls=is_tls, client_cert=self.kind.is_cert)
        self.other = self._make_other(make_server, is_tls)
        self.tokens = make_server(tls=True)
        self.proxy = make_server(tunnel=True)
        self.values = {"HOME": self.home.origin, "TOKENS": self.tokens.origin, "PROXY": self.proxy.netloc}
        for name, text in (
            ("NETRC", f"machine 127.0.0.1 login {USER} password {SECRET}\n"),
            ("COOKIES", f"127.0.0.1\tFALSE\t/\tFALSE\t0\tsid\t{SECRET}\n"),
        ):
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
            self.values[name] = str(folder / name)
        self.home.add_generator(self._at_home)
        self.tokens.add_generator(self._grant)
        self.other.add_generator(self._elsewhere)

    def _make_other(self, make_server, is_home_tls):
        wants_cert = self.kind.is_cert and self.way not in ("https to http", "proxy")
        if self.way in ("token", "login"):
            return make_server(tls=True, client_cert=wants_cert)
        if self.way == "proxy":
            return make_server(tunnel=True)
        is_tls = self.way == "http to https" or (is_home_tls and self.way != "https to http")
        host = "127.0.0.2" if self.way in ("another host", "mirror") else "127.0.0.1"
        return make_server(tls=is_tls, host=host, client_cert=wants_cert)

    def _at_home(self, request):
        kind = self.kind
        if request.path == "/login":
            return route(extra_headers=[("Set-Cookie", f"sid={SECRET}")])
        if kind.section.get("auth", {}).get("type") == "digest" and "Authorization" not in request.headers:
            return route(status=401, extra_headers=[CHALLENGE])
        if request.path == "/first":
            return route(
                body=b"a", extra_headers=[("Set-Cookie", f"sid={SECRET}")] if kind.sets_cookie else []
            )
        if self.way == "mirror":
            return route(status=404)
        if self.way in ("token", "login", "proxy"):
            return route(body=b"b")
        return route(redirect=self.other.url("/b"))

    def _grant(self, _request):
        told = {"access_token": SECRET, "token_type": "Bearer"}
        return route(body=json.dumps(told), content_type="application/json")

    def _elsewhere(self, request):
        if request.path == "/token":
            return self._grant(request)
        if request.path == "/login":
            return route(extra_headers=[("Set-Cookie", "other=1")])
        return None if request.method == "CONNECT" else route(body=b"b")

    def section(self):
        """Return what the policy says of home."""
        section = json.loads(self._filled(json.dumps(self.kind.section)))
        if self.way == "token":
            url = self.other.url("/token")
            section["auth"] = {
                "type": "oauth2",
                "token_url": url,
                "client_id": "x",
                "client_secret": "literal:l3aked-elsewhere",
            }
        if self.way == "login":
            section["login"] = {"url": self.other.url("/login"), "form": {"a": "b"}}
        if self.way == "proxy":
            section["proxy"] = self.other.origin
        return section

    def _filled(self, text):
        for name, value in self.values.items():
            text = text.replace(name, value)
        return text

    def entries(self):
        """Return the manifest: one entry that stays, then one that leads away."""
        start = self.home.origin.replace("://", f"://{self.kind.userinfo}")
        away = [f"{start}/away", self.other.url("/b")] if self.way == "mirror" else f"{start}/away"
        return [{"url": f"{start}/first", **self.kind.column}, {"url": away, **self.kind.column}]


def received(server):
    """Return all that a server got, as one text."""
    return "\n".join(f"{r.target} {r.headers.pairs} {r.body!r}" for r in server.requests).encode()


@pytest.mark.parametrize("transport", ["auto", "requests"])
@pytest.mark.parametrize(("kind", "way"), CASES, ids=[f"{kind}, {way}" for kind, way in CASES])
def test_nothing_leaks(make_server, tmp_path, monkeypatch, kind, way, transport):
    if kind in EXTRAS or way == "token":
        pytest.importorskip(EXTRAS.get(kind, "requests_oauthlib"))
    monkeypatch.setenv("LEAK_ID", "AKIDLEAK")
    world = World(make_server, tmp_path, kind, way)
    config = FetchConfig(
        dest=tmp_path / "out", jobs=1, per_host=1, retries=0, transport=transport, connect_timeout=30.0,
        ca_bundle=certificates.ca_file(), **world.kind.options,
    )  # fmt: skip
    policies = Policies(config, [from_table({"host": {world.home.netloc: world.section()}})])
    with Fetcher(config, policies=policies) as fetcher:
        first, away = fetcher.run(world.entries())
    if world.kind.is_cert and way not in ("https to http", "proxy"):
        expected = Status.FAILED if way in ("token", "login") else Status.FETCHED  # it is shown at home
        assert (first.status, away.status) == (expected, Status.FAILED)
        assert world.other.requests == []  # it wants a certificate too, and was not shown ours
        return
    assert first.status is Status.FETCHED, first.failure
    if way == "https to http":
        assert away.failure.kind == "redirect"
        assert world.other.requests == []
    else:
        assert away.status is Status.FETCHED, away.failure
        assert world.other.requests
    at_home = received(world.home)
    if world.kind.shows == SECRET:
        assert any(form in at_home for form in forms_of(SECRET, [USER]))
    elif world.kind.shows:
        assert world.kind.shows.encode() in at_home
    for form in (*forms_of(SECRET, [USER]), b"AKIDLEAK", b"Digest username", b"Proxy-Authorization"):
        assert form not in received(world.other), f"{form!r} in {received(world.other)!r}"
    if kind == "proxy":
        assert b"Proxy-Authorization" in received(world.proxy)
        assert b"Proxy-Authorization" not in at_home


def test_the_matrix_is_whole():
    assert {way for _, way in CASES} == set(WAYS)
    assert {kind for kind, _ in CASES} == set(KINDS)
