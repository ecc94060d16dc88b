"""Engines: every task is reported once, and nothing outlives its use."""

from __future__ import annotations

import queue

import pytest

from bulkfetch.engine import SerialEngine, ThreadEngine, one_by_one, threads
from bulkfetch.models import Attempt, Done, Entry, Failure, Origin, Task


def task(number):
    url = f"http://h/{number}"
    return Task(Entry((url,)), number.to_bytes(16, "big"), str(number), url, Origin("http", "h", 80))


def good(given):
    return Attempt(given.attempt, done=Done(0, ""))


def bad(given):
    return Attempt(given.attempt, failure=Failure("reset", "gone", retryable=True))


@pytest.fixture(params=["serial", "threads"])
def make(request):
    """Make an engine of each kind; closed at the end."""
    made = []

    def make(attempt, tell):
        worker = one_by_one(attempt)
        if request.param == "serial":
            made.append(SerialEngine(worker, tell))
        else:
            made.append(ThreadEngine(2, lambda: worker, tell))
        return made[-1]

    yield make
    assert all(engine.close(30.0) for engine in made)


def test_every_task_of_every_batch_is_reported_once(make):
    reports = queue.SimpleQueue()
    engine = make(good, reports.put)
    for begin in range(0, 30, 3):
        engine.submit([task(begin + i) for i in range(3)])
    seen = [reports.get(timeout=30) for _ in range(30)]
    assert sorted(int(report.task.path) for report in seen) == list(range(30))
    assert sum(report.ends_batch for report in seen) == 10


def test_a_failure_ends_its_batch_and_hands_the_rest_back(make):
    reports = queue.SimpleQueue()
    make(bad, reports.put).submit([task(1), task(2), task(3)])
    report = reports.get(timeout=30)
    assert (report.ends_batch, [t.path for t in report.unstarted]) == (True, ["2", "3"])
    assert reports.empty()


@pytest.mark.parametrize("error", [MemoryError("none left"), SystemExit(3), KeyboardInterrupt()])
def test_p12_what_escapes_a_worker_becomes_the_tasks_failure(make, error):
    def broken(given):
        raise error

    reports = queue.SimpleQueue()
    engine = make(broken, reports.put)
    for number in range(5):
        engine.submit([task(number)])
    seen = [reports.get(timeout=30) for _ in range(5)]
    assert {report.attempt.failure.kind for report in seen} == {"internal"}


def test_p14_idle_workers_end_and_come_back_with_what_they_had(monkeypatch):
    monkeypatch.setattr(threads, "_IDLE", 0.01)
    made = []

    def make_worker():
        made.append(1)
        return one_by_one(good)

    reports = queue.SimpleQueue()
    engine = ThreadEngine(1, make_worker, reports.put)
    for number in range(3):
        engine.submit([task(number)])
        reports.get(timeout=30)
        for loop in list(engine._loops):
            loop.result(timeout=30)  # it ended by itself
    assert len(made) == 1
    assert engine.close(30.0)
