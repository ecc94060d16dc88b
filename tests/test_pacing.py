"""Hosts that refuse what is past their limit: the rate is learnt, in simulated time."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkfetch.hosts import HostLimits
from bulkfetch.models import Attempt, Done, Entry, Failure, Task
from bulkfetch.pacing import Pacer
from bulkfetch.retry import RetryPolicy
from bulkfetch.scheduler import Ended, Scheduler
from bulkfetch.urls import origin_of

relaxed = settings(max_examples=60)
POLICY = RetryPolicy(retries=8)
DONE = Done(10, "")


class Log:
    """Serves so many requests in any second (a sliding window)."""

    def __init__(self, rate, _burst=0, window=1.0):
        self.rate, self.window = rate * window, window
        self.served = deque()

    def ask(self, now):
        while self.served and self.served[0] <= now - self.window:
            self.served.popleft()
        if len(self.served) >= self.rate:
            return False
        self.served.append(now)
        return True


class Fixed:
    """Serves so many requests in each second of its own clock."""

    def __init__(self, rate, _burst=0, window=1.0):
        self.rate, self.window = rate * window, window
        self.number, self.used = 0, 0

    def ask(self, now):
        number = math.floor((now + 0.3) / self.window)
        if number != self.number:
            self.number, self.used = number, 0
        if self.used >= self.rate:
            return False
        self.used += 1
        return True


class Bucket:
    """Serves at a rate, and a burst at once after a pause."""

    def __init__(self, rate, burst=25, window=1.0):
        self.rate, self.burst = rate, burst
        self.tokens, self.filled = float(burst), 0.0

    def ask(self, now):
        self.tokens = min(self.burst, self.tokens + (now - self.filled) * self.rate)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Moody:
    """Refuses a share of requests, however slowly they come."""

    def __init__(self, share, seed=1):
        self.share, self.chance = share, random.Random(seed)

    def ask(self, now):
        return self.chance.random() >= self.share


def simulate(server, todo, *, retry_after=1.0, trip=0.002, per_host=6, seed=1, turn=0.0005):
    """Return the seconds until `todo` entries are done, the requests refused, and the entries failed."""
    chance = random.Random(seed)
    scheduler = Scheduler(lambda origin: HostLimits(POLICY, per_host), chance=chance.random)
    for number in range(todo):
        url = f"https://a.example/{number}"
        assert scheduler.add(Task(Entry((url,)), b"%d" % number, "x", url, origin_of(url)), 0.0) is None
    events, order = [], count()
    now = last = 0.0
    refused = failed = done = 0
    while done < todo:
        while (task := scheduler.take(now)) is not None:
            heapq.heappush(events, (now + trip * chance.uniform(0.2, 0.8), next(order), "arrives", task))
        wake = scheduler.next_time()
        if events and (wake is None or events[0][0] <= wake):
            now, _, what, task = heapq.heappop(events)
            if what == "arrives":
                served = server.ask(now)
                heapq.heappush(events, (now + trip / 2, next(order), served, task))
                continue
            if what:
                attempt = Attempt(task.attempt, 10, trip, done=DONE)
            else:
                refused += 1
                busy = Failure("throttled", "429", 429, retry_after, retryable=True)
                attempt = Attempt(task.attempt, failure=busy)
            step = scheduler.settle(task, attempt, now)
            if isinstance(step, Ended):
                done, last = done + 1, now
                failed += step.failure is not None
        else:
            now = max(now, wake + chance.random() * turn)
    return last, refused, failed


# -- against servers ------------------------------------------------------------------------------


@pytest.mark.parametrize("trip", [0.002, 0.05])
@pytest.mark.parametrize("retry_after", [1.0, None])
@pytest.mark.parametrize(
    ("make", "most"), [(Log, 1.2), (Fixed, 1.2), (Bucket, 1.1)], ids=["sliding window", "window", "bucket"]
)
def test_25_requests_a_second(make, most, retry_after, trip):
    runs = [simulate(make(25), 1000, retry_after=retry_after, trip=trip, seed=seed) for seed in range(3)]
    assert sum(seconds for seconds, _, _ in runs) / 3 <= most * 1000 / 25
    assert max(refused for _, refused, _ in runs) < 0.05 * 1000
    assert not any(failed for _, _, failed in runs)


@pytest.mark.parametrize("retry_after", [1.0, None])
@pytest.mark.parametrize("share", [0.01, 0.03, 0.1])
def test_a_host_that_refuses_at_random_is_not_asked_ever_more_slowly(share, retry_after):
    seconds, refused, failed = simulate(Moody(share), 6000, retry_after=retry_after)
    cooldowns = refused * 1.25
    assert seconds <= 5 * cooldowns
    assert not failed


@relaxed
@given(
    kind=st.sampled_from([Log, Fixed, Bucket]),
    rate=st.floats(2.0, 200.0),
    burst=st.integers(5, 100),
    window=st.sampled_from([1.0, 10.0]),
    retry_after=st.sampled_from([1.0, 5.0, None]),
    per_host=st.integers(1, 16),
    trip=st.sampled_from([0.002, 0.05, 0.3]),
    seed=st.integers(0, 100),
)
def test_whatever_the_limit_few_are_refused_and_all_is_fetched(
    kind, rate, burst, window, retry_after, per_host, trip, seed
):
    server = kind(rate, burst, window)
    options = {"retry_after": retry_after, "trip": trip, "per_host": per_host, "seed": seed}
    seconds, refused, failed = simulate(server, 300, **options)
    assert failed == 0
    assert refused <= 0.5 * 300 + 2 * per_host  # the worst: few a second, taken for a host of moods
    assert seconds <= 6 * (300 / min(rate, per_host / trip)) + 30


# -- one rule at a time ---------------------------------------------------------------------------


def paced(*, accepted=20, seconds=2.0, now=0.0):
    """Return a pacer after its second refusal, and when requests start again."""
    pacer = Pacer(now)
    for number in range(accepted):
        pacer.accept(now + seconds * (number + 1) / accepted)
    pacer.refuse(now + seconds, now + seconds + 1.0)
    return pacer, now + seconds + 1.0


def test_one_refusal_is_no_rate():
    pacer = Pacer(1.0)
    assert not pacer.is_pacing
    assert pacer.spacing(5.0) == 0.0


def test_the_second_refusal_gives_the_rate_measured_between_both():
    pacer, resume = paced(accepted=20, seconds=2.0)
    assert pacer.rate(resume) == pytest.approx(20 / 1.9 * 0.97)


def test_a_burst_is_paid_for_by_the_wait_that_follows():
    pacer, resume = paced(accepted=25, seconds=0.01)
    assert pacer.rate(resume) == pytest.approx(25 / 1.0 * 0.97)


def test_refusals_that_are_rare_are_no_rate():
    pacer, _ = paced(accepted=1000, seconds=61.0)
    assert not pacer.is_pacing


def test_answers_begun_before_the_refusal_do_not_count():
    pacer = Pacer(1.0)
    for _ in range(100):
        pacer.accept(0.5)
    pacer.refuse(2.0, 3.0)
    assert not pacer.is_pacing


def test_a_rate_that_is_refused_goes_down_and_then_grows_slowly():
    pacer, resume = paced()
    first = pacer.rate(resume)
    assert pacer.rate(resume + 6.0) == pytest.approx(first * math.e), "not refused yet: it is searched for"
    pacer.accept(resume + 1)
    pacer.refuse(resume + 6.0, resume + 7.0)
    held = pacer.rate(resume + 7.0)
    assert held == pytest.approx(first * math.e * 0.96)
    assert pacer.rate(resume + 17.0) < held * 1.01
    assert pacer.rate(resume + 7.0 + 250.0) == pytest.approx(held * math.e)


def test_a_host_that_is_still_closed_teaches_nothing():
    pacer, resume = paced()
    before = pacer.rate(resume)
    for second in range(10):
        pacer.refuse(resume + second, resume + second + 1)
    assert pacer.rate(resume + 10) == pytest.approx(before)


def test_a_rate_far_above_any_need_is_none():
    pacer, resume = paced()
    assert pacer.spacing(resume + 1000.0) == 0.0
