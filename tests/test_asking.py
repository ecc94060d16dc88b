"""Requests that are not plain GETs: their columns, and what becomes of them on real sockets."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3

import pytest
from faultserver import CLOSE, route
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.asking import FORM_TYPE, JSON_TYPE, Asked, body_columns, read_params
from bulkfetch.errors import LineError
from bulkfetch.manifest import as_entries
from bulkfetch.models import BadLine, Entry, Request

URL = "http://example.org/export"
SECRET = "b0dy-s3cret"


def entry(**columns):
    """Return what a record becomes."""
    (made,) = as_entries([{"url": URL, **columns}])
    return made


@pytest.mark.parametrize(
    ("columns", "method", "body", "content_type"),
    [
        ({"body": "a b"}, "POST", b"a b", "text/plain; charset=utf-8"),
        ({"json": {"a": [1, None, "ü"]}}, "POST", b'{"a":[1,null,"\\u00fc"]}', JSON_TYPE),
        ({"json": '{"a": 1}'}, "POST", b'{"a":1}', JSON_TYPE),
        ({"json": []}, "POST", b"[]", JSON_TYPE),
        ({"form": {"q": "a b&c", "n": 3, "x": None}}, "POST", b"q=a+b%26c&n=3", FORM_TYPE),
        ({"form": {"y": [1, True]}}, "POST", b"y=1&y=true", FORM_TYPE),
        ({"form": "q=a+b&n=3"}, "POST", b"q=a+b&n=3", FORM_TYPE),
        ({"form": '{"q": "a b"}'}, "POST", b"q=a+b", FORM_TYPE),
        ({"method": "post"}, "POST", b"", ""),
        ({"method": "POST", "json": 0}, "POST", b"0", JSON_TYPE),
    ],
)  # fmt: skip
def test_columns_become_a_request(columns, method, body, content_type):
    assert entry(**columns).request == Request(method, body, content_type)


@pytest.mark.parametrize("columns", [{}, {"method": "get"}, {"form": {}}, {"body": ""}, {"json": None}])
def test_a_plain_get_costs_nothing(columns):
    assert entry(**columns).request is None


@pytest.mark.parametrize(
    ("params", "url"),
    [
        ({"q": "a b", "n": [1, 2]}, f"{URL}?q=a%20b&n=1&n=2"),
        ("?q=a%20b", f"{URL}?q=a%20b"),
        ('{"q": "ü"}', f"{URL}?q=%C3%BC"),
        ({}, URL),
        ("", URL),
    ],
)
def test_params_are_part_of_the_url(params, url):
    assert entry(params=params).urls == (url,)


def test_params_are_added_behind_those_of_each_mirror():
    made = entry(url=[f"{URL}?a=1", "http://example.net/x"], params={"b": 2})
    assert made.urls == (f"{URL}?a=1&b=2", "http://example.net/x?b=2")


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"method": "DELETE"}, "the method DELETE is not sent: GET and POST are"),
        ({"method": "HEAD"}, "the method HEAD is not sent: GET and POST are"),
        ({"method": "GET", "body": "x"}, "a GET has no body: leave the method out, or write POST"),
        ({"body": "x", "json": {}}, "both body and json: a request has one body"),
        ({"json": "{"}, "the column json is not JSON"),
        ({"form": "a b"}, "the column form is neither encoded (a=1&b=2) nor a JSON object"),
        ({"form": [1]}, "the column form is not an object of names and values"),
        ({"params": {"a": {}}}, "the column params has a value that is neither text nor a number"),
        ({"body": "\ud800"}, "the column body is not valid text"),
        ({"url": [URL, f"{URL}2"], "body": "x"}, "a POST is sent to one URL: mirrors are for plain GETs"),
        (
            {"method": "POST", "body_sha256": "0" * 64},
            "the body of this request is not here: a list by `get --failed` has it",
        ),
    ],
)
def test_what_cannot_be_sent_is_told(columns, reason):
    made = entry(**columns)
    assert isinstance(made, BadLine)
    assert made.reason == reason


def test_the_text_of_a_line_with_a_body_is_not_shown(tmp_path, command):
    source = tmp_path / "list.jsonl"
    source.write_text(json.dumps({"url": "nonsense", "body": SECRET}) + "\n")
    done = command("get", source, "-d", tmp_path / "out")
    assert done.returncode == 3
    assert SECRET not in done.stderr


texts = st.text('aZ0ü\U0001f600\x00\n &=+%{}"?/:', max_size=20)


@pytest.mark.parametrize(("column", "is_shown"), [("body", False), ("format", True)])
def test_nor_is_that_of_a_row(tmp_path, command, column, is_shown):
    text = "of-a-row-alone"  # nothing that another test has registered as a secret
    source = tmp_path / "list.csv"
    source.write_text(f"url,{column}\nnonsense,{text}\n")
    done = command("get", source, "-d", tmp_path / "out")
    assert done.returncode == 3
    assert (text in done.stderr) == is_shown


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=8,
)


@given(
    st.one_of(
        json_values.filter(lambda v: v is not None).map(lambda v: {"json": json.dumps(v)}),
        texts.map(lambda text: {"body": text}),
        st.dictionaries(texts, texts | st.integers()).map(lambda fields: {"form": fields}),
    )
)
def test_a_request_is_read_back_from_its_columns_as_it_was(columns):
    made = entry(**columns)
    again = made.request and entry(**json.loads(json.dumps(body_columns(made.request))))
    assert made.request == (again and again.request)


@given(st.binary(), st.sampled_from([JSON_TYPE, FORM_TYPE, "application/xml", ""]))
def test_a_programs_own_body_is_read_back_the_same_or_refused(body, kind):
    columns = body_columns(Request("POST", body, kind))
    again = entry(**columns)
    assert isinstance(again, BadLine) or again.request.body == body
    if isinstance(again, BadLine):
        assert "body_sha256" in columns


def test_a_programs_own_request_is_checked():
    (bad,) = as_entries([Entry((URL,), request=Request("PUT"))])
    assert isinstance(bad, BadLine)
    (good,) = as_entries([Entry((URL,), request=Request("POST", b"\xff", "application/x-thing"))])
    assert good.request == Request("POST", b"\xff", "application/x-thing")


@given(texts)
def test_any_params_are_read_or_refused(text):
    for value in (text, {"a": text}):
        with contextlib.suppress(LineError):
            assert read_params(value).isascii()


def test_a_digest_alone_never_stands_for_a_body():
    asked = Asked()
    asked.take("body_sha256", "")
    assert asked.finish(1) is None


def test_a_request_does_not_show_its_body():
    assert SECRET not in repr(Request("POST", SECRET.encode()))


# -- with the real command -----------------------------------------------------------------------


@pytest.fixture
def get(tmp_path, command):
    """Return a function that fetches records, as JSON lines, into out/."""

    def get(records, *options):
        source = tmp_path / "list.jsonl"
        source.write_text("".join(json.dumps(record) + "\n" for record in records))
        return command("get", source, "-d", tmp_path / "out", "--backoff", "0.01", *options)

    return get


def test_bodies_arrive_with_their_types_and_params(server, tmp_path, get):
    server.add("/export", body=lambda request: b"got " + request.body)
    url = server.url("/export")
    done = get(
        [
            {"url": url, "path": "a", "json": {"day": 1}, "params": {"v": "2 3"}},
            {"url": url, "path": "b", "form": {"day": "1"}},
            {"url": url, "path": "c", "body": "<q/>", "header.Content-Type": "application/xml"},
            {"url": url, "path": "d", "method": "POST"},
        ]
    )
    assert done.returncode == 0, done.stderr
    sent = {(r.method, r.query, r.headers.get("Content-Type"), r.body) for r in server.requests}
    assert sent == {
        ("POST", "v=2%203", JSON_TYPE, b'{"day":1}'),
        ("POST", "", FORM_TYPE, b"day=1"),
        ("POST", "", "application/xml", b"<q/>"),
        ("POST", "", None, b""),
    }
    assert (tmp_path / "out" / "a").read_bytes() == b'got {"day":1}'


def test_two_bodies_to_one_url_are_two_entries_and_a_second_run_asks_nothing(server, tmp_path, get):
    server.add("/export", body=lambda request: request.body)
    records = [{"url": server.url("/export"), "json": {"day": day}} for day in (1, 2, 1)]
    for _ in range(2):
        done = get(records)
        assert done.returncode == 0, done.stderr
    found = sorted(path.read_bytes() for path in (tmp_path / "out").glob("export*"))
    assert found == [b'{"day":1}', b'{"day":2}']
    assert len(server.requests) == 2


def test_csv_has_the_same_columns(server, tmp_path, command):
    server.add("/export", body=lambda request: request.body + request.query.encode())
    source = tmp_path / "list.csv"
    with source.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["url", "path", "method", "form", "json", "params"])
        rows.writerow([server.url("/export"), "form", "POST", "a=1&b=2", "", ""])
        rows.writerow([server.url("/export"), "json", "", "", '{"a": 1}', ""])
        rows.writerow([server.url("/export"), "plain", "", "", "", "a=1"])
    done = command("get", source, "-d", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = {name: (tmp_path / "out" / name).read_bytes() for name in ("form", "json", "plain")}
    assert found == {"form": b"a=1&b=2", "json": b'{"a":1}', "plain": b"a=1"}


FAULTS = {
    "an answer that may pass": {"status": 500},
    "a full server": {"status": 503, "retry_after": "0"},
    "a body cut short": {"body": b"x" * 1000, "cut": 500},
    "no answer": {"raw": [CLOSE]},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_post_that_may_have_arrived_is_not_sent_again(server, get, fault):
    server.add("/export", **{"body": b"x", "etag": '"v1"', **FAULTS[fault]}, times=1)
    done = get([{"url": server.url("/export"), "body": "x"}])
    assert done.returncode == 1
    assert "a POST that may have arrived is not sent again (retry.methods)" in done.stderr
    assert len(server.requests) <= 1


@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_where_the_policy_says_so_and_from_the_start(server, tmp_path, get, fault):
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[host."{server.netloc}"]\nretry = {{ methods = ["GET", "POST"] }}\n')
    server.add("/export", **{"body": b"x" * 1000, "etag": '"v1"', **FAULTS[fault]}, times=1)
    done = get([{"url": server.url("/export"), "body": "x"}], "--config", policy)
    assert done.returncode == 0, done.stderr
    assert [(r.method, r.body, r.range) for r in server.requests][-1] == ("POST", b"x", None)
    assert (tmp_path / "out" / "export").read_bytes() == b"x" * 1000


def test_a_post_that_cannot_have_arrived_is_sent_again(make_server, get):
    server = make_server(accept="refuse")
    server.add("/export", body=b"x")
    done = get([{"url": server.url("/export"), "body": "x"}], "--retries", "2")
    assert done.returncode == 1
    assert "may have arrived" not in done.stderr
    assert "2 retries" in done.stderr


@pytest.mark.parametrize(
    ("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")]
)
def test_a_redirect_within_the_origin(server, get, status, method):
    server.add("/export", status=status, redirect="/result")
    server.add("/result", body=b"x")
    done = get([{"url": server.url("/export"), "json": {"a": 1}}])
    assert done.returncode == 0, done.stderr
    last = server.requests[-1]
    body = b'{"a":1}' if method == "POST" else b""
    assert (last.path, last.method, last.body) == ("/result", method, body)
    assert ("Content-Type" in last.headers) == ("Content-Length" in last.headers) == (method == "POST")


def test_a_redirect_to_another_origin_is_a_get_without_the_body(server, make_server, get):
    other = make_server()
    server.add("/export", status=303, redirect=other.url("/result"))
    other.add("/result", body=b"x")
    done = get([{"url": server.url("/export"), "json": {"a": SECRET}, "header.Content-Type": "text/x"}])
    assert done.returncode == 0, done.stderr
    (got,) = other.requests
    assert (got.method, got.body, "Content-Type" in got.headers) == ("GET", b"", False)


@pytest.mark.parametrize("status", [307, 308])
def test_a_body_is_never_sent_to_another_origin(server, make_server, get, status):
    other = make_server()
    server.add("/export", status=status, redirect=other.url("/result"))
    other.add("/result", body=b"x")
    done = get([{"url": server.url("/export"), "body": SECRET}])
    assert done.returncode == 1
    assert f"a {status} redirect to {other.origin} not followed: the POST is not for it" in done.stderr
    assert other.requests == []


def test_a_failure_behind_the_redirect_of_a_post_does_not_send_it_again(server, make_server, get):
    other = make_server()
    server.add("/export", status=303, redirect=other.url("/result"))
    other.add("/result", body=b"x", status=500, times=1)
    done = get([{"url": server.url("/export"), "body": "x"}])
    assert done.returncode == 1
    assert [request.method for request in server.requests] == ["POST"]


def test_a_list_of_failures_is_fetched_again_with_its_bodies(server, tmp_path, get, command):
    server.add("/export", body=b"x", status=404)
    records = [
        {"url": server.url("/export"), "path": "1", "json": {"a": [1.5, None]}, "params": {"p": 1}},
        {"url": server.url("/export"), "path": "2", "form": {"a": "ü"}},
        {"url": server.url("/export"), "path": "3", "body": "text\n", "header.Content-Type": "text/csv"},
    ]
    failed = tmp_path / "failed.jsonl"
    assert get(records, "--failed", failed).returncode == 1
    first = [(r.target, r.body, r.headers["Content-Type"]) for r in server.requests]
    server.remove("/export")
    server.add("/export", body=b"x")
    done = command("get", failed, "-d", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    again = [(r.target, r.body, r.headers["Content-Type"]) for r in server.requests][3:]
    assert sorted(first) == sorted(again)
    with contextlib.closing(sqlite3.connect(tmp_path / "out" / ".bulkfetch" / "journal.sqlite3")) as journal:
        found = journal.execute("SELECT state, count(*) FROM entries GROUP BY state").fetchall()
    assert found == [("fetched", 3)]


def test_the_journal_keeps_a_digest_of_a_body_alone(server, tmp_path, get, command):
    server.add("/export", status=404)
    events = tmp_path / "events"
    done = get([{"url": server.url("/export"), "json": {"password": SECRET}}], "--events", events)
    state = tmp_path / "out" / ".bulkfetch"
    kept = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
    assert SECRET not in done.stderr + events.read_text()
    assert SECRET.encode() not in kept
    failed = command("failed", tmp_path / "out")
    assert "1 entry had a secret or a body, which the journal does not keep" in failed.stderr
    assert json.loads(failed.stdout)["method"] == "POST"
    (tmp_path / "again.jsonl").write_text(failed.stdout)
    again = command("get", tmp_path / "again.jsonl", "-d", tmp_path / "out")
    assert (again.returncode, len(server.requests)) == (3, 1)
    assert "the body of this request is not here" in again.stderr
    text = command("failed", tmp_path / "out", "--format", "txt").stdout
    assert text.startswith("# left out, as it is no plain GET: http://")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_post_on_a_connection_that_had_gone_stale_failed_for_good(make_server, get, tls):
    server = make_server(tls=tls)
    server.add("/export", body=lambda request: request.body, close_after=1)
    records = [{"url": server.url("/export"), "path": name, "body": name} for name in "ab"]
    done = get(records, "-j", "1", *(("--ca-bundle", server.ca_file) if tls else ()))
    assert done.returncode == 0, done.stderr
    assert [request.body for request in server.requests] == [b"a", b"b"]


def test_a_post_has_a_connection_of_its_own_through_a_tunnel_too(make_server, get):
    server, proxy = make_server(tls=True), make_server(tunnel=True)
    server.add("/export", body=lambda request: request.body, close_after=1)
    records = [{"url": server.url("/export"), "path": name, "body": name} for name in "ab"]
    done = get(records, "-j", "1", "--ca-bundle", server.ca_file, "--proxy", proxy.origin)
    assert done.returncode == 0, done.stderr
    assert [request.body for request in server.requests] == [b"a", b"b"]
    assert [request.method for request in proxy.requests] == ["CONNECT"] * 2


def test_gets_after_a_post_share_its_connection(server, get):
    server.add("/export", body=b"x")
    records = [{"url": server.url("/export"), "path": "a", "body": "a"}]
    records += [{"url": server.url("/export"), "path": f"{n}", "method": "GET"} for n in range(4)]
    done = get(records, "-j", "1", "--transport", "requests")
    assert done.returncode == 0, done.stderr
    assert server.connections == 1


def test_a_post_that_is_asked_for_credentials_brings_them_on_the_same_connection(server, tmp_path, get):
    """What authenticates connections, such as NTLM, would begin anew for ever."""

    def answer(request):
        if "Authorization" in request.headers:
            return route(body=b"x")
        wanted = ("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth"')
        return route(status=401, extra_headers=[wanted])

    server.add_generator(answer)
    policy = tmp_path / "policy.toml"
    auth = 'auth = { type = "digest", username = "me", password = "b0dy-digest" }'
    policy.write_text(f'[host."{server.netloc}"]\n{auth}\n')
    policy.chmod(0o600)
    done = get([{"url": server.url("/export"), "body": "x"}], "--config", policy)
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 2
    assert server.connections == 1


def test_a_post_is_authenticated_by_its_host_section(server, tmp_path, get, monkeypatch):
    monkeypatch.setenv("EXPORT_TOKEN", SECRET)
    server.add("/export", body=lambda request: request.body, require={"Authorization": f"Bearer {SECRET}"})
    policy = tmp_path / "policy.toml"
    auth = 'auth = { type = "bearer", token = "env:EXPORT_TOKEN" }'
    policy.write_text(f'[host."{server.netloc}"]\n{auth}\nparams = {{ v = "2" }}\n')
    done = get([{"url": server.url("/export"), "json": {"a": 1}}], "--config", policy)
    assert done.returncode == 0, done.stderr
    assert (server.requests[0].query, server.requests[0].body) == ("v=2", b'{"a":1}')


def test_a_post_whose_login_failed_was_not_sent(server, tmp_path, get):
    server.add("/login", status=503, times=1, extra_headers=[("Set-Cookie", "sid=1")])
    server.add("/export", body=lambda request: request.body)
    policy = tmp_path / "policy.toml"
    login = f'login = {{ url = "{server.url("/login")}", form = {{ user = "me" }} }}'
    policy.write_text(f'[host."{server.netloc}"]\n{login}\n')
    done = get([{"url": server.url("/export"), "body": "x"}], "--config", policy)
    assert done.returncode == 0, done.stderr
    assert [request.path for request in server.requests] == ["/login", "/login", "/export"]
