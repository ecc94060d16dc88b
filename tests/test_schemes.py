"""Every way to show who we are: a server for each, asked by the real command with a file of samples/hosts."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from base64 import b64encode
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl

import pytest
from awssignature import signature
from faultserver import certificates, route
from leftovers import find_secrets
from socksproxy import SocksServer

SAMPLES = Path(__file__).parent.parent / "samples" / "hosts"
GOOD, WRONG = "sch3me/good secret", "sch3me/wrong secret"
TOKEN = "sch3me-token-{}"
USER = "reader"
EXTRAS = {"oauth2": "requests_oauthlib", "oauth2-refresh": "requests_oauthlib", "sigv4": "botocore",
                "socks-proxy": "socks"}  # fmt: skip


class Site:
    """One server that lets in who shows what a scheme wants, and what else the scheme needs."""

    def __init__(self, make_server, folder):
        self.make_server = make_server
        self.folder = folder
        self.server = make_server()
        self.replace = {}
        self.env = {}
        self.wrong = {}
        self.closing = []
        self.tokens = 0
        self.lock = threading.Lock()
        self.refusal = {"status": 401, "body": b"no"}

    def let_in(self, is_good, server=None):
        """Answer requests that are good, refuse all others."""
        (server or self.server).add_generator(
            lambda request: route(body=b"yes") if is_good(request) else route(**self.refusal)
        )

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)

    def policy(self, name):
        """Return the sample, its hosts replaced."""
        text = (SAMPLES / f"{name}.toml").read_text("utf-8")
        named = {"https://api.example.org": self.server.origin, "api.example.org": self.server.netloc}
        for old, new in {**named, **self.replace}.items():
            text = text.replace(old, new)
        self.file(f"{name}.toml", text)
        return self.folder / f"{name}.toml"


def basic(user, password):
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def has_header(name, value):
    return lambda request: request.headers.get(name) == value


def serve_basic(site):
    site.let_in(has_header("Authorization", basic(USER, GOOD)))
    site.env, site.wrong = {"API_PASSWORD": GOOD}, {"API_PASSWORD": WRONG}


def serve_bearer(site):
    site.let_in(has_header("Authorization", f"Bearer {GOOD}"))
    site.env, site.wrong = {"API_TOKEN": GOOD}, {"API_TOKEN": WRONG}


def serve_header_key(site):
    site.let_in(has_header("X-Api-Key", GOOD))
    site.env, site.wrong = {"API_KEY": GOOD}, {"API_KEY": WRONG}


def serve_query_key(site):
    site.let_in(lambda request: parse_qs(request.query).get("key") == [GOOD])
    site.env, site.wrong = {"API_KEY": GOOD}, {"API_KEY": WRONG}


def serve_digest(site):
    def is_good(request):
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', request.headers.get("Authorization") or ""))
        if fields.get("username") != USER or fields.get("nonce") != "n0nce":
            return False
        first, second = (
            hashlib.sha256(text.encode()).hexdigest()
            for text in (f"{USER}:files:{GOOD}", f"GET:{fields['uri']}")
        )
        whole = f"{first}:n0nce:{fields['nc']}:{fields['cnonce']}:auth:{second}"
        return fields["response"] == hashlib.sha256(whole.encode()).hexdigest()

    challenge = 'Digest realm="files", nonce="n0nce", qop="auth", algorithm=SHA-256'
    site.refusal["extra_headers"] = [("WWW-Authenticate", challenge)]
    site.let_in(is_good)
    site.env, site.wrong = {"API_PASSWORD": GOOD}, {"API_PASSWORD": WRONG}


def serve_login(site):
    def log_in(request):
        sent = dict(parse_qsl(request.body.decode()))
        if sent == {"user": USER, "password": GOOD}:
            return route(extra_headers=[("Set-Cookie", f"sid={TOKEN.format(0)}; HttpOnly")])
        return route(status=403)

    site.server.add_generator(lambda request: log_in(request) if request.path == "/login" else None)
    site.let_in(has_header("Cookie", f"sid={TOKEN.format(0)}"))
    site.env, site.wrong = {"API_PASSWORD": GOOD}, {"API_PASSWORD": WRONG}


def serve_cookies(site):
    site.file("cookies.txt", f"#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t0\tsid\t{TOKEN.format(0)}\n")
    site.let_in(has_header("Cookie", f"sid={TOKEN.format(0)}"))


def serve_oauth2(site, grant=None):
    host = site.make_server(tls=True)
    grant = grant or {"grant_type": ["client_credentials"], "scope": ["read"]}

    def give(request):
        sent = parse_qs(request.body.decode())
        is_client = request.headers.get("Authorization") == basic("bulkfetch", GOOD)
        if (
            request.path != "/token"
            or not ("refresh_token" in grant or is_client)
            or sent.items() < grant.items()
        ):
            return route(status=401, body=b'{"error": "invalid_client"}')
        if any(sent.get(name) != value for name, value in grant.items()):
            return route(status=400, body=b'{"error": "invalid_grant"}')
        with site.lock:
            site.tokens += 1
        told = {"access_token": TOKEN.format(site.tokens), "token_type": "Bearer", "expires_in": 3600}
        return route(body=json.dumps(told), content_type="application/json")

    host.add_generator(give)
    site.let_in(lambda request: request.headers.get("Authorization") == f"Bearer {TOKEN.format(site.tokens)}")
    site.replace["https://login.example.org"] = host.origin
    site.env, site.wrong = {"CLIENT_SECRET": GOOD}, {"CLIENT_SECRET": WRONG}


def serve_oauth2_refresh(site):
    serve_oauth2(site, {"grant_type": ["refresh_token"], "refresh_token": [GOOD]})
    site.env, site.wrong = {"REFRESH_TOKEN": GOOD}, {"REFRESH_TOKEN": WRONG}


def serve_sigv4(site):
    site.let_in(
        lambda request: f"Signature={signature(request, 's3', GOOD)}" in request.headers["Authorization"]
    )
    key = {"ACCESS_KEY": "AKIDEXAMPLE"}
    site.env, site.wrong = {**key, "SECRET_KEY": GOOD}, {**key, "SECRET_KEY": WRONG}


def serve_client_cert(site):
    site.server = site.make_server(tls=True, client_cert=True)
    site.let_in(lambda request: True)
    shutil.copy(site.server.client_cert_file, site.folder / "client.pem")
    (site.folder / "client.pem").chmod(0o600)


def serve_netrc(site):
    site.let_in(has_header("Authorization", basic(USER, "sch3me-netrc")))
    site.file(
        "netrc", f"machine 127.0.0.1 login {USER} password sch3me-netrc\nmachine h login x password y\n"
    )


def serve_http_proxy(site, tls=False):
    site.server = site.make_server(tls=tls)
    proxy = site.make_server(tunnel=True)
    wanted = basic(USER, GOOD)
    is_good = has_header("Proxy-Authorization", wanted)
    if tls:
        site.let_in(lambda request: True)
        proxy.add_generator(lambda request: None if is_good(request) else route(status=407))
    else:
        site.refusal = {"status": 407, "body": b"no"}
        site.let_in(is_good, proxy)
    site.env, site.wrong = (
        {"CORPORATE_PROXY": f"http://{USER}:{password}@{proxy.netloc}"}
        for password in (GOOD.replace("/", "%2F").replace(" ", "%20"), "sch3me-wrong")
    )


def serve_https_over_proxy(site):
    serve_http_proxy(site, tls=True)


def serve_socks_proxy(site):
    proxy = SocksServer((USER, "sch3me-socks"))
    site.closing.append(proxy)
    site.let_in(lambda request: bool(proxy.targets))
    site.env, site.wrong = (
        {"SOCKS_PROXY": proxy.url(login=f"{USER}:sch3me-{p}")} for p in ("socks", "wrong")
    )


SCHEMES = {
    "basic": serve_basic, "digest": serve_digest, "bearer": serve_bearer, "header-key": serve_header_key,
    "query-key": serve_query_key, "login": serve_login, "cookies": serve_cookies, "oauth2": serve_oauth2,
    "oauth2-refresh": serve_oauth2_refresh, "sigv4": serve_sigv4, "client-cert": serve_client_cert,
    "netrc": serve_netrc, "http-proxy": serve_http_proxy, "socks-proxy": serve_socks_proxy,
}  # fmt: skip
CASES = [*SCHEMES.items(), ("http-proxy", serve_https_over_proxy)]
IDS = [*SCHEMES, "http-proxy with CONNECT"]
SECRETS = (
    GOOD,
    WRONG,
    *(TOKEN.format(n) for n in range(4)),
    "sch3me-netrc",
    "sch3me-socks",
    "sch3me-wrong",
    "sch3me",
)


@pytest.fixture
def run(make_server, tmp_path, run_bulkfetch):
    """Return a function that sets up schemes and fetches with all of them; no secret may be left anywhere."""
    folder, out = tmp_path / "policy", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    sites = []

    def fetch(cases, urls, *options, wrong=False):
        environment = {}
        for name, serve in cases:
            if name in EXTRAS:
                pytest.importorskip(EXTRAS[name])
            sites.append(Site(make_server, folder))
            serve(sites[-1])
            environment |= sites[-1].wrong if wrong else sites[-1].env
        texts = [site.policy(name).read_text("utf-8") for site, (name, _) in zip(sites, cases, strict=True)]
        (folder / "policy.toml").write_text("\n".join(texts), "utf-8")
        (folder / "policy.toml").chmod(0o600)
        addresses = [site.server.url(f"/{n}") for site in sites for n in range(urls)]
        recorded = ("--events", out / "events", "--failed", out / "failed", "--log-file", out / "log")
        trusted = ("--ca-bundle", certificates.ca_file())
        where = ("-d", out / "data", "--config", folder / "policy.toml")
        done = run_bulkfetch("get", *addresses, *where, *recorded, *trusted, *options, env=environment)
        left = find_secrets(SECRETS, (done.stdout, done.stderr), out, users=(USER, "bulkfetch", ""))
        assert left == []
        return sites, done

    yield fetch
    for site in sites:
        for each in site.closing:
            each.__exit__()


def test_every_sample_has_its_test():
    assert {path.stem for path in SAMPLES.glob("*.toml")} == set(SCHEMES)


@pytest.mark.parametrize(("name", "serve"), CASES, ids=IDS)
def test_the_sample_lets_us_in(run, name, serve, tmp_path):
    (site,), done = run([(name, serve)], 3, "-vv")
    assert done.returncode == 0, done.stderr
    assert [path.read_bytes() for path in sorted((tmp_path / "out" / "data").glob("?"))] == [b"yes"] * 3
    if name.startswith("oauth2"):
        assert site.tokens == 1, "asked for once"


NOTHING_TO_MISTYPE = ("cookies", "netrc", "client-cert")
MISTAKES = [case for case in SCHEMES.items() if case[0] not in NOTHING_TO_MISTYPE]


@pytest.mark.parametrize("cases", [MISTAKES, CASES[-1:]], ids=["all at once", "CONNECT"])
def test_wrong_credentials_are_one_clear_line_a_host(run, cases):
    sites, done = run(cases, 4, "--layout", "tree", wrong=True)
    assert done.returncode == 1
    told = [line.split(maxsplit=2)[1:] for line in done.stderr.splitlines() if line.startswith("failed ")]
    assert len({name.partition("/")[0] for name, _ in told}) == len(told) == len(sites), done.stderr
    for _, why in told:
        assert re.search("401|403|407|login|token|refuses us", why), told
    assert "more of kind auth from 127.0.0.1:" in done.stderr


def test_a_token_that_expires_is_renewed_once(run, tmp_path):
    def serve(site):
        serve_oauth2(site)
        uses = []

        def is_good(request):  # the first token is good for one answer
            sent = request.headers.get("Authorization")
            with site.lock:
                uses.append(sent)
                is_old = sent == f"Bearer {TOKEN.format(1)}" and uses.count(sent) > 1
            return not is_old and sent in {f"Bearer {TOKEN.format(n)}" for n in (1, 2)}

        site.server = site.make_server()
        site.let_in(is_good)

    (site,), done = run([("oauth2", serve)], 6)
    assert done.returncode == 0, done.stderr
    assert site.tokens == 2
