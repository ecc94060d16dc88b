"""`--rate`: how many requests the whole run makes in a time, spread evenly, whatever they are for."""

from __future__ import annotations

import itertools
import random

import pytest
from attempting import QUICK, WHICH
from faultserver import pattern
from hypothesis import given
from hypothesis import strategies as st

import bulkfetch
from bulkfetch.hosts import HostLimits
from bulkfetch.models import Attempt, Done, Entry, Failure, Task
from bulkfetch.retry import RetryPolicy
from bulkfetch.scheduler import Ended, Requeued, Scheduler
from bulkfetch.spacing import find_next
from bulkfetch.urls import origin_of

NOW = 1000.0
DONE = Done(10, "")
CUT = Failure("truncated", "the body ended early", retryable=True)
BUSY = Failure("throttled", "the server answered 429", 429, 30.0, retryable=True)
MB = 1024 * 1024
numbers = itertools.count()


def scheduler_of(rate, chance=lambda: 0.5, per_host=4, **limits):
    policy = RetryPolicy(retries=2, backoff=0.01)
    return Scheduler(lambda origin: HostLimits(policy, per_host, **limits), rate=rate, chance=chance)


def task_of(host, **values):
    url = f"https://{host}.example/x"
    return Task(Entry((url,)), b"%d" % next(numbers), "x", url, origin_of(url), **values)


def starts_of(scheduler, *, answer=DONE, seconds=0.0, late=lambda: 0.0):
    """Return (time, host) of every start, each attempt taking `seconds` and the coordinator being late."""
    now, starts, ends = NOW, [], []
    while scheduler.queued or scheduler.active:
        while (task := scheduler.take(now)) is not None:
            starts.append((now, task.origin.host[0]))
            ends.append((now + seconds, task))
        for end, task in [one for one in ends if one[0] <= now]:
            ends.remove((end, task))
            failure = answer if isinstance(answer, Failure) else None
            attempt = Attempt(task.attempt, seconds=0.001, failure=failure, done=None if failure else DONE)
            scheduler.settle(task, attempt, now)
        times = [end for end, _ in ends]
        if (next_time := scheduler.next_time()) is not None:
            times.append(next_time)
        if times:
            now = max(now, min(times)) + late()
    return starts


# -- the rule --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "chance", "following"),
    [
        (NOW, 0.5, NOW + 2.0),
        (NOW + 1.5, 0.5, NOW + 2.0),
        (NOW + 2.5, 0.5, NOW + 4.5),
        (NOW, 0.0, NOW + 1.9),
        (NOW, 1.0, NOW + 2.1),
    ],
    ids=["in time", "a little late", "after a pause", "early by chance", "late by chance"],
)
def test_when_the_next_request_may_start(now, chance, following):
    assert find_next(NOW, 2.0, now, chance) == pytest.approx(following)


def test_all_hosts_share_the_rate_in_turn():
    scheduler = scheduler_of(5.0)
    for host in "aabbc":
        scheduler.add(task_of(host), NOW)
    starts = [(round(when - NOW, 3), host) for when, host in starts_of(scheduler)]
    assert starts == [(0.0, "a"), (0.2, "b"), (0.4, "c"), (0.6, "a"), (0.8, "b")]


def test_further_attempts_count():
    scheduler = scheduler_of(5.0)
    scheduler.add(task_of("a"), NOW)
    times = [when - NOW for when, _ in starts_of(scheduler, answer=CUT)]
    assert times == pytest.approx([0.0, 0.2, 0.4])


def test_a_host_that_may_not_be_asked_costs_the_others_nothing():
    scheduler = scheduler_of(4.0)
    tasks = [task_of(host) for host in "aaabb"]
    for task in tasks:
        scheduler.add(task, NOW)
    assert scheduler.take(NOW) is tasks[0]
    step = scheduler.settle(tasks[0], Attempt(1, failure=BUSY), NOW)
    assert isinstance(step, Requeued)
    assert scheduler.take(NOW + 0.1) is None
    assert [scheduler.take(NOW + 0.25), scheduler.take(NOW + 0.5)] == tasks[3:]
    assert scheduler.take(NOW + 0.75) is None
    assert not scheduler.is_held, "what is left waits for its host"


def test_the_slower_of_both_rates_holds():
    scheduler = scheduler_of(5.0, spacing=1.0)
    for host in "aaab":
        scheduler.add(task_of(host), NOW)
    starts = [(round(when - NOW, 3), host) for when, host in starts_of(scheduler)]
    assert starts == [(0.0, "a"), (0.2, "b"), (1.0, "a"), (2.0, "a")]


def test_tasks_that_wait_for_the_rate_are_still_settled_expired_and_taken_back():
    scheduler = scheduler_of(0.1)
    first, second, late = task_of("a"), task_of("b"), task_of("c", deadline=NOW + 1.0)
    for task in (first, late, second):
        assert scheduler.add(task, NOW) is None
    assert scheduler.take(NOW) is first
    assert scheduler.take(NOW) is None
    assert scheduler.is_held
    assert scheduler.next_time() == NOW + 10.0
    assert isinstance(scheduler.settle(first, Attempt(1, done=DONE), NOW + 0.5), Ended)
    assert [task for task, _ in scheduler.expire(NOW + 2.0)] == [late]
    assert scheduler.drain() == [second]
    assert scheduler.next_time() is None


def test_no_batch_goes_past_the_rate():
    for rate, along in ((None, True), (1000.0, False)):
        scheduler = scheduler_of(rate, per_host=1)
        for _ in range(40):
            scheduler.add(task_of("a"), NOW)
        scheduler.settle(scheduler.take(NOW), Attempt(1, seconds=0.001, done=DONE), NOW)
        assert bool(scheduler.take_along(scheduler.take(NOW + 1.0), 16)) is along


@given(
    rate=st.floats(0.1, 500.0),
    hosts=st.lists(st.sampled_from("abcdef"), min_size=2, max_size=60),
    seconds=st.floats(0.0, 0.2),
    lateness=st.floats(0.0, 0.5),
    seed=st.integers(0, 99),
)
def test_however_late_the_coordinator_is_the_rate_is_kept_and_reached(rate, hosts, seconds, lateness, seed):
    chance = random.Random(seed)
    scheduler = scheduler_of(rate, chance.random, per_host=60)
    for host in hosts:
        scheduler.add(task_of(host), NOW)
    spacing = 1.0 / rate
    starts = starts_of(scheduler, seconds=seconds, late=lambda: chance.random() * lateness * spacing)
    assert len(starts) == len(hosts)
    times = [when for when, _ in starts]
    first = min(times)
    for count, when in enumerate(times[1:], 1):
        assert when - first >= (count - lateness) * spacing * 0.95 - 1e-6, "no more than the rate"
    assert times[-1] - first <= (len(times) - 1) * spacing * 1.05 + lateness * spacing + 1e-6


# -- the real thing --------------------------------------------------------------------------------


def span(*servers):
    """Return how many requests there were, and the seconds from the first to the last of them."""
    times = [request.time for server in servers for request in server.requests]
    return len(times), max(times) - min(times)


def test_the_command_asks_two_hosts_no_faster_than_the_rate(make_server, tmp_path, run_bulkfetch):
    servers = [make_server(), make_server()]
    for one in servers:
        one.add("/n/*", body=b"content")
        one.add("/again", body=b"content", first=[{"status": 500}])
    servers[0].add("/moved", redirect=servers[1].url("/n/moved"))
    urls = [one.url(f"/n/{n}") for one in servers for n in range(8)]
    urls += [servers[0].url("/again"), servers[0].url("/moved")]
    done = run_bulkfetch("get", *urls, "-d", tmp_path / "out", "--rate", "40/s", "--backoff", "0.01")
    assert done.returncode == 0, done.stderr
    count, seconds = span(*servers)
    assert count == 16 + 2 + 2
    assert seconds >= 19 / 40 * 0.7


def test_every_short_range_is_counted(server, tmp_path):
    server.add("/a", body=pattern(60_000), etag='"v1"', ranges="short:15000", first=[{"cut": 15_000}])
    options = {"rate": 20.0, "backoff": 0.01, "transport": WHICH, **QUICK}
    (outcome,) = bulkfetch.fetch([server.url("/a")], tmp_path, **options)
    assert outcome.failure is None
    count, seconds = span(server)
    assert count == 4
    assert seconds >= 3 / 20 * 0.5


def test_sizes_are_asked_for_no_faster_than_the_rate(server, tmp_path, command):
    server.add("/n/*", body=b"x")
    urls = [server.url(f"/n/{n}") for n in range(6)]
    done = command("plan", *urls, "-d", tmp_path / "out", "--sizes", "--rate", "20")
    assert done.returncode == 0, done.stderr
    count, seconds = span(server)
    assert count == 6
    assert seconds >= 5 / 20 * 0.7
