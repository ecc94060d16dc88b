"""Options that come from BULKFETCH_* variables, those that repeat among them: one value a line."""

from __future__ import annotations

import json

import pytest
from watching import new_secret


def test_a_header_in_the_environment_was_ignored_without_a_word(server, tmp_path, run_bulkfetch):
    server.add("/a", body=b"a")
    token = new_secret("env")
    given = {"BULKFETCH_HEADER": f"Authorization: Bearer {token}\n\n  X-Team: two words\n"}
    done = run_bulkfetch("get", server.url("/a"), "-d", tmp_path / "out", "-vv", env=given)
    assert done.returncode == 0, done.stderr
    (request,) = server.requests
    assert request.headers["Authorization"] == f"Bearer {token}"
    assert request.headers["X-Team"] == "two words"


def test_what_is_typed_replaces_what_the_environment_repeats(server, tmp_path, run_bulkfetch):
    server.add("/a", body=b"a")
    given = {"BULKFETCH_HEADER": "X-One: 1\nX-Two: 2"}
    run_bulkfetch("get", server.url("/a"), "-d", tmp_path / "out", "-H", "X-Two: 3", env=given)
    (request,) = server.requests
    assert [request.headers.get(name) for name in ("X-One", "X-Two")] == [None, "3"]


def test_a_wrong_header_in_the_environment_is_a_usage_error(server, tmp_path, run_bulkfetch):
    done = run_bulkfetch("get", server.url("/a"), "-d", tmp_path, env={"BULKFETCH_HEADER": "nonsense"})
    assert done.returncode == 2
    assert "'nonsense' is not a header" in done.stderr
    assert server.requests == []


def test_manifests_in_the_environment_are_read_in_order(server, tmp_path, run_bulkfetch):
    server.add("/n/*", body=b"a")
    lists = [tmp_path / "first list.txt", tmp_path / "second.txt"]
    for number, path in enumerate(lists):
        path.write_text(server.url(f"/n/{number}"))
    given = {"BULKFETCH_MANIFEST": "\n".join(map(str, lists)), "BULKFETCH_PRINT": "json"}
    done = run_bulkfetch("get", "-d", tmp_path / "out", "--per-host", "1", env=given)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["url"] for line in done.stdout.splitlines()] == [
        server.url("/n/0"),
        server.url("/n/1"),
    ]


@pytest.mark.parametrize("hosts", ["127.0.0.1", "one.example\n127.0.0.1"])
def test_hosts_in_the_environment_are_not_verified(tls_server, tmp_path, run_bulkfetch, hosts):
    tls_server.add("/a", body=b"a")
    options = ("get", tls_server.url("/a"), "-d", tmp_path / "out", "--retries", "0")
    assert run_bulkfetch(*options).returncode == 1
    assert run_bulkfetch(*options, env={"BULKFETCH_INSECURE": hosts}).returncode == 0
