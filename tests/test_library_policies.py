"""Policies from a program: tables, files, and auth objects of `requests`."""

from __future__ import annotations

import pytest
from requests.auth import AuthBase, HTTPBasicAuth

import bulkfetch

SECRET = "libr4ry-secret"


class Stamp(AuthBase):
    """Signs each request in a way of the program's own."""

    def __init__(self, text):
        self.text = text

    def __call__(self, request):
        request.headers["X-Stamp"] = f"{self.text} {request.path_url}"
        return request


def names(outcomes):
    return [(outcome.path, str(outcome.status)) for outcome in outcomes]


def test_fetch_takes_a_table(server, tmp_path):
    server.add("/a", body=b"a", require={"Authorization": f"Bearer {SECRET}"})
    policy = bulkfetch.policy_from_table(
        {"host": {server.netloc: {"auth": {"type": "bearer", "token": f"literal:{SECRET}"}}}}
    )
    assert names(bulkfetch.fetch([server.url("/a")], tmp_path, policies=[policy])) == [("a", "fetched")]


def test_fetch_takes_a_file_and_more_important_tables_before_it(server, tmp_path, monkeypatch):
    monkeypatch.setenv("LIBRARY_KEY", SECRET)
    server.add("/a", body=b"a", require={"X-Key": SECRET, "X-Team": "two"})
    path = tmp_path / "p.toml"
    path.write_text(f'[host."{server.netloc}"]\nheaders = {{ X-Key = "env:LIBRARY_KEY", X-Team = "one" }}\n')
    path.chmod(0o600)
    over = bulkfetch.policy_from_table({"host": {server.netloc: {"headers": {"X-Team": "two"}}}})
    policies = [over, bulkfetch.read_policy(str(path))]
    assert names(bulkfetch.fetch([server.url("/a")], tmp_path / "out", policies=policies)) == [
        ("a", "fetched")
    ]


@pytest.mark.parametrize(
    ("how", "make"),
    [
        ("table", lambda: Stamp("me")),
        ("table", lambda: lambda origin: Stamp("me")),
        ("config", lambda: Stamp("me")),
    ],
    ids=["a table's object", "a table's factory", "the configuration's object"],
)
def test_any_auth_object_of_requests(server, tmp_path, make, how):
    server.add("/a", body=b"a", require={"X-Stamp": "me /a"})
    options = {"auth": {server.netloc: make()}} if how == "config" else {}
    table = bulkfetch.policy_from_table({"host": {server.netloc: {"auth": make()}}})
    policies = [table] if how == "table" else []
    assert names(bulkfetch.fetch([server.url("/a")], tmp_path, policies=policies, **options)) == [
        ("a", "fetched")
    ]


def test_an_auth_object_is_for_its_host_alone(server, make_server, tmp_path):
    other = make_server()
    other.add("/b", body=b"b")
    server.add("/a", redirect=other.url("/b"))
    policy = bulkfetch.policy_from_table({"host": {server.netloc: {"auth": HTTPBasicAuth("me", SECRET)}}})
    assert names(bulkfetch.fetch([server.url("/a")], tmp_path, policies=[policy])) == [("a", "fetched")]
    assert "Authorization" in server.requests[0].headers
    assert "Authorization" not in other.requests[0].headers


def test_what_is_doubtful_is_a_notice(server, tmp_path):
    notices = []
    policy = bulkfetch.policy_from_table({"host": {"h.example": {"verify": False}}})
    config = bulkfetch.FetchConfig(dest=tmp_path)
    with bulkfetch.Fetcher(config, policies=[policy], on_event=notices.append) as fetcher:
        list(fetcher.run([]))
    told = [event.message for event in notices if hasattr(event, "message")]
    assert told == ['the certificate is NOT verified: verify = false in the program, [host."h.example"]']


def test_a_mistake_is_a_usage_error():
    with pytest.raises(bulkfetch.UsageError, match='did you mean "auth"'):
        bulkfetch.policy_from_table({"host": {"h.example": {"auht": {}}}})
