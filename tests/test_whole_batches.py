"""A batch of files that came whole is settled at once, to the same end as one file after another."""

from __future__ import annotations

import os

import pytest
from faultserver import route
from hypothesis import given
from hypothesis import strategies as st

import bulkfetch
from bulkfetch.config import FetchConfig
from bulkfetch.fresh import pack_whole, unpack_whole, whole_attempt
from bulkfetch.hosts import HostLimits, HostSlot
from bulkfetch.models import Attempt, Done, Entry, Failure, RateLimit, Task
from bulkfetch.outcomes import fetched, fetched_whole
from bulkfetch.retry import RetryPolicy
from bulkfetch.scheduler import Scheduler
from bulkfetch.summary import Summary
from bulkfetch.tuning import AutoLimit
from bulkfetch.urls import origin_of

NOW = 1000.0
URL = "http://a.example/x?token=s3cret"
ORIGIN = origin_of(URL)
POLICY = RetryPolicy(retries=5, backoff=1.0, cap=60.0, max_wait=3600.0)
BUSY = Failure("throttled", "the server answered 429", 429, retryable=True)

answers = st.lists(st.tuples(st.floats(0, 0.2), st.integers(0, 10**7)), min_size=1, max_size=40)
batches = st.lists(st.tuples(answers, st.floats(0, 1), st.integers(0, 20)), min_size=1, max_size=20)


def task_of(number=0, url=URL, **values):
    return Task(Entry((url,)), number.to_bytes(16, "big"), str(number), url, ORIGIN, started=NOW, **values)


def facts_of(thing):
    """Return all that an object with slots holds, sums of floats as near as they can be told."""
    facts = {name: getattr(thing, name) for name in type(thing).__slots__}
    return {n: round(fact, 9) if isinstance(fact, float) else fact for n, fact in facts.items()}


# -- one after another, or all at once ----------------------------------------------------------------


@given(batches)
def test_a_limit_is_the_same_for_a_batch_and_for_its_answers(batches):
    whole, single = AutoLimit(4, 64), AutoLimit(4, 64)
    now = NOW
    for answered, later, in_use in batches:
        now += later
        seconds, received = zip(*answered, strict=True)
        for took, size in answered:
            single.note(now, took, size, in_use)
        assert whole.note_all(now, seconds, received, in_use) == single.limit
        states = [facts_of(limit) for limit in (whole, single)]
        assert facts_of(states[0].pop("_tuner")) == facts_of(states[1].pop("_tuner"))
        assert states[0] == states[1]


@given(answers, st.integers(1, 64), st.booleans())
def test_a_host_is_the_same_after_a_batch_and_after_its_answers(answered, per_host, adapts):
    slots = [HostSlot(ORIGIN, HostLimits(POLICY, per_host, adapts=adapts)) for _ in range(2)]
    for slot in slots:
        slot.ready.append(task_of())
        slot.shrink(NOW)
        slot.misses = 2
    slots[0].succeed_all(*zip(*answered, strict=True), NOW)
    for took, size in answered:
        slots[1].succeed(took, size, NOW)
    states = [facts_of(slot) for slot in slots]
    autos = [state.pop("auto") for state in states]
    assert states[0] == states[1]
    assert not adapts or autos[0].limit == autos[1].limit


def made(count=64, **limits):
    """Return a scheduler with tasks of a quick host, and a batch of them that has started."""
    scheduler = Scheduler(lambda _origin: HostLimits(POLICY, 2, **limits))
    for number in range(count):
        scheduler.add(task_of(number), NOW)
    first = scheduler.take(NOW)
    scheduler.settle(first, Attempt(1, 10, 0.001, done=Done(10, "")), NOW)
    first = scheduler.take(NOW)
    return scheduler, [first, *scheduler.take_along(first, 8)]


def test_a_batch_frees_its_slot_once():
    scheduler, batch = made()
    whole, each = scheduler, made()[0]
    assert len(batch) > 2
    assert whole.settle_whole(ORIGIN, [0.001] * len(batch), [10] * len(batch), NOW)
    for number, task in enumerate(batch, 1):
        each.settle(task, Attempt(1, 10, 0.001, done=Done(10, "")), NOW, frees=number == len(batch))
    assert (whole.active, whole.queued) == (each.active, each.queued) == (0, 63 - len(batch))
    slots = [facts_of(scheduler._slots[ORIGIN]) for scheduler in (whole, each)]
    assert [len(slot.pop("ready")) for slot in slots] == [63 - len(batch)] * 2
    assert whole.take(NOW) == each.take(NOW)


@pytest.mark.parametrize(
    "attempt",
    [Attempt(1, failure=BUSY), Attempt(1, done=Done(1, ""), rate_limit=RateLimit(90, 60.0))],
    ids=["paced", "limited"],
)
def test_a_host_that_wishes_for_anything_has_each_of_its_files_settled(attempt):
    scheduler, batch = made()
    slow = scheduler.take(NOW)
    scheduler.settle(slow, attempt, NOW)
    active = scheduler.active
    assert not scheduler.settle_whole(ORIGIN, [0.001] * len(batch), [10] * len(batch), NOW)
    assert scheduler.active == active


# -- what is told of a file ---------------------------------------------------------------------------

DONES = [
    Done(10, "ab" * 32, etag='"v"', last_modified="Sat, 01 Jan 2000 00:00:00 GMT", mtime_ns=7, fresh_until=9),
    Done(0, ""),
    Done(5, "cd" * 16, "md5"),
]


@pytest.mark.parametrize("done", DONES, ids=["all", "bare", "md5"])
def test_a_whole_file_has_the_same_outcome_either_way(done):
    task = task_of(3)
    attempt = whole_attempt(task, done, 0.5, NOW)
    whole = pack_whole(attempt, task)
    assert unpack_whole(whole, task) == attempt
    outcome = fetched_whole(task, whole, NOW + 1)
    assert outcome == fetched(task, attempt, done, NOW + 1)
    assert "s3cret" not in outcome.url + outcome.final_url

    totals = Summary(), Summary()
    totals[0].count(outcome)
    totals[1].count_fetched([outcome.size])
    assert totals[0] == totals[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"done": None, "failure": BUSY},
        {"done": None, "redirect": "http://b.example/"},
        {"done": DONES[1]._replace(warnings=("empty",))},
        {"done": DONES[1]._replace(kept="verified", is_asked=False)},
        {"rate_limit": RateLimit(1, 1.0)},
        {"url": "http://a.example/elsewhere", "hops": 1},
        {"received": 4},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_what_has_more_to_tell_is_not_packed(changes):
    task = task_of()
    assert pack_whole(whole_attempt(task, DONES[1], 0.5, NOW)._replace(**changes), task) is None


# -- runs ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="processes are used on POSIX systems alone")
@pytest.mark.parametrize("per_host", [4, "auto"])
@pytest.mark.parametrize("processes", [0, 2])
def test_a_run_tells_and_records_every_file_of_its_batches(server, tmp_path, processes, per_host):
    server.add_generator(lambda request: route(body=request.path.encode() * 50, etag='"1"'))
    rows = [server.url(f"/{i}") for i in range(800)]
    config = FetchConfig(dest=tmp_path, processes=processes, per_host=per_host, digest="none")
    with bulkfetch.Fetcher(config) as fetcher:
        outcomes = list(fetcher.run(rows))
    sizes = {f"{i}": 50 * len(f"/{i}") for i in range(800)}
    assert {outcome.path: outcome.size for outcome in outcomes} == sizes
    assert {(outcome.status, outcome.attempts, outcome.etag) for outcome in outcomes} == {
        ("fetched", 1, '"1"')
    }
    assert all(0 < outcome.seconds < 60 for outcome in outcomes)
    total = sum(sizes.values())
    assert (fetcher.summary.received, fetcher.summary.stored, fetcher.summary.fetched) == (total, total, 800)
    with bulkfetch.Fetcher(config) as fetcher:
        again = list(fetcher.run(rows))
    assert {(outcome.status, outcome.size) for outcome in again} == {
        ("skipped", size) for size in sizes.values()
    }
