"""How many connections pay: the rule by table, and against simulated hosts through the scheduler."""

from __future__ import annotations

import heapq
import random
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkfetch.hosts import HostLimits
from bulkfetch.models import Attempt, Done, Entry, Failure, Task
from bulkfetch.retry import RetryPolicy
from bulkfetch.scheduler import Ended, Scheduler
from bulkfetch.tuning import AutoLimit, Crowd, Tuner, Window
from bulkfetch.urls import origin_of

POLICY = RetryPolicy(retries=50, backoff=1.0, cap=60.0, max_wait=3600.0)
DONE = Done(1, "")
URL = "https://a.example/"
ORIGIN = origin_of(URL)
RESET = Failure("reset", "the connection was reset", retryable=True)
MOST = 16
TURN = 0.00005  # seconds the coordinator takes to look again


# -- the rule -------------------------------------------------------------------------------------


def judge(tuner, rate, *, share=1.0):
    """Return the limit after a second of `rate` answers, `share` of the connections being in use."""
    busy = tuner.limit * share
    return tuner.judge(Window(1.0, rate, 0, busy, round(busy)))


def limits(*rates, first=4):
    """Return the limit after each window."""
    tuner = Tuner(first, MOST)
    return [judge(tuner, rate) for rate in rates]


@pytest.mark.parametrize(
    ("rates", "seen"),
    [
        ((40, 80, 160), [8, 16, 16]),
        ((40, 42), [8, 4]),
        ((40, 80, 82), [8, 16, 8]),
        ((40, 42, 40, 40), [8, 4, 3, 2]),
        ((40, 42, 40, 30), [8, 4, 3, 4]),
        ((40, 42, 40, 40, 40), [8, 4, 3, 2, 2]),
    ],
    ids=[
        "doubles while it pays", "goes back at once", "at the knee", "fewer do as well", "fewer do not",
        "two are the least",
    ],
)  # fmt: skip
def test_the_limit_follows_goodput(rates, seen):
    assert limits(*rates) == seen


def test_windows_in_which_connections_were_idle_say_nothing():
    tuner = Tuner(8, MOST)
    assert [judge(tuner, rate, share=0.6) for rate in (10, 1000, 10)] == [8, 8, 8]


def test_fast_answers_count_by_the_clock_and_slow_ones_by_their_own_time():
    fast, slow = Window(2.0, 1000, 0, 10.0, 8), Window(2.0, 100, 0, 10.0, 8)
    assert fast.goodput(8) == 1000 / 2.0  # we were busy elsewhere for some of the time
    assert slow.goodput(8) == 100 / (10.0 / 8)


def test_a_settled_host_is_tried_again_ever_more_rarely():
    rates = {16: 160, 12: 120}
    tuner, seen = Tuner(MOST, MOST), []
    for _ in range(300):
        seen.append(judge(tuner, rates[tuner.limit]))
    tries = [number for number, limit in enumerate(seen) if limit == 12]
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps == sorted(gaps)
    assert len(tries) < 10


def test_latency_that_doubles_without_more_goodput_lowers_the_limit_at_once():
    tuner = Tuner(MOST, MOST)
    judge(tuner, 160)
    assert judge(tuner, 70) == 12


def test_a_cut_ends_the_doubling():
    tuner = Tuner(8, MOST)
    tuner.cut(4)
    assert [judge(tuner, 80), judge(tuner, 80)] == [4, 5]


@given(
    first=st.integers(1, 64),
    most=st.integers(1, 64),
    steps=st.lists(
        st.one_of(
            st.tuples(st.floats(0.0, 1e6), st.integers(1, 9999), st.integers(0, 10**12), st.integers(0, 64)),
            st.integers(0, 64),
        ),
        max_size=100,
    ),
)  # fmt: skip
def test_the_limit_stays_within_its_bounds(first, most, steps):
    tuner = Tuner(first, most)
    for step in steps:
        if isinstance(step, int):
            tuner.cut(step)
        else:
            elapsed, answers, received, peak = step
            tuner.judge(Window(elapsed, answers, received, elapsed * peak, peak))
        assert 1 <= tuner.limit <= most


# -- windows --------------------------------------------------------------------------------------


def test_time_in_which_nothing_was_asked_is_not_measured():
    auto, now = AutoLimit(4, MOST), 0.0
    for _ in range(50):
        now += 0.02
        auto.note(now, 0.08, 10, 4)
    assert auto.limit > 4
    before = auto.limit
    auto.pause(now)
    now += 100.0  # a cooldown
    for _ in range(before):
        now += 0.01
        auto.note(now, 0.08, 10, before)
    assert auto.limit == before


def test_answers_that_come_while_nothing_waits_are_not_measured():
    auto = AutoLimit(4, MOST)
    for number in range(1000):
        auto.note(number * 0.01, 0.04, 10, 4 if number % 5 else 0)
    assert auto.limit == 4


def test_one_answer_that_took_most_of_the_time_is_no_measure():
    auto, now = AutoLimit(4, MOST), 0.0
    for _ in range(100):
        now += 0.025
        auto.note(now, 0.1, 10, 4)
    before = auto.limit
    auto.note(now, 1000.0, 10**9, before)
    for _ in range(2000):
        now += 0.001
        auto.note(now, 0.1, 10, auto.limit)
    assert auto.limit == before


# -- against hosts --------------------------------------------------------------------------------


class Host:
    """Answers everything after the same time."""

    received = 10_000  # bytes of the next answer

    def __init__(self, latency=0.05):
        self.latency = latency
        self.active = 0

    def serve(self, now):
        """Return when the answer is there; None: the connection is reset."""
        return now + self.latency


class Queue(Host):
    """Has so many workers, and a queue before them."""

    def __init__(self, latency, servers):
        super().__init__(latency)
        self.free = [0.0] * servers

    def serve(self, now):
        begins = max(now, heapq.heappop(self.free))
        heapq.heappush(self.free, begins + self.latency)
        return begins + self.latency


class Line(Host):
    """Has a line that is full at so many answers a second."""

    def __init__(self, latency, per_second):
        super().__init__(latency)
        self.spacing, self.free = 1.0 / per_second, 0.0

    def serve(self, now):
        self.free = max(now, self.free) + self.spacing
        return self.free + self.latency


class Thrashing(Host):
    """Is slowed down by what it does at the same time: best at `knee`."""

    def __init__(self, latency, knee):
        super().__init__(latency)
        self.knee = knee

    def serve(self, now):
        return now + self.latency * max(1.0, (self.active / self.knee) ** 1.5)


class Narrow(Host):
    """Resets what is past so many connections."""

    def __init__(self, latency, most):
        super().__init__(latency)
        self.most = most

    def serve(self, now):
        return now + self.latency if self.active <= self.most else None


class Uneven(Host):
    """Has files of a kilobyte to a gigabyte, and a bound on the speed of each connection."""

    def __init__(self, latency, bytes_per_second):
        super().__init__(latency)
        self.speed, self.chance = bytes_per_second, random.Random(5)

    def serve(self, now):
        self.received = round(self.chance.lognormvariate(12.0, 2.0))
        return now + self.latency + self.received / self.speed


def simulate(host, todo, *, per_host=MOST, adapts=True, noise=0.0, seed=1):
    """Return the seconds until `todo` entries are done, the limits seen, and the resets."""
    chance = random.Random(seed)
    limits = HostLimits(POLICY, per_host, adapts=adapts)
    scheduler = Scheduler(lambda origin: limits, chance=chance.random)
    for number in range(todo):
        url = f"{URL}{number}"
        assert scheduler.add(Task(Entry((url,)), b"%d" % number, "x", url, ORIGIN), 0.0) is None
    events, order, seen = [], count(), []
    now, done, resets = 0.0, 0, 0
    while done < todo:
        while (task := scheduler.take(now)) is not None:
            host.active += 1
            when = host.serve(now)
            is_good = when is not None
            took = (when - now) * chance.uniform(1.0 - noise, 1.0 + noise) if is_good else host.latency
            answer = (task, now, host.received if is_good else None)
            heapq.heappush(events, (now + took, next(order), *answer))
        wake = scheduler.next_time()
        if not events or (wake is not None and wake < events[0][0]):
            now = max(now, wake)
            continue
        now, _, task, begun, received = heapq.heappop(events)
        is_good = received is not None
        host.active -= 1
        resets += not is_good
        outcome = {"done": DONE, "received": received} if is_good else {"failure": RESET}
        step = scheduler.settle(task, Attempt(task.attempt, seconds=now - begun, **outcome), now)
        done += isinstance(step, Ended)
        seen.append(scheduler._slots[ORIGIN].limit)
        now += TURN
    return now, seen, resets


def fixed(make, todo, number, **options):
    return simulate(make(), todo, per_host=number, adapts=False, **options)[0]


HOSTS = {  # and the number of connections at which each is best
    "1 ms": (lambda: Host(0.001), MOST),
    "10 ms": (lambda: Host(0.01), MOST),
    "50 ms": (lambda: Host(0.05), MOST),
    "200 ms": (lambda: Host(0.2), MOST),
    "six workers": (lambda: Queue(0.05, 6), 6),
    "one worker": (lambda: Queue(0.02, 1), 2),
    "a full line": (lambda: Line(0.05, 120), 8),
    "thrashing past 5": (lambda: Thrashing(0.05, 5), 5),
    "thrashing past 12": (lambda: Thrashing(0.05, 12), 12),
}


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize(("make", "number"), HOSTS.values(), ids=HOSTS)
def test_auto_comes_near_the_best_fixed_number(make, number, noise):
    seconds, _, _ = simulate(make(), 1500, noise=noise)
    assert seconds <= 1.2 * fixed(make, 1500, number, noise=noise) + 0.2


@pytest.mark.parametrize(
    ("make", "least", "most"),
    [
        (lambda: Host(0.05), 12, 16),
        (lambda: Queue(0.05, 6), 5, 9),
        (lambda: Queue(0.02, 1), 2, 3),
        (lambda: Line(0.05, 120), 5, 9),
        (lambda: Thrashing(0.05, 5), 4, 8),
    ],
    ids=["only latency", "six workers", "one worker", "a full line", "thrashing past 5"],
)
def test_no_more_connections_than_pay(make, least, most):
    _, seen, _ = simulate(make(), 2000, noise=0.1)
    settled = seen[1000:]
    assert least <= sum(settled) / len(settled) <= most


@pytest.mark.parametrize("latency", [0.01, 0.2])
def test_a_few_large_files_among_small_ones_do_not_hide_what_connections_bring(latency):
    seconds, seen, _ = simulate(Uneven(latency, 1e6), 1500)
    assert sum(seen[500:]) / 1000 >= 12
    assert seconds <= 0.8 * fixed(lambda: Uneven(latency, 1e6), 1500, 6)


def test_a_host_that_resets_is_asked_for_too_much_ever_more_rarely():
    seconds, _, resets = simulate(Narrow(0.05, 5), 2000)
    always_16 = simulate(Narrow(0.05, 5), 2000, adapts=False)
    assert seconds <= 1.3 * fixed(lambda: Narrow(0.05, 5), 2000, 5)
    assert seconds < always_16[0]
    assert resets < 0.15 * always_16[2]


@settings(max_examples=15)
@given(
    kind=st.sampled_from([Queue, Line, Thrashing, Narrow]),
    latency=st.floats(0.002, 0.5),
    size=st.integers(1, 40),
    noise=st.floats(0.0, 0.9),
    received=st.integers(0, 10**7),
    seed=st.integers(0, 1000),
)
def test_every_run_ends_within_the_bounds(kind, latency, size, noise, received, seed):
    number = size / latency if kind is Line else size
    host = kind(latency, number)
    host.received = received
    _, seen, _ = simulate(host, 200, noise=noise, seed=seed)
    assert 1 <= min(seen) <= max(seen) <= MOST


# -- where all wait for the processor -------------------------------------------------------------


def crowd_after(most, *stretches):
    """Return a crowd after stretches of (share of a core, seconds), looked at a hundred times a second."""
    crowd, now, cpu = Crowd(most), 1000.0, 3.0
    for share, seconds in stretches:
        for _ in range(round(seconds * 100)):
            crowd.look(now, cpu)
            now, cpu = now + 0.01, cpu + share / 100
    return crowd


@pytest.mark.parametrize(
    ("most", "stretches", "limit"),
    [
        (16, [(1.0, 2.0)], 4),
        (64, [(1.3, 3.0)], 4),
        (3, [(1.0, 2.0)], 3),
        (16, [(0.8, 2.0)], 16),
        (16, [(0.1, 2.0)], 16),
        (16, [(1.0, 2.0), (0.8, 1.0)], 4),
        (16, [(1.0, 2.0), (0.4, 1.0)], 16),
    ],
)
def test_few_workers_are_used_while_all_wait_for_the_processor(most, stretches, limit):
    assert crowd_after(most, *stretches).limit == limit


@pytest.mark.parametrize(("share", "is_working"), [(0.0, False), (0.3, False), (0.7, True), (1.2, True)])
def test_a_run_on_a_busy_machine_was_taken_for_an_idle_one(share, is_working):
    assert crowd_after(16, (share, 1.0)).is_working is is_working
    assert not crowd_after(16, (share, 1.0), (0.1, 0.2)).is_working
