"""Policy files: what they may say, what holds for a URL, and where it comes from.

A secret is registered for as long as the process lives: those here begin with "pol1cy", as nothing else does.
"""

from __future__ import annotations

import os
import pickle
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkfetch import auth
from bulkfetch.config import USER_AGENT, FetchConfig
from bulkfetch.errors import UsageError
from bulkfetch.models import Origin
from bulkfetch.policy import (
    ClientCert,
    Cookies,
    Expiry,
    HostPolicy,
    Login,
    Policies,
    from_table,
    parse_policy,
    read_policy,
    user_policy_path,
)
from bulkfetch.policy.keys import GROUPS, KEYS
from bulkfetch.policy.lines import find_lines
from bulkfetch.policy.patterns import parse_pattern
from bulkfetch.quantities import parse_duration, parse_rate, parse_size
from bulkfetch.secrets import Secret
from bulkfetch.urls import origin_of

SAMPLE = Path(__file__).parents[1] / "samples" / "policy.toml"
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes")


def policies(text: str, config: FetchConfig | None = None, **options) -> Policies:
    """Return the policies of a TOML text."""
    return Policies(config or FetchConfig(), [parse_policy(text, "policy.toml")], **options)


def only(text: str, url: str = "https://h.example/") -> HostPolicy:
    """Return what a TOML text says of a URL."""
    return policies(text).for_url(url)


def problems(text: str, **options) -> list[str]:
    """Return the lines of the error a TOML text is refused with."""
    with pytest.raises(UsageError) as caught:
        parse_policy(text, "p.toml", **options)
    return str(caught.value).split("\n")


def where(found: Policies, url: str, key: str) -> tuple[str, str]:
    """Return what is shown for one key, and where it is said to come from."""
    return next((one.shown, one.where) for one in found.explain(url) if one.key == key)


# -- patterns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (
            "example.org",
            ["http://example.org/", "https://example.org:8443/x"],
            ["http://www.example.org/", "http://example.org.evil/"],
        ),
        ("Example.ORG", ["http://example.org/"], ["http://example.com/"]),
        (
            "*.example.org",
            ["http://a.example.org/", "https://a.b.example.org:1/"],
            ["http://example.org/", "http://badexample.org/"],
        ),
        (
            "example.org:8443",
            ["http://example.org:8443/", "https://example.org:8443/"],
            ["https://example.org/"],
        ),
        ("example.org:443", ["https://example.org/", "http://example.org:443/"], ["http://example.org/"]),
        (
            "https://example.org",
            ["https://example.org/"],
            ["http://example.org/", "https://example.org:8443/"],
        ),
        ("https://example.org/", ["https://example.org/x"], ["http://example.org/x"]),
        ("http://example.org:8080/a", ["http://example.org:8080/a/b"], ["http://example.org/a/b"]),
        (
            "https://h/a/b",
            ["https://h/a/b", "https://h/a/b/", "https://h/a/b/c", "https://h/a/b?q"],
            ["https://h/a/bc", "https://h/a", "https://h/A/b"],
        ),
        ("https://h/a/", ["https://h/a/", "https://h/a/b"], ["https://h/a", "https://h/ab"]),
        ("https://*.h/a", ["https://x.h/a"], ["https://h/a", "https://x.h/b"]),
        ("[::1]:8080", ["http://[::1]:8080/"], ["http://[::1]/", "http://[::2]:8080/"]),
        ("127.0.0.1", ["http://127.0.0.1:5000/"], ["http://127.0.0.2/"]),
        ("b\u00fccher.example", ["http://xn--bcher-kva.example/"], ["http://bucher.example/"]),
    ],
)
def test_patterns(pattern, matching, others):
    parsed = parse_pattern(pattern)
    found = {
        url: parsed.matches(origin_of(url)) and parsed.covers("/" + url.split("/", 3)[3])
        for url in [*matching, *others]
    }
    assert found == {**dict.fromkeys(matching, True), **dict.fromkeys(others, False)}


NO_PATTERNS = [
    "",
    "*",
    "**.org",
    "a.*.org",
    "a b",
    "user@h",
    "ftp://h",
    "h/path",
    "h:99999",
    "h:0",
    "h:port",
    "a..b",
    "//h",
    "https://h/?q",
    "https://h/#x",
    "[::1",
    "*.",
    "https://",
]


@pytest.mark.parametrize(
    "text",
    NO_PATTERNS,
)
def test_no_patterns(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse_pattern(text)


def test_from_general_to_specific():
    order = ["*.org", "*.example.org", "a.example.org", "a.example.org:443", "https://a.example.org/x"]
    mixed = [order[i] for i in (3, 0, 4, 2, 1)]
    assert sorted(mixed, key=lambda text: parse_pattern(text).rank) == order
    assert parse_pattern("https://h/a").rank < parse_pattern("https://h/a/b").rank


@given(st.text())
def test_any_text_is_a_pattern_or_refused(text):
    try:
        pattern = parse_pattern(text)
    except ValueError:
        return
    assert pattern.host == pattern.host.lower()
    assert pattern.matches(Origin("http", "no such host", 1)) is False


# -- the values -----------------------------------------------------------------------------------


def test_every_plain_value():
    policy = only("""
        [defaults]
        allow_html = true
        backoff = 0.5
        backoff_cap = "2m"
        connect_timeout = 3
        entry_deadline = "1h"
        idle_timeout = "90s"
        limit_rate = "1M"
        max_size = "2G"
        max_wait = "1d"
        min_speed = 0
        per_host = 3
        proxy = "http://proxy:3128"
        rate = "100/m"
        refresh_url = "none"
        retries = 0
        robots = "obey"
        strict = true
        tls_min = "1.3"
        transport = "fast"
        user_agent = "us"
        verify = "system"
    """)
    expected = {
        "allow_html": True,
        "backoff": 0.5,
        "backoff_cap": 120.0,
        "connect_timeout": 3,
        "entry_deadline": 3600.0,
        "idle_timeout": 90.0,
        "limit_rate": 1048576.0,
        "max_size": 2 * 1024**3,
        "max_wait": 86400.0,
        "min_speed": 0.0,
        "per_host": 3,
        "proxy": "http://proxy:3128",
        "rate": 100 / 60,
        "refresh_url": None,
        "retries": 0,
        "robots": "obey",
        "strict": True,
        "tls_min": "1.3",
        "transport": "fast",
        "user_agent": f"{USER_AGENT} (us)",
        "verify": "system",
    }
    assert {key: getattr(policy, key) for key in expected} == expected
    personal = {name for name, key in KEYS.items() if key.personal}
    assert expected.keys() | personal == KEYS.keys(), "a new key belongs into this test"


def test_groups():
    policy = only("""
        [host."h.example"]
        retry.methods = ["GET", "POST"]
        retry.statuses = [404, 503]
        retry.tries = 3
        retry.backoff = "1s"
        retry.backoff_cap = 9
        retry.max_wait = 1
        timeouts = { connect = "2s", idle = "3s" }
    """)
    assert (policy.retries, policy.backoff, policy.backoff_cap, policy.max_wait) == (2, 1.0, 9, 1)
    assert policy.retry_statuses == {404, 503}
    assert policy.retry_methods == {"GET", "POST"}
    assert (policy.connect_timeout, policy.idle_timeout) == (2.0, 3.0)
    assert set(GROUPS) == {"retry", "timeouts"}


def test_groups_are_merged_by_their_keys():
    text = '[defaults.retry]\ntries = 3\n[host."h.example"]\nretry.backoff = 7\n'
    assert (only(text).retries, only(text).backoff) == (2, 7)


def revealed(value):
    """Return a value with its secrets told, for comparing."""
    if isinstance(value, Secret):
        return f"secret {value.reveal()}"
    if isinstance(value, tuple):
        return tuple(map(revealed, value))
    return value


def section(line: str) -> HostPolicy:
    """Return what one line in a host's section says."""
    return only(f'[host."h.example"]\n{line}\n')


def test_headers_and_params():
    found = section(
        'headers = { Accept = "a/b", X-Api-Key = "pol1cy-literal" }\n'
        'params = { a = "b c", key = "literal:env:pol1cy" }'
    )
    assert revealed(found.headers) == (("Accept", "a/b"), ("X-Api-Key", "secret pol1cy-literal"))
    assert revealed(found.params) == (("a", "b c"), ("key", "secret env:pol1cy"))


def test_headers_are_merged_by_name_and_can_be_left_out():
    found = policies("""
        [defaults.headers]
        Accept = "one"
        X-Both = "default"
        X-Kept = "kept"
        [host."h.example".headers]
        accept = false
        x-both = "host"
    """)
    assert found.for_url("https://h.example/").headers == (("x-both", "host"), ("X-Kept", "kept"))
    assert where(found, "https://h.example/", "headers.accept") == (
        "none",
        'policy.toml, line 7, [host."h.example"]',
    )


@pytest.mark.parametrize(
    ("line", "kind", "fields"),
    [
        (
            '{ type = "basic", username = "me", password = "pol1cy-pass" }',
            auth.Basic,
            {"username": "me", "password": "secret pol1cy-pass"},
        ),
        (
            '{ type = "digest", username = "me", password = "pol1cy-pass" }',
            auth.Digest,
            {"username": "me", "password": "secret pol1cy-pass"},
        ),
        ('{ type = "bearer", token = "pol1cy-token" }', auth.Bearer, {"token": "secret pol1cy-token"}),
        (
            '{ type = "header", name = "X-Key", value = "pol1cy-token" }',
            auth.HeaderKey,
            {"name": "X-Key", "value": "secret pol1cy-token"},
        ),
        (
            '{ type = "query", name = "key", value = "pol1cy-token" }',
            auth.QueryKey,
            {"name": "key", "value": "secret pol1cy-token"},
        ),
        ('"netrc"', auth.Netrc, {"file": None}),
        ('{ type = "netrc" }', auth.Netrc, {"file": None}),
        (
            '{ type = "sigv4", service = "s3", region = "r" }',
            auth.SigV4,
            {"service": "s3", "access_key": None, "profile": None},
        ),
        ('{ type = "sigv4", service = "s3", region = "r", profile = "p" }', auth.SigV4, {"profile": "p"}),
        (
            '{ type = "sigv4", service = "es", region = "r", access_key = "pol1cy-key", '
            'secret_key = "pol1cy-secret", session_token = "pol1cy-token" }',
            auth.SigV4,
            {
                "access_key": "secret pol1cy-key",
                "secret_key": "secret pol1cy-secret",
                "session_token": "secret pol1cy-token",
            },
        ),
        (
            '{ type = "oauth2", token_url = "HTTPS://Login/token", client_id = "me", '
            'client_secret = "pol1cy-secret", scope = "a b" }',
            auth.OAuth2,
            {
                "token_url": "https://login/token",
                "client_id": "me",
                "client_secret": "secret pol1cy-secret",
                "scope": ("a", "b"),
                "in_body": False,
            },
        ),
        (
            '{ type = "oauth2", token_url = "https://l/t", client_id = "me", refresh_token = "pol1cy-token", '
            'scope = ["a"], client_auth = "body", params = { audience = "x" } }',
            auth.OAuth2,
            {
                "refresh_token": "secret pol1cy-token",
                "scope": ("a",),
                "in_body": True,
                "client_secret": None,
                "params": (("audience", "x"),),
            },
        ),
    ],
)
def test_auth(line, kind, fields):
    found = section(f"auth = {line}").auth
    assert type(found) is kind
    assert {name: revealed(getattr(found, name)) for name in fields} == fields


def test_auth_is_replaced_as_a_whole_and_turned_off():
    text = """
        [host."*.example"]
        auth = { type = "bearer", token = "pol1cy-token" }
        [host."h.example"]
        auth = "none"
    """
    assert only(text).auth is None
    assert isinstance(only(text, "https://other.example/").auth, auth.Bearer)


def test_auth_of_a_program():
    def make(origin):
        return origin

    table = {"host": {"h.example": {"auth": make}}}
    found = Policies(FetchConfig(), [from_table(table)])
    assert found.for_url("https://h.example/").auth is make
    assert where(found, "https://h.example/", "auth") == ("function", 'the program, [host."h.example"]')


def test_login():
    found = section(
        'login = { url = "https://h.example/login", form = { user = "me", pw = "pol1cy-pass" }, '
        'expired_when = { status = [302], location = "/log.n", content_type = "Text/HTML" } }'
    ).login
    assert found == Login(
        "https://h.example/login", found.form, (), Expiry(frozenset({302}), "/log.n", "text/html")
    )
    assert revealed(found.form) == (("user", "me"), ("pw", "secret pol1cy-pass"))
    assert section('login = { url = "http://h.example/", json = { a = "b" } }').login.json == (("a", "b"),)


def test_files_are_relative_to_the_policy(tmp_path):
    for name in ("ca.pem", "cert.pem", "key.pem", "cookies.txt"):
        (tmp_path / name).write_text("")
    text = """
        [host."h.example"]
        verify = "ca.pem"
        client_cert = { cert = "cert.pem", key = "key.pem", password = "pol1cy-pass" }
        cookies = "cookies.txt"
        [host."i.example"]
        client_cert = "cert.pem"
        cookies = { session = "pol1cy-cookie" }
        auth = { type = "netrc", file = "key.pem" }
    """
    found = Policies(FetchConfig(), [parse_policy(text, folder=tmp_path)])
    first, second = found.for_url("https://h.example/"), found.for_url("https://i.example/")
    assert first.verify == str(tmp_path / "ca.pem")
    assert (first.client_cert.cert, first.client_cert.key) == (
        str(tmp_path / "cert.pem"),
        str(tmp_path / "key.pem"),
    )
    assert revealed(first.client_cert.password) == "secret pol1cy-pass"
    assert first.cookies == Cookies(file=str(tmp_path / "cookies.txt"))
    assert second.client_cert == ClientCert(str(tmp_path / "cert.pem"))
    assert revealed(second.cookies.values) == (("session", "secret pol1cy-cookie"),)
    assert second.auth == auth.Netrc(str(tmp_path / "key.pem"))


@pytest.mark.parametrize(
    ("line", "proxy"),
    [
        ("none", ""),
        ("", ""),
        ("socks5h://127.0.0.1:1080", "socks5h://127.0.0.1:1080"),
        ("http://user:pol1cy-proxy@p:1", "secret http://user:pol1cy-proxy@p:1"),
    ],
)
def test_proxy(line, proxy):
    assert revealed(only(f'[defaults]\nproxy = "{line}"').proxy) == proxy


def test_proxy_elsewhere():
    assert str(section('proxy = "env:CORPORATE_PROXY"').proxy) == "env:CORPORATE_PROXY"


# -- what is refused ------------------------------------------------------------------------------

WRONG = {
    "per_host = 0": "0 is not between 1 and 1024",
    'per_host = "4"': "a whole number is wanted, not text",
    "per_host = true": "a whole number is wanted, not true or false",
    "per_host = 1.5": "a whole number is wanted, not a number",
    'strict = "yes"': "true or false is wanted, not text",
    'rate = "fast"': "'fast' is not a rate such as 5/s or 100/m",
    "rate = 0": "must be more than 0 requests",
    "rate = nan": "nan makes no sense here",
    "proxy = 'http://proxy:99999'": "a proxy is a URL whose scheme is one of",
    "idle_timeout = 0": "must be more than 0 seconds",
    "idle_timeout = -1": "-1 makes no sense here",
    'idle_timeout = "10 s"': "'10 s' is not a duration such as 30, 10m or 2h",
    "idle_timeout = [1]": "a number or a text such as 10s is wanted, not a list",
    "limit_rate = 0": "must be more than 0 bytes per second",
    'max_size = "big"': "'big' is not a size such as 500, 64K, 20M or 1.5G",
    "min_speed = inf": "inf makes no sense here",
    'robots = "obay"': 'one of off, warn, obey is wanted; did you mean "obey"?',
    "tls_min = 1.3": "one of 1.2, 1.3 is wanted",
    'verify = "no-such-file.pem"': "no-such-file.pem does not exist",
    "user_agent = 1": "text is wanted, not a whole number",
    'user_agent = "a\\nb"': "a line break in the text",
    'proxy = "ftp://p"': "a proxy is a URL whose scheme is one of",
    'proxy = "p:3128"': "a proxy is a URL whose scheme is one of",
    'retry = { statuses = ["503"] }': "a whole number is wanted, not text",
    "retry = { statuses = [200] }": "200 is not between 400 and 599",
    "retry = { statuses = 503 }": "a list is wanted, not a whole number",
    'retry = { methods = ["get"] }': '"get" is not a method such as GET',
    "retry = { tries = 0 }": "0 is not between 1 and 100",
    "retry = { trys = 1 }": 'unknown key "trys" in retry; did you mean "tries"?',
    "retry = 3": "a table is wanted",
    "retries = 3\nretry = { tries = 3 }": "retries is set twice",
    "timeouts = { connect = 0 }": "must be more than 0 seconds",
    "perhost = 3": 'unknown key "perhost"; did you mean "per_host"?',
    "zzz = 3": 'unknown key "zzz"',
    "jobs = 3": "belongs to the whole run, not to a host",
    "host_rate = 3": "is written rate here",
    'headers = "Accept: x"': "a table is wanted",
    "headers = { Accept = 1 }": "text is wanted, not a whole number",
    'headers = { "A b" = "x" }': "not the name of a header",
    'headers = { Accept = "\\u20ac" }': "a character that no header may have",
    'headers = { Range = "x" }': "bulkfetch sets this by itself",
    'headers = { user-agent = "x" }': "bulkfetch sets this by itself: use user_agent",
    "headers = { accept = 'a', Accept = 'b' }": "headers.accept is set twice",
    'headers = { X = "env:" }': "a secret is written env:NAME",
    'auth = "bearer"': "a table such as",
    "auth = { token = 'x' }": "type is one of basic, bearer",
    'auth = { type = "barer" }': 'did you mean "bearer"?',
    'auth = { type = "bearer" }': "token missing",
    'auth = { type = "basic" }': "username and password missing",
    'auth = { type = "bearer", token = "" }': "a secret is empty",
    'auth = { type = "bearer", token = 5 }': "text is wanted, not a whole number",
    'auth = { type = "bearer", tokn = "x" }': 'unknown key "tokn"; did you mean "token"?',
    'auth = { type = "header", name = "a b", value = "x" }': "name is not the name of a header",
    'auth = { type = "oauth2", client_id = "a", client_secret = "b", token_url = "http://l/" }': "must begin",
    'auth = { type = "oauth2", token_url = "l/t", client_id = "a", client_secret = "b" }': "not a URL",
    'auth = { type = "oauth2", token_url = "https://l/t", client_id = "a" }': "client_secret missing",
    'auth = { type = "oauth2", client_id="", client_secret="b", token_url = "https://l", client_auth = 1}': (
        "client_auth is header or body"
    ),
    'auth = { type = "sigv4", service = "s3", region = "r", access_key = "a" }': "belong together",
    'auth = { type = "sigv4", service = "s", region = "", access_key = "a", secret_key = "b", profile = 1}': (
        "either keys or a profile"
    ),
    'auth = { type = "netrc", file = "no-such-file" }': "does not exist",
    'login = { url = "https://h.example/" }': "login has either form or json",
    'login = { url = "https://h.example/", form = {}, json = {} }': "login has either form or json",
    'login = { url = "https://i.example/", form = {} }': "url is on i.example, but the cookies",
    "login = { form = {} }": "url missing",
    'login = { url = "https://h.example/", form = "x" }': "a table of names and texts is wanted",
    'login = { url = "https://h.example/", form = {}, expired_when = {} }': "expired_when is empty",
    'login = { url = "https://h.example/", form = {}, expired_when = { location = "(" } }': "not a regular",
    "cookies = 1": "a table of cookies or the path of a cookie file is wanted",
    'cookies = { "a b" = "x" }': "a cookie's name has a character it may not have",
    'cookies = "no-such-file"': "does not exist",
    "client_cert = { key = 'x' }": "cert missing",
    'client_cert = "no-such-file"': "does not exist",
}


@pytest.mark.parametrize(("line", "why"), WRONG.items(), ids=WRONG)
def test_wrong_values_are_named_with_their_line(line, why):
    (problem,) = problems(f'\n[host."h.example"]\n{line}\n')
    last = 2 + len(line.split("\n"))
    assert problem.startswith(f'p.toml, line {last}: [host."h.example"] ')
    assert why in problem


@pytest.mark.parametrize(
    "line",
    [
        'auth = { type = "bearer", token = "env:X" }',
        'cookies = { a = "env:X" }',
        'headers = { X-Thing = "env:X" }',
        'headers = { Authorization = "Bearer pol1cy" }',
        'params = { key = "pol1cy-literal" }',
        "auth = { type = 'header', name = 'X', value = 'cmd:x' }",
        'login = { url = "https://h/", form = {} }',
    ],
)
def test_credentials_are_for_named_hosts(line):
    (problem,) = problems(f"[defaults]\n{line}")
    assert "a credential belongs to a [host" in problem
    parse_policy(f'[host."h"]\n{line}')


def test_netrc_may_be_asked_for_everywhere():
    assert only('[defaults]\nauth = "netrc"').auth == auth.Netrc()
    assert only('[defaults]\nauth = "none"').auth is None


@pytest.mark.parametrize("title", ["defaults", 'host."*.example"'])
def test_insecure_hosts_are_named_exactly(title):
    (problem,) = problems(f"[{title}]\nverify = false")
    assert "false is for exactly named hosts only" in problem
    assert section("verify = false").verify is False


@pytest.mark.parametrize("key", [name for name, key in KEYS.items() if key.per_origin])
def test_what_holds_for_a_connection_is_not_for_a_path(key, tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    lines = {
        "client_cert": f"'{path}'",
        "cookies": f"'{path}'",
        "login": '{ url = "https://h/", form = {} }',
        "proxy": "'none'",
        "robots": "'off'",
        "tls_min": "'1.2'",
        "transport": "'auto'",
        "verify": "true",
    }
    line = f"{key} = {lines.get(key, 1)}"
    (problem,) = problems(f'[host."https://h/path"]\n{line}')
    assert "holds for a whole host: it cannot be in a section for a path" in problem
    parse_policy(f'[host."https://h/"]\n{line}')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[host."a b"]', 'p.toml, line 1: [host."a b"]: a space in the host name'),
        ('[host."a/b"]', 'p.toml, line 1: [host."a/b"]: a path needs its scheme: "https://a/b"'),
        ('[host."*"]', 'p.toml, line 1: [host."*"]: a section is for a host such as'),
        (
            '\n[host."h.org"]\n[host."H.org:443"]\n[host."H.ORG"]',
            'p.toml, line 4: [host."H.ORG"]: the same as [host."h.org"]',
        ),
        (
            "[hosts]",
            'p.toml, line 1: unknown "hosts" outside [defaults] and [host."..."]; did you mean "host"?',
        ),
        ("host = 5", 'p.toml, line 1: unknown "host" outside'),
        ("defaults = 5", "p.toml, line 1: [defaults]: a section is wanted, not a value"),
        ("host.h = 5", 'p.toml, line 1: [host."h"]: a section is wanted, not a value'),
        ("\n\nx = ", "p.toml, line 3: Invalid value"),
        ("a = 1\na = 2", "p.toml, line 2: Cannot overwrite a value"),
        ('[host."\\u001b"]', 'p.toml, line 1: [host."\\x1b"]: a control character'),
    ],
)
def test_wrong_files(text, expected):
    assert problems(text)[0].startswith(expected)


def test_every_mistake_is_told_at_once():
    found = problems('[defaults]\nx = 1\nper_host = 0\n[host."h"]\ny = 2\nretry.z = 1\n')
    assert [problem.split(":")[0] for problem in found] == [f"p.toml, line {n}" for n in (2, 3, 5, 6)]


def test_no_value_is_repeated_where_a_secret_may_stand():
    found = problems(
        '[host."h"]\nauth = { type = "bearer", token = ["pol1cy-no"] }\nheaders = { A = ["pol1cy-no"] }\n'
    )
    assert len(found) == 2
    assert "pol1cy" not in str(found)


# -- lines ----------------------------------------------------------------------------------------

LINES = """\
# a comment = 1

[defaults]
per_host = 1
headers = { A = "x", B = "y" }
text = \"\"\"
[host."inside"]
fake = 1
\"\"\"
retry.statuses = [
  1, # one
  2,
]
retry.tries = 2

[ host . "a.b" ] # comment
rate = 1

[host."a.b".headers]
X = '''
'''
Y = "[z]"
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_lines(ending):
    expected = {
        ("defaults",): 3,
        ("defaults", "per_host"): 4,
        ("defaults", "headers"): 5,
        ("defaults", "headers", "A"): 5,
        ("defaults", "headers", "B"): 5,
        ("defaults", "text"): 6,
        ("defaults", "retry"): 10,
        ("defaults", "retry", "statuses"): 10,
        ("defaults", "retry", "tries"): 14,
        ("host",): 16,
        ("host", "a.b"): 16,
        ("host", "a.b", "rate"): 17,
        ("host", "a.b", "headers"): 19,
        ("host", "a.b", "headers", "X"): 20,
        ("host", "a.b", "headers", "Y"): 22,
    }
    assert find_lines(LINES.replace("\n", ending)) == expected


def paths(table, base=()):
    """Yield the path of every key of a table."""
    for key, value in table.items():
        yield (*base, key)
        if isinstance(value, dict):
            yield from paths(value, (*base, key))


@given(
    st.lists(st.sampled_from([*LINES.splitlines(), "[x]", "y.z = 1", "w = [[", "]]", '"q" = {a = 1}', "'''"]))
)
@example(LINES.splitlines())
def test_every_key_of_a_valid_text_has_a_line(lines):
    text = "\n".join(lines)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = find_lines(text)
    assert set(found) == set(paths(table))
    assert all(path[-1] in lines[number - 1] for path, number in found.items())


# -- what holds -----------------------------------------------------------------------------------

LAYERED = """
[defaults]
rate = 1
per_host = 1
min_speed = 1

[host."https://a.example.org/x/y"]
min_speed = 5

[host."a.example.org"]
per_host = 3
min_speed = 3

[host."https://a.example.org/x"]
min_speed = 4

[host."*.example.org"]
per_host = 2
min_speed = 2
rate = 2
"""


@pytest.mark.parametrize(
    ("url", "rate", "per_host", "min_speed"),
    [
        ("https://other.org/x", 1, 1, 1),
        ("https://b.example.org/x", 2, 2, 2),
        ("https://a.example.org/", 2, 3, 3),
        ("https://a.example.org/x", 2, 3, 4),
        ("https://a.example.org/x/y/z?q", 2, 3, 5),
        ("http://a.example.org/x/y", 2, 3, 3),
        ("https://user:pw@a.example.org/x", 2, 3, 4),
    ],
)
def test_the_most_specific_section_wins_for_each_value(url, rate, per_host, min_speed):
    policy = policies(LAYERED).for_url(url)
    assert (policy.rate, policy.per_host, policy.min_speed) == (rate, per_host, min_speed)


def test_an_origin_as_a_whole():
    found = policies(LAYERED)
    assert found.for_origin(Origin("https", "a.example.org", 443)).min_speed == 3
    assert found.for_origin(Origin("https", "other.org", 443)).rate == 1


def test_the_same_sections_give_the_same_object():
    found = policies(LAYERED)
    first = found.for_url("https://b.example.org/1")
    assert found.for_url("https://c.example.org/2") is first
    assert found.for_origin(Origin("http", "c.example.org", 80)) is first
    assert found.for_url("https://a.example.org/") is not first
    assert len({first, found.for_url("https://a.example.org/")}) == 2


def test_a_stream_of_hosts_takes_no_memory():
    found = policies(LAYERED)
    kept = {found.for_url(f"https://h{number}.org/") for number in range(10_000)}
    assert len(kept) == 1
    assert len(found._origins) <= 4096


def test_precedence():
    config = FetchConfig(per_host=9, retries=8, backoff=7.0, max_wait=6.0, idle_timeout=5.0)
    given = {"per_host": "--per-host", "retries": "$BULKFETCH_RETRIES"}
    named = from_table({"host": {"h.org": {"verify": False, "per_host": 99}}}, "--insecure")
    explicit = parse_policy('[defaults]\nbackoff = 2\n[host."h.org"]\nretries = 2\nper_host = 2', "a.toml")
    user = parse_policy(
        '[host."h.org"]\nbackoff = 3\nmax_wait = 3\nretries = 3\n[defaults]\nmax_wait = 2', "b.toml"
    )
    found = Policies(config, [explicit, user], given, named)
    url = "https://h.org/"
    assert where(found, url, "verify") == ("no", '--insecure, [host."h.org"]')
    assert where(found, url, "per_host") == ("99", '--insecure, [host."h.org"]')
    assert where(found, "https://i.org/", "per_host") == ("9", "--per-host")
    assert where(found, url, "retries") == ("8", "$BULKFETCH_RETRIES")
    assert where(found, url, "backoff") == ("2s", "a.toml, line 2, [defaults]")
    assert where(found, url, "max_wait") == ("3s", 'b.toml, line 3, [host."h.org"]')
    assert where(found, "https://i.org/", "max_wait") == ("2s", "b.toml, line 6, [defaults]")
    assert where(found, url, "idle_timeout") == ("5s", "configuration")
    assert where(found, url, "strict") == ("no", "default")
    assert found.for_url(url).idle_timeout == 5.0


@pytest.mark.parametrize(
    ("config", "given", "key", "value"),
    [
        (FetchConfig(host_rate=3.0), {"host_rate": "--host-rate"}, "rate", 3.0),
        (FetchConfig(ca_bundle="/ca"), {"ca_bundle": "--ca-bundle"}, "verify", "/ca"),
        (FetchConfig(), {"ca_bundle": "--ca-bundle"}, "verify", True),
        (FetchConfig(proxies=(("all", "http://p"),)), {"proxies": "--proxy"}, "proxy", None),
        (FetchConfig(user_agent="x"), {"user_agent": "--user-agent"}, "user_agent", "x"),
        (FetchConfig(limit_rate=5.0), {"limit_rate": "--limit-rate"}, "limit_rate", 2.0),
    ],
)
def test_options_that_are_called_otherwise_in_a_section(config, given, key, value):
    text = '[host."h.example"]\nrate = 2\nverify = true\nproxy = "http://q"\nuser_agent = "y"\nlimit_rate = 2'
    assert getattr(policies(text, config, given=given).for_url("https://h.example/"), key) == value


def test_without_files_the_configuration_holds():
    found = Policies(FetchConfig(per_host=3, min_speed=7.0)).for_url("https://h/")
    assert (found.per_host, found.min_speed, found.verify, found.proxy) == (3, 7.0, True, None)
    default = Policies(FetchConfig()).for_url("https://h/")
    for name in HostPolicy.__dataclass_fields__:
        assert getattr(default, name) == getattr(HostPolicy(), name), name


def test_sections_nobody_asked_about():
    found = policies('[host."a.org"]\nrate = 1\n[host."*.b.org"]\n[host."https://a.org/x"]\n[defaults]\n')
    assert len(found.unmatched()) == 3
    found.for_url("https://a.org/y")
    assert found.unmatched() == [
        'policy.toml, line 3: [host."*.b.org"] matches nothing',
        'policy.toml, line 4: [host."https://a.org/x"] matches nothing',
    ]
    found.for_url("https://a.org/x/y")
    found.for_url("http://c.b.org/")
    assert found.unmatched() == []


# -- explained ------------------------------------------------------------------------------------


def test_explained_values_hide_secrets(monkeypatch):
    monkeypatch.setenv("BULKFETCH_TEST_SECRET", "pol1cy-secret-from-the-environment")
    found = policies("""
        [host."h.example"]
        auth = { type = "basic", username = "me", password = "pol1cy-secret-in-the-file" }
        headers = { X-Key = "env:BULKFETCH_TEST_SECRET", Accept = "a/b" }
        params = { token = "cmd:pass show pol1cy-argument" }
        proxy = "http://user:pol1cy-secret-of-the-proxy@p:1"
        login = { url = "https://h.example/l?token=pol1cy-1", form = { user = "me", pin = "pol1cy-2" } }
        cookies = { a = "pol1cy-secret-cookie" }
        retry.statuses = [503, 429]
        client_cert = { cert = "/", password = "pol1cy-secret-of-the-key" }
    """)
    found.for_url("https://h.example/").headers[0][1].reveal()
    explained = found.explain("https://h.example/x")
    assert "pol1cy" not in str(explained)
    shown = {one.key: one.shown for one in explained}
    assert shown["auth"] == "basic(username=me password=***)"
    assert shown["headers.x-key"] == "env:BULKFETCH_TEST_SECRET"
    assert shown["headers.accept"] == "a/b"
    assert shown["params.token"] == "cmd:pass …"
    assert shown["proxy"] == "***"
    assert shown["login"] == "login(url=https://h.example/l?token=*** form=(user=me pin=***))"
    assert shown["cookies"] == "cookies(values=(a=***))"
    assert shown["retry_statuses"] == "429 503"
    assert shown["client_cert"] == "clientcert(cert=/ password=***)"


def test_explained_defaults():
    shown = {one.key: one.shown for one in Policies(FetchConfig()).explain("https://h/")}
    assert shown["auth"] == shown["cookies"] == shown["login"] == "none"
    assert shown["proxy"] == "as the whole run"
    assert shown["retry_statuses"] == "the usual ones"
    assert shown["retry_methods"] == "GET HEAD"
    assert shown["idle_timeout"] == "60s"
    assert shown.keys() == HostPolicy.__dataclass_fields__.keys() - {"headers", "params"}


# -- files ----------------------------------------------------------------------------------------


def test_a_file_is_read(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_bytes(b"\xef\xbb\xbf[defaults]\r\nper_host = 2\r\nverify = 'ca.pem'\r\n")
    (tmp_path / "ca.pem").write_text("")
    found = Policies(FetchConfig(), [read_policy(path)])
    assert where(found, "https://h/", "per_host") == ("2", f"{path}, line 2, [defaults]")
    assert found.for_url("https://h/").verify == str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read"),
        (b"\n\xff", "line 2: not UTF-8 text"),
        (b"#" * (1024 * 1024 + 1), "larger than"),
    ],
    ids=["missing", "bytes", "large"],
)
def test_files_that_cannot_be_read(tmp_path, content, why):
    path = tmp_path / "policy.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=why):
        read_policy(path)


@posix
def test_a_file_that_everyone_may_change_is_not_used(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("")
    path.chmod(0o666)
    with pytest.raises(UsageError, match="every user may change"):
        read_policy(path)


@posix
@pytest.mark.parametrize(
    ("mode", "value", "warned"),
    [
        (0o644, "pol1cy-secret", True),
        (0o600, "pol1cy-secret", False),
        (0o644, "env:X", False),
        (0o640, "pol1cy-secret", False),
    ],
)
def test_secrets_in_a_file_that_others_may_read(tmp_path, mode, value, warned):
    path = tmp_path / "policy.toml"
    path.write_text(f'[host."h"]\nauth = {{ type = "bearer", token = "{value}" }}\n')
    path.chmod(mode)
    found = read_policy(path).warnings
    assert found == (
        (f"other users may read {path}, and secrets stand in it: chmod 600 it, or use env:NAME",)
        if warned
        else ()
    )
    assert Policies(FetchConfig(), [read_policy(path)]).warnings == found


@posix
def test_a_secret_file_that_others_may_read_is_warned_about_once(tmp_path):
    (tmp_path / "key").write_text("pol1cy-secret")
    (tmp_path / "key").chmod(0o644)
    text = '[host."h"]\nheaders = { A = "file:key", B = "file:key" }\n'
    found = parse_policy(text, folder=tmp_path).warnings
    assert found == (f"other users may read the secret in {tmp_path / 'key'}: chmod 600 it",)


HOME = Path("/home/me") if os.name == "posix" else Path("C:/Users/me")
ELSEWHERE = str(HOME / "elsewhere")


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {}, ".config"),
        ("linux", {"XDG_CONFIG_HOME": ELSEWHERE}, "elsewhere"),
        ("linux", {"XDG_CONFIG_HOME": ""}, ".config"),
        ("linux", {"XDG_CONFIG_HOME": "relative"}, ".config"),
        ("linux", {"XDG_CONFIG_HOME": "."}, ".config"),
        ("freebsd14", {}, ".config"),
        ("darwin", {"XDG_CONFIG_HOME": ELSEWHERE}, "Library/Application Support"),
        ("win32", {"LOCALAPPDATA": ELSEWHERE}, "elsewhere"),
        ("win32", {}, "AppData/Local"),
    ],
)
def test_where_the_users_own_file_is(platform, environ, folder):
    assert user_policy_path(platform, environ, HOME) == HOME / folder / "bulkfetch" / "config.toml"


def test_the_users_own_file_is_never_in_the_current_folder():
    assert user_policy_path("linux", {}, Path("~")) is None
    assert user_policy_path("linux", {"XDG_CONFIG_HOME": "x"}, Path()) is None


def test_the_sample_says_what_it_means():
    found = Policies(FetchConfig(), [read_policy(SAMPLE)])
    assert not [text for text in found.warnings if "secrets stand in it" in text]
    assert isinstance(found.for_url("https://api.example.org/v1").auth, auth.Bearer)
    assert found.for_url("https://api.example.org/public/x").auth is None
    assert isinstance(found.for_url("https://data.example.com:8443/").auth, auth.OAuth2)
    assert found.for_url("https://example.com/").per_host == 4
    titles = [line for line in SAMPLE.read_text(encoding="utf-8").splitlines() if line.startswith("[host.")]
    assert len(found.unmatched()) == len(titles) - 3


# -- quantities -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_size, "500", 500),
        (parse_size, "64K", 65536),
        (parse_size, "20 MB", 20_000_000),
        (parse_size, "1.5GiB", 3 * 2**29),
        (parse_size, "2tb", 2 * 10**12),
        (parse_size, "7B", 7),
        (parse_rate, "5", 5.0),
        (parse_rate, "100/m", 100 / 60),
        (parse_rate, "1/h", 1 / 3600),
        (parse_duration, "1.5", 1.5),
        (parse_duration, "2h", 7200.0),
        (parse_duration, "7d", 604800.0),
    ],
)
def test_quantities(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize("parse", [parse_size, parse_rate, parse_duration])
@pytest.mark.parametrize("text", ["", "x", "-1", "1e3", "1 2", "\u0661", "5/d", "5x", "9" * 400])
def test_no_quantities(parse, text):
    with pytest.raises(ValueError, match="is not a"):
        parse(text)


@given(st.text(), st.sampled_from([parse_size, parse_rate, parse_duration]))
def test_any_text_is_a_quantity_or_refused(text, parse):
    try:
        value = parse(text)
    except ValueError:
        return
    assert value >= 0


def test_values_pickle(monkeypatch):
    login = section('login = { url = "https://h.example/", form = { a = "env:X" } }').login
    again = pickle.loads(pickle.dumps(login))
    assert (again.url, str(again.form)) == (login.url, str(login.form))
