"""Links that expire: `refresh_url` gives new ones, to the command and to the library."""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time

import pytest

from bulkfetch import FetchConfig, Fetcher
from bulkfetch.errors import Stopped
from bulkfetch.policy import Policies, from_table
from bulkfetch.refreshing import RefreshFailed, UrlCommand, ask_new_url

OLD = "https://example.org/a?sig=old"
SECRET = "r3fresh-s3cret"
POSIX = pytest.mark.skipif(os.name != "posix", reason="a shell command line")


def nothing():
    """Stand for a check that has nothing to say."""


@pytest.fixture
def program(tmp_path):
    """Return a function that makes a command of Python code; `url` in it is the old URL."""

    def make(code):
        script = tmp_path / "refresh.py"
        script.write_text(f"import sys, time\nurl = sys.stdin.readline().strip()\n{code}\n")
        return f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}"

    return make


@pytest.mark.parametrize(
    ("answer", "new"),
    [
        ("https://example.org/a?sig=new", "https://example.org/a?sig=new"),
        ("  HTTPS://Example.ORG/a \n", "https://example.org/a"),
        ("https://other.example/b", "https://other.example/b"),
    ],
)
def test_a_function_gives_a_new_url(answer, new):
    asked = []
    assert ask_new_url(lambda url: asked.append(url) or answer, OLD, nothing) == new
    assert asked == [OLD]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "it gave no URL"),
        (None, "it gave no URL"),
        ("ftp://example.org/a", "what it gave cannot be asked for"),
        ("http://example.org/a", "it gave an http URL for an https one"),
        ("https://me:pw@example.org/a", "it gave a URL with a login"),
    ],
)
def test_what_cannot_be_asked_for_is_told(answer, reason):
    with pytest.raises(RefreshFailed, match=reason):
        ask_new_url(lambda _: answer, OLD, nothing)


def test_a_function_that_fails_is_told_by_its_error():
    with pytest.raises(RefreshFailed, match="it failed with KeyError"):
        ask_new_url(lambda _: {}["x"], OLD, nothing)


def test_one_that_does_not_return_is_not_waited_for():
    end = threading.Event()
    with pytest.raises(RefreshFailed, match=r"no answer within 0\.05 s"):
        ask_new_url(lambda _: str(end.wait(10.0)), OLD, nothing, seconds=0.05)
    end.set()


@POSIX
def test_a_command_reads_the_old_url_and_prints_the_new_one(program):
    command = UrlCommand(program("print(url.replace('old', 'new'))"))
    assert ask_new_url(command, OLD, nothing) == "https://example.org/a?sig=new"


@POSIX
@pytest.mark.parametrize(
    ("code", "reason"),
    [("sys.exit(3)", "ended with status 3"), ("pass", "it gave no URL"), ("print('x')", "cannot be asked")],
)
def test_a_command_that_has_none_is_told(program, code, reason):
    with pytest.raises(RefreshFailed, match=reason):
        ask_new_url(UrlCommand(program(code)), OLD, nothing)


def test_a_command_that_is_not_there_is_told():
    with pytest.raises(RefreshFailed, match=r"cmd:/no/such/program … cannot be run"):
        ask_new_url(UrlCommand("/no/such/program --token x"), OLD, nothing)


@POSIX
def test_a_command_hears_the_stop(program):
    def check():
        raise Stopped("stopped")

    started = time.monotonic()
    with pytest.raises(Stopped):
        ask_new_url(UrlCommand(program("time.sleep(60)")), OLD, check)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("value", ["cmd:", "/bin/x", 3])
def test_the_key_names_a_command(value):
    with pytest.raises(Exception, match=r"cmd:COMMAND|text is wanted"):
        from_table({"defaults": {"refresh_url": value}})


def test_the_arguments_of_the_command_are_not_shown():
    table = from_table({"defaults": {"refresh_url": f"cmd:renew --token {SECRET}"}})
    rows = {row.key: row.shown for row in Policies(FetchConfig(), [table]).explain(OLD)}
    assert rows["refresh_url"] == "cmd:renew …"


# -- in runs -------------------------------------------------------------------------------------


@pytest.fixture
def fetch(tmp_path):
    """Return a function that fetches URLs with a `refresh_url` of its own."""

    def fetch(urls, refresh, **options):
        config = FetchConfig(dest=tmp_path / "out", refresh_url=refresh, backoff=0.01, **options)
        events = []
        with Fetcher(config, on_event=events.append) as fetcher:
            return list(fetcher.run(urls)), [event.to_record() for event in events]

    return fetch


@pytest.mark.parametrize("status", [401, 403, 410])
def test_an_expired_link_is_replaced_and_the_entry_stays_the_same(server, tmp_path, fetch, status):
    server.add("/a.bin?sig=old", status=status)
    server.add(f"/a.bin?v={SECRET}", body=b"data")
    new = server.url(f"/a.bin?v={SECRET}")
    for reason in ("", "already fetched"):
        (outcome,), events = fetch([server.url("/a.bin?sig=old")], lambda _: new)
        assert outcome.path == "a.bin"
        assert outcome.reason == reason
        assert SECRET not in str(outcome) + str(events)
    assert [r.query for r in server.requests] == ["sig=old", f"v={SECRET}"]
    assert SECRET.encode() not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


@pytest.mark.parametrize("status", [404, 500])
def test_other_failures_ask_nobody(server, fetch, status):
    server.add("/a", status=status)
    asked = []
    (outcome,), _ = fetch([server.url("/a")], asked.append, retries=0)
    assert outcome.failure.status_code == status
    assert asked == []


def test_a_new_link_that_is_refused_too_is_the_end(server, fetch):
    server.add("/a", status=403)
    server.add("/b", status=403)
    asked = []
    (outcome,), _ = fetch([server.url("/a")], lambda url: asked.append(url) or server.url("/b"))
    assert outcome.failure.kind == "auth"
    assert asked == [server.url("/a")]


def test_bytes_that_are_there_stay(server, fetch):
    data = bytes(range(256)) * 400
    server.add("/a", body=data, etag='"v1"', first=[{"cut": 60_000}, {"status": 403}])
    server.add("/b", body=data, etag='"v1"')
    (outcome,), _ = fetch([server.url("/a")], lambda _: server.url("/b"))
    assert outcome.failure is None
    assert outcome.size == len(data)
    assert [r.range for r in server.requests] == [None, "bytes=60000-", "bytes=60000-"]


def test_credentials_stay_behind_where_the_new_link_leads_to_another_origin(server, make_server, fetch):
    other = make_server()
    server.add("/a", status=403)
    other.add("/b", body=b"x")
    fields = {"headers": (("Authorization", SECRET), ("X-Mine", "1"))}
    (outcome,), _ = fetch([server.url("/a")], lambda _: other.url("/b"), **fields)
    assert outcome.failure is None
    assert "Authorization" in server.requests[0].headers
    (got,) = other.requests
    assert not {"Authorization", "X-Mine", "Referer", "Cookie"} & set(got.headers)


def test_what_went_wrong_is_told_with_the_refusal(server, fetch):
    server.add("/a", status=403)
    (outcome,), _ = fetch([server.url("/a")], lambda _: "nonsense")
    assert outcome.failure.message.startswith("the server answered 403 Forbidden; refresh_url: what it gave")


@POSIX
def test_a_policy_names_the_command(server, tmp_path, command, program):
    server.add("/a?token=old", status=403)
    server.add("/a?token=new", body=b"x")
    policy = tmp_path / "policy.toml"
    line = program("print(url.replace('old', 'new'))")
    policy.write_text(f"[host.\"{server.netloc}\"]\nrefresh_url = '''cmd:{line}'''\n")
    done = command("get", server.url("/a?token=old"), "-d", tmp_path / "out", "--config", policy)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a").read_bytes() == b"x"
