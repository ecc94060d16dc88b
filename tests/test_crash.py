"""Killed, cut off from power, or with a spoiled journal: nothing is lost and nothing is wrong afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultserver import pattern
from harness.child import POINTS
from harness.corpus import LAST_MODIFIED, STATE, final_files, finished, part_sizes, parts
from harness.kill import RANDOM, kill_many
from harness.power import cut_many
from harness.process import end_all, run, start

import bulkfetch

KILLS = [*POINTS, *[RANDOM] * 5]  # 18 in all

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    end_all()


# -- killed at any moment ----------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(3))
def test_a_kill_at_any_point_costs_little_and_spoils_nothing(tmp_path, turn):
    kinds = KILLS[turn::3]
    report = kill_many(len(kinds), seed=turn, folder=tmp_path, kinds=kinds, in_a_row=len(kinds))
    assert report.wrong == []
    assert report.killed == len(kinds)


def test_power_loss_at_any_point_is_made_good_by_the_next_run(tmp_path):
    report = cut_many(6, seed=1, folder=tmp_path, per_tape=2)
    assert report.wrong == []
    assert report.tapes == 3  # a fresh destination, an updated one, one under --fsync
    assert report.promises > 0


# -- what the next run makes of what it finds --------------------------------------------------------


def fetch(dest: Path, *sources: object, **options: Any) -> dict[str, tuple[str, str]]:
    """Run to the end in this process; returns status and reason by name."""
    entries = [e for s in sources for e in ([s] if isinstance(s, str) else bulkfetch.read_manifest(str(s)))]
    told = {o.path: (str(o.status), o.reason) for o in bulkfetch.fetch(entries, dest, **options)}
    assert None not in told
    return told


def killed(dest: Path, point: str, *arguments: object) -> None:
    done = run("get", *arguments, "-d", dest, ways=("--kill", point))
    assert done.returncode == -signal.SIGKILL, done.stderr


def edit(dest: Path, *statements: str) -> None:
    """Change a journal behind the program's back."""
    with contextlib.closing(sqlite3.connect(dest / STATE / "journal.sqlite3")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


OTHER_BOOT = "UPDATE runs SET boot = 'another one', durable = 0"
OTHER_BOOT_PARTS = "UPDATE parts SET boot = 'another one'"


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_file_renamed_before_it_was_recorded_is_adopted_not_fetched(server, dest):
    server.add("/a.bin", body=b"content")
    killed(dest, "after-rename:1", server.url("/a.bin"))
    assert (dest / "a.bin").read_bytes() == b"content"
    assert fetch(dest, server.url("/a.bin")) == {"a.bin": ("unchanged", "found complete")}
    assert len(server.requests) == 1
    assert finished(dest) == {"a.bin": hashlib.sha256(b"content").hexdigest()}


def test_after_another_boot_such_a_file_is_fetched_again(server, dest):
    server.add("/a.bin", body=b"content")
    killed(dest, "after-rename:1", server.url("/a.bin"))
    (dest / "a.bin").write_bytes(b"con\0\0\0\0")
    edit(dest, OTHER_BOOT)
    assert fetch(dest, server.url("/a.bin")) == {"a.bin": ("fetched", "")}
    assert (dest / "a.bin").read_bytes() == b"content"


def test_a_file_that_does_not_fit_its_declared_digest_is_not_adopted(server, dest, tmp_path):
    server.add("/a.bin", body=b"content")
    killed(dest, "after-rename:1", server.url("/a.bin"))
    (dest / "a.bin").write_bytes(b"kontent")
    rows = tmp_path / "a.jsonl"
    digest = hashlib.sha256(b"content").hexdigest()
    rows.write_text(json.dumps({"url": server.url("/a.bin"), "sha256": digest}))
    assert fetch(dest, rows) == {"a.bin": ("fetched", "")}
    assert (dest / "a.bin").read_bytes() == b"content"


def test_a_crash_of_the_machine_has_finished_files_hashed_again(server, dest):
    urls = []
    for name in ("good.bin", "torn.bin"):
        server.add(f"/{name}", body=pattern(5000), last_modified=LAST_MODIFIED)
        urls.append(server.url(f"/{name}"))
    killed(dest, "after-sync:1", *urls)  # everything is recorded, but not that it was synced
    torn = dest / "torn.bin"
    torn.write_bytes(bytes(5000))
    os.utime(torn, (LAST_MODIFIED, LAST_MODIFIED))
    asked = len(server.requests)
    edit(dest, OTHER_BOOT)
    assert fetch(dest, *urls) == {
        "good.bin": ("unchanged", "verified after an unclean end"),
        "torn.bin": ("fetched", ""),
    }
    assert [request.path for request in server.requests[asked:]] == ["/torn.bin"]
    assert torn.read_bytes() == pattern(5000)
    edit(dest, "UPDATE runs SET boot = 'another one'")  # that run ended clean: nothing is in doubt any more
    assert fetch(dest, *urls)["good.bin"] == ("skipped", "already fetched")


def test_without_a_digest_to_go_by_a_crash_of_the_machine_means_fetching_again(server, dest):
    server.add("/a.bin", body=pattern(5000), last_modified=LAST_MODIFIED)
    fetch(dest, server.url("/a.bin"), digest="none")
    edit(dest, OTHER_BOOT)
    (dest / "a.bin").write_bytes(bytes(5000))
    os.utime(dest / "a.bin", (LAST_MODIFIED, LAST_MODIFIED))
    assert fetch(dest, server.url("/a.bin"), digest="none") == {"a.bin": ("fetched", "")}
    assert (dest / "a.bin").read_bytes() == pattern(5000)


def test_a_file_put_there_after_a_run_was_stopped_is_not_ours_whatever_the_boot(server, dest):
    server.add("/mine.bin", body=b"theirs")
    server.add("/slow.bin", body=pattern(5000), at={100: 60.0})
    child = start("get", server.url("/slow.bin"), "-d", dest)
    server.wait_for_hits("/slow.bin")
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode == 130
    edit(dest, "UPDATE runs SET finished = finished - 10, started = started - 10")
    for name in ("mine.bin", "slow.bin"):
        (dest / name).write_bytes(b"mine")
    told = fetch(dest, server.url("/mine.bin"), server.url("/slow.bin"))
    assert set(told.values()) == {("skipped", "a file is already there")}
    edit(dest, "DELETE FROM runs WHERE id > 1")
    done = run("get", server.url("/mine.bin"), "-d", dest, ways=("--boot", "next"))
    assert done.returncode == 0, done.stderr
    assert (dest / "mine.bin").read_bytes() == b"mine"


def test_a_file_put_there_since_the_machine_came_up_again_is_not_ours(server, dest):
    server.add("/mine.bin", body=b"theirs")
    server.add("/other.bin", body=b"other")
    killed(dest, "planned:1", server.url("/other.bin"))
    edit(dest, OTHER_BOOT)
    (dest / "mine.bin").write_bytes(b"mine")
    told = fetch(dest, server.url("/mine.bin"))
    assert told == {"mine.bin": ("skipped", "a file is already there")}
    assert (dest / "mine.bin").read_bytes() == b"mine"


def test_a_file_that_no_row_knows_is_not_adopted_after_a_kill(server, dest):
    server.add("/mine.bin", body=b"theirs")
    server.add("/other.bin", body=b"other")
    killed(dest, "after-rename:1", server.url("/other.bin"))
    (dest / "mine.bin").write_bytes(b"mine")
    told = fetch(dest, server.url("/mine.bin"), server.url("/other.bin"))
    assert told["mine.bin"] == ("skipped", "a file is already there")
    assert told["other.bin"] == ("unchanged", "found complete")


@pytest.mark.parametrize("way", ["failed", "killed"])
def test_a_file_of_ours_that_is_out_of_date_stays_wanted_until_it_is_replaced(server, dest, tmp_path, way):
    server.add("/a.bin", body=b"version 1")
    fetch(dest, server.url("/a.bin"))
    rows = tmp_path / "a.jsonl"
    digest = hashlib.sha256(b"version 2").hexdigest()
    rows.write_text(json.dumps({"url": server.url("/a.bin"), "sha256": digest}))
    if way == "failed":
        server.add("/a.bin", status=404)
        assert fetch(dest, rows) == {"a.bin": ("failed", "")}
    else:
        killed(dest, "after-commit:2", rows)  # planned, not started
    assert (dest / "a.bin").read_bytes() == b"version 1"
    server.add("/a.bin", body=b"version 2")
    assert fetch(dest, rows) == {"a.bin": ("fetched", "")}
    assert (dest / "a.bin").read_bytes() == b"version 2"


def test_an_entry_that_failed_keeps_the_good_file_from_before(server, dest, tmp_path):
    server.add("/a.bin", body=b"version 1")
    bare = tmp_path / "bare.txt"
    bare.write_text(server.url("/a.bin"))
    fetch(dest, bare)
    rows = tmp_path / "a.jsonl"
    rows.write_text(json.dumps({"url": server.url("/a.bin"), "size": 7}))
    assert fetch(dest, rows) == {"a.bin": ("failed", "")}
    assert fetch(dest, bare) == {"a.bin": ("unchanged", "the same bytes came")}
    assert fetch(dest, bare) == {"a.bin": ("skipped", "already fetched")}


def test_a_file_a_killed_run_wrote_for_another_url_is_replaced_if_told_so(server, dest, tmp_path):
    for name, body in (("old", b"old bytes"), ("new", b"new bytes")):
        server.add(f"/{name}", body=body)
        row = {"url": server.url(f"/{name}"), "path": "a.bin"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    killed(dest, "after-rename:1", tmp_path / "old.jsonl")
    assert fetch(dest, tmp_path / "new.jsonl") == {"a.bin": ("failed", "")}
    assert (dest / "a.bin").read_bytes() == b"old bytes"
    assert fetch(dest, tmp_path / "new.jsonl", existing="overwrite") == {"a.bin": ("fetched", "")}
    assert (dest / "a.bin").read_bytes() == b"new bytes"


@pytest.mark.parametrize("policy", ["skip", "verify", "overwrite", "fail"])
def test_existing_policies_say_nothing_about_files_of_ours(server, dest, policy):
    server.add("/a.bin", body=b"content")
    killed(dest, "after-rename:1", server.url("/a.bin"))
    told = fetch(dest, server.url("/a.bin"), existing=policy)
    assert told == {"a.bin": ("unchanged", "found complete")}
    told = fetch(dest, server.url("/a.bin"), existing=policy)
    assert told == {"a.bin": ("skipped", "already fetched")}


def test_parts_of_nobody_are_swept_at_the_next_start(server, dest):
    server.add("/a.bin", body=b"content")
    killed(dest, "part-opened:1", server.url("/a.bin"))
    assert len(parts(dest)) == 1
    fetch(dest, server.url("/a.bin"))
    assert parts(dest) == []


def test_a_part_from_before_a_crash_of_the_machine_is_not_continued(server, dest):
    body = pattern(3_000_000)
    server.add("/a.bin", body=body, etag='"1"', at={2_000_000: 60.0}, times=1)
    child = start("get", server.url("/a.bin"), "-d", dest)
    server.wait_until(lambda: 2_000_000 in part_sizes(dest))
    child.kill()
    child.communicate(timeout=30)
    edit(dest, OTHER_BOOT, OTHER_BOOT_PARTS)
    assert fetch(dest, server.url("/a.bin")) == {"a.bin": ("fetched", "")}
    assert server.requests[-1].range is None
    assert (dest / "a.bin").read_bytes() == body
    assert parts(dest) == []


# -- the journal -------------------------------------------------------------------------------------


def fetch_some(server: Any, dest: Path, count: int = 5) -> list[str]:
    urls = []
    for number in range(count):
        server.add(f"/{number}.bin", body=pattern(2000, number))
        urls.append(server.url(f"/{number}.bin"))
    return urls


def test_a_journal_of_garbage_is_kept_aside_and_the_run_goes_on(server, dest):
    urls = fetch_some(server, dest)
    fetch(dest, *urls[:2])
    for old in (dest / STATE).glob("journal.sqlite3*"):
        old.write_bytes(b"\xff" * 5000)
    done = run("get", *urls, "-d", dest)
    assert done.returncode == 0, done.stderr
    assert "damaged" in done.stderr
    assert len(final_files(dest)) == 5
    assert b"\xff" * 5000 in [path.read_bytes() for path in (dest / STATE).glob("journal.sqlite3.damaged-*")]


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_a_torn_log_costs_only_what_was_written_last(server, dest, cut):
    urls = fetch_some(server, dest)
    killed(dest, "before-sync:1", *urls)
    log = dest / STATE / "journal.sqlite3-wal"
    log.write_bytes(log.read_bytes()[:-cut])
    fetch(dest, *urls)
    assert final_files(dest).keys() == {f"{number}.bin" for number in range(5)}
    assert all((dest / f"{n}.bin").read_bytes() == pattern(2000, n) for n in range(5))


def test_a_journal_of_a_newer_version_is_refused_and_left_alone(server, dest):
    urls = fetch_some(server, dest)
    fetch(dest, urls[0])
    edit(dest, "PRAGMA user_version = 99")
    done = run("get", *urls, "-d", dest)
    assert done.returncode == 2
    assert "newer" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert len(server.requests) == 1


@pytest.mark.parametrize("path", ["../escaped.bin", "/tmp/escaped.bin", "a/../../escaped.bin"])
def test_a_journal_row_that_leads_outside_is_not_followed(server, dest, path):
    urls = fetch_some(server, dest, 1)
    fetch(dest, *urls)
    edit(dest, f"UPDATE entries SET path = '{path}', state = 'pending'")
    fetch(dest, *urls)
    assert not list(dest.parent.glob("escaped*"))
    assert not Path("/tmp/escaped.bin").exists()
    assert list(final_files(dest)) == ["0.bin"]


@pytest.mark.parametrize("change", ["deleted", "cut", "grown", "touched"])
def test_a_finished_file_that_was_changed_is_fetched_again(server, dest, change):
    server.add("/a.bin", body=b"content", last_modified=LAST_MODIFIED)
    fetch(dest, server.url("/a.bin"))
    file = dest / "a.bin"
    if change == "deleted":
        file.unlink()
    else:
        file.write_bytes({"cut": b"con", "grown": b"content!", "touched": b"kontent"}[change])
    assert fetch(dest, server.url("/a.bin")) == {"a.bin": ("fetched", "")}
    assert file.read_bytes() == b"content"
