"""The library in other people's programs: used twice, from several threads, dropped, interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultserver import pattern
from harness import TESTS
from harness.corpus import STATE, final_files, finished, part_sizes, parts
from harness.process import end_all, start

import bulkfetch
from bulkfetch import FetchConfig, Fetcher, UsageError
from bulkfetch.events import Finished, Notice, RunFinished, RunStarted, Started
from bulkfetch.journal import Journal

BIG = pattern(2_000_000)


@pytest.fixture
def urls(server: Any) -> list[str]:
    """Twenty small files."""
    for number in range(20):
        server.add(f"/{number}.bin", body=pattern(3000, number), etag='"1"')
    return [server.url(f"/{number}.bin") for number in range(20)]


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    """Every worker, watchdog and reader is gone when its run is."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("bulkfetch-"):
            thread.join(30)
            assert not thread.is_alive(), thread.name


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    end_all()


def assert_whole(dest: Path) -> None:
    """Twenty small files are there, right and recorded, and nothing else is."""
    assert {name: path.read_bytes() for name, path in final_files(dest).items()} == {
        f"{number}.bin": pattern(3000, number) for number in range(20)
    }
    assert len(finished(dest)) == 20
    assert parts(dest) == []


def assert_free(dest: Path) -> None:
    """Nobody holds the destination."""
    with Fetcher(FetchConfig(dest=dest)):
        pass


def last_run(dest: Path) -> dict[str, Any]:
    with contextlib.closing(Journal.open_readonly(dest / STATE)) as journal:
        return journal.last_run() or {}


# -- one run after another ---------------------------------------------------------------------------


def test_a_fetcher_is_used_again(server, tmp_path, urls):
    with Fetcher(FetchConfig(dest=tmp_path)) as fetcher:
        assert {outcome.status for outcome in fetcher.run(urls[:10])} == {"fetched"}
        first = fetcher.summary
        assert {outcome.status for outcome in fetcher.run(urls[10:])} == {"fetched"}
        assert {outcome.reason for outcome in fetcher.run(urls)} == {"already fetched"}
    assert (first.fetched, fetcher.summary.fetched, fetcher.summary.skipped) == (10, 0, 20)
    assert len(server.requests) == 20
    assert_whole(tmp_path)


def test_one_run_at_a_time(tmp_path, urls):
    with Fetcher(FetchConfig(dest=tmp_path)) as fetcher:
        first = fetcher.run(urls)
        next(first)
        with pytest.raises(UsageError, match="at work"):
            next(fetcher.run(urls))
        assert len(list(first)) == 19
        assert {outcome.reason for outcome in fetcher.run(urls)} == {"already fetched"}
    assert_whole(tmp_path)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fetcher_works_inside_its_with_statement_only(tmp_path, when):
    fetcher = Fetcher(FetchConfig(dest=tmp_path))
    if when == "after":
        with fetcher:
            pass
    with pytest.raises(UsageError, match="with"):
        fetcher.run(["http://127.0.0.1:1/"])


def test_a_run_that_was_never_begun_costs_nothing(tmp_path, urls):
    with Fetcher(FetchConfig(dest=tmp_path)) as fetcher:
        fetcher.run(urls[:5])
        assert len(list(fetcher.run(urls))) == 20
    assert_whole(tmp_path)


# -- stopped -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["break", "close", "raise", "leave"])
def test_an_iterator_that_is_dropped_ends_its_run(server, tmp_path, urls, way):
    server.add("/slow.bin", body=BIG, at={1_000_000: 60.0}, etag='"1"')
    with contextlib.suppress(KeyError), Fetcher(FetchConfig(dest=tmp_path)) as fetcher:
        run = fetcher.run([server.url("/slow.bin"), *urls])
        if way == "break":
            for _ in run:
                break
            del run
        elif way == "close":
            next(run)
            run.close()
        elif way == "raise":
            for _ in run:
                raise KeyError
        else:
            next(run)
    assert not fetcher.summary.complete
    assert_free(tmp_path)
    server.add("/slow.bin", body=BIG, etag='"1"')
    assert len(list(bulkfetch.fetch([server.url("/slow.bin"), *urls], tmp_path))) == 21
    assert (tmp_path / "slow.bin").read_bytes() == BIG


def test_stop_from_another_thread(server, tmp_path, urls):
    server.add("/slow.bin", body=BIG, at={1_000_000: 60.0}, etag='"1"')
    told: list[Any] = []
    with Fetcher(FetchConfig(dest=tmp_path)) as fetcher:

        def stop() -> None:
            server.wait_for_hits("/slow.bin")
            server.wait_until(lambda: len(told) == 20)  # what is under way is cut
            fetcher.stop("enough")

        stopper = threading.Thread(target=stop)
        stopper.start()
        told.extend(fetcher.run([*urls, server.url("/slow.bin")]))
        stopper.join(30)
        assert fetcher.summary.stopped == "enough"
        assert fetcher.summary.exit_status == 5
        assert len(told) == 20
        server.add("/slow.bin", body=BIG, etag='"1"')
        assert [outcome.path for outcome in fetcher.run([server.url("/slow.bin")])] == ["slow.bin"]
        assert fetcher.summary.exit_status == 0
    assert last_run(tmp_path)["clean"]


def test_a_stop_that_comes_before_the_first_step_counts_and_does_not_stay(tmp_path, urls):
    with Fetcher(FetchConfig(dest=tmp_path)) as fetcher:
        fetcher.stop("not today")
        assert list(fetcher.run(urls)) == []
        assert fetcher.summary.stopped == "not today"
        assert len(list(fetcher.run(urls))) == 20
        assert fetcher.summary.stopped == ""
    assert_whole(tmp_path)


def test_close_from_another_thread_ends_the_run_first(server, tmp_path, urls):
    server.add("/slow.bin", body=BIG, at={1_000_000: 60.0}, etag='"1"')
    fetcher = Fetcher(FetchConfig(dest=tmp_path)).__enter__()
    told: list[Any] = []
    worker = threading.Thread(target=lambda: told.extend(fetcher.run([*urls, server.url("/slow.bin")])))
    worker.start()
    server.wait_for_hits("/slow.bin")
    server.wait_until(lambda: len(told) == 20)
    fetcher.close()
    worker.join(30)
    assert not worker.is_alive()
    assert len(told) == 20
    assert last_run(tmp_path)["finished"] is not None
    assert_free(tmp_path)


def test_made_in_one_thread_used_in_another(tmp_path, urls):
    told: list[Any] = []
    with Fetcher(FetchConfig(dest=tmp_path)) as fetcher:
        worker = threading.Thread(target=lambda: told.extend(fetcher.run(urls)))
        worker.start()
        worker.join(30)
    assert len(told) == 20
    assert_whole(tmp_path)


def test_several_threads_with_a_fetcher_each(tmp_path, urls):
    dests = [tmp_path / str(number) for number in range(6)]
    workers = [threading.Thread(target=lambda d=d: list(bulkfetch.fetch(urls, d, jobs=3))) for d in dests]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    for dest in dests:
        assert_whole(dest)


# -- other people's errors ---------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("mine"), MemoryError()])
def test_a_callback_that_raises_is_told_at_the_end_and_costs_nothing(tmp_path, urls, error):
    seen = []

    def callback(event: Any) -> None:
        seen.append(event)
        if isinstance(event, Finished):
            raise error

    told = []
    with Fetcher(FetchConfig(dest=tmp_path), on_event=callback) as fetcher:
        with pytest.raises(type(error)):
            told.extend(fetcher.run(urls))
        assert len(told) == 20
        assert fetcher.summary.complete
        assert sum(isinstance(event, Finished) for event in seen) == 1
        assert {outcome.reason for outcome in fetcher.run(urls[:0])} == set()
    assert_whole(tmp_path)


def test_a_callback_sees_the_run_from_end_to_end(tmp_path, urls):
    seen: list[Any] = []
    with Fetcher(FetchConfig(dest=tmp_path), on_event=seen.append) as fetcher:
        list(fetcher.run(urls))
    assert isinstance(seen[0], RunStarted)
    assert isinstance(seen[-1], RunFinished)
    assert sum(isinstance(event, Finished) for event in seen) == 20


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError(), RuntimeError("mine")])
def test_an_error_that_escapes_into_a_worker_costs_one_entry(server, make_server, tmp_path, urls, error):
    other = make_server(host="127.0.0.2")
    other.add("/x.bin", body=b"content")

    def login(request: Any) -> Any:
        raise error

    config = FetchConfig(dest=tmp_path, auth={"127.0.0.2": login}, jobs=2)
    with Fetcher(config) as fetcher:
        told = {outcome.path: outcome for outcome in fetcher.run([other.url("/x.bin"), *urls])}
        assert fetcher.summary.complete
    failure = told.pop("x.bin").failure
    assert failure.kind == "internal"
    assert type(error).__name__ in failure.message
    assert {outcome.status for outcome in told.values()} == {"fetched"}
    assert_whole(tmp_path)


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 20])
def test_a_source_that_raises_is_not_taken_for_one_that_ends(tmp_path, urls, error, after):
    def source() -> Iterator[str]:
        yield from urls[:after]
        raise error

    with Fetcher(FetchConfig(dest=tmp_path)) as fetcher:
        with pytest.raises(type(error)):
            list(fetcher.run(source()))
        assert not fetcher.summary.complete
        assert not last_run(tmp_path)["clean"]
        assert {str(o.status) for o in fetcher.run(urls)} <= {"fetched", "skipped", "unchanged"}
    assert_whole(tmp_path)


def test_a_source_that_raises_after_entries_that_need_nothing(tmp_path, urls):
    """Its last entries are done before anybody looks at the source again."""
    list(bulkfetch.fetch(urls, tmp_path))

    def source() -> Iterator[str]:
        yield from urls
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        list(bulkfetch.fetch(source(), tmp_path))


# -- interrupted -------------------------------------------------------------------------------------


def python(*arguments: object, seconds: float = 240.0) -> subprocess.CompletedProcess[str]:
    """Run Python on a script or module of our own."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


def test_keyboard_interrupt_at_any_line_leaves_nothing_behind(server, urls):
    server.add("/paced.bin", body=BIG, trickle=(262_144, 0.002), etag='"1"')
    done = python("-m", "harness.interrupt", 30, *urls[:6], server.url("/paced.bin"))
    assert done.stderr == ""
    assert done.returncode == 0
    (last,) = done.stdout.splitlines()  # a line for every problem would come first
    assert last.startswith("interrupted ")


ABANDONED = """
import sys, bulkfetch
way, dest, *urls = sys.argv[1:]
run = bulkfetch.fetch(urls, dest)
for outcome in run:
    if way == "raise":
        raise ValueError("mine")
    if way == "exit":
        sys.exit(3)
"""


@pytest.mark.parametrize(("way", "code"), [("raise", 1), ("exit", 3)])
def test_a_program_that_ends_in_the_middle_of_a_run_ends(server, tmp_path, urls, way, code):
    server.add("/slow.bin", body=BIG, at={1_000_000: 60.0}, etag='"1"')
    done = python("-c", ABANDONED, way, tmp_path, *urls, server.url("/slow.bin"), seconds=30.0)
    assert done.returncode == code, done.stderr
    assert len(list(bulkfetch.fetch(urls, tmp_path))) == 20
    assert all((tmp_path / f"{number}.bin").read_bytes() == pattern(3000, number) for number in range(20))


IN_A_THREAD = """
import sys, threading, bulkfetch
dest, *urls = sys.argv[1:]
def work():
    print(*sorted(str(outcome.status) for outcome in bulkfetch.fetch(urls, dest, jobs=1)))
thread = threading.Thread(target=work)
thread.start()
for gate in iter(sys.stdin.readline, ""):
    break
"""


def test_a_run_in_another_thread_outlives_the_main_one(server, tmp_path):
    """The program's own thread keeps the interpreter, and with it the run it has begun."""
    gate = threading.Event()
    server.add("/slow.bin", body=BIG, at={1_000_000: gate})
    command = [sys.executable, "-c", IN_A_THREAD, str(tmp_path), server.url("/slow.bin")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as child:
        server.wait_for_hits("/slow.bin")
        child.stdin.close()  # the main thread is at its end
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(1.0)
        gate.set()
        assert child.stdout.read().strip() == "fetched"
        assert child.wait(30) == 0


def test_a_worker_that_does_not_come_back_is_named(server, tmp_path, monkeypatch):
    monkeypatch.setattr("bulkfetch.watchdog.GRACE", 0.2)
    server.add("/a.bin", body=b"content")
    gate = threading.Event()

    def login(request: Any) -> Any:
        assert gate.wait(20)
        return request

    notices: list[str] = []

    def listen(event: Any) -> None:
        if isinstance(event, Notice):
            notices.append(event.message)
            gate.set()

    options = {"idle_timeout": 0.2, "retries": 0, "auth": {server.host: login}}
    with Fetcher(FetchConfig(dest=tmp_path, **options), on_event=listen) as fetcher:
        (outcome,) = fetcher.run([server.url("/a.bin?token=s3cret")])
    assert outcome.failure.kind == "timeout", outcome.failure
    (notice,) = notices
    assert notice.startswith(f"a.bin from {server.url('/a.bin')}?token=")
    assert notice.endswith("does not end: the credentials took too long")
    assert "s3cret" not in notice


# -- signals -----------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="needs SIGHUP")
def test_a_hangup_ends_the_run_cleanly(server, tmp_path, urls):
    server.add("/slow.bin", body=BIG, at={1_500_000: 60.0}, etag='"1"', times=1)
    child = start("get", *urls, server.url("/slow.bin"), "-d", tmp_path)
    server.wait_until(lambda: len(final_files(tmp_path)) == 20 and part_sizes(tmp_path))
    server.wait_until(lambda: 1_500_000 in part_sizes(tmp_path))
    child.send_signal(signal.SIGHUP)
    _, stderr = child.communicate(timeout=30)
    assert child.returncode == 128 + signal.SIGHUP
    assert "SIGHUP" in stderr
    list(bulkfetch.fetch([server.url("/slow.bin")], tmp_path))
    assert server.requests[-1].range == "bytes=1500000-"


@pytest.mark.skipif(os.name == "nt", reason="needs SIGHUP")
def test_under_nohup_a_hangup_is_ignored(server, tmp_path):
    gate = threading.Event()
    server.add("/a.bin", body=BIG, at={1_000: gate})
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731 - what nohup does
    child = start("get", server.url("/a.bin"), "-d", tmp_path, preexec_fn=ignore)
    server.wait_for_hits("/a.bin")
    child.send_signal(signal.SIGHUP)
    gate.set()
    child.communicate(timeout=30)
    assert child.returncode == 0
    assert (tmp_path / "a.bin").read_bytes() == BIG


@pytest.mark.skipif(os.name == "nt", reason="needs SIGTERM")
def test_a_name_look_up_that_never_ends_does_not_keep_the_process(server, tmp_path, urls):
    command = ("get", *urls, "http://stalled.example/x.bin", "-d", tmp_path, "--connect-timeout", "60")
    child = start(*command, ways=["--no-dns"])
    server.wait_until(lambda: len(final_files(tmp_path)) == 20)
    child.send_signal(signal.SIGTERM)
    _, stderr = child.communicate(timeout=30)
    assert child.returncode == 143, stderr
    assert "SIGTERM" in stderr
    assert_whole(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_not_end_up_in_files(server, tmp_path, urls, closed):
    command = ["/bin/sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-m", "bulkfetch", "get"]
    done = subprocess.run([*command, *urls, "-d", str(tmp_path), "-v"], timeout=60, check=False)
    assert done.returncode == 0
    assert_whole(tmp_path)


def test_each_attempt_is_told_to_start_once_and_before_its_end(server: Any, tmp_path: Path) -> None:
    for number in range(300):
        server.add(f"/{number}", **({"status": 404} if number % 3 == 0 else {"body": b"x" * number}))
    events: list[Any] = []
    with Fetcher(FetchConfig(dest=tmp_path), on_event=events.append) as fetcher:
        list(fetcher.run([server.url(f"/{number}") for number in range(300)]))
    begun = [event.path for event in events if isinstance(event, Started)]
    assert len(begun) == len(set(begun)) == 300
    for event in events:
        if isinstance(event, Started):
            begun.remove(event.path)
        elif isinstance(event, Finished):
            assert event.outcome.path not in begun


def test_an_iterable_that_fails_costs_no_outcome_of_what_it_gave(urls: list[str], tmp_path: Path) -> None:
    def some() -> Iterator[str]:
        yield from urls
        raise RuntimeError("mine")

    told: list[Any] = []
    with pytest.raises(RuntimeError, match="mine"):
        told.extend(bulkfetch.fetch(some(), dest=tmp_path))
    assert len(told) == 20
    assert_whole(tmp_path)


def test_existing_fail_says_which_file_is_in_the_way(server, tmp_path):
    server.add("/a.bin", body=b"new")
    (tmp_path / "a.bin").write_bytes(b"old")
    [outcome] = bulkfetch.fetch([server.url("/a.bin")], dest=tmp_path, existing="fail")
    assert (outcome.path, outcome.failure.kind) == ("a.bin", "exists")
    assert (tmp_path / "a.bin").read_bytes() == b"old"
