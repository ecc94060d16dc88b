"""Several tasks for one file, in the scheduler: one outcome, and every range counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from bulkfetch.hosts import HostLimits
from bulkfetch.models import Attempt, Done, Entry, Failure, PartInfo, Sharing, Task
from bulkfetch.retry import RetryPolicy
from bulkfetch.scheduler import Ended, Partial, Requeued, Scheduler
from bulkfetch.urls import origin_of

URL = "http://a.example/file"
NOW = 1000.0
RESET = Failure("reset", "lost", retryable=True)
SERVER = Failure("server", "500", 500, retryable=True)
BUSY = Failure("throttled", "429", 429, 2.0, retryable=True)
REFUSED = Failure("auth", "403", 403)
MISFIT = Failure("range", "not the range asked for", retryable=True)
DIGEST = Failure("digest", "other bytes", retryable=True)
STOPPED = Failure("stopped", "the run was stopped")
CONNECT = Failure("connect", "nobody there", retryable=True)
DONE = Attempt(1, received=50, done=Done(100, "d"), url=URL)
GOOD = Attempt(1, received=50, seconds=0.1, url=URL)
PART = PartInfo(10, '"v"', 100, "t", ((10, 20), (30, 100)))


@dataclass
class FakeShare:
    """What the scheduler looks at."""

    url: str = URL
    part: PartInfo = PART
    is_over: bool = False
    wants_more: bool = True
    hops: int = 0
    came_from_public: bool = False


@dataclass
class Scene:
    """A file that is fetched in `ranges`, all of them under way."""

    ranges: int = 3
    per_host: int = 8
    share: FakeShare = field(default_factory=FakeShare)
    urls: tuple[str, ...] = (URL,)

    def __post_init__(self) -> None:
        limits = HostLimits(RetryPolicy(2), self.per_host)
        self.scheduler = Scheduler(lambda _: limits, chance=lambda: 0.5)
        task = Task(Entry(self.urls), b"k" * 16, "file", URL, origin_of(URL), received=7)
        assert self.scheduler.add(task, NOW) is None
        first = self.scheduler.take(NOW)
        self.scheduler.share(Sharing(first, self.share, self.ranges - 1), NOW)
        self.running: list[Task] = [first]
        while (another := self.scheduler.take(NOW)) is not None:
            self.running.append(another)

    def settle(self, attempt: Attempt, now: float = NOW, **share: Any) -> Any:
        for name, value in share.items():
            setattr(self.share, name, value)
        return self.scheduler.settle(self.running.pop(0), attempt, now)

    def assert_empty(self) -> None:
        assert self.scheduler.active == self.scheduler.queued == 0
        assert self.scheduler.next_time() is None
        assert self.scheduler.take(NOW + 1e6) is None


def failed(failure: Failure, number: int = 1, received: int = 0, **fields: Any) -> Attempt:
    return Attempt(number, received=received, failure=failure, url=URL, **fields)


def test_ranges_wait_behind_what_waits_already():
    scheduler = Scheduler(lambda _: HostLimits(RetryPolicy(), 1))
    tasks = [Task(Entry((URL,)), bytes([i]) * 16, f"{i}", URL, origin_of(URL)) for i in range(3)]
    for task in tasks:
        scheduler.add(task, NOW)
    first = scheduler.take(NOW)
    scheduler.share(Sharing(first, FakeShare(), 2), NOW)
    assert scheduler.take(NOW) is None  # the slot is full
    scheduler.settle(first, GOOD, NOW)
    order = []
    for _ in range(4):
        order.append(task := scheduler.take(NOW))
        scheduler.settle(task, DONE if task.share is None else GOOD, NOW)
    assert [task.key[0] for task in order] == [1, 2, 0, 0]
    assert [task.share is None for task in order] == [True, True, False, False]


def test_no_more_ranges_run_than_the_host_may_have():
    assert len(Scene(ranges=16, per_host=5).running) == 5


def test_a_range_is_followed_by_the_next():
    scene = Scene()
    step = scene.settle(GOOD)
    assert isinstance(step, Partial)
    assert step.part == PART
    assert scene.scheduler.take(NOW).share is scene.share


def test_the_file_is_done_when_the_last_attempt_has_ended():
    scene = Scene()
    assert isinstance(scene.settle(GOOD, wants_more=False), Partial)
    assert isinstance(scene.settle(DONE, is_over=True), Partial)
    step = scene.settle(GOOD)
    assert isinstance(step, Ended)
    assert step.failure is None
    assert step.by.done == DONE.done
    assert step.task.received == 7 + 150
    assert step.task.share is None
    scene.assert_empty()


def test_ranges_that_wait_are_not_waited_for_when_the_file_is_done():
    scene = Scene(ranges=8, per_host=4)
    assert isinstance(scene.settle(failed(SERVER)), Requeued)  # waits for its back-off; four wait for a slot
    for _ in range(2):
        assert isinstance(scene.settle(GOOD, wants_more=False), Partial)
    step = scene.settle(DONE, is_over=True)
    assert isinstance(step, Ended)
    assert step.by.done == DONE.done
    scene.assert_empty()


def test_each_range_has_its_own_retries():
    scene = Scene(ranges=1)
    for number in (1, 2):
        step = scene.settle(failed(RESET, number))
        assert isinstance(step, Requeued)
        assert step.task.attempt == number + 1
        scene.running.append(scene.scheduler.take(NOW + 1e6))
    step = scene.settle(failed(RESET, 3))
    assert isinstance(step, Ended)
    assert step.failure == RESET
    assert step.task.part == PART
    assert step.by.number == 3
    scene.assert_empty()


def test_bytes_of_other_ranges_do_not_forgive_failures():
    scene = Scene(ranges=1)
    for number in (1, 2, 3):
        scene.share.part = PartInfo(number * 10**6, '"v"', 10**9, "t")
        step = scene.settle(failed(RESET, number))
        if number < 3:
            scene.running.append(scene.scheduler.take(NOW + 1e6))
    assert isinstance(step, Ended)


def test_a_range_that_brought_something_is_tried_on():
    scene = Scene(ranges=1)
    for number in range(1, 9):
        assert isinstance(scene.settle(failed(RESET, number, received=10**6)), Requeued)
        scene.running.append(scene.scheduler.take(NOW + 1e6))


def test_a_range_refused_for_good_fails_the_file_only_when_nobody_is_left():
    scene = Scene(ranges=2)
    step = scene.settle(failed(REFUSED))
    assert isinstance(step, Partial)
    assert step.failure == REFUSED
    step = scene.settle(DONE, is_over=True)
    assert step.by.done == DONE.done
    scene.assert_empty()


def test_a_misfit_starts_the_file_anew_when_the_others_have_ended():
    scene = Scene(ranges=2)
    assert isinstance(scene.settle(failed(MISFIT), is_over=True), Partial)
    step = scene.settle(GOOD, part=PartInfo())
    assert isinstance(step, Requeued)
    again = scene.scheduler.take(NOW)
    assert (again.share, again.part, again.restarts) == (None, PartInfo(), 1)


def test_wrong_bytes_are_fetched_again_once():
    scene = Scene(ranges=1)
    step = scene.settle(failed(DIGEST), is_over=True, part=PartInfo())
    assert isinstance(step, Requeued)
    assert step.task.restarts == 1
    assert step.task.share is None


@pytest.mark.parametrize("failure", [RESET, MISFIT, SERVER])
def test_a_stop_says_more_than_any_failure(failure):
    scene = Scene(ranges=2)
    scene.settle(failed(STOPPED), wants_more=False)
    step = scene.settle(failed(failure, 3), is_over=True)
    assert isinstance(step, Ended)
    assert step.failure == STOPPED
    assert step.task.part == PART


def test_a_host_that_asks_to_wait_gets_no_range_meanwhile():
    scene = Scene()
    step = scene.settle(failed(BUSY))
    assert isinstance(step, Requeued)
    assert step.cooldown >= 2.0
    assert isinstance(scene.settle(GOOD), Partial)
    assert scene.scheduler.take(NOW + 1.9) is None
    assert scene.scheduler.take(NOW + 3.0) is not None


def test_a_stale_connection_costs_no_retry():
    scene = Scene(ranges=1)
    for _ in range(3):
        assert isinstance(scene.settle(failed(RESET, reused=True)), Partial)
        scene.running.append(scene.scheduler.take(NOW))
    assert scene.running[0].failures == 0
    assert scene.running[0].stale == 3


def test_a_host_that_is_given_up_fails_the_file_once():
    scene = Scene(ranges=3)
    now, steps = NOW, []
    for _ in range(200):
        while (task := scene.scheduler.take(now)) is not None:
            scene.running.append(task)
        if scene.running:
            steps.append(scene.settle(failed(CONNECT), now))
        elif (now := scene.scheduler.next_time() or 0.0) == 0.0:
            break
    ends = [step for step in steps if isinstance(step, Ended)]
    dropped = [pair for step in steps for pair in step.dropped]
    assert len(ends) + len(dropped) == 1
    assert all(task.share is None for task, _ in dropped)
    scene.assert_empty()


def test_the_entrys_deadline_ends_a_range_too():
    scene = Scene(ranges=1)
    scene.running[0] = scene.running[0]._replace(deadline=NOW + 0.1)
    step = scene.settle(failed(SERVER))
    assert isinstance(step, Ended)
    assert step.failure.kind == "deadline"
    scene.assert_empty()


def test_another_mirror_goes_on_with_what_is_there():
    scene = Scene(ranges=1, urls=(URL, "http://b.example/file"))
    step = scene.settle(failed(REFUSED))
    assert isinstance(step, Requeued)
    again = scene.scheduler.take(NOW)
    assert (again.url, again.part, again.share) == ("http://b.example/file", PART, None)
