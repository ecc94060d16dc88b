"""One attempt that goes well, and what it tells while it does."""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from attempting import CUT, DATA, NAME, SIZE, Attempts, assert_failed, sha256
from faultserver import Filled, pattern, route

from bulkfetch.models import NO_PART, Attempt, Entry, Failure
from bulkfetch.transfer import run_attempt
from bulkfetch.urls import origin_of

ETAG = '"v1"'
MEBIBYTE = 1 << 20


@pytest.fixture
def attempts(tmp_path):
    with Attempts(tmp_path / "out") as made:
        yield made


def test_what_an_attempt_tells(server, attempts):
    server.add("/a", body=DATA, etag=ETAG, last_modified=1_600_000_000)
    attempt = attempts.fetch(server.url("/a"), attempt=3, hops=2)
    assert attempt == Attempt(
        number=3,
        received=SIZE,
        seconds=attempt.seconds,
        done=attempt.done,
        url=server.url("/a"),
        hops=2,
        started=attempt.started,
    )
    assert 0 < attempt.seconds < 60
    done = attempt.done
    assert (done.size, done.digest, done.algorithm) == (SIZE, hashlib.sha256(DATA).hexdigest(), "sha256")
    assert (done.etag, done.last_modified) == (ETAG, "Sun, 13 Sep 2020 12:26:40 GMT")
    assert (done.warnings, done.kept) == ((), "")


@pytest.mark.parametrize(
    "size", [0, 1, 2, 8191, 8192, 8193, 65_536, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 3_000_000]
)
@pytest.mark.parametrize(
    "framing", [{}, {"chunked": True}, {"no_length": True}], ids=["length", "chunked", "close"]
)
def test_bodies_of_any_size(server, attempts, size, framing):
    data = pattern(size)
    server.add("/a", body=data, **framing)
    attempt = attempts.fetch(server.url("/a"))
    assert attempt.failure is None
    assert attempts.file() == data
    assert attempt.received == size


@pytest.mark.parametrize("fsync", [False, True])
@pytest.mark.parametrize("path", ["a", "b/c/d.bin", "\u00e9\u4e2d.txt"])
def test_where_files_go(server, tmp_path, fsync, path):
    server.add("/a", body=DATA)
    with Attempts(tmp_path / "out", fsync=fsync) as attempts:
        assert attempts.fetch(server.url("/a"), path, size=SIZE, digests=sha256(DATA)).done
        assert attempts.file(path) == DATA
        assert attempts.parts() == []


def test_a_mirror_has_the_users_headers_of_its_own_origin(server, make_server, attempts):
    other = make_server()
    other.add("/b", body=DATA)
    entry = Entry((server.url("/a"), other.url("/b")), NAME, headers=(("X-Key", "k"),))
    task = attempts.task(server.url("/a"))._replace(
        entry=entry, mirror=1, url=other.url("/b"), origin=origin_of(other.url("/b"))
    )
    assert attempts.run(task).done
    assert other.requests[0].headers["X-Key"] == "k"


# -- progress -------------------------------------------------------------------------------------


def test_small_bodies_make_no_events(server, attempts):
    server.add("/a", body=DATA, etag=ETAG)
    attempts.fetch(server.url("/a"))
    assert attempts.events == []


def test_large_bodies_tell_how_far_they_are(server, attempts):
    size = 5 * MEBIBYTE
    server.add("/a", body=Filled(size), etag=ETAG, cut=size - 1)
    attempt = attempts.fetch(server.url("/a"))
    offsets = [event.offset for event in attempts.events]
    assert offsets == sorted(set(offsets))
    assert 0 < offsets[0] <= MEBIBYTE
    assert size - 2 * MEBIBYTE <= offsets[-1] < size
    for event in attempts.events:
        assert (event.path, event.total, event.received) == (NAME, size, event.offset)
        assert (event.part.offset, event.part.validator, event.part.total) == (event.offset, ETAG, size)
        assert event.part.token == attempt.part.token
        assert event.key == attempts.task(server.url("/a")).key


def test_a_kill_costs_a_mebibyte_or_a_thirty_second_of_what_is_stored(server, tmp_path):
    size = 160 * MEBIBYTE
    server.add("/a", body=Filled(size), etag=ETAG)
    with Attempts(tmp_path / "out", digest="none") as attempts:
        attempt = attempts.fetch(server.url("/a"))
        offsets = [0, *(event.part.offset for event in attempts.events), size]
    for before, after in itertools.pairwise(offsets):
        assert after - before <= max(MEBIBYTE, after // 32) + MEBIBYTE  # what one read may add
    assert len(offsets) <= 100 + attempt.seconds * 10  # each is a row to write


@pytest.mark.parametrize("framing", [{"chunked": True}, {"no_length": True}])
def test_a_body_without_a_length_has_no_total(server, attempts, framing):
    server.add("/a", body=Filled(3 * MEBIBYTE), etag=ETAG, **framing)
    attempts.fetch(server.url("/a"))
    assert attempts.events
    assert {event.total for event in attempts.events} == {None}


def test_a_part_that_nothing_pins_is_not_offered_for_resuming(server, attempts):
    server.add("/a", body=Filled(3 * MEBIBYTE))
    attempts.fetch(server.url("/a"))
    assert {event.part for event in attempts.events} == {NO_PART}


def test_a_declared_digest_pins_a_part(server, attempts):
    server.add("/a", body=Filled(3 * MEBIBYTE), cut=2 * MEBIBYTE)
    attempts.fetch(server.url("/a"), digests=sha256(b""))
    assert all(event.part.token and event.part.validator is None for event in attempts.events)


def test_slow_bodies_tell_about_ten_times_a_second(server, attempts):
    server.add("/a", body=DATA, trickle=(2000, 0.01))
    attempt = attempts.fetch(server.url("/a"))
    assert attempt.seconds > 0.4
    assert 2 <= len(attempts.events) <= attempt.seconds * 10 + 1


def test_the_rate_limit_holds(server, tmp_path):
    server.add("/a", body=DATA)
    with Attempts(tmp_path / "out", limit_rate=200_000.0) as attempts:
        attempt = attempts.fetch(server.url("/a"))
        assert attempt.done
        assert attempt.seconds >= (SIZE - 10_000) / 200_000


# -- many, large, again and again -----------------------------------------------------------------


def test_memory_does_not_grow_with_the_body(server, attempts):
    server.add("/a", body=Filled(64 * MEBIBYTE), etag=ETAG)
    server.add("/b", body=b"b")
    attempts.fetch(server.url("/b"), "b")
    tracemalloc.start()
    try:
        assert attempts.fetch(server.url("/a")).done
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEBIBYTE


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_on_the_way_the_file_is_right(server, attempts, seed):
    chance = random.Random(seed)
    data = pattern(chance.randrange(1, 200_000), seed)
    part, attempt = NO_PART, None
    for _ in range(40):
        faults = [
            {}, {"cut": chance.randrange(0, 50_000)}, {"status": 503}, {"ranges": "ignore", "cut": 20_000},
            {"cut": chance.randrange(0, 50_000), "cut_how": "reset"}, {"ranges": "short:10000"},
            {"ranges": "garbage"}, {"chunked": chance.randrange(1, 9_000)}, {"raw": [b"HTTP/1.1 2"]},
            {"trickle": (7_000, 0.0)},
        ]  # fmt: skip
        server.add("/a", **{"body": data, "etag": ETAG, **chance.choice(faults)})
        attempt = attempts.go_on(server.url("/a"), part, digests=chance.choice([(), sha256(data)]))
        if attempt.done:
            break
        assert attempts.left() == set()
        assert (attempt.part.offset > 0) == bool(attempts.parts())
        part = attempt.part
    else:
        server.add("/a", body=data, etag=ETAG)
        attempt = attempts.go_on(server.url("/a"), part)
    assert attempts.file() == data
    assert attempts.parts() == []


def test_workers_that_share_everything_do_not_mix_anything_up(server, attempts):
    def answer(request):
        number = int(request.path.rpartition("/")[2])
        return route(
            body=pattern(number * 997, number), etag=ETAG, cut=500 * number if number % 5 == 0 else None
        )

    server.add_generator(answer)
    lock = threading.Lock()
    results = {}

    def work(numbers):
        context = attempts.new_context()
        for number in numbers:
            attempt = run_attempt(
                attempts.task(server.url(f"/n/{number}"), f"sub{number % 3}/{number}"), context
            )
            with lock:
                results[number] = attempt

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [range(start, 101, 4) for start in range(1, 5)]))
    assert len(results) == 100
    for number, attempt in results.items():
        if number % 5 == 0:
            assert_failed(attempt, "truncated")
            assert attempt.part.offset == 500 * number
        else:
            assert attempts.file(f"sub{number % 3}/{number}") == pattern(number * 997, number)
    assert len(attempts.parts()) == 20


def test_a_failure_holds_no_exception(server, attempts):
    server.add("/a", body=DATA, cut=CUT)
    failure = attempts.fetch(server.url("/a")).failure
    assert isinstance(failure, Failure)
    assert failure == Failure(
        "truncated", f"the body ended early after {CUT} of {SIZE} bytes", retryable=True
    )
