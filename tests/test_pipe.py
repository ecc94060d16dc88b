"""The whole pipe, as the installed command on real sockets: manifest in, verified files out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faultserver import route

BIG = os.urandom(3_000_000)
Run = Callable[..., subprocess.CompletedProcess[str]]


def small(request: Any) -> Any:
    """Serve any /n/NAME as a few bytes of its own."""
    return (
        route(body=f"body of {request.path}".encode(), etag='"1"') if request.path.startswith("/n/") else None
    )


def write_list(folder: Path, urls: list[str]) -> Path:
    path = folder / "urls.txt"
    path.write_text("\n".join(urls) + "\n", encoding="utf-8")
    return path


def files_below(dest: Path) -> dict[str, bytes]:
    found = (p for p in dest.rglob("*") if p.is_file() and ".bulkfetch" not in p.parts)
    return {p.relative_to(dest).as_posix(): p.read_bytes() for p in found}


def parts_below(dest: Path) -> list[Path]:
    return sorted((dest / ".bulkfetch" / "parts").iterdir())


def test_a_list_becomes_files_and_a_second_run_asks_for_nothing(server, run_bulkfetch, tmp_path):
    server.add_generator(small)
    manifest = write_list(tmp_path, [server.url(f"/n/{i}.txt") for i in range(50)])
    dest = tmp_path / "out"
    first = run_bulkfetch("get", manifest, "-d", dest)
    assert first.returncode == 0, first.stderr
    assert files_below(dest) == {f"{i}.txt": f"body of /n/{i}.txt".encode() for i in range(50)}
    assert "fetched 50 files" in first.stderr
    asked = len(server.requests)
    second = run_bulkfetch("get", manifest, "-d", dest)
    assert second.returncode == 0, second.stderr
    assert len(server.requests) == asked
    assert parts_below(dest) == []


def test_what_was_deleted_or_cut_is_fetched_again_and_nothing_else(server, run_bulkfetch, tmp_path):
    server.add_generator(small)
    manifest = write_list(tmp_path, [server.url(f"/n/{i}.txt") for i in range(6)])
    dest = tmp_path / "out"
    run_bulkfetch("get", manifest, "-d", dest)
    whole = files_below(dest)
    (dest / "2.txt").unlink()
    (dest / "4.txt").write_bytes(b"cut")
    asked = len(server.requests)
    again = run_bulkfetch("get", manifest, "-d", dest)
    assert again.returncode == 0, again.stderr
    assert files_below(dest) == whole
    assert sorted(r.path for r in server.requests[asked:]) == ["/n/2.txt", "/n/4.txt"]


def test_a_file_that_is_not_ours_is_left_alone_by_default(server, run_bulkfetch, tmp_path):
    server.add("/a.txt", body=b"theirs")
    (tmp_path / "a.txt").write_bytes(b"mine")
    done = run_bulkfetch("get", server.url("/a.txt"), "-d", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.txt").read_bytes() == b"mine"
    assert server.requests == []


@pytest.mark.parametrize(
    ("policy", "status", "left"),
    [("overwrite", 0, b"theirs"), ("fail", 1, b"mine")],
)
def test_existing_policies(server, run_bulkfetch, tmp_path, policy, status, left):
    server.add("/a.txt", body=b"theirs")
    (tmp_path / "a.txt").write_bytes(b"mine")
    done = run_bulkfetch("get", server.url("/a.txt"), "-d", tmp_path, "--existing", policy)
    assert done.returncode == status, done.stderr
    assert (tmp_path / "a.txt").read_bytes() == left


@pytest.mark.parametrize(("declared", "left"), [(b"mine", b"mine"), (b"theirs", b"theirs")])
def test_existing_verify_keeps_only_what_the_manifest_declares(
    server, run_bulkfetch, tmp_path, declared, left
):
    server.add("/a.txt", body=b"theirs")
    (tmp_path / "a.txt").write_bytes(b"mine")
    row = {"url": server.url("/a.txt"), "sha256": hashlib.sha256(declared).hexdigest()}
    done = run_bulkfetch(
        "get", "-", "-f", "jsonl", "-d", tmp_path, "--existing", "verify", stdin=json.dumps(row)
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.txt").read_bytes() == left


def test_a_cut_body_is_continued_not_started_again(server, run_bulkfetch, tmp_path):
    server.add("/big.bin", body=BIG, etag='"v1"', cut=2_000_000, times=1)
    done = run_bulkfetch("get", server.url("/big.bin"), "-d", tmp_path, "--backoff", "0.05")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert [r.range for r in server.hits("/big.bin")] == [None, "bytes=2000000-"]


def test_killed_in_the_middle_then_run_again_fetches_only_the_rest(
    server, run_bulkfetch, start_bulkfetch, tmp_path
):
    server.add("/big.bin", body=BIG, etag='"v1"', at={2_500_000: 60.0}, times=1)
    command = ("get", server.url("/big.bin"), "-d", tmp_path)
    running = start_bulkfetch(*command)
    server.wait_until(lambda: _journalled(tmp_path) >= 1_400_000)
    running.kill()
    running.wait(30)
    assert files_below(tmp_path) == {}
    again = run_bulkfetch(*command)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert server.requests[-1].sent <= len(BIG) - 1_400_000
    assert parts_below(tmp_path) == []


def _journalled(dest: Path) -> int:
    try:
        with contextlib.closing(sqlite3.connect(dest / ".bulkfetch" / "journal.sqlite3")) as database:
            return int(database.execute("SELECT max(offset) FROM parts").fetchone()[0] or 0)
    except sqlite3.Error:
        return 0


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_the_run_at_once_and_keeps_the_part(
    server, run_bulkfetch, start_bulkfetch, tmp_path, name, status
):
    server.add("/big.bin", body=BIG, etag='"v1"', at={1_500_000: 60.0}, times=1)
    server.add_generator(small)
    manifest = write_list(tmp_path, [server.url("/big.bin"), *(server.url(f"/n/{i}") for i in range(20))])
    dest = tmp_path / "out"
    running = start_bulkfetch("get", manifest, "-d", dest)
    server.wait_until(lambda: len(server.requests) == 21)
    server.wait_until(lambda: _journalled(dest) > 0 and len(files_below(dest)) == 20)
    before = time.monotonic()
    running.send_signal(getattr(signal, name))
    _, stderr = running.communicate(timeout=30)
    assert time.monotonic() - before < 20.0
    assert running.returncode == status, stderr
    assert "Traceback" not in stderr
    assert name in stderr
    assert len(files_below(dest)) == 20
    again = run_bulkfetch("get", manifest, "-d", dest)
    assert again.returncode == 0, again.stderr
    assert (dest / "big.bin").read_bytes() == BIG
    assert server.hits("/big.bin")[-1].range == "bytes=1500000-"


def test_a_second_run_in_the_same_destination_exits_4_and_says_who_holds_it(
    server, run_bulkfetch, start_bulkfetch, tmp_path
):
    server.add("/slow.bin", body=BIG, at={100: 60.0})
    running = start_bulkfetch("get", server.url("/slow.bin"), "-d", tmp_path)
    server.wait_for_hits("/slow.bin")
    second = run_bulkfetch("get", server.url("/other"), "-d", tmp_path)
    assert second.returncode == 4
    assert str(running.pid) in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1


def test_failures_are_told_written_and_read_back(server, run_bulkfetch, tmp_path):
    server.add("/good.txt", body=b"good")
    rows = [
        {"url": server.url("/good.txt"), "station": "north"},
        {"url": server.url("/missing.txt"), "station": "south", "path": "kept/name.txt"},
    ]
    dest, again = tmp_path / "out", tmp_path / "again.jsonl"
    text = "".join(json.dumps(row) + "\n" for row in rows)
    done = run_bulkfetch("get", "-", "-f", "jsonl", "-d", dest, "--failed", again, stdin=text)
    assert done.returncode == 1, done.stderr
    assert "not-found" in done.stderr
    (record,) = [json.loads(line) for line in again.read_text().splitlines()]
    assert record["station"] == "south"
    assert record["failure"]["status"] == 404
    listed = run_bulkfetch("failed", dest)
    assert json.loads(listed.stdout)["failure"]["kind"] == "not-found"
    server.add("/missing.txt", body=b"found now")
    retried = run_bulkfetch("get", again, "-d", dest)
    assert retried.returncode == 0, retried.stderr
    assert (dest / "kept" / "name.txt").read_bytes() == b"found now"


def test_a_bad_line_is_named_skipped_and_counted(server, run_bulkfetch, tmp_path):
    server.add("/good.txt", body=b"good")
    manifest = write_list(tmp_path, [server.url("/good.txt"), "ftp://example.org/x", "nonsense"])
    done = run_bulkfetch("get", manifest, "-d", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert "urls.txt:2" in done.stderr
    assert "urls.txt:3" in done.stderr
    assert files_below(tmp_path / "out") == {"good.txt": b"good"}


def test_the_first_line_of_a_pipe_is_fetched_and_printed_before_the_pipe_closes(
    server, start_bulkfetch, tmp_path
):
    server.add_generator(small)
    running = start_bulkfetch(
        "get", "-d", tmp_path, "--print", "path", "--progress", "none", stdin=subprocess.PIPE
    )
    running.stdin.write(server.url("/n/first") + "\n")
    running.stdin.flush()
    assert running.stdout.readline().strip() == str(tmp_path / "first")
    running.stdin.write(server.url("/n/second") + "\n")
    running.stdin.close()
    assert running.stdout.readline().strip() == str(tmp_path / "second")
    assert running.wait(30) == 0


def test_a_consumer_that_goes_away_ends_the_run_cleanly(server, start_bulkfetch, tmp_path):
    server.add_generator(small)
    running = start_bulkfetch(
        "get", "-d", tmp_path, "--print", "path", "--quiet", stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    running.stdin.write(server.url("/n/0") + "\n")
    running.stdin.flush()
    running.stdout.readline()
    running.stdout.close()
    for i in range(1, 200):
        try:
            running.stdin.write(server.url(f"/n/{i}") + "\n")
            running.stdin.flush()
        except BrokenPipeError:
            break
    assert running.wait(30) == 5
    assert "Traceback" not in running.stderr.read()


@pytest.mark.skipif(sys.platform == "win32", reason="needs /dev/full and shell redirection")
@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full", "</dev/null 2>&-"])
def test_a_closed_or_full_stderr_changes_nothing(server, tmp_path, redirect):
    server.add_generator(small)
    url = server.url("/n/a")
    command = f"{sys.executable} -m bulkfetch get {url} -d {tmp_path}/out {redirect}"
    done = subprocess.run(["/bin/sh", "-c", command], timeout=30, capture_output=True)
    assert done.returncode == 0
    assert files_below(tmp_path / "out") == {"a": b"body of /n/a"}


def test_a_throttling_host_delays_only_itself(make_server, run_bulkfetch, tmp_path):
    healthy, busy = make_server(), make_server(host="127.0.0.2")
    for server in (healthy, busy):
        server.add_generator(small)
    busy.throttle(first_of_each_path=True, retry_after="3")
    urls = [busy.url(f"/n/b{i}") for i in range(2)] + [healthy.url(f"/n/h{i}") for i in range(50)]
    done = run_bulkfetch("get", write_list(tmp_path, urls), "-d", tmp_path / "out", "-j", "4")
    assert done.returncode == 0, done.stderr
    assert len(files_below(tmp_path / "out")) == 52
    first, *_, last = sorted(request.time for request in busy.requests)
    assert last - first >= 2.0, "once it was told to wait"
    assert max(request.time for request in healthy.requests) < last


def test_a_list_sorted_by_host_still_uses_all_workers(make_server, run_bulkfetch, tmp_path):
    slow, other = make_server(), make_server(host="127.0.0.2")
    slow.add("/n/*", body=b"x", head_delay=0.1)
    other.add_generator(small)
    urls = [slow.url(f"/n/{i}") for i in range(60)] + [other.url(f"/n/o{i}") for i in range(20)]
    done = run_bulkfetch(
        "get", write_list(tmp_path, urls), "-d", tmp_path / "out", "-j", "8", "--per-host", "3"
    )
    assert done.returncode == 0, done.stderr
    assert slow.peak_requests == 3
    assert max(r.time for r in other.requests) < slow.requests[50].time


def test_one_connection_serves_many_requests(server, run_bulkfetch, tmp_path):
    server.add_generator(small)
    urls = [server.url(f"/n/{i}") for i in range(60)]
    done = run_bulkfetch("get", write_list(tmp_path, urls), "-d", tmp_path / "out", "--per-host", "2")
    assert done.returncode == 0, done.stderr
    assert server.connections <= 2


def test_headers_stay_with_the_origin_the_manifest_names(make_server, run_bulkfetch, tmp_path):
    named, target = make_server(), make_server(host="127.0.0.2")
    named.add("/a.bin", redirect=target.url("/b.bin"))
    target.add("/b.bin", body=b"content")
    done = run_bulkfetch("get", named.url("/a.bin"), "-d", tmp_path, "-H", "X-Api-Key: s3cret")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.bin").read_bytes() == b"content"
    assert named.requests[0].headers["X-Api-Key"] == "s3cret"
    assert "X-Api-Key" not in target.requests[0].headers


def test_one_url_to_a_name_and_to_stdout(server, run_bulkfetch, tmp_path):
    server.add("/a.bin", body=b"content")
    named = run_bulkfetch("get", server.url("/a.bin"), "-d", tmp_path, "-o", "sub/b.bin")
    assert named.returncode == 0, named.stderr
    assert (tmp_path / "sub" / "b.bin").read_bytes() == b"content"
    streamed = run_bulkfetch("get", server.url("/a.bin"), "-o", "-")
    assert (streamed.returncode, streamed.stdout) == (0, "content")


def test_a_remote_manifest_is_fetched_then_read(server, run_bulkfetch, tmp_path):
    server.add("/list.csv", body="url,path\n/n/a,x.txt\n", content_type="text/csv")
    server.add_generator(small)
    done = run_bulkfetch("get", "-i", server.url("/list.csv"), "-d", tmp_path)
    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path) == {"x.txt": b"body of /n/a"}


def test_names_that_collide_are_settled_the_same_way_in_every_run(server, run_bulkfetch, tmp_path):
    for name in ("/a/x.txt", "/b/x.txt", "/c/X.txt"):
        server.add(name, body=name.encode())
    urls = [server.url(p) for p in ("/a/x.txt", "/b/x.txt", "/c/X.txt", "/a/x.txt")]
    run_bulkfetch("get", write_list(tmp_path, urls), "-d", tmp_path / "out")
    first = files_below(tmp_path / "out")
    assert len(first) == 3
    assert first["x.txt"] == b"/a/x.txt"
    asked = len(server.requests)
    again = run_bulkfetch("get", write_list(tmp_path, urls[::-1]), "-d", tmp_path / "out")
    assert again.returncode == 0, again.stderr
    assert (files_below(tmp_path / "out"), len(server.requests)) == (first, asked)


def test_status_plan_and_verify_tell_what_is_there(server, run_bulkfetch, tmp_path):
    server.add_generator(small)
    manifest = write_list(tmp_path, [server.url("/n/a"), server.url("/n/b"), server.url("/missing")])
    dest = tmp_path / "out"
    planned = run_bulkfetch("plan", manifest, "-d", dest)
    assert planned.returncode == 0, planned.stderr
    assert "3 entries" in planned.stdout
    assert not dest.exists()
    assert server.requests == []
    run_bulkfetch("get", manifest, "-d", dest)
    known = json.loads(run_bulkfetch("status", dest, "--json").stdout)
    assert known["states"] == {"fetched": 2, "failed": 1}
    assert known["failures"] == {"not-found": 1}
    assert run_bulkfetch("verify", dest).returncode == 0
    (dest / "b").write_bytes(b"body of /n/B")
    differs = run_bulkfetch("verify", dest)
    assert differs.returncode == 1
    assert differs.stdout.startswith("b: ")
    left = run_bulkfetch("plan", manifest, "-d", dest)
    assert "already fetched" in left.stdout


def test_events_are_json_lines_with_a_version(server, run_bulkfetch, tmp_path):
    server.add_generator(small)
    events = tmp_path / "events.ndjson"
    run_bulkfetch("get", server.url("/n/a"), "-d", tmp_path / "out", "--events", events)
    records = [json.loads(line) for line in events.read_text().splitlines()]
    assert {r["v"] for r in records} == {1}
    names = [r["event"] for r in records]
    assert names[0] == "run_started"
    assert names[-1] == "run_finished"
    assert "finished" in names


def test_too_many_failures_stop_the_run(server, run_bulkfetch, tmp_path):
    urls = [server.url(f"/missing/{i}") for i in range(300)]
    done = run_bulkfetch("get", write_list(tmp_path, urls), "-d", tmp_path / "out", "--max-failures", "5")
    assert done.returncode == 5, done.stderr
    assert len(server.requests) < 100


def test_the_deadline_of_the_run_ends_it_resumable(server, run_bulkfetch, tmp_path):
    server.add("/slow.bin", body=BIG, etag='"1"', at={1_200_000: 60.0}, times=1)
    done = run_bulkfetch("get", server.url("/slow.bin"), "-d", tmp_path, "--deadline", "1.5")
    assert done.returncode == 5, done.stderr
    again = run_bulkfetch("get", server.url("/slow.bin"), "-d", tmp_path)
    assert again.returncode == 0, again.stderr
    assert server.hits("/slow.bin")[-1].range == "bytes=1200000-"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["get", "no-such-file.txt"], "neither a URL nor a file"),
        (["get", "--jobs", "0", "http://127.0.0.1/"], "jobs"),
        (["get", "http://127.0.0.1:1/", "--layout", "{nonsense"], "layout"),
        (["status", "nowhere"], "no journal"),
        (["get", "--print", "{", "http://127.0.0.1:1/"], "--print"),
    ],
)
def test_a_wrong_command_gets_one_sentence_and_status_2(run_bulkfetch, arguments, says):
    done = run_bulkfetch(*arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
