"""Which task may start when, and what becomes of a failed one; time and chance are given."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bulkfetch import scheduler as scheduling
from bulkfetch.hosts import PROBE_AFTER, HostLimits
from bulkfetch.models import Attempt, Done, Entry, Failure, PartInfo, Task
from bulkfetch.retry import MOST_STALE, REAL_PROGRESS, RetryPolicy
from bulkfetch.scheduler import Ended, Moved, Requeued, Scheduler
from bulkfetch.urls import origin_of

NOW = 1000.0
POLICY = RetryPolicy(retries=5, backoff=1.0, cap=60.0, max_wait=3600.0)
A, B, C = ("https://a.example/x", "https://b.example/x", "https://c.example/x")
DONE = Done(10, "ab" * 32)

REFUSED = Failure("connect", "connection refused", retryable=True)
RESET = Failure("reset", "the connection was reset", retryable=True)
CUT = Failure("truncated", "the body ended early", retryable=True)
MISSING = Failure("not-found", "the server answered 404", 404)
numbers = itertools.count()


def scheduler_of(per_host=2, *, chance=0.5, policy=POLICY, host_rate=None):
    return Scheduler(limits_of(policy, per_host, host_rate), chance=lambda: chance)


def limits_of(policy, per_host, host_rate):
    limits = HostLimits(policy, per_host, 1.0 / host_rate if host_rate else 0.0)
    return lambda origin: limits


def task_of(*urls, **values):
    return Task(Entry(urls), b"%d" % next(numbers), "x", urls[0], origin_of(urls[0]), **values)


def busy(seconds=None, status=429):
    return Failure("throttled", f"the server answered {status}", status, seconds, retryable=True)


def failed(task, failure, **values):
    return Attempt(task.attempt, failure=failure, **values)


def good(task, **values):
    return Attempt(task.attempt, done=DONE, **values)


def add_all(scheduler, *tasks, now=NOW):
    for task in tasks:
        assert scheduler.add(task, now) is None


def take_all(scheduler, now=NOW):
    """Return every task that may start at `now`."""
    return list(iter(lambda: scheduler.take(now), None))


def run_out(scheduler, now, failure, most=10_000):
    """Fail every task with `failure` until none is left; return (ends, dropped, time)."""
    ends, dropped = [], []
    for _ in range(most):
        task = scheduler.take(now)
        if task is None:
            if scheduler.next_time() is None:
                return ends, dropped, now
            now = scheduler.next_time()
            continue
        step = scheduler.settle(task, failed(task, failure), now)
        dropped += step.dropped
        if isinstance(step, Ended):
            ends.append(step)
    raise AssertionError("it does not end")


# -- admission ------------------------------------------------------------------------------------


def test_tasks_of_a_host_start_in_order_up_to_its_connections():
    scheduler, tasks = scheduler_of(2), [task_of(A) for _ in range(3)]
    add_all(scheduler, *tasks)
    assert take_all(scheduler) == tasks[:2]
    assert (scheduler.queued, scheduler.active) == (1, 2)
    assert isinstance(scheduler.settle(tasks[0], good(tasks[0]), NOW), Ended)
    assert take_all(scheduler) == tasks[2:]


def test_the_longest_waiting_origin_comes_first():
    scheduler = scheduler_of(8)
    add_all(scheduler, *(task_of(url) for url in (A, A, A, B, C, B)))
    assert [task.url for task in take_all(scheduler)] == [A, B, C, A, B, A]


def test_waiting_tells_what_is_in_memory():
    scheduler = scheduler_of(1)
    add_all(scheduler, task_of(A), task_of(A), task_of(B))
    assert [scheduler.waiting(origin_of(url)) for url in (A, B, C)] == [2, 1, 0]


def test_without_tasks_there_is_nothing_to_wait_for():
    scheduler = scheduler_of()
    assert scheduler.take(NOW) is None
    assert scheduler.next_time() is None


def test_requests_to_a_host_keep_its_rate():
    scheduler, starts = scheduler_of(100, host_rate=5.0), []
    add_all(scheduler, *(task_of(A) for _ in range(4)), task_of(B))
    now = NOW
    while scheduler.queued:
        starts += [(task.origin.host[0], round(now - NOW, 3)) for task in take_all(scheduler, now)]
        now = scheduler.next_time() or now
    assert starts == [("a", 0.0), ("b", 0.0), ("a", 0.2), ("a", 0.4), ("a", 0.6)]


def test_what_has_not_started_can_be_taken_back():
    scheduler, tasks = scheduler_of(1), [task_of(A) for _ in range(3)]
    add_all(scheduler, *tasks)
    first = scheduler.take(NOW)
    scheduler.settle(first, failed(first, CUT), NOW)
    running = scheduler.take(NOW)
    assert {task.key for task in scheduler.drain()} == {task.key for task in tasks} - {running.key}
    assert (scheduler.queued, scheduler.active) == (0, 1)
    assert scheduler.take(NOW + 100) is None
    add_all(scheduler, task_of(B), now=NOW + 100)
    assert scheduler.take(NOW + 100).url == B


def test_a_batch_shares_one_slot():
    scheduler = scheduler_of(1)
    add_all(scheduler, *(task_of(A) for _ in range(200)))
    first = scheduler.take(NOW)
    assert scheduler.take_along(first, 16) == []  # how fast the host is is not known yet
    scheduler.settle(first, good(first, seconds=0.001), NOW)
    first = scheduler.take(NOW)
    batch = scheduler.take_along(first, 16)
    assert len(batch) == 15
    assert (scheduler.queued, scheduler.active) == (200 - 1 - 16, 1)
    for task in (first, *batch[:5]):
        scheduler.settle(task, good(task), NOW, frees=False)
        assert scheduler.take(NOW) is None
    scheduler.give_back(batch[6:], NOW)
    assert scheduler.queued == 200 - 1 - 7
    scheduler.settle(batch[5], good(batch[5]), NOW)
    assert scheduler.take(NOW) == batch[6]


def test_a_host_that_waited_can_be_used_after_all_was_taken_back():
    scheduler = scheduler_of(2)
    add_all(scheduler, task_of(A), task_of(A))
    first = scheduler.take(NOW)
    scheduler.settle(first, failed(first, busy(30.0)), NOW)
    assert scheduler.take(NOW) is None
    assert len(scheduler.drain()) == 2
    again = task_of(A)
    add_all(scheduler, again)
    assert scheduler.take(NOW) is None
    assert scheduler.next_time() > NOW + 29.0
    assert scheduler.take(scheduler.next_time()) == again


# -- good ends ------------------------------------------------------------------------------------


def test_a_good_attempt_ends_its_task():
    scheduler, task = scheduler_of(), task_of(A, received=5)
    add_all(scheduler, task)
    step = scheduler.settle(scheduler.take(NOW), good(task, received=10), NOW)
    assert isinstance(step, Ended)
    assert (step.failure, step.task, step.dropped) == (None, task, ())
    assert (scheduler.queued, scheduler.active) == (0, 0)


def test_a_redirect_to_another_origin_moves_the_task():
    scheduler, task = scheduler_of(), task_of(A)
    add_all(scheduler, task)
    step = scheduler.settle(scheduler.take(NOW), Attempt(1, redirect=B), NOW)
    assert isinstance(step, Moved)
    assert step.location == B
    assert scheduler.active == 0


# -- failures -------------------------------------------------------------------------------------


def test_t07_a_failed_task_waits_while_others_run():
    scheduler, task, other = scheduler_of(1, chance=0.5), task_of(A), task_of(A)
    add_all(scheduler, task, other)
    step = scheduler.settle(scheduler.take(NOW), failed(task, CUT, received=7), NOW)
    assert isinstance(step, Requeued)
    assert (step.delay, step.task.attempt, step.task.received) == (0.5, 2, 7)
    assert take_all(scheduler) == [other]
    scheduler.settle(other, good(other), NOW)
    assert scheduler.take(NOW + 0.49) is None
    assert scheduler.next_time() == NOW + 0.5
    assert scheduler.take(NOW + 0.5) == step.task


def test_t10_what_no_retry_mends_ends_at_once():
    scheduler, task = scheduler_of(), task_of(A)
    add_all(scheduler, task)
    step = scheduler.settle(scheduler.take(NOW), failed(task, MISSING, received=3), NOW)
    assert isinstance(step, Ended)
    assert (step.failure, step.task.received) == (MISSING, 3)
    assert scheduler.next_time() is None


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_t01_a_task_is_tried_as_often_as_allowed(retries):
    scheduler = scheduler_of(policy=RetryPolicy(retries=retries))
    add_all(scheduler, task_of(A))
    (end,), dropped, _ = run_out(scheduler, NOW, CUT)
    assert end.failure == CUT
    assert end.task.attempt == retries + 1
    assert dropped == []


def test_t11_progress_is_kept_and_forgives():
    scheduler, task = scheduler_of(), task_of(A)
    add_all(scheduler, task)
    for number in range(1, 20):
        taken = scheduler.take(NOW + 1000.0 * number)
        assert taken.part.offset == (number - 1) * REAL_PROGRESS
        part = PartInfo(number * REAL_PROGRESS, '"v"', None, "t")
        step = scheduler.settle(taken, failed(taken, CUT, part=part), NOW + 1000.0 * number)
        assert isinstance(step, Requeued)
        assert step.task.failures == 1


def test_c01_a_stale_connection_costs_nothing():
    scheduler, task, other = scheduler_of(4), task_of(A), task_of(A)
    add_all(scheduler, task, other)
    for _ in range(MOST_STALE):
        taken = scheduler.take(NOW)
        assert (taken.key, taken.attempt, taken.failures) == (task.key, 1, 0)
        step = scheduler.settle(taken, failed(taken, RESET, reused=True, part=PartInfo(5)), NOW)
        assert isinstance(step, Requeued)
        assert (step.delay, step.cooldown, step.task.part.offset) == (0.0, 0.0, 5)
    taken = scheduler.take(NOW)
    step = scheduler.settle(taken, failed(taken, RESET, reused=True), NOW)
    assert (step.task.attempt, step.delay) == (2, 0.5)


def test_a_part_that_does_not_fit_is_dropped_without_waiting():
    scheduler, task = scheduler_of(), task_of(A, part=PartInfo(60, '"v"', 100, "t"))
    add_all(scheduler, task)
    step = scheduler.settle(scheduler.take(NOW), failed(task, Failure("range", "no", retryable=True)), NOW)
    assert step.delay == 0.0
    assert scheduler.take(NOW).part == PartInfo()


@pytest.mark.parametrize(("left", "ends"), [(0.4, True), (0.5, True), (0.6, False)])
def test_no_attempt_is_planned_past_the_entrys_deadline(left, ends):
    scheduler, task = scheduler_of(), task_of(A, deadline=NOW + left)
    add_all(scheduler, task)
    step = scheduler.settle(scheduler.take(NOW), failed(task, CUT), NOW)
    assert isinstance(step, Ended) is ends
    if ends:
        assert step.failure.kind == "deadline"
        assert step.failure.message.startswith("the body ended early; ")
        assert (scheduler.queued, scheduler.next_time()) == (0, None)


def test_the_deadline_counts_the_hosts_cooldown_too():
    scheduler, task = scheduler_of(), task_of(A, deadline=NOW + 20.0)
    add_all(scheduler, task)
    step = scheduler.settle(scheduler.take(NOW), failed(task, busy(30.0)), NOW)
    assert step.failure.kind == "deadline"
    assert step.failure.status_code == 429


def test_a_deadline_passes_while_the_host_is_cooled():
    scheduler = scheduler_of(1)
    one, patient, other = task_of(A), task_of(A, deadline=NOW + 90.0), task_of(B, deadline=NOW + 5.0)
    hasty, new = task_of(A, deadline=NOW + 5.0), task_of(A)
    add_all(scheduler, one, hasty, patient, new)
    scheduler.settle(scheduler.take(NOW), failed(one, busy(60.0)), NOW)
    add_all(scheduler, other)
    assert scheduler.take(NOW) is other
    assert scheduler.expire(NOW + 4.9) == ()
    ((task, failure),) = scheduler.expire(NOW + 5.0)
    assert (task, failure.kind) == (hasty, "deadline")
    assert scheduler.expire(NOW + 6.0) == ()
    assert scheduler.queued == 3
    assert {task.key for task in take_all(scheduler, NOW + 70.0)} == {one.key}


def test_what_was_refused_is_asked_again_before_what_is_new():
    """Symptom: a host that refuses each entry once was asked for another one each time, and sent none."""
    scheduler, tasks = scheduler_of(1), [task_of(A) for _ in range(3)]
    add_all(scheduler, *tasks)
    scheduler.settle(scheduler.take(NOW), failed(tasks[0], busy(1.0)), NOW)
    assert scheduler.take(NOW + 100.0).key == tasks[0].key


# -- the host -------------------------------------------------------------------------------------


def test_t06_a_throttled_origin_waits_as_a_whole():
    scheduler, tasks = scheduler_of(4, chance=0.0), [task_of(A) for _ in range(9)]
    add_all(scheduler, *tasks)
    for task in take_all(scheduler):
        step = scheduler.settle(task, failed(task, busy(2.0)), NOW)
        assert (step.cooldown, step.delay) == (2.0, 2.0)
    assert scheduler.take(NOW + 1.9) is None
    assert scheduler.next_time() == NOW + 2.0
    assert len(take_all(scheduler, NOW + 2.0)) == 2  # halved once


def test_t07_a_throttled_origin_does_not_hold_others():
    scheduler = scheduler_of(16)
    add_all(scheduler, *(task_of(A) for _ in range(16)))
    for task in take_all(scheduler):
        scheduler.settle(task, failed(task, busy(2.0)), NOW)
    add_all(scheduler, *(task_of(B) for _ in range(5)))
    assert [task.url for task in take_all(scheduler)] == [B] * 5


@pytest.mark.parametrize("status", [429, 500, 503])
def test_any_failure_with_a_retry_after_cools_the_origin(status):
    scheduler, task = scheduler_of(chance=0.0), task_of(A)
    kind = "server" if status == 500 else "throttled"
    add_all(scheduler, task, task_of(A))
    step = scheduler.settle(scheduler.take(NOW), failed(task, Failure(kind, "", status, 7.0, True)), NOW)
    assert step.cooldown == 7.0
    assert take_all(scheduler, NOW + 6.9) == []


@pytest.mark.parametrize(
    ("failure", "starts"),
    [(busy(0.0), 2), (RESET, 2), (CUT, 4), (MISSING, 4)],
    ids=["throttled", "reset", "truncated", "not found"],
)
def test_which_failures_halve_the_connections(failure, starts):
    scheduler = scheduler_of(4)
    add_all(scheduler, *(task_of(A) for _ in range(20)))
    for task in take_all(scheduler):
        scheduler.settle(task, failed(task, failure), NOW)
    assert len(take_all(scheduler, NOW + 100.0)) == starts


def test_connections_grow_again_after_successes():
    scheduler = scheduler_of(4)
    add_all(scheduler, *(task_of(A) for _ in range(60)))
    first = scheduler.take(NOW)
    scheduler.settle(first, failed(first, RESET), NOW)
    running = take_all(scheduler)
    assert len(running) == 2
    for _ in range(20):
        scheduler.settle(running[0], good(running[0]), NOW)
        running = [*running[1:], *take_all(scheduler)]
    assert len(running) == 3


def test_a_slot_that_was_full_is_offered_again_when_its_task_goes_elsewhere():
    scheduler = scheduler_of(1)
    waiting = task_of(A)
    add_all(scheduler, task_of(A, B), waiting)
    first = scheduler.take(NOW)
    scheduler.settle(first, failed(first, CUT), NOW)  # goes on at B
    assert scheduler.take(NOW) == waiting


def test_t08_a_dead_host_is_given_up_quickly():
    scheduler = scheduler_of(6)
    add_all(scheduler, *(task_of(A) for _ in range(1000)))
    ends, dropped, end = run_out(scheduler, NOW, REFUSED)
    assert len(ends) + len(dropped) == 1000
    assert len(dropped) > 990
    assert {failure.kind for _, failure in dropped} == {"host-down"}
    assert end - NOW < 60.0
    assert (scheduler.queued, scheduler.active, scheduler.next_time()) == (0, 0, None)


def test_t08_a_dead_host_takes_no_more_tasks_for_a_while():
    scheduler = scheduler_of(1)
    add_all(scheduler, *(task_of(A) for _ in range(30)))
    _, _, now = run_out(scheduler, NOW, REFUSED)
    assert scheduler.add(task_of(A), now).kind == "host-down"
    assert scheduler.add(task_of(B), now) is None
    assert scheduler.add(task_of(A), now + 300.0) is None


def test_the_task_that_finds_the_host_dead_says_so():
    scheduler = scheduler_of(policy=RetryPolicy(retries=0))
    add_all(scheduler, *(task_of(A) for _ in range(PROBE_AFTER)))
    ends, _, _ = run_out(scheduler, NOW, REFUSED)
    assert [end.failure.kind for end in ends] == ["connect"] * (PROBE_AFTER - 1) + ["host-down"]


@pytest.mark.parametrize(
    "attempt",
    [{"failure": MISSING}, {"failure": CUT}, {"failure": Failure("digest", ""), "received": 9}],
    ids=["a status", "a body cut", "wrong bytes"],
)
def test_a_host_that_answers_is_not_dead(attempt):
    scheduler = scheduler_of(1, chance=0.0, policy=RetryPolicy(retries=1))
    for _ in range(4):
        for failure in [{"failure": REFUSED}] * (PROBE_AFTER - 1) + [attempt]:
            add_all(scheduler, task_of(A))
            task = scheduler.take(NOW)
            scheduler.settle(task, Attempt(1, **failure), NOW)
            scheduler.drain()
    assert scheduler.add(task_of(A), NOW) is None


def test_t03_a_deferred_host_drops_its_queue():
    scheduler, tasks = scheduler_of(2), [task_of(A) for _ in range(4)]
    add_all(scheduler, *tasks, task_of(B))
    first, other, second = take_all(scheduler)
    step = scheduler.settle(first, failed(first, busy(9999.0)), NOW)
    assert isinstance(step, Ended)
    assert (step.failure.kind, step.failure.retry_after) == ("deferred", 9999.0)
    assert [(task, failure.kind) for task, failure in step.dropped] == [(t, "deferred") for t in tasks[2:]]
    assert scheduler.add(task_of(A), NOW).kind == "deferred"
    assert scheduler.settle(second, good(second), NOW).failure is None
    assert scheduler.settle(other, good(other), NOW).failure is None
    assert (scheduler.queued, scheduler.active) == (0, 0)
    assert scheduler.add(task_of(A), NOW + 10_000.0) is None


@pytest.mark.parametrize(
    ("failure", "kind"), [(MISSING, "not-found"), (CUT, "deferred"), (busy(1.0), "deferred")]
)
def test_others_of_a_deferred_host_keep_their_own_failure_if_it_is_final(failure, kind):
    scheduler = scheduler_of(2)
    add_all(scheduler, task_of(A), task_of(A))
    first, second = take_all(scheduler)
    scheduler.settle(first, failed(first, busy(9999.0)), NOW)
    assert scheduler.settle(second, failed(second, failure), NOW).failure.kind == kind


def test_tasks_that_wait_for_a_back_off_are_dropped_too():
    scheduler = scheduler_of(2)
    add_all(scheduler, task_of(A), task_of(B), task_of(A))
    first, other, second = take_all(scheduler)
    for task in (first, other):
        scheduler.settle(task, failed(task, CUT), NOW)
    step = scheduler.settle(second, failed(second, busy(9999.0)), NOW)
    assert [task.key for task, _ in step.dropped] == [first.key]
    assert scheduler.queued == 1
    assert [task.key for task in take_all(scheduler, NOW + 100.0)] == [other.key]


def test_a_host_whose_queue_was_dropped_can_be_cooled_again():
    scheduler = scheduler_of(2)
    add_all(scheduler, task_of(A), task_of(A))
    first, second = take_all(scheduler)
    scheduler.settle(first, failed(first, busy(2.0)), NOW)
    assert scheduler.take(NOW) is None
    scheduler.settle(second, failed(second, busy(9999.0)), NOW)
    later = NOW + 10_000.0
    add_all(scheduler, task_of(A), now=later)
    task = scheduler.take(later)
    step = scheduler.settle(task, failed(task, busy(2.0)), later)
    assert scheduler.take(later + 1.0) is None  # its back-off is over, the host's cooldown is not
    assert scheduler.next_time() == later + step.delay
    assert scheduler.take(later + step.delay) == step.task


# -- mirrors --------------------------------------------------------------------------------------


def test_an_attempt_that_fails_moves_on_to_the_next_mirror():
    scheduler, task = scheduler_of(), task_of(A, B, C)
    add_all(scheduler, task)
    asked, now = [], NOW
    for _ in range(4):
        task = scheduler.take(now)
        asked.append(task.url)
        assert task.origin == origin_of(task.url)
        now += scheduler.settle(task, failed(task, CUT), now).delay
    assert asked == [A, B, C, A]


def test_a_permanent_failure_is_final_when_every_mirror_has_been_asked():
    scheduler, task = scheduler_of(), task_of(A, B)
    add_all(scheduler, task)
    step = scheduler.settle(scheduler.take(NOW), failed(task, MISSING), NOW)
    assert isinstance(step, Requeued)
    assert step.delay == 0.0
    task = scheduler.take(NOW)
    assert (task.url, task.attempt) == (B, 2)
    step = scheduler.settle(task, failed(task, MISSING), NOW)
    assert isinstance(step, Ended)
    assert step.failure == MISSING


def test_r24_after_a_redirect_the_manifests_url_is_asked_again():
    scheduler = scheduler_of()
    task = task_of("https://user:pw@a.example/x")
    moved = Task(task.entry, task.key, "x", B + "?signature=1", origin_of(B), hops=1)
    add_all(scheduler, moved)
    step = scheduler.settle(scheduler.take(NOW), failed(moved, CUT), NOW)
    assert (step.task.url, step.task.origin, step.task.hops) == (A, origin_of(A), 0)
    assert scheduler.take(NOW + 60.0).url == A


def down(scheduler, url, now=NOW):
    """Let the origin of `url` be deferred."""
    add_all(scheduler, task_of(url), now=now)
    task = scheduler.take(now)
    return scheduler.settle(task, failed(task, busy(9999.0)), now)


def test_a_mirror_that_is_refused_is_passed_over():
    scheduler, task = scheduler_of(), task_of(A, B, C)
    down(scheduler, B)
    add_all(scheduler, task)
    step = scheduler.settle(scheduler.take(NOW), failed(task, CUT), NOW)
    assert step.task.url == C
    task = scheduler.take(NOW + 60.0)
    assert scheduler.settle(task, failed(task, CUT), NOW + 60.0).task.url == A


def test_a_task_may_be_admitted_at_its_second_mirror():
    scheduler = scheduler_of()
    down(scheduler, A)
    add_all(scheduler, task_of(A, B))
    assert scheduler.take(NOW).url == B
    assert scheduler.add(task_of(A, A), NOW).kind == "deferred"


def test_tasks_of_a_host_given_up_go_on_at_their_mirrors():
    scheduler = scheduler_of(1)
    single, mirrored = task_of(A), task_of(A, B)
    first = task_of(A, C)
    add_all(scheduler, first, single, mirrored)
    step = scheduler.settle(scheduler.take(NOW), failed(first, busy(9999.0)), NOW)
    assert isinstance(step, Requeued)
    assert [task.key for task, _ in step.dropped] == [single.key]
    assert Counter(task.url for task in take_all(scheduler, NOW + 60.0)) == {B: 1, C: 1}


def test_a_task_whose_host_dies_under_it_goes_on_at_its_mirror():
    scheduler = scheduler_of(1, policy=RetryPolicy(retries=1))
    for _ in range(PROBE_AFTER - 1):
        add_all(scheduler, task_of(A))
    run_out(scheduler, NOW, REFUSED)
    now = NOW + 1000.0
    task = task_of(A, B)
    add_all(scheduler, task, now=now)
    assert scheduler.settle(scheduler.take(now), failed(task, REFUSED), now).task.url == B


# -- memory ---------------------------------------------------------------------------------------


def host(number):
    return f"https://h{number}.example/x"


def finish_one(scheduler, url, now=NOW):
    add_all(scheduler, task_of(url), now=now)
    task = scheduler.take(now)
    scheduler.settle(task, good(task), now)


def test_idle_hosts_are_forgotten(monkeypatch):
    monkeypatch.setattr(scheduling, "_MOST_SLOTS", 10)
    scheduler = scheduler_of()
    for number in range(200):
        finish_one(scheduler, host(number))
    assert len(scheduler._slots) <= 10


def test_hosts_with_tasks_are_not_forgotten(monkeypatch):
    monkeypatch.setattr(scheduling, "_MOST_SLOTS", 10)
    scheduler = scheduler_of(1)
    running, waiting, cooled = task_of(host("running")), task_of(host("waiting")), task_of(host("cooled"))
    add_all(scheduler, running, waiting, cooled)
    taken = take_all(scheduler)
    scheduler.settle(taken[1], failed(taken[1], Failure("truncated", "", retryable=True)), NOW)
    scheduler.settle(taken[2], failed(taken[2], busy(50.0)), NOW)
    for number in range(200):
        finish_one(scheduler, host(number))
    add_all(scheduler, task_of(host("running")))
    assert scheduler.take(NOW) is None  # its one connection is in use
    scheduler.settle(taken[0], good(taken[0]), NOW)
    assert scheduler.active == 0
    assert {waiting.key, cooled.key} < {task.key for task in take_all(scheduler, NOW + 100.0)}


def test_a_host_is_idle_again_after_its_back_offs(monkeypatch):
    monkeypatch.setattr(scheduling, "_MOST_SLOTS", 10)
    scheduler, now = scheduler_of(), NOW
    for number in range(200):
        add_all(scheduler, task_of(host(number)), now=now)
        task = scheduler.take(now)
        now += scheduler.settle(task, failed(task, CUT), now).delay
        task = scheduler.take(now)
        scheduler.settle(task, good(task), now)
    assert len(scheduler._slots) <= 10


def test_a_host_that_is_to_be_left_alone_is_forgotten_last(monkeypatch):
    monkeypatch.setattr(scheduling, "_MOST_SLOTS", 10)
    scheduler = scheduler_of()
    down(scheduler, A)
    for number in range(200):
        finish_one(scheduler, host(number))
    assert scheduler.add(task_of(A), NOW).kind == "deferred"


def test_a_host_given_up_does_not_stay_in_memory_for_ever(monkeypatch):
    monkeypatch.setattr(scheduling, "_MOST_SLOTS", 10)
    scheduler = scheduler_of()
    for number in range(200):
        down(scheduler, host(number))
    assert len(scheduler._slots) <= 10


# -- any order of things --------------------------------------------------------------------------

KINDS = st.sampled_from(
    ["connect", "dns", "reset", "truncated", "throttled", "server", "range", "digest", "not-found", "disk"]
)
PERMANENT = ("not-found", "disk")
SECONDS = st.sampled_from([0.0, 0.01, 0.5, 3.0, 61.0, 400.0])


class Traffic(RuleBasedStateMachine):
    """Random traffic; every task that goes in comes out once, and nothing is asked too often or too early."""

    per_host = 2
    rate: float | None = None

    def __init__(self):
        super().__init__()
        self.now = NOW
        self.chance = 0.5
        limits = limits_of(RetryPolicy(retries=2), self.per_host, self.rate)
        self.scheduler = Scheduler(limits, chance=lambda: self.chance)
        self.inside = set()  # keys of the tasks that have no end yet
        self.batches = []  # what workers have: tasks that share a slot, in their order
        self.starts = {}

    @rule(
        urls=st.lists(st.sampled_from([A, B, C]), min_size=1, max_size=3), times=st.sampled_from([1, 1, 40])
    )
    def add(self, urls, times):
        for _ in range(times):
            task = task_of(*urls)
            if self.scheduler.add(task, self.now) is None:
                self.inside.add(task.key)

    @rule(most=st.integers(1, 16))
    def take(self, most):
        task = self.scheduler.take(self.now)
        if task is None:
            due = self.scheduler.next_time()
            assert due is None or due > self.now
            return
        batch = [task, *self.scheduler.take_along(task, most)]
        assert len(batch) <= most
        assert {other.origin for other in batch} == {task.origin}
        self.batches.append(batch)
        # One that starts late may be followed at once, by the next: lateness does not slow the pace.
        before_last, last = self.starts.get(task.origin, (float("-inf"),) * 2)
        assert self.rate is None or (len(batch) == 1 and self.now - before_last >= 1 / self.rate - 1e-9)
        self.starts[task.origin] = (last, self.now)

    @rule(seconds=SECONDS)
    def wait(self, seconds):
        self.now += seconds

    @rule(chance=st.floats(0, 0.99))
    def change_luck(self, chance):
        self.chance = chance

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.001, 5.0]))
    def succeed(self, data, seconds):
        task, frees = self.pick(data)
        step = self.scheduler.settle(task, good(task, seconds=seconds), self.now, frees=frees)
        assert self.end(step) == {task.key}

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), to=st.sampled_from([A, B]))
    def redirect(self, data, to):
        task, frees = self.pick(data)
        step = self.scheduler.settle(task, Attempt(task.attempt, redirect=to), self.now, frees=frees)
        assert isinstance(step, Moved)
        moved = step.task._replace(url=to, origin=origin_of(to))
        if self.scheduler.add(moved, self.now) is not None:
            self.inside.remove(task.key)

    @precondition(lambda self: self.batches)
    @rule(
        data=st.data(), kind=KINDS, reused=st.booleans(), offset=st.integers(0, 10**5),
        asked=st.sampled_from([None, None, 0.0, 2.0, 9999.0]),
    )  # fmt: skip
    def fail(self, data, kind, reused, offset, asked):
        task, frees = self.pick(data)
        status = {"throttled": 429, "server": 500, "not-found": 404}.get(kind)
        failure = Failure(kind, "why", status, asked if status else None, kind not in PERMANENT)
        attempt = failed(task, failure, reused=reused and kind == "reset", part=PartInfo(offset))
        step = self.scheduler.settle(task, attempt, self.now, frees=frees)
        if isinstance(step, Requeued):
            assert step.delay >= 0.0
            assert step.task.key == task.key
        self.end(step)

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def give_back(self, data):
        batch = data.draw(st.sampled_from(self.batches))
        self.scheduler.give_back(batch[1:], self.now)
        del batch[1:]

    def pick(self, data):
        """Return the first task of a batch, and whether it is the last one."""
        index = data.draw(st.integers(0, len(self.batches) - 1))
        task = self.batches[index].pop(0)
        frees = not self.batches[index]
        if frees:
            del self.batches[index]
        return task, frees

    def end(self, step):
        ended = {task.key for task, _ in step.dropped}
        assert len(ended) == len(step.dropped)
        if isinstance(step, Ended):
            ended.add(step.task.key)
        assert ended <= self.inside
        assert not ended & {task.key for batch in self.batches for task in batch}
        self.inside -= ended
        return ended

    @invariant()
    def counts_are_true(self):
        assert self.scheduler.active == len(self.batches)
        assert self.scheduler.queued == len(self.inside) - sum(map(len, self.batches))

    @invariant()
    def no_host_is_crowded(self):
        assert max(Counter(batch[0].origin for batch in self.batches).values(), default=0) <= self.per_host

    def teardown(self):
        """Whatever has happened, good answers bring every task to its end."""
        for _ in range(10 * len(self.inside) + 10):
            self.batches += [[task] for task in take_all(self.scheduler, self.now)]
            batches, self.batches = self.batches, []
            for batch in batches:
                for task in batch:
                    step = self.scheduler.settle(task, good(task), self.now, frees=task is batch[-1])
                    assert self.end(step) == {task.key}
            if not self.inside:
                break
            self.now = max(self.now, self.scheduler.next_time() or self.now)
        assert not self.inside
        assert (self.scheduler.queued, self.scheduler.active) == (0, 0)


class LimitedTraffic(Traffic):
    """The same at two requests a second, one connection."""

    per_host = 1
    rate = 2.0


FEW = settings(max_examples=40, stateful_step_count=40)
TestTraffic = Traffic.TestCase
TestTraffic.settings = FEW
TestLimitedTraffic = LimitedTraffic.TestCase
TestLimitedTraffic.settings = FEW
