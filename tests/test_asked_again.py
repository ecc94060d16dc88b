"""An entry whose last ask failed or broke off: the next run asks again, and the old file stays until then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

OLD, NEW = b"the old bytes", b"the new bytes, which are more"
LONG_AGO = 1_600_000_000


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def get(command, dest):
    """Run `get`; returns the run and what became of each path."""

    def run(*arguments: object) -> tuple[Any, dict[str, dict[str, Any]]]:
        done = command("get", *arguments, "-d", dest, "--print", "json", "--backoff", "0.01", "--retries", 0)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        return done, {record["path"]: record for record in records}

    return run


def asked(server: Any) -> list[str | None]:
    return [hit.headers.get("If-None-Match") for hit in server.hits("/a.bin")]


# -- after a failed refresh --------------------------------------------------------------------------

FAULTS = [{"status": 404}, {"status": 410}, {"status": 500}, {"status": 401}, {"body": NEW, "cut": 5}]


@pytest.fixture
def failed_refresh(server, get):
    """Have a file fetched, then its refresh fail."""

    def fail(**fault: Any) -> str:
        url = server.url("/a.bin")
        server.add("/a.bin", body=OLD, etag='"1"')
        get(url)
        server.add("/a.bin", **fault)
        done, told = get(url, "--respect-cache")
        assert (done.returncode, told["a.bin"]["status"]) == (1, "failed")
        return str(url)

    return fail


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_plain_run_does_not_call_a_failed_refresh_verified(
    server, get, dest, command, failed_refresh, fault
):
    url = failed_refresh(**fault)
    done, told = get(url)
    assert (done.returncode, told["a.bin"]["status"]) == (1, "failed")
    assert asked(server) == [None, '"1"', '"1"']
    assert (dest / "a.bin").read_bytes() == OLD
    assert "1  failed" in command("status", dest).stdout


def test_the_failures_of_a_refresh_are_asked_again_from_their_own_list(
    server, get, dest, tmp_path, failed_refresh
):
    url = failed_refresh(status=500)
    again = tmp_path / "again.jsonl"
    done, _ = get(url, "--respect-cache", "--failed", again)
    assert done.returncode == 1
    done, told = get(again)
    assert (done.returncode, told["a.bin"]["status"]) == (1, "failed")
    server.add("/a.bin", body=NEW, etag='"2"')
    assert get(again)[1]["a.bin"]["status"] == "fetched"
    assert (dest / "a.bin").read_bytes() == NEW


def test_a_plain_run_after_a_failed_refresh_takes_a_304_for_an_answer(server, get, failed_refresh):
    url = failed_refresh(status=500)
    server.add("/a.bin", body=OLD, etag='"1"')
    done, told = get(url)
    assert (done.returncode, told["a.bin"]["reason"]) == (0, "not modified")
    assert get(url)[1]["a.bin"]["reason"] == "already fetched"
    assert len(server.requests) == 3


def test_a_plain_run_after_a_failed_refresh_asks_the_one_whose_answer_the_file_is(server, get):
    server.add("/real.bin", body=OLD, etag='"1"')
    server.add("/a.bin", redirect=server.url("/real.bin"))
    get(server.url("/a.bin"))
    server.add("/a.bin", status=500)
    get(server.url("/a.bin"), "--respect-cache")
    server.add("/a.bin", redirect=server.url("/real.bin"))
    assert get(server.url("/a.bin"))[1]["a.bin"]["reason"] == "not modified"


def test_a_failed_refresh_is_asked_again_although_the_old_answer_was_fresh(server, get, dest):
    server.add("/a.bin", body=OLD, etag='"1"', extra_headers=[("Cache-Control", "max-age=3600")])
    get(server.url("/a.bin"))
    (dest / "a.bin").rename(dest / "aside")
    server.add("/a.bin", status=500)
    get(server.url("/a.bin"))
    (dest / "aside").rename(dest / "a.bin")
    assert get(server.url("/a.bin"), "--respect-cache")[0].returncode == 1


def test_a_file_changed_after_a_failed_refresh_is_fetched_by_a_plain_run(server, get, dest, failed_refresh):
    url = failed_refresh(status=500)
    (dest / "a.bin").write_bytes(OLD.swapcase())
    server.add("/a.bin", body=NEW, etag='"2"')
    assert get(url)[1]["a.bin"]["status"] == "fetched"
    assert asked(server)[-1] is None
    assert (dest / "a.bin").read_bytes() == NEW


def test_plan_says_that_what_failed_would_be_asked(server, command, dest, failed_refresh):
    url = failed_refresh(status=500)
    told = command("plan", url, "-d", dest).stdout
    assert "would ask whether it changed" in told
