"""An entry whose last ask failed or broke off: the next run asks again, and the old file stays until then."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from faultserver import pattern

from bulkfetch.journal import Journal
from bulkfetch.models import Entry, Outcome, Status

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


# -- what was only hashed again ----------------------------------------------------------------------


def touch(dest: Path) -> Path:
    os.utime(dest / "a.bin", (LONG_AGO + 5, LONG_AGO + 5))
    return dest


def copy(dest: Path) -> Path:
    shutil.copytree(dest, dest.with_name("copy"), copy_function=shutil.copyfile)
    os.utime(dest.with_name("copy") / "a.bin", (LONG_AGO + 5, LONG_AGO + 5))
    return dest.with_name("copy")


@pytest.mark.parametrize("disturb", [touch, copy])
def test_what_was_hashed_again_keeps_what_its_answer_said(server, command, tmp_path, disturb):
    server.add("/real.bin", body=OLD, etag='"1"', last_modified=LONG_AGO)
    server.add("/a.bin", redirect=server.url("/real.bin"))
    fetch = ("get", server.url("/a.bin"), "--print", "json", "-d")
    command(*fetch, tmp_path / "out")
    there = disturb(tmp_path / "out")
    (told,) = map(json.loads, command(*fetch, there).stdout.splitlines())
    assert (told["reason"], told["final_url"]) == ("verified", None)
    assert len(server.requests) == 2
    (told,) = map(json.loads, command(*fetch, there, "--respect-cache").stdout.splitlines())
    assert (told["reason"], told["etag"]) == ("not modified", '"1"')
    assert server.hits("/real.bin")[-1].headers["If-None-Match"] == '"1"'


def test_what_was_hashed_again_is_as_fresh_as_before(server, get, dest):
    server.add("/a.bin", body=OLD, etag='"1"', extra_headers=[("Cache-Control", "max-age=3600")])
    get(server.url("/a.bin"))
    touch(dest)
    get(server.url("/a.bin"))
    assert get(server.url("/a.bin"), "--respect-cache")[1]["a.bin"]["reason"] == "already fetched"
    assert len(server.requests) == 1


@pytest.mark.parametrize(("digest", "kept"), [("a" * 64, '"1"'), ("b" * 64, None)], ids=["same", "other"])
def test_what_an_answer_said_holds_for_the_bytes_it_brought_alone(tmp_path, digest, kept):
    url, key = "http://a.example/x", b"k" * 16
    outcome = Outcome(Entry((url,)), Status.FETCHED, "x", url, url, 3, digest="sha256:" + "a" * 64, key=key)
    with contextlib.closing(Journal.open(tmp_path)) as journal:
        journal.begin_run()
        journal.settle([outcome._replace(etag='"1"', fresh_until=5)])
        outcome = outcome._replace(status=Status.UNCHANGED, final_url="", digest=f"sha256:{digest}")
        journal.settle([outcome._replace(reason="verified", mtime_ns=7)])
        row, answer = journal.find([key])[key], journal.find_answers([key])[key]
    assert (row.state, row.mtime_ns, row.etag, answer.fresh_until) == (
        Status.UNCHANGED, 7, kept, 5 if kept else None,
    )  # fmt: skip


# -- broken off --------------------------------------------------------------------------------------


@pytest.fixture
def interrupt(server, get, start_bulkfetch, dest):
    """Have the refresh of a.bin interrupted after some of its new body came; returns the URL and the body."""

    def interrupt(*arguments: object, etag: str = '"2"') -> tuple[str, bytes]:
        url, new = str(server.url("/a.bin")), pattern(3_000_000)
        server.add("/a.bin", body=new, etag=etag, at={2_500_000: 60.0})
        (dest / "e").touch()
        running = start_bulkfetch(
            "get", url, *arguments, "-d", dest, "--respect-cache", "--events", dest / "e"
        )
        server.wait_until(lambda: b'"progress"' in (dest / "e").read_bytes())
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
        (dest / "e").unlink()
        server.add("/a.bin", body=new, etag=etag)
        return url, new

    return interrupt


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_an_interrupted_replacement_leaves_the_record_of_the_old_file(server, get, dest, command, interrupt):
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    url, new = interrupt()
    assert "1  fetched" in command("status", dest).stdout
    verified = command("verify", dest)
    assert (verified.returncode, verified.stdout) == (0, ""), verified
    assert get(url)[1]["a.bin"]["reason"] == "already fetched"
    assert (dest / "a.bin").read_bytes() == OLD
    assert get(url, "--respect-cache")[1]["a.bin"]["status"] == "fetched"
    last = server.requests[-1]
    assert (last.headers["If-None-Match"], last.headers["If-Range"]) == ('"1"', '"2"')
    assert last.range != "bytes=0-"
    assert (dest / "a.bin").read_bytes() == new


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_an_interrupted_second_try_leaves_the_record_of_the_failure(server, get, dest, command, interrupt):
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    server.add("/a.bin", status=404)
    get(server.url("/a.bin"), "--respect-cache")
    url, new = interrupt()
    assert "not-found" in command("status", dest).stdout
    assert get(url)[1]["a.bin"]["status"] == "fetched"
    assert (dest / "a.bin").read_bytes() == new


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_refreshes_that_had_not_begun_are_as_they_were(server, get, dest, command, interrupt):
    urls = [server.url(f"/{number}.bin") for number in range(20)]
    for number in range(20):
        server.add(f"/{number}.bin", body=OLD, etag='"1"')
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"), *urls)
    interrupt(*urls, "-j", 1)
    assert "21  fetched" in command("status", dest).stdout.replace("unchanged", "fetched")


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_verify_knows_the_old_file_while_and_after_a_killed_replacement(
    server, get, dest, command, start_bulkfetch
):
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    server.add("/a.bin", body=NEW, etag='"2"', at={5: 60.0})
    running = start_bulkfetch("get", server.url("/a.bin"), "-d", dest, "--respect-cache")
    server.wait_for_hits("/a.bin", 2)
    assert command("verify", dest).returncode == 0
    assert "no finished file" not in command("verify", dest).stderr
    running.kill()
    running.wait(30)
    assert "no finished file" not in command("verify", dest).stderr


# -- what the user has changed -----------------------------------------------------------------------


def test_a_plain_run_warns_once_before_it_replaces_files_that_were_edited(server, get, dest):
    urls = [server.url(f"/{number}.bin") for number in range(3)]
    for number in range(3):
        server.add(f"/{number}.bin", body=OLD)
    assert "changed after" not in get(*urls)[0].stderr
    for name in ("0.bin", "1.bin"):
        (dest / name).write_bytes(b"mine")
    done, told = get(*urls, "--respect-cache")
    assert "changed after" not in done.stderr
    assert told["0.bin"]["status"] == "skipped"
    done, told = get(*urls)
    assert done.stderr.count("2 files were changed after having been fetched, and will be replaced") == 1
    assert [told[f"{number}.bin"]["status"] for number in range(3)] == ["fetched", "fetched", "skipped"]
    assert (dest / "0.bin").read_bytes() == OLD
    assert "changed after" not in get(*urls)[0].stderr


def test_nobody_is_warned_of_what_the_manifest_or_the_user_asks_for(server, get, dest, tmp_path):
    server.add("/a.bin", body=OLD)
    get(server.url("/a.bin"))
    (dest / "a.bin").write_bytes(b"mine")
    assert "changed after" not in get(server.url("/a.bin"), "--existing", "overwrite")[0].stderr
    rows = tmp_path / "a.jsonl"
    rows.write_text(json.dumps({"url": server.url("/a.bin"), "size": len(NEW)}))
    server.add("/a.bin", body=NEW)
    done, told = get(rows)
    assert (told["a.bin"]["status"], "changed after" in done.stderr) == ("fetched", False)


def test_an_empty_answer_does_not_replace_a_file_that_was_edited(server, get, dest):
    server.add("/a.bin", body=OLD)
    get(server.url("/a.bin"))
    (dest / "a.bin").write_bytes(b"mine")
    server.add("/a.bin", body=b"")
    assert get(server.url("/a.bin"))[1]["a.bin"]["failure"]["kind"] == "content"
    assert (dest / "a.bin").read_bytes() == b"mine"
