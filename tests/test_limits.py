"""The byte rate of a run, with a clock and a stop event that only remember."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.limits import Both, Buckets, NoLimit, TokenBucket
from bulkfetch.models import Origin


class Clock:
    """A clock that waiting moves; also the stop event the bucket waits on."""

    def __init__(self):
        self.now = 1000.0
        self.waits = []

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def test_the_rate_is_kept(clock):
    bucket = TokenBucket(1000, clock, clock)
    for _ in range(11):
        bucket.take(500)
    assert clock.now == pytest.approx(1005.0)
    assert clock.waits == [0.5] * 10


def test_the_first_bytes_pass_at_once(clock):
    TokenBucket(10, clock, clock).take(10**6)
    assert clock.waits == []


def test_time_without_use_is_not_saved_up(clock):
    bucket = TokenBucket(1000, clock, clock)
    bucket.take(1000)
    clock.now += 60.0
    bucket.take(1000)
    bucket.take(1000)
    assert clock.waits == [1.0]


def test_bytes_of_all_takers_are_added_up(clock):
    bucket = TokenBucket(1000, clock, clock)
    waits = []
    clock.wait = waits.append  # others take while each of these still waits
    for _ in range(4):
        bucket.take(1000)
    assert waits == [1.0, 2.0, 3.0]


def test_a_stop_ends_the_wait():
    stop = threading.Event()
    bucket = TokenBucket(1, stop)
    bucket.take(1000)
    taker = threading.Thread(target=bucket.take, args=(1,), daemon=True)
    taker.start()
    stop.set()
    taker.join(30)
    assert not taker.is_alive()


@pytest.mark.parametrize(("rate", "chunk"), [(100, 1024), (20_480, 1024), (20_000_000, 1_000_000)])
def test_reads_are_small_enough_to_flow(clock, rate, chunk):
    assert TokenBucket(rate, clock, clock).chunk == chunk


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 3)), max_size=30))
def test_never_faster_than_the_rate(takes):
    clock = Clock()
    bucket = TokenBucket(1000, clock, clock)
    passed = 0  # bytes let through before the last take
    for size, pause in takes:
        clock.now += pause
        bucket.take(size)
        assert passed <= (clock.now - 1000.0) * 1000 + 1e-6
        passed += size


def test_no_limit_never_waits():
    bucket = NoLimit()
    bucket.take(10**12)
    assert bucket.chunk >= 1 << 20


# -- one host's own rate --------------------------------------------------------------------------

A, B = Origin("https", "a.example", 443), Origin("https", "b.example", 443)


@pytest.mark.parametrize(("run", "host", "seconds"), [(1000, 250, 4.0), (250, 1000, 4.0), (500, 500, 2.0)])
def test_the_slower_of_both_rates_holds(clock, run, host, seconds):
    both = Both(TokenBucket(run, clock, clock), TokenBucket(host, clock, clock))
    for _ in range(11):
        both.take(100)
    assert clock.now - 1000.0 == pytest.approx(seconds)


def test_a_host_without_a_rate_costs_nothing():
    buckets = Buckets(None, threading.Event())
    assert isinstance(buckets.choose(A, None), NoLimit)


def test_all_bodies_of_a_host_share_its_bucket_and_no_other_host_does():
    buckets = Buckets(None, threading.Event())
    assert buckets.choose(A, 100.0) is buckets.choose(A, 100.0)
    assert buckets.choose(A, 100.0) is not buckets.choose(B, 100.0)


def test_beside_a_hosts_own_rate_that_of_the_run_holds():
    buckets = Buckets(1000.0, threading.Event())
    assert isinstance(buckets.choose(A, 100.0), Both)
    assert buckets.choose(B, None) is buckets.run
    assert buckets.choose(A, 100_000.0).chunk == buckets.run.chunk
