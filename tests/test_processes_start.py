"""When further processes are started: as soon as it is plain that they pay, and never else."""

from __future__ import annotations

import os
import types

import pytest

from bulkfetch.config import FetchConfig
from bulkfetch.engine import ProcessEngine
from bulkfetch.models import Entry, Origin, Task

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are used on POSIX systems alone")
URL = "http://h/a"
BATCH = [Task(Entry((URL,)), b"k" * 16, "a", URL, Origin("http", "h", 80))] * 8
MANY, FEW = 3000, 1000


class Engine(ProcessEngine):
    """An engine whose processes are counted, not started, between threads and hosts as a test has them."""

    def __init__(self, *, is_working: bool = True, is_bare: bool = True, **options: int) -> None:
        threads = types.SimpleNamespace(
            is_working=is_working, most_small=lambda _now, _waiting: 4, submit=lambda _batch: None
        )
        exchange = types.SimpleNamespace(
            is_bare=lambda _origin, _url: is_bare, drop_idle=lambda _origin: None
        )
        super().__init__(2, threads, FetchConfig(**{"processes": "auto", **options}), exchange, print, print)
        self.starts = 0

    def _start(self) -> None:
        self.starts += 1
        self._is_over = True


def test_processes_that_paid_waited_for_a_worker_to_be_free():
    engine = Engine()
    engine.submit(BATCH, at_once=True)
    assert (engine.most_small(1.0, FEW), engine.starts) == (4, 0)
    assert (engine.most_small(1.1, MANY), engine.starts) == (4, 1)  # no further batch has come
    engine.submit(BATCH, at_once=True)
    engine.most_small(1.2, MANY)
    assert engine.starts == 1


@pytest.mark.parametrize(
    ("given", "at_once", "waiting"),
    [
        ({}, False, MANY),
        ({"is_working": False}, True, MANY),
        ({"is_bare": False}, True, MANY),
        ({}, True, FEW),
    ],
    ids=["answers take long", "the processor is idle", "not for a process", "a short list"],
)
def test_processes_that_would_not_pay_are_not_started(given, at_once, waiting):
    engine = Engine(**given)
    for now in range(3):
        engine.most_small(float(now), waiting)
        engine.submit(BATCH, at_once=at_once)
    engine.most_small(9.0, waiting)
    assert engine.starts == 0


def test_one_quick_batch_long_ago_started_processes():
    engine = Engine()
    engine.submit(BATCH, at_once=True)
    engine.submit(BATCH)
    engine.most_small(1.0, MANY)
    assert engine.starts == 0


@pytest.mark.parametrize("waiting", [0, MANY])
def test_processes_that_are_asked_for_come_with_the_first_batch(waiting):
    engine = Engine(is_working=False, processes=2)
    engine.most_small(0.0, waiting)
    assert engine.starts == 0
    engine.submit(BATCH, at_once=True)
    assert engine.starts == 1
