"""The reader thread's buffer: whole lists come out, a piece at a time."""

from __future__ import annotations

import threading

import pytest

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
