"""The scheduler and what hosts allow by their own words: limits told, credentials refused, crawl delays."""

from __future__ import annotations

import itertools

import pytest

from bulkfetch.hosts import HostLimits
from bulkfetch.models import Attempt, Done, Entry, Failure, RateLimit, Task
from bulkfetch.retry import RetryPolicy
from bulkfetch.scheduler import Ended, Moved, Scheduler
from bulkfetch.urls import origin_of

NOW = 1000.0
POLICY = RetryPolicy(retries=5, max_wait=3600.0)
A, B = "https://a.example/x", "https://b.example/x"
DONE = Done(10, "")
numbers = itertools.count()


def scheduler_of(per_host=2, **limits):
    return Scheduler(lambda origin: HostLimits(POLICY, per_host, **limits), chance=lambda: 0.5)


def task_of(*urls):
    return Task(Entry(urls), b"%d" % next(numbers), "x", urls[0], origin_of(urls[0]))


def good(task, left=None, seconds=60.0, **values):
    limit = None if left is None else RateLimit(left, seconds)
    return Attempt(task.attempt, seconds=0.001, done=DONE, started=NOW, rate_limit=limit, **values)


def started(scheduler, count, now=NOW):
    tasks = [task_of(A) for _ in range(count)]
    for task in tasks:
        assert scheduler.add(task, now) is None
    return tasks


def take_all(scheduler, now=NOW):
    return list(iter(lambda: scheduler.take(now), None))


def test_as_many_start_as_the_host_still_allows():
    scheduler = scheduler_of(6)
    tasks = started(scheduler, 20)
    assert len(take_all(scheduler)) == 6
    scheduler.settle(tasks[0], good(tasks[0], left=7), NOW)
    assert len(take_all(scheduler)) == 1, "five are under way, and a slot is free"
    for task in tasks[1:7]:
        scheduler.settle(task, good(task, left=1), NOW)
    assert len(take_all(scheduler)) == 1
    assert scheduler.next_time() == NOW + 61.0


def test_once_the_window_has_ended_one_asks_and_no_timer_runs_until_it_is_answered():
    scheduler = scheduler_of(6)
    tasks = started(scheduler, 5)
    assert scheduler.take(NOW) is tasks[0]
    scheduler.settle(tasks[0], good(tasks[0], left=0, seconds=2.0), NOW)
    assert take_all(scheduler) == []
    assert scheduler.next_time() == NOW + 2.0
    assert take_all(scheduler, NOW + 2.0) == [tasks[1]]
    assert scheduler.next_time() is None
    answer = good(tasks[1], left=9)._replace(started=NOW + 2.0)
    scheduler.settle(tasks[1], answer, NOW + 2.1)
    assert take_all(scheduler, NOW + 2.1) == tasks[2:]


@pytest.mark.parametrize(("left", "along"), [(None, True), (500, False)], ids=["no limit", "a limit"])
def test_a_host_with_a_limit_is_given_no_batches(left, along):
    scheduler = scheduler_of(1)
    started(scheduler, 40)
    first = scheduler.take(NOW)
    scheduler.settle(first, good(first, left), NOW)
    assert bool(scheduler.take_along(scheduler.take(NOW), 16)) is along


@pytest.mark.parametrize("redirect", [None, "https://b.example/y"])
def test_a_limit_that_outlasts_the_users_patience_fails_the_queue_and_not_the_file(redirect):
    scheduler = scheduler_of(1, tell_time="<{:.0f}>".format)
    tasks = started(scheduler, 3)
    taken = scheduler.take(NOW)
    attempt = good(taken, left=0, seconds=7200.0)
    if redirect:
        attempt = attempt._replace(done=None, redirect=redirect)
    step = scheduler.settle(taken, attempt, NOW)
    assert isinstance(step, Moved if redirect else Ended)
    assert [task for task, _ in step.dropped] == tasks[1:]
    assert step.dropped[0][1].kind == "deferred"
    assert step.dropped[0][1].message == (
        "https://a.example allows no more requests for 7201 s, longer than --max-wait 3600 s;"
        " try again after <8201>"
    )
    assert scheduler.add(task_of(A), NOW).kind == "deferred"
    assert scheduler.add(task_of(A, B), NOW) is None, "a mirror may still have it"


def test_a_long_wait_for_a_limit_is_told_of_and_a_short_one_is_not():
    told = []
    for seconds in (1.0, 60.0):
        scheduler = scheduler_of(1)
        started(scheduler, 2)
        taken = scheduler.take(NOW)
        told.append(scheduler.settle(taken, good(taken, left=0, seconds=seconds), NOW).cooldown)
    assert told == [0.0, 61.0]


def test_credentials_refused_in_a_row_fail_the_queue():
    scheduler = scheduler_of(1, has_credentials=True)
    tasks = started(scheduler, 8)
    denied = Failure("auth", "the server answered 401", 401)
    steps = []
    for task in tasks[:5]:
        assert scheduler.take(NOW) is task
        steps.append(scheduler.settle(task, Attempt(1, failure=denied), NOW))
    assert [len(step.dropped) for step in steps] == [0, 0, 0, 0, 3]
    assert scheduler.take(NOW) is None
    assert scheduler.add(task_of(A), NOW + 1e6).kind == "auth"


def test_one_asks_for_robots_txt_and_then_all_connections_are_used():
    scheduler = scheduler_of(4, asks_first=True)
    tasks = started(scheduler, 9)
    assert take_all(scheduler) == tasks[:1]
    scheduler.settle(tasks[0], good(tasks[0], crawl_delay=0.0), NOW)
    assert take_all(scheduler) == tasks[1:5]


def test_the_crawl_delay_spaces_what_follows():
    scheduler = scheduler_of(4, asks_first=True)
    tasks = started(scheduler, 3)
    assert take_all(scheduler) == tasks[:1]
    scheduler.settle(tasks[0], good(tasks[0], crawl_delay=10.0), NOW)
    assert take_all(scheduler, NOW + 9.9) == []
    assert take_all(scheduler, NOW + 10.0) == tasks[1:2]
    assert take_all(scheduler, NOW + 19.9) == []
    assert take_all(scheduler, NOW + 20.0) == tasks[2:]


def test_a_crawl_delay_beyond_the_users_patience_defers_the_host():
    scheduler = scheduler_of(4, asks_first=True)
    tasks = started(scheduler, 3)
    scheduler.take(NOW)
    step = scheduler.settle(tasks[0], good(tasks[0], crawl_delay=7200.0), NOW)
    assert [failure.kind for _, failure in step.dropped] == ["deferred"] * 2
