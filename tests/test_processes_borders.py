"""What is around a run with processes: forks of its program, folders it changes to, modules it finds."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from test_processes import children, children_of, fetch, is_right, on_linux, serve

import bulkfetch
from bulkfetch.config import FetchConfig
from bulkfetch.engine.messages import pack_frame
from bulkfetch.engine.process import Process
from bulkfetch.engine.processes import count_processes
from bulkfetch.models import Entry, Origin, Task
from bulkfetch.policy import Policies

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are used on POSIX systems alone")


@on_linux
def test_a_forked_child_that_dropped_the_run_stopped_its_processes(server, tmp_path):
    serve(server)
    rows = [server.url(f"/{i}") for i in range(900)]
    seen, forked = set(), 0
    with bulkfetch.Fetcher(FetchConfig(dest=tmp_path, processes=2)) as fetcher:
        run = fetcher.run(rows)
        for number, _ in enumerate(run):
            if number == 100:
                seen = children()
                forked = os.fork()
                if not forked:
                    run.close()
                    os._exit(0)
                os.waitpid(forked, 0)
            if number == 500:
                assert children() == seen
    assert len(seen) == 2
    assert (fetcher.summary.fetched, fetcher.summary.complete) == (900, True)


def test_processes_wrote_where_the_program_had_gone_meanwhile(server, tmp_path, monkeypatch):
    serve(server)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with bulkfetch.Fetcher(FetchConfig(dest="out", processes=2)) as fetcher:
        monkeypatch.chdir(tmp_path / "elsewhere")
        names = [outcome.path for outcome in fetcher.run([server.url(f"/{i}") for i in range(300)])]
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert all(is_right(tmp_path / "out", name) for name in names)


def test_idle_connections_of_all_processes_came_together_at_a_host(make_server, tmp_path):
    servers = [make_server() for _ in range(4)]
    for server in servers:
        serve(server)
    rows = [server.url(f"/{i}") for i in range(400) for server in servers]
    seen = []
    with bulkfetch.Fetcher(FetchConfig(dest=tmp_path, layout="tree", processes=3, per_host=1)) as fetcher:
        for number, _ in enumerate(fetcher.run(rows)):
            if 600 < number < 1200:
                seen += [server.open_connections for server in servers]
    assert fetcher.summary.fetched == len(rows)
    assert max(seen) <= 2  # a file that goes to a thread, alone, has a connection of its own for a moment
    assert seen.count(1) > len(seen) // 2


@pytest.mark.parametrize("processes", [0, 2])
def test_a_file_of_another_program_stays_in_a_folder_that_was_bare(server, tmp_path, processes):
    serve(server)
    rows = (server.url(f"/{i}") for i in range(1500))
    options = {"window": 200, "existing": "overwrite", "processes": processes}
    with bulkfetch.Fetcher(FetchConfig(dest=tmp_path, **options)) as fetcher:
        outcomes = {}
        for outcome in fetcher.run(rows):
            if len(outcomes) == 300:
                (tmp_path / "1400").write_bytes(b"theirs")
            outcomes[outcome.path] = outcome
    assert (tmp_path / "1400").read_bytes() == b"theirs"
    assert outcomes["1400"].failure.kind == "exists"


# -- one process -------------------------------------------------------------------------------------


ORIGIN = Origin("http", "127.0.0.1", 1)
TASK = Task(Entry((f"{ORIGIN}/a",)), b"k" * 16, "a", f"{ORIGIN}/a", ORIGIN)


@pytest.fixture
def make_process(tmp_path):
    made = []

    def make(tell=lambda _report: None, emit=lambda _message: None):
        made.append(Process(FetchConfig(dest=tmp_path), tell, emit, lambda *_: None))
        return made[-1]

    yield make
    for process in made:
        process.close(5)


def test_a_module_beside_ours_took_the_place_of_one_of_the_language(tmp_path, monkeypatch, make_process):
    site = tmp_path / "site"
    site.mkdir()
    (site / "dataclasses.py").write_text("raise ImportError('a backport for old versions')")
    (site / "bulkfetch").symlink_to(Path(bulkfetch.__file__).parent)
    monkeypatch.setattr("bulkfetch.engine.process._ROOT", str(site))
    process = make_process()
    process.wait(20)
    assert process.is_ready


def test_batches_were_lost_with_a_message_that_could_not_be_read(make_process, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    reports = queue.SimpleQueue()
    process = make_process(reports.put)
    process.wait(20)
    monkeypatch.setattr("bulkfetch.engine.process.unpack_attempt", lambda *_: {}["broken"])
    assert process.send([TASK, TASK])
    assert is_lost(reports)
    assert not process.send([TASK])


def test_a_process_whose_worker_had_died_was_waited_for(make_process, monkeypatch):
    start = "import sys; sys.path[:] = sys.argv[1:]; import bulkfetch.engine.child as child; "
    monkeypatch.setattr("bulkfetch.engine.process._START", f"{start} child.run_batch = None; child.main()")
    reports = queue.SimpleQueue()
    process = make_process(reports.put)
    process.wait(20)
    assert process.send([TASK, TASK])
    assert is_lost(reports)


def test_a_process_that_reads_no_more_was_waited_for(make_process):
    reports = queue.SimpleQueue()
    process = make_process(reports.put)
    process.wait(20)
    assert process.send([TASK])
    assert reports.get(timeout=20).attempt.failure.kind == "connect"
    process._write(pack_frame("what nobody understands"))
    process.send([TASK, TASK])
    assert is_lost(reports)


@on_linux
def test_a_process_that_stands_still_is_given_up_and_named(server, tmp_path, monkeypatch):
    monkeypatch.setattr("bulkfetch.engine.process._SILENT", 1.0)
    serve(server)
    told = []

    def act(number, _fetcher):
        if number == 200:
            os.kill(min(children()), signal.SIGSTOP)

    rows = [server.url(f"/{i}") for i in range(900)]
    outcomes, summary = fetch(tmp_path, rows, act, notices=told)
    assert (len(outcomes), summary.failed, summary.complete) == (900, 0, True)
    assert [text for text in told if "a worker process has ended (signal 9)" in text]
    assert not children()


LEAVING = """
import sys, bulkfetch
outcomes = bulkfetch.fetch([f"{sys.argv[1]}/{i}" for i in range(3000)], dest=sys.argv[2], processes=2)
for _ in range(300):
    next(outcomes)
"""


def test_a_script_that_ends_with_a_run_under_way_was_aborted(server, tmp_path):
    serve(server)
    command = [sys.executable, "-c", LEAVING, server.origin, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def is_lost(reports):
    report = reports.get(timeout=10)
    return (report.attempt.failure.kind, len(report.unstarted)) == ("internal", 1)


def test_a_process_was_left_where_no_thread_could_listen_to_it(tmp_path, monkeypatch):
    started = []
    real = subprocess.Popen

    def popen(*args, **options):
        started.append(real(*args, **options))
        return started[-1]

    def start(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OSError, match="thread"):
        Process(FetchConfig(dest=tmp_path), print, print, print)
    assert started[0].returncode is not None


def test_a_frozen_program_is_no_interpreter(monkeypatch):
    config = FetchConfig(processes=3)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert count_processes(config, Policies(config)) == 0


@on_linux
@pytest.mark.parametrize("before", [1, 60, 300])
def test_a_program_that_drops_the_run_keeps_no_process_and_no_pipe(server, tmp_path, before):
    serve(server)
    fetcher = bulkfetch.Fetcher(FetchConfig(dest=tmp_path, processes=2))
    with fetcher:
        open_before = len(list(Path("/proc/self/fd").iterdir()))
        children_before = children_of(os.getpid())
        run = fetcher.run(server.url(f"/{i}") for i in range(3000))
        for _ in range(before):
            next(run)
        run.close()
        assert children_of(os.getpid()) == children_before  # no zombie either
        fetcher._store.close()
        assert len(list(Path("/proc/self/fd").iterdir())) <= open_before
    assert not fetcher.summary.complete
    names = [path.name for path in tmp_path.iterdir() if path.is_file()]
    assert all(is_right(tmp_path, name) for name in names)


@on_linux
def test_a_killed_process_failed_the_files_of_those_who_want_no_retries(server, tmp_path):
    serve(server)
    killed = []
    with bulkfetch.Fetcher(FetchConfig(dest=tmp_path, processes=2, retries=0)) as fetcher:
        for number, _ in enumerate(fetcher.run(server.url(f"/{i}") for i in range(900))):
            if number == 100:
                killed = list(children())[:1]
                os.kill(killed[0], signal.SIGKILL)
    assert killed
    summary = fetcher.summary
    assert (summary.fetched + summary.unchanged, summary.failed) == (900, 0)
