"""`--respect-cache`: what is fresh is not asked for; what is not is replaced where it has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from faultserver import http_date

OLD, NEW = b"the old bytes", b"the new bytes, which are more"
LONG_AGO = 1_600_000_000
TRANSPORTS = ("fast", "requests")


def cached(control: str) -> dict[str, Any]:
    return {"extra_headers": [("Cache-Control", control)]}


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def get(command, dest):
    """Run `get --respect-cache`; returns the run and what became of each path."""

    def run(*arguments: object, flag: bool = True) -> tuple[Any, dict[str, dict[str, Any]]]:
        flags = ["--respect-cache"] if flag else []
        done = command("get", *arguments, "-d", dest, "--print", "json", "--backoff", "0.01", *flags)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        return done, {record["path"]: record for record in records}

    return run


def asked(server: Any, path: str = "/a.bin") -> list[tuple[str | None, str | None]]:
    """Return the conditions of every request."""
    return [
        (hit.headers.get("If-None-Match"), hit.headers.get("If-Modified-Since")) for hit in server.hits(path)
    ]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_fresh_is_not_asked_for_again(server, get, transport):
    server.add("/a.bin", body=OLD, etag='"1"', **cached("max-age=3600"))
    get(server.url("/a.bin"), "--transport", transport, flag=False)
    done, told = get(server.url("/a.bin"), "--transport", transport)
    assert done.returncode == 0, done.stderr
    assert told["a.bin"]["status"] == "skipped"
    assert told["a.bin"]["reason"] == "already fetched"
    assert len(server.requests) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_stale_and_unchanged_is_renewed_by_the_304(server, get, dest, transport):
    server.add("/a.bin", body=OLD, etag='"1"', last_modified=LONG_AGO, **cached("max-age=0"))
    get(server.url("/a.bin"), "--transport", transport)
    before = (dest / "a.bin").stat()
    server.add("/a.bin", body=OLD, etag='"1"', last_modified=LONG_AGO, **cached("max-age=3600"))
    done, told = get(server.url("/a.bin"), "--transport", transport)
    assert done.returncode == 0, done.stderr
    assert asked(server) == [(None, None), ('"1"', http_date(LONG_AGO))]
    assert [hit.status for hit in server.hits("/a.bin")] == [200, 304]
    assert (told["a.bin"]["status"], told["a.bin"]["reason"]) == ("unchanged", "not modified")
    assert "1 unchanged" in done.stderr
    after = (dest / "a.bin").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    _, told = get(server.url("/a.bin"), "--transport", transport)
    assert told["a.bin"]["status"] == "skipped"
    assert len(server.requests) == 2


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_stale_and_changed_is_replaced(server, get, dest, transport):
    server.add("/a.bin", body=OLD, etag='"1"', **cached("max-age=0"))
    get(server.url("/a.bin"), "--transport", transport)
    server.add("/a.bin", body=NEW, etag='"2"', **cached("max-age=0"))
    done, told = get(server.url("/a.bin"), "--transport", transport)
    assert done.returncode == 0, done.stderr
    assert asked(server)[1][0] == '"1"'
    assert (told["a.bin"]["status"], told["a.bin"]["etag"]) == ("fetched", '"2"')
    assert (dest / "a.bin").read_bytes() == NEW
    assert list((dest / ".bulkfetch" / "parts").iterdir()) == []
