"""Two at once: in one destination, beside one another, on file systems whose locks lock nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultserver import pattern
from harness.corpus import STATE, final_files, finished, part_sizes, parts
from harness.process import end_all, run, start

import bulkfetch
from bulkfetch import FetchConfig, Fetcher, events
from bulkfetch.errors import DestinationLocked, DiskFailed

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX locks")

BIG = pattern(3_000_000)


@pytest.fixture
def urls(server: Any) -> list[str]:
    """Twenty small files."""
    for number in range(20):
        server.add(f"/{number}.bin", body=pattern(5000, number), etag='"1"')
    return [server.url(f"/{number}.bin") for number in range(20)]


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    end_all()


def assert_whole(dest: Path) -> None:
    """Twenty small files are there, right and recorded, and nothing else is."""
    assert {name: path.read_bytes() for name, path in final_files(dest).items()} == {
        f"{number}.bin": pattern(5000, number) for number in range(20)
    }
    assert len(finished(dest)) == 20
    assert parts(dest) == []


# -- one destination ---------------------------------------------------------------------------------


def test_of_two_runs_started_at_once_one_works_and_the_other_names_it(server, tmp_path, urls):
    server.throttle(concurrent=100)
    runs = [start("get", *urls, "-d", tmp_path / "out", "-j", "2") for _ in range(4)]
    ended = [(child.pid, child.communicate(timeout=30)[1], child.returncode) for child in runs]
    assert {code for _, _, code in ended} <= {0, 4}
    holders = {str(pid) for pid, _, code in ended if code == 0}
    assert holders
    for _, stderr, code in ended:
        if code == 4:
            assert re.search(r"another run holds .*process (\d+)|another run holds", stderr), stderr
            assert len(stderr.strip().splitlines()) == 1
    assert_whole(tmp_path / "out")


def test_a_linked_name_of_the_destination_is_the_same_destination(server, tmp_path, urls):
    server.add("/slow.bin", body=BIG, at={100: 60.0})
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    child = start("get", server.url("/slow.bin"), "-d", tmp_path / "out")
    server.wait_for_hits("/slow.bin")
    second = run("get", *urls, "-d", tmp_path / "link")
    child.kill()
    child.communicate(timeout=30)
    assert second.returncode == 4
    assert f"process {child.pid}" in second.stderr


def test_the_lock_of_a_killed_run_is_taken_over_and_told(server, tmp_path, urls):
    server.add("/slow.bin", body=BIG, at={100: 60.0})
    child = start("get", server.url("/slow.bin"), "-d", tmp_path)
    server.wait_for_hits("/slow.bin")
    child.kill()
    child.communicate(timeout=30)
    done = run("get", *urls, "-d", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"process {child.pid}" in done.stderr
    assert_whole(tmp_path)


def test_a_process_that_took_over_the_number_of_a_dead_one_does_not_hold_the_lock(tmp_path, urls):
    assert run("get", urls[0], "-d", tmp_path).returncode == 0
    facts = {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "started": 1.0,
        "command": "",
        "birth": "another",
    }
    (tmp_path / STATE / "lock").write_text(json.dumps(facts))
    assert run("get", *urls, "-d", tmp_path).returncode == 0
    assert_whole(tmp_path)


def test_locks_that_lock_nothing_do_not_let_a_second_run_in_beside_a_living_one(server, tmp_path, urls):
    server.add("/slow.bin", body=BIG, at={100: 60.0})
    child = start("get", server.url("/slow.bin"), "-d", tmp_path, ways=["--no-locks"])
    server.wait_for_hits("/slow.bin")
    second = run("get", *urls, "-d", tmp_path, ways=["--no-locks"])
    child.kill()
    child.communicate(timeout=30)
    assert second.returncode == 4
    assert f"process {child.pid}" in second.stderr


def test_where_two_machines_get_in_at_once_nothing_is_spliced(server, tmp_path, urls):
    """The last line of defence (fault K03): no lock works, and neither run can see that the other lives."""
    server.add("/big.bin", body=BIG, etag='"1"', at={2_000_000: 3.0})
    command = ("get", server.url("/big.bin"), *urls, "-d", tmp_path)
    first = start(*command, ways=["--no-locks", "--host", "here"])
    server.wait_until(lambda: 2_000_000 in part_sizes(tmp_path))
    second = start(*command, ways=["--no-locks", "--host", "there"])
    ended = [child.communicate(timeout=45)[1] for child in (first, second)]
    assert {first.returncode, second.returncode} <= {0, 1}, ended
    assert "Traceback" not in "".join(ended)
    last = run(*command)
    assert last.returncode == 0, last.stderr
    there = {name: path.read_bytes() for name, path in final_files(tmp_path).items()}
    assert there == {"big.bin": BIG, **{f"{number}.bin": pattern(5000, number) for number in range(20)}}


# -- one process -------------------------------------------------------------------------------------


def test_two_fetchers_of_one_process_do_not_share_a_destination(tmp_path, urls):
    config = bulkfetch.FetchConfig(dest=tmp_path)
    with bulkfetch.Fetcher(config) as first:
        with pytest.raises(DestinationLocked, match="of this process"), bulkfetch.Fetcher(config):
            pass
        assert len(list(first.run(urls))) == 20
    with bulkfetch.Fetcher(config) as again:
        assert {outcome.reason for outcome in again.run(urls)} == {"already fetched"}
    assert_whole(tmp_path)


def test_of_threads_that_race_for_one_destination_one_gets_it(tmp_path, urls):
    told: list[Any] = []
    barrier = threading.Barrier(4)

    def race() -> None:
        barrier.wait()
        try:
            told.append(len(list(bulkfetch.fetch(urls, tmp_path, jobs=2))))
        except DestinationLocked as exc:
            told.append(exc)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert 20 in told
    assert all(each == 20 or isinstance(each, DestinationLocked) for each in told)
    assert len(told) == 4
    assert_whole(tmp_path)


def test_destinations_below_one_folder_do_not_meet(tmp_path, urls):
    places = [tmp_path / "a", tmp_path / "b", tmp_path, tmp_path / "a" / "inner"]
    told: dict[Path, list[str]] = {}

    def fill(dest: Path) -> None:
        told[dest] = [str(outcome.status) for outcome in bulkfetch.fetch(urls, dest, jobs=3)]

    threads = [threading.Thread(target=fill, args=(dest,)) for dest in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert told == {dest: ["fetched"] * 20 for dest in places}
    for dest in places:
        assert all((dest / f"{number}.bin").read_bytes() == pattern(5000, number) for number in range(20))


def test_cookies_set_by_every_answer_disturb_no_worker(server, tmp_path):
    for number in range(100):
        cookie = [("Set-Cookie", f"name{number % 7}={number}; Path=/")]
        server.add(f"/{number}", body=str(number), extra_headers=cookie)
    urls = [server.url(f"/{number}") for number in range(100)]
    told = list(bulkfetch.fetch(urls, tmp_path, jobs=16, per_host=16))
    assert {outcome.status for outcome in told} == {"fetched"}
    assert all((tmp_path / str(number)).read_text() == str(number) for number in range(100))


# -- the display -------------------------------------------------------------------------------------


class Blocking:
    """A display that hangs from the first event on, as a stopped terminal does."""

    def __init__(self) -> None:
        self.free = threading.Event()

    def show(self, event: Any) -> None:
        self.free.wait(30)

    def refresh(self, now: float) -> None:
        self.free.wait(30)

    def close(self) -> None:
        pass


def test_a_display_that_blocks_holds_up_no_body_that_is_under_way(server, tmp_path):
    gate, blocking = threading.Event(), Blocking()
    blocking.free.set()
    server.add("/a.bin", body=BIG, at={1_000: gate})
    told: list[Any] = []

    def fetch() -> None:
        with bulkfetch.Fetcher(bulkfetch.FetchConfig(dest=tmp_path), displays=[blocking]) as fetcher:
            told.extend(fetcher.run([server.url("/a.bin")]))

    thread = threading.Thread(target=fetch)
    thread.start()
    server.wait_for_hits("/a.bin")
    blocking.free.clear()
    gate.set()
    server.wait_until((tmp_path / "a.bin").exists)
    assert told == []
    blocking.free.set()
    thread.join(30)
    assert [outcome.status for outcome in told] == ["fetched"]


def test_a_pipe_that_nobody_reads_does_not_keep_a_signal_from_ending_the_run(server, tmp_path):
    server.add("/slow.bin", body=BIG, at={100: 60.0})
    urls = [server.url(f"/missing/{'x' * 200}/{number}") for number in range(600)]
    manifest = tmp_path / "urls.txt"
    manifest.write_text("\n".join([*urls, server.url("/slow.bin")]))
    child = start("get", manifest, "-d", tmp_path / "out", "-vv", "--progress", "log")
    server.wait_until(lambda: len(server.requests) > 30)
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    child.communicate()


def test_a_bar_leaves_no_thread_of_its_own(tmp_path, urls):
    script = (
        "import io, sys, threading, bulkfetch\n"
        "from bulkfetch.display import make_display\n"
        "shown = make_display('bar', io.StringIO())\n"
        "with bulkfetch.Fetcher(bulkfetch.FetchConfig(dest=sys.argv[1]), displays=[shown]) as fetcher:\n"
        "    list(fetcher.run(sys.argv[2:]))\n"
        "print(sorted(thread.name for thread in threading.enumerate()))\n"
    )
    done = run_python(script, tmp_path, *urls)
    assert done == "['MainThread']"


def run_python(script: str, *arguments: object) -> str:
    """Run a script that must end well; returns what it printed."""
    import subprocess
    import sys

    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# -- forks -------------------------------------------------------------------------------------------

FORKED = """
import json, os, subprocess, sys, bulkfetch
from bulkfetch.errors import DestinationLocked
dest, how, *urls = sys.argv[1:]
def child():
    if how == "return":
        return True
    if how == "exit":
        sys.exit(7)
    if how == "raise":
        raise ValueError
    try:
        list(bulkfetch.fetch(urls, dest))
    except DestinationLocked:
        os._exit(7)
    os._exit(1)
codes = []
with bulkfetch.Fetcher(bulkfetch.FetchConfig(dest=dest, jobs=4)) as fetcher:
    for number, outcome in enumerate(fetcher.run(urls)):
        if number != 3:
            continue
        pid = os.fork()
        if pid == 0 and child():
            break
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        status = [sys.executable, "-m", "bulkfetch", "status", dest, "--json"]
        last = json.loads(subprocess.run(status, capture_output=True, check=True).stdout)["last_run"]
        codes.append(last["finished"])  # only the parent ends the run
if not codes:
    os._exit(7)
print(codes, fetcher.summary.fetched, fetcher.summary.complete)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(("how", "code"), [("return", 7), ("exit", 7), ("raise", 1), ("fetch", 7)])
def test_a_forked_child_leaves_the_run_to_its_parent(tmp_path, urls, how, code):
    told = run_python(FORKED, tmp_path, how, *urls)
    assert told == f"[{code}, None] 20 True"
    assert_whole(tmp_path)
    with bulkfetch.Fetcher(bulkfetch.FetchConfig(dest=tmp_path)) as fetcher:
        assert {outcome.reason for outcome in fetcher.run(urls)} == {"already fetched"}


def test_what_is_recorded_after_another_program_let_go_of_the_journal_is_yielded_too(server, tmp_path):
    for number in range(400):
        server.add(f"/{number}", body=b"x")
    told, held = [], []

    def hold():
        other = sqlite3.connect(
            tmp_path / ".bulkfetch" / "journal.sqlite3", isolation_level=None, check_same_thread=False
        )
        other.execute("BEGIN IMMEDIATE")
        held.append(threading.Timer(6.0, other.close))  # the run gives up after five seconds
        held[0].start()

    def note(event):
        if isinstance(event, events.Finished):
            told.append(event.outcome)
            if len(told) > 100 and not held:
                hold()

    yielded = []
    with (
        Fetcher(FetchConfig(dest=tmp_path, jobs=4), on_event=note) as fetcher,
        pytest.raises(DiskFailed, match="another program holds the journal"),
    ):
        yielded.extend(fetcher.run([server.url(f"/{number}") for number in range(400)]))
    held[0].join()
    assert yielded == told
    assert fetcher.summary.fetched == len(told) < 400
