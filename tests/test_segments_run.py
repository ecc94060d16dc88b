"""Large files fetched in several ranges at once, on real sockets."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attempting import QUICK, WHICH
from faultserver import Server, pattern
from harness.process import end_all
from harness.process import run as run_process

from bulkfetch import FetchConfig, Fetcher, Outcome, Status
from bulkfetch.events import Cooling, Event, Retrying

MB = 1024 * 1024
SIZE = 6 * MB + 345
DATA, OTHER = pattern(SIZE), pattern(SIZE, 1)
CLOSING = 2  # a server may be late to notice that an answer is not wanted to its end
PACED = (65536, 0.001)  # so that ranges overlap
ROUTE: dict[str, Any] = {"body": DATA, "etag": '"v1"', "trickle": PACED}


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    end_all()


def config_of(dest: Path, **options: Any) -> FetchConfig:
    defaults = {"transport": WHICH, "segments": 4, "per_host": 4, "jobs": 8, "backoff": 0.05, **QUICK}
    return FetchConfig(dest=dest, **{**defaults, **options})


def fetch(dest: Path, *entries: Any, events: list[Event] | None = None, **options: Any) -> list[Outcome]:
    """Run to the end; what was told goes to `events`."""
    with Fetcher(config_of(dest, **options), on_event=None if events is None else events.append) as fetcher:
        return list(fetcher.run(entries))


def asked(server: Server, path: str = "/a", since: int = 0) -> list[tuple[int, int]]:
    """Return first byte and end of every range asked for, in the order of the requests."""
    texts = [request.range for request in server.hits(path)[since:] if request.range]
    pairs = [text.removeprefix("bytes=").split("-") for text in texts]
    return [(int(first), int(last) + 1 if last else SIZE) for first, last in pairs]


def parts(dest: Path) -> list[Path]:
    folder = dest / ".bulkfetch" / "parts"
    return list(folder.iterdir()) if folder.is_dir() else []


def missing(dest: Path) -> int:
    """Return how many bytes the one part lacks by the journal."""
    with closing(sqlite3.connect(dest / ".bulkfetch" / "journal.sqlite3")) as database:
        [[text]] = database.execute("SELECT coalesce(missing, offset || '-' || (total - 1)) FROM parts")
    return sum(int(last) + 1 - int(first) for first, last in (gap.split("-") for gap in text.split(",")))


def assert_whole(dest: Path, outcome: Outcome, data: bytes = DATA, name: str = "a") -> None:
    """Check file, outcome and journal."""
    assert outcome.failure is None
    assert outcome.status is Status.FETCHED
    assert (dest / name).read_bytes() == data
    assert outcome.sha256 == hashlib.sha256(data).hexdigest()
    assert outcome.size == len(data)
    assert parts(dest) == []


# -- all is well -------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["requests", "fast"])
def test_a_large_file_comes_in_ranges_that_do_not_overlap(server, tmp_path, transport):
    server.add("/a", **ROUTE)
    [outcome] = fetch(tmp_path, server.url("/a"), transport=transport)
    assert_whole(tmp_path, outcome)
    assert outcome.attempts == 1
    ranges = sorted(asked(server))
    assert len(ranges) == len(server.hits("/a")) - 1  # the first request asks for the file
    ends = [end for _, end in ranges]
    assert [start for start, _ in ranges][1:] == ends[:-1]
    assert ends[-1] == SIZE
    assert all(request.headers["If-Range"] == '"v1"' for request in server.hits("/a")[1:])
    assert server.peak_requests <= 4 + CLOSING
    assert outcome.received < SIZE + MB


def test_a_login_page_instead_of_a_range_leaves_what_is_there(server, tmp_path):
    page = {
        "body": b"<!doctype html><p>Please log in",
        "content_type": "text/html",
        "etag": None,
        "ranges": False,
    }
    server.add("/a.zip", **ROUTE, first=[{"cut": MB // 2}, *[{}] * 2, *[page] * 50])
    [outcome] = fetch(tmp_path, server.url("/a.zip"))
    assert outcome.failure is not None
    assert outcome.failure.kind == "auth"
    assert len(parts(tmp_path)) == 1
    server.add("/a.zip", **ROUTE)
    [again] = fetch(tmp_path, server.url("/a.zip"))
    assert_whole(tmp_path, again, name="a.zip")
    assert again.received < SIZE - MB // 2


def test_a_durable_file_is_whole_too(server, tmp_path):
    server.add("/a", **ROUTE)
    [outcome] = fetch(tmp_path, server.url("/a"), fsync=True)
    assert_whole(tmp_path, outcome)


@pytest.mark.parametrize("digest", ["none", "md5", "sha512"])
def test_any_digest_is_that_of_the_whole(server, tmp_path, digest):
    server.add("/a", **ROUTE)
    [outcome] = fetch(tmp_path, server.url("/a"), digest=digest)
    assert (tmp_path / "a").read_bytes() == DATA
    assert outcome.digest == ("" if digest == "none" else f"{digest}:{hashlib.new(digest, DATA).hexdigest()}")


@pytest.mark.parametrize(
    ("options", "most"),
    [({"per_host": 2}, 2), ({"jobs": 3}, 3), ({"segments": "auto", "per_host": 8}, 1)],
    ids=["per host", "workers", "auto, not worth it"],
)
def test_every_range_counts_against_the_caps(server, tmp_path, options, most):
    server.add("/a", **ROUTE)
    [outcome] = fetch(tmp_path, server.url("/a"), **{"segments": 16, **options})
    assert_whole(tmp_path, outcome)
    assert 1 <= server.peak_requests <= most + CLOSING


def test_several_large_files_share_the_connections(server, tmp_path):
    bodies = {f"f{i}": pattern(5 * MB + i, i) for i in range(4)}
    for name, body in bodies.items():
        server.add(f"/{name}", **{**ROUTE, "body": body})
    outcomes = fetch(tmp_path, *(server.url(f"/{name}") for name in bodies), per_host=5)
    for outcome in outcomes:
        assert_whole(tmp_path, outcome, bodies[str(outcome.path)], str(outcome.path))
    assert server.peak_requests <= 5 + CLOSING
    assert any(request.range for request in server.requests)


def test_small_files_beside_a_large_one_all_come(server, tmp_path):
    server.add("/a", **ROUTE)
    server.add("/s/*", body=b"small", etag='"s"')
    urls = [server.url(f"/s/{i}") for i in range(200)]
    outcomes = fetch(tmp_path, *urls[:100], server.url("/a"), *urls[100:])
    assert [o.failure for o in outcomes] == [None] * 201
    assert (tmp_path / "a").read_bytes() == DATA


def test_the_request_rate_counts_ranges_and_makes_them_few(server, tmp_path):
    server.add("/a", **{**ROUTE, "trickle": (65536, 0.004)})
    started = time.monotonic()
    [outcome] = fetch(tmp_path, server.url("/a"), host_rate=20.0)
    assert_whole(tmp_path, outcome)
    times = [request.time for request in server.hits("/a")]
    assert 2 <= len(times) <= 6
    assert times[-1] - started >= 0.05 * 0.9 * (len(times) - 1)  # from before the first was sent


def test_the_byte_rate_is_that_of_all_ranges(server, tmp_path):
    server.add("/a", **ROUTE)
    [outcome] = fetch(tmp_path, server.url("/a"), limit_rate=6 * MB)
    assert_whole(tmp_path, outcome)
    assert outcome.seconds > 0.7


def test_progress_never_runs_backwards_nor_counts_twice(server, tmp_path):
    server.add("/a", **ROUTE, first=[{}, {"cut": 30_000}])
    events: list[Any] = []
    [outcome] = fetch(tmp_path, server.url("/a"), events=events)
    assert_whole(tmp_path, outcome)
    progress = [event for event in events if event.name == "progress"]
    offsets = [event.offset for event in progress]
    assert offsets == sorted(offsets)
    assert [event.received for event in progress] == sorted(event.received for event in progress)
    assert progress[-1].received <= outcome.received


# -- one stream does --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "route",
    [
        {"extra_headers": [("Accept-Ranges", "none")]},
        {"etag": 'W/"v1"'},
        {"etag": None},
        {"no_length": True},
        {"chunked": True},
        {"encoding": "gzip"},
        {"body": DATA[: MB + 5]},
        {"content_type": "text/html"},
        {"ranges": False},
    ],
    ids=["refused", "weak", "no validator", "no length", "chunked", "coded", "small", "page",
         "not offered"],
)  # fmt: skip
def test_what_cannot_be_divided_is_not(server, tmp_path, route):
    server.add("/a", **{**ROUTE, **route})
    [outcome] = fetch(tmp_path, server.url("/a"))
    assert outcome.failure is None
    assert (tmp_path / "a").read_bytes() == route.get("body", DATA)
    assert [request.range for request in server.hits("/a")] == [None]


@pytest.mark.parametrize("options", [{"segments": 1}, {"jobs": 1}, {"per_host": 1}])
def test_one_connection_is_one_stream(server, tmp_path, options):
    server.add("/a", **ROUTE)
    [outcome] = fetch(tmp_path, server.url("/a"), **options)
    assert_whole(tmp_path, outcome)
    assert len(server.hits("/a")) == 1


@pytest.mark.parametrize(
    "lie", ["ignore", "shift:-1000", "other-total", "no-header", "garbage", "200-slice", "416", "multipart"]
)
def test_a_server_that_does_not_keep_its_promise_costs_no_more_than_a_restart(server, tmp_path, lie):
    server.add("/a", **ROUTE, on_range={"ranges": lie})
    events: list[Event] = []
    [outcome] = fetch(tmp_path, server.url("/a"), events=events)
    assert_whole(tmp_path, outcome)
    assert len(server.hits("/a")) <= 8
    assert len([event for event in events if isinstance(event, Retrying)]) <= 1  # the first answer has it all


@pytest.mark.parametrize("lie", ["shift:-1000", "other-total", "no-header", "200-slice", "416"])
def test_one_wrong_answer_among_good_ones_spoils_nothing(server, tmp_path, lie):
    server.add("/a", **ROUTE, first=[{}, {}, {"ranges": lie}])
    [outcome] = fetch(tmp_path, server.url("/a"))
    assert_whole(tmp_path, outcome)


def test_ranges_longer_than_asked_for_are_cut(server, tmp_path):
    server.add("/a", **ROUTE, on_range={"ranges": "to-end"})
    [outcome] = fetch(tmp_path, server.url("/a"))
    assert_whole(tmp_path, outcome)


def test_a_file_that_changes_meanwhile_is_never_spliced(server, tmp_path):
    server.add("/a", **{**ROUTE, "body": OTHER, "etag": '"v2"'}, first=[{"body": DATA, "etag": '"v1"'}] * 3)
    [outcome] = fetch(tmp_path, server.url("/a"))
    assert_whole(tmp_path, outcome, OTHER if outcome.etag == '"v2"' else DATA)


def test_a_file_that_changes_as_its_first_answer_breaks_starts_anew(server, tmp_path):
    server.add(
        "/a", **{**ROUTE, "body": OTHER, "etag": '"v2"'},
        first=[{"body": DATA, "etag": '"v1"', "cut": 70_000}, {"body": DATA, "etag": '"v1"'}],
    )  # fmt: skip
    [outcome] = fetch(tmp_path, server.url("/a"))
    assert_whole(tmp_path, outcome, OTHER)
    assert outcome.etag == '"v2"'


# -- trouble ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"cut": 70_000},
        {"cut": 70_000, "cut_how": "reset"},
        {"cut": 0, "cut_how": "reset"},
        {"status": 500},
        {"ranges": "short:10000"},
        {"cut": 70_000, "cut_how": "stall"},
    ],
    ids=["cut", "reset", "reset at once", "500", "short", "stall"],
)
def test_each_range_is_tried_again_by_itself(server, tmp_path, fault):
    server.add("/a", **ROUTE, first=[{}, fault, {}, fault])
    [outcome] = fetch(tmp_path, server.url("/a"), idle_timeout=0.5)
    assert_whole(tmp_path, outcome)
    assert outcome.received < SIZE + MB
    assert len(server.hits("/a")) > 6


def test_the_first_answer_may_break_too(server, tmp_path):
    server.add("/a", **ROUTE, first=[{"cut": 300_000}])
    [outcome] = fetch(tmp_path, server.url("/a"))
    assert_whole(tmp_path, outcome)
    assert sum(request.range is None for request in server.hits("/a")) == 1


def test_a_host_that_asks_to_wait_is_not_asked_meanwhile(server, tmp_path):
    server.add("/a", **ROUTE, first=[{}, {"status": 429, "retry_after": "3"}])
    events: list[Event] = []
    [outcome] = fetch(tmp_path, server.url("/a"), events=events)
    assert_whole(tmp_path, outcome)
    times = [request.time for request in server.hits("/a")]
    begun = max(b for b in times if b < times[1] + 1.5)  # asked before the answer was read
    assert min(after for after in times if after > begun) >= times[1] + 3.0
    waits = [event.delay for event in events if isinstance(event, Cooling)]
    assert waits
    assert min(waits) >= 2.9


def test_a_host_that_allows_two_connections_gets_two_ranges(server, tmp_path):
    server.add("/a", **ROUTE)
    server.throttle(concurrent=2, status=503)
    [outcome] = fetch(tmp_path, server.url("/a"))
    assert_whole(tmp_path, outcome)


def test_ranges_refused_for_good_leave_the_file_to_the_others(server, tmp_path):
    server.add("/a", **ROUTE, first=[{}, {"status": 403}, {"status": 403}])
    [outcome] = fetch(tmp_path, server.url("/a"))
    assert_whole(tmp_path, outcome)


def test_idle_workers_take_over_half_of_a_slow_range(server, tmp_path):
    server.add("/a", **ROUTE, first=[{}, {"trickle": (65536, 0.04)}])
    [outcome] = fetch(tmp_path, server.url("/a"), host_rate=1000.0, segments=2)
    assert_whole(tmp_path, outcome)
    slow = asked(server)[0]
    assert any(slow[0] < start < slow[1] for start, _ in asked(server)[1:])
    assert server.hits("/a")[1].sent < slow[1] - slow[0]


def test_a_file_that_cannot_be_finished_fails_once_and_is_gone_on_with_by_the_next_run(server, tmp_path):
    server.add("/a", **ROUTE, first=[{"cut": MB // 2}], statuses=[200] * 3 + [500])
    [outcome] = fetch(tmp_path, server.url("/a"), retries=1)
    assert outcome.failure is not None
    assert outcome.failure.kind == "server"
    assert len(parts(tmp_path)) == 1
    server.add("/a", **ROUTE)
    [again] = fetch(tmp_path, server.url("/a"))
    assert_whole(tmp_path, again)
    assert again.received + outcome.received < SIZE + MB


# -- declared, redirected ---------------------------------------------------------------------------


def test_a_declared_digest_is_checked(server, tmp_path):
    server.add("/a", **ROUTE)
    good = {"url": server.url("/a"), "sha256": hashlib.sha256(DATA).hexdigest(), "size": SIZE}
    [outcome] = fetch(tmp_path, good)
    assert_whole(tmp_path, outcome)


@pytest.mark.parametrize("how", ["digest", "lie"])
def test_wrong_bytes_are_fetched_once_more_in_one_stream(server, tmp_path, how):
    route = {**ROUTE, "on_range": {"ranges": "lie:-1000"}} if how == "lie" else ROUTE
    server.add("/a", **route)
    wanted = DATA if how == "lie" else OTHER
    [outcome] = fetch(tmp_path, {"url": server.url("/a"), "sha256": hashlib.sha256(wanted).hexdigest()})
    assert sum(request.range is None for request in server.hits("/a")) == 2
    assert server.hits("/a")[-1].range is None
    if how == "lie":
        assert_whole(tmp_path, outcome)
    else:
        assert outcome.failure is not None
        assert outcome.failure.kind == "digest"
        assert not (tmp_path / "a").exists()
        assert parts(tmp_path) == []


def test_a_file_over_the_limit_is_not_begun(server, tmp_path):
    server.add("/a", **ROUTE)
    [outcome] = fetch(tmp_path, server.url("/a"), max_size=SIZE - 1)
    assert outcome.failure is not None
    assert outcome.failure.kind == "too-large"
    assert len(server.hits("/a")) == 1


def test_ranges_are_asked_where_a_redirect_led(make_server, tmp_path):
    front, server = make_server(), make_server()
    front.add("/a", redirect=server.url("/b"))
    server.add("/b", redirect=server.url("/a"))
    server.add("/a", **ROUTE)
    [outcome] = fetch(tmp_path, front.url("/a"))
    assert_whole(tmp_path, outcome)
    assert len(front.hits("/a")) == len(server.hits("/b")) == 1
    assert len(server.hits("/a")) > 3


# -- stopped and gone on with -----------------------------------------------------------------------


@pytest.mark.parametrize("segments", [1, 4, 16])
def test_a_stopped_run_is_gone_on_with(server, tmp_path, segments):
    server.add("/a", **{**ROUTE, "trickle": (65536, 0.03)})  # not over before the stop is seen
    config = config_of(tmp_path)
    received: list[int] = []

    def stop_half_way(event: Event) -> None:
        if getattr(event, "offset", 0) > SIZE / 2:
            fetcher.stop()

    with Fetcher(config, on_event=stop_half_way) as fetcher:
        assert list(fetcher.run([server.url("/a")])) == []
        received.append(fetcher.summary.received)
    before = len(server.hits("/a"))
    server.add("/a", **ROUTE)
    [outcome] = fetch(tmp_path, server.url("/a"), segments=segments)
    assert_whole(tmp_path, outcome)
    assert received[0] > SIZE / 2
    assert outcome.received + received[0] < SIZE + MB
    assert None not in [request.range for request in server.hits("/a")[before:]]
    ranges = sorted(one for one in asked(server, since=before) if one[1] < SIZE)  # the others have no end
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ranges))


def test_a_killed_run_is_gone_on_with(server, tmp_path):
    server.add("/a", **ROUTE)
    options = ["--segments", 4, "--per-host", 4, "--transport", WHICH, "--progress", "none"]
    order = ["get", server.url("/a"), "-d", tmp_path, *options]
    killed = run_process(*order, ways=["--kill", "part-recorded:4"])
    assert killed.returncode == -9
    assert sum(request.sent for request in server.requests) > MB
    before, lacking = len(server.requests), missing(tmp_path)
    done = run_process(*order, "--print", "json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == DATA
    assert parts(tmp_path) == []
    assert all(request.range for request in server.requests[before:])
    assert json.loads(done.stdout)["received"] < lacking + MB < SIZE + MB


def test_a_file_that_changed_since_the_run_before_starts_anew(server, tmp_path):
    server.add("/a", **ROUTE)
    options = ["--segments", 4, "--per-host", 4, "--progress", "none"]
    order = ["get", server.url("/a"), "-d", tmp_path, *options]
    assert run_process(*order, ways=["--kill", "part-recorded:4"]).returncode == -9
    server.add("/a", **{**ROUTE, "body": OTHER, "etag": '"v2"'})
    done = run_process(*order)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == OTHER
    assert parts(tmp_path) == []


def test_a_part_cut_by_another_program_is_filled_again(server, tmp_path):
    server.add("/a", **ROUTE)
    order = ["get", server.url("/a"), "-d", tmp_path, "--segments", 4, "--per-host", 4, "--progress", "none"]
    assert run_process(*order, ways=["--kill", "part-recorded:4"]).returncode == -9
    [part] = parts(tmp_path)
    with part.open("r+b") as file:
        file.truncate(MB)
    done = run_process(*order)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == DATA


def test_after_a_crash_of_the_machine_only_synced_bytes_are_kept(server, tmp_path):
    server.add("/a", **ROUTE)
    order = ["get", server.url("/a"), "-d", tmp_path, "--segments", 4, "--per-host", 4, "--progress", "none"]
    assert run_process(*order, ways=["--kill", "part-recorded:4"]).returncode == -9
    before = len(server.requests)
    done = run_process(*order, ways=["--boot", "another"])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.requests[before].range is None


def test_a_full_disk_ends_the_run_and_spoils_nothing(server, tmp_path):
    server.add("/a", **ROUTE)
    order = ["get", server.url("/a"), "-d", tmp_path, "--segments", 4, "--per-host", 4, "--progress", "none"]
    full = run_process(*order, ways=["--fail", "write:*.part:ENOSPC:5"])
    assert full.returncode == 5, full.stderr
    done = run_process(*order)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == DATA
    assert parts(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_an_interrupted_run_is_gone_on_with(server, tmp_path, start_bulkfetch, run_bulkfetch):
    server.add("/a", **{**ROUTE, "trickle": (65536, 0.05)})
    order = ["get", server.url("/a"), "-d", tmp_path, "--segments", 4, "--per-host", 4, "--progress", "none"]
    child = start_bulkfetch(*order)
    server.wait_until(lambda: any(part.stat().st_size > 2 * MB for part in parts(tmp_path)))
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=30)
    assert child.returncode == 130, stderr
    before = len(server.requests)
    server.add("/a", **ROUTE)
    done = run_bulkfetch(*order)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == DATA
    assert all(request.range for request in server.requests[before:])


def test_a_link_that_expired_between_two_runs_is_replaced_and_the_ranges_stay(server, tmp_path):
    server.add("/a", **ROUTE, first=[{"cut": MB // 2}, {}, {}, *[{"status": 403}] * 50])
    [outcome] = fetch(tmp_path, server.url("/a"))
    assert outcome.failure is not None
    assert outcome.failure.kind == "auth"
    server.add("/a", status=403)
    server.add("/b", **ROUTE)
    [again] = fetch(tmp_path, server.url("/a"), refresh_url=lambda _: server.url("/b"))
    assert_whole(tmp_path, again)
    assert again.received < SIZE - MB
