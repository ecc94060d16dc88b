"""Small files in processes of their own: what they are given, and that nothing else changes for anybody."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import responses
from faultserver import route
from hypothesis import given
from hypothesis import strategies as st

import bulkfetch
from bulkfetch import events
from bulkfetch.config import FetchConfig
from bulkfetch.engine.messages import pack_attempt, pack_task, unpack_attempt, unpack_task
from bulkfetch.engine.processes import count_processes
from bulkfetch.exchange import Exchange
from bulkfetch.fresh import is_fresh
from bulkfetch.models import Attempt, Check, Done, Entry, Failure, Origin, Request, Task
from bulkfetch.policy import Policies
from bulkfetch.tuning import Overlap

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are used on POSIX systems alone")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")

ORIGIN = Origin("http", "h", 80)
URL = "http://h/a"
PLAIN = Task(Entry((URL,)), b"k" * 16, "a", URL, ORIGIN)
GOOD = Attempt(1, 10, 0.5, done=Done(10, "ab", etag='"v"', mtime_ns=7, fresh_until=9), url=URL, started=3.0)


# -- what is sent ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"attempt": 2},
        {"failures": 1},
        {"check": Check()},
        {"replace": True},
        {"received": 5},
        {"part": PLAIN.part.__class__(offset=5, token="t")},
        {"url": "http://h/b"},
        {"url": "http://u:p@h/a", "entry": Entry(("http://u:p@h/a",))},
        {"entry": Entry((URL, "http://mirror/a"))},
        {"entry": Entry((URL,), headers=(("X", "y"),))},
        {"entry": Entry((URL,), request=Request())},
    ],
    ids=lambda changed: ",".join(changed),
)
def test_only_what_is_plain_and_new_goes_to_a_process(changed):
    assert is_fresh(PLAIN)
    assert not is_fresh(PLAIN._replace(**changed))


def test_a_task_arrives_as_it_was_but_for_what_an_attempt_does_not_use():
    digests = (("sha256", "00"), ("md5", "11"))
    entry = Entry((URL,), "wanted", 10, digests, extra={"mine": 1}, source="list", line=3)
    task = PLAIN._replace(entry=entry, deadline=9.5, started=2.5)
    assert unpack_task(pack_task(task), ORIGIN) == task._replace(entry=Entry((URL,), None, 10, digests))


@pytest.mark.parametrize(
    "attempt",
    [
        GOOD,
        GOOD._replace(done=GOOD.done._replace(warnings=("w",))),
        GOOD._replace(url="http://h/elsewhere", hops=1),
        GOOD._replace(done=None, redirect="http://other/"),
        GOOD._replace(done=None, failure=Failure("reset", "gone", retryable=True)),
    ],
    ids=["good", "warned", "redirected", "redirect", "failure"],
)
def test_an_attempt_arrives_as_it_was(attempt):
    assert unpack_attempt(pack_attempt(attempt, PLAIN), PLAIN) == attempt


def test_a_file_that_went_well_costs_few_bytes():
    assert not isinstance(pack_attempt(GOOD, PLAIN), bytes)


# -- how much of it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fastest", "spent", "limit"),
    [(0.0001, 0.0002, 2), (0.001, 0.00018, 6), (0.05, 0.0002, 16), (0.001, 0.002, 2)],
)
def test_a_process_gets_what_it_can_do_while_an_answer_is_on_its_way(fastest, spent, limit):
    overlap = Overlap(16)
    overlap.begin(1.0, 100.0)
    cpu = 1.0
    for _ in range(40):
        cpu += 8 * spent
        overlap.note(8, fastest, cpu, 99.0 + cpu)
    assert overlap.limit == limit


def test_batches_that_end_together_do_not_make_a_process_hand_its_lock_around():
    overlap, cpu = Overlap(8), 0.0
    overlap.begin(cpu, cpu)
    for spent in [0.015, 0.0001, 0.0001] * 40:  # what all have done is told with the first
        cpu += spent
        overlap.note(32, 0.0002, cpu, cpu)
        assert overlap.limit == 2


@pytest.mark.parametrize(("is_full", "limit"), [(True, 32), (False, 4)])
def test_a_process_that_waits_for_a_host_with_few_quick_answers_gets_more(is_full, limit):
    overlap, cpu, now = Overlap(32), 0.0, 0.0
    overlap.begin(cpu, now)
    for _ in range(60):  # batches of 7, each answer of 36 ms, but for one now and then
        cpu, now = cpu + 0.002, now + 0.25 / overlap.limit
        overlap.note(7, 0.001, cpu, now, is_full=is_full)
    assert overlap.limit == limit


def test_a_process_that_is_busy_gets_no_more_than_it_needs_again():
    overlap, cpu, now = Overlap(32), 0.0, 0.0
    overlap.begin(cpu, now)
    for _ in range(60):
        cpu, now = cpu + 0.002, now + 0.25 / overlap.limit
        overlap.note(7, 0.001, cpu, now)
    for _ in range(40):
        cpu, now = cpu + 0.006, now + 0.008
        overlap.note(32, 0.0002, cpu, now)
    assert overlap.limit == 2


@given(
    st.lists(
        st.tuples(st.integers(1, 64), st.floats(0, 100), st.floats(0, 10), st.floats(0, 10), st.booleans()),
        max_size=50,
    ),
    st.integers(2, 64),
)
def test_a_process_always_gets_something_and_never_too_much(batches, most):
    overlap, cpu, now = Overlap(most), 0.0, 0.0
    for answers, fastest, spent, elapsed, is_full in batches:
        cpu, now = cpu + spent, now + elapsed
        overlap.note(answers, fastest, cpu, now, is_full=is_full)
        assert 2 <= overlap.limit <= most


# -- who may use them --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 0),
        ({"processes": 3}, 3),
        ({"processes": 3, "limit_rate": 1000}, 0),
        ({"processes": 3, "trace": True}, 0),
        ({"processes": 3, "refresh_url": str}, 0),
        ({"processes": 3, "auth": {"h": object()}}, 0),
        ({"processes": "auto", "jobs": 1}, 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else str(value),
)
def test_processes_serve_runs_whose_limits_need_not_be_shared(options, most):
    config = FetchConfig(**options)
    assert count_processes(config, Policies(config)) == most


def test_processes_ask_for_nothing_that_a_test_of_the_user_mocks():
    exchange = Exchange(FetchConfig())
    assert exchange.is_bare(ORIGIN, URL)
    with responses.RequestsMock():
        assert not exchange.is_bare(ORIGIN, URL)
    exchange.keep_cookies(ORIGIN, URL, ["a=b"])
    assert not exchange.is_bare(ORIGIN, URL)
    exchange.close()


# -- runs --------------------------------------------------------------------------------------------


def children() -> set[int]:
    """Return the processes that this one has started and that still run."""
    return {pid for pid in children_of(os.getpid()) if "bulkfetch.engine.child" in read_command(pid)}


def children_of(parent: int) -> set[int]:
    found = set()
    for task in Path(f"/proc/{parent}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found.update(map(int, (task / "children").read_text().split()))
    return found


def read_command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def serve(server, **faults):
    """Answer every path with its own bytes, some paths as `faults` say: options by the path's last digits."""

    def answer(request):
        name = request.path.strip("/")
        options = faults.get(f"n{name[-2:]}", {})
        return route(**{"body": f"body of {name}".encode() * 9, "etag": f'"{name}"', **options})

    server.add_generator(answer)


def fetch(tmp_path, rows, act=None, notices=None, **options):
    """Run over `rows`; `act` is called with each number of files that have ended, and the fetcher."""
    config = FetchConfig(**{"dest": tmp_path, "backoff": 0.01, "processes": 2, **options})
    ended = Counter()

    def count(event):
        if isinstance(event, events.Notice) and notices is not None:
            notices.append(event.message)
        if isinstance(event, events.Finished):
            ended["files"] += 1
            if act is not None:
                act(ended["files"], fetcher)

    with bulkfetch.Fetcher(config, on_event=count) as fetcher:
        outcomes = {outcome.path: outcome for outcome in fetcher.run(rows)}
    return outcomes, fetcher.summary


def is_right(folder, name):
    return (folder / name).read_bytes() == f"body of {name}".encode() * 9


@on_linux
@pytest.mark.parametrize("transport", ["auto", "requests"])
def test_processes_fetch_and_are_gone_at_the_end(server, tmp_path, transport):
    serve(server)
    seen = set()
    rows = [server.url(f"/{i}") for i in range(600)]
    act = lambda _n, _fetcher: seen.update(children())  # noqa: E731 - one line
    outcomes, summary = fetch(tmp_path, rows, act, transport=transport)
    assert len(seen) == 2
    assert not children()
    assert (summary.fetched, summary.complete) == (600, True)
    assert all(is_right(tmp_path, name) for name in outcomes)
    assert server.peak_requests <= 6  # `per_host`: theirs and ours together
    assert server.peak_connections <= 8  # of those being closed the server may not have heard yet
    assert server.open_connections <= 6


@on_linux
def test_processes_trust_whom_the_run_trusts(tls_server, tmp_path):
    serve(tls_server)
    seen = set()
    rows = [tls_server.url(f"/{i}") for i in range(400)]
    options = {"ca_bundle": str(tls_server.ca_file), "digest": "md5"}
    outcomes, summary = fetch(tmp_path, rows, lambda _n, _fetcher: seen.update(children()), **options)
    assert (len(seen), summary.fetched) == (2, 400)
    assert all(is_right(tmp_path, name) for name in outcomes)
    assert {outcome.digest.partition(":")[0] for outcome in outcomes.values()} == {"md5"}


FAULTS = {
    "n07": {"status": 404},
    "n13": {"statuses": [500], "times": 1},
    "n21": {"cut": 20, "times": 1},
    "n34": {"redirect": "/7000"},
    "n42": {"content_type": "text/html"},
    "n55": {"encoding": "gzip"},
    "n68": {"chunked": True},
    "n77": {"status": 403},
    "n89": {"length": "5"},
    "n93": {"raw": [b"SSH-2.0-OpenSSH\r\n"], "times": 1},
}


def test_what_goes_wrong_goes_wrong_as_in_a_thread(make_server, tmp_path):
    def run(processes):
        server = make_server()
        serve(server, **FAULTS)
        rows = [{"url": server.url(f"/{i}"), "path": f"{i}.bin"} for i in range(400)]
        rows[5]["sha256"] = "00" * 32
        outcomes, summary = fetch(tmp_path / str(processes), rows, processes=processes, retries=2)
        facts = {
            path: (o.status, o.size, o.sha256, o.attempts, o.failure and o.failure.kind, o.etag, o.received)
            for path, o in outcomes.items()
        }
        return facts, summary.fetched, summary.failed

    alone, spread = run(0), run(2)
    assert spread == alone
    assert alone[2] == 8


@on_linux
def test_a_process_that_is_killed_costs_nothing(server, tmp_path):
    serve(server)
    killed = set()

    def kill(number, _fetcher):
        if number in (100, 250):
            for pid in list(children())[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)

    outcomes, summary = fetch(tmp_path, [server.url(f"/{i}") for i in range(900)], kill)
    assert len(killed) == 2
    assert (summary.fetched + summary.unchanged, summary.failed, summary.complete) == (900, 0, True)
    assert all(is_right(tmp_path, name) for name in outcomes)
    assert len(list(tmp_path.iterdir())) == 901


@on_linux
def test_a_stop_reaches_the_processes(server, tmp_path):
    serve(server, n50={"head_delay": 60})
    rows = [server.url(f"/{i}") for i in range(900)]
    stopped = []

    def stop(number, fetcher):
        if number == 200:
            stopped.append(time.monotonic())
            fetcher.stop()

    _, summary = fetch(tmp_path, rows, stop)
    assert time.monotonic() - stopped[0] < 5
    assert not summary.complete
    assert summary.failed == 0
    assert not children()


@on_linux
def test_processes_that_stand_still_hold_up_no_stop(server, tmp_path):
    serve(server)
    name = "x" * 1000  # so that what waits for them fills their pipes
    rows = [{"url": server.url(f"/{i}?{name}"), "path": str(i)} for i in range(2000)]

    def act(number, fetcher):
        if number == 200:
            for pid in children():
                os.kill(pid, signal.SIGSTOP)
            threading.Timer(1.0, fetcher.stop).start()

    begun = time.monotonic()
    _, summary = fetch(tmp_path, rows, act)
    assert time.monotonic() - begun < 20
    assert (summary.complete, summary.failed) == (False, 0)
    assert not children()


@on_linux
@pytest.mark.parametrize("transport", ["auto", "requests"])
def test_cookies_that_a_process_was_given_are_sent_by_all(server, tmp_path, transport):
    serve(server, n99={"extra_headers": [("Set-Cookie", "session=7; Path=/")]})
    _, summary = fetch(tmp_path, [server.url(f"/{i}") for i in range(1500)], transport=transport)
    assert summary.fetched == 1500
    assert all("session=7" in request.headers.get("cookie", "") for request in server.requests[1200:])


def start_run(server, tmp_path, start_bulkfetch):
    """Start a command over 3000 files into "out", and return it while its processes are at work."""
    serve(server)
    (tmp_path / "list").write_text("".join(server.url(f"/{i}\n") for i in range(3000)))
    process = start_bulkfetch(
        "get", "-i", tmp_path / "list", "-d", tmp_path / "out", "-q", "--processes", "2"
    )
    server.wait_until(lambda: len(server.requests) > 800)
    return process


@on_linux
def test_processes_end_with_a_run_that_is_killed(server, tmp_path, start_bulkfetch):
    process = start_run(server, tmp_path, start_bulkfetch)
    mine = children_of(process.pid)
    assert len(mine) == 2
    process.kill()
    process.wait()
    end = time.monotonic() + 10
    while any("bulkfetch.engine.child" in read_command(pid) for pid in mine):
        assert time.monotonic() < end
        threading.Event().wait(0.01)
    names = [path.name for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert names
    assert all(is_right(tmp_path / "out", name) for name in names)
    outcomes, summary = fetch(tmp_path / "out", [server.url(f"/{i}") for i in range(3000)])
    assert (summary.failed, summary.complete) == (0, True)
    assert all(is_right(tmp_path / "out", name) for name in outcomes)


def test_ctrl_c_ends_a_run_with_processes_cleanly(server, tmp_path, start_bulkfetch):
    process = start_run(server, tmp_path, start_bulkfetch)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_a_configuration_can_be_sent():
    config = FetchConfig(headers=(("X", "y"),), limit_rate="3M", processes="auto")
    assert pickle.loads(pickle.dumps(config)) == config
