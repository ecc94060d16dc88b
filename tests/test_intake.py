"""The reader thread's buffer: whole lists come out, a piece at a time."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest

from bulkfetch import intake as intake_module
from bulkfetch.intake import Intake
from bulkfetch.models import Entry

SECONDS = 20.0


def read_all(count):
    """Take `count` entries as the coordinator does; returns them and the longest piece."""
    woken = threading.Semaphore(0)
    entries = [Entry((f"http://h.test/{i}",)) for i in range(count)]
    intake = Intake(iter(entries), woken.release, threading.Event())
    intake.start()
    taken, longest = [], 0
    while not intake.is_done:
        assert woken.acquire(timeout=SECONDS), "entries are there, and nobody was told"
        piece = intake.take()
        taken += piece
        longest = max(longest, len(piece))
    return taken == entries, longest


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 1024, 1025, 5000])
def test_all_entries_come_in_their_order(count):
    is_whole, _ = read_all(count)
    assert is_whole


def test_workers_do_not_wait_while_a_thousand_lines_are_planned():
    _, longest = read_all(5000)
    assert longest <= 128


def test_the_reader_slept_when_the_buffer_had_become_full_while_it_was_emptied(monkeypatch):
    monkeypatch.setattr(intake_module, "_STEP", 3600.0)
    is_emptied, read, stop = threading.Event(), [], threading.Event()

    class Buffer(deque):
        def popleft(self):  # the rest comes just before the first is taken
            if not is_emptied.is_set():
                is_emptied.set()
                wait_until(lambda: intake._room._waiters)
            return super().popleft()

    def entries():
        for i in range(2000):
            if i == 1023:
                is_emptied.wait(SECONDS)
            read.append(i)
            yield Entry((f"http://h.test/{i}",))

    intake = Intake(entries(), lambda: None, stop)
    intake._buffer = Buffer()
    intake.start()
    wait_until(lambda: len(intake._buffer) == 1023)
    intake.take()
    wait_until(lambda: len(read) > 1100)
    stop.set()
    intake.take()
    intake._thread.join(SECONDS)
    assert not intake._thread.is_alive()


def wait_until(is_so):
    end = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < end
        threading.Event().wait(0.001)
