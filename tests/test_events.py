"""Event values and their records."""

from __future__ import annotations

import json
import pickle

import pytest

from bulkfetch import events
from bulkfetch.events import VERSION, Event
from bulkfetch.models import BadLine, Entry, Failure, Outcome, PartInfo, Status
from bulkfetch.summary import Summary

ENTRY = Entry(("https://example.org/a",), extra={"station": "K1"}, source="list.csv", line=7)
FAILURE = Failure("reset", "the connection was reset", retryable=True)

# One of each, with what its record says beside `v` and `event`.
RECORDS = [
    (events.RunStarted("data", 16), "run_started", {"dest": "data", "jobs": 16}),
    (events.Planned(5, 900, True), "planned", {"entries": 5, "size": 900, "complete": True}),
    (
        events.LineRejected(BadLine("list.csv", 3, "no URL", "\\x1b")),
        "line_rejected", {"source": "list.csv", "line": 3, "reason": "no URL", "text": "\\x1b"},
    ),
    (events.Started("a", "u", 2), "started", {"path": "a", "url": "u", "attempt": 2}),
    (
        events.Progress(b"key", "a", 60, None, 20, PartInfo(60, '"v"', None, "t")),
        "progress", {"path": "a", "offset": 60, "total": None, "received": 20},
    ),
    (
        events.Retrying(b"key", "a", "u", 1, 1.23456, 60, FAILURE),
        "retrying",
        {"path": "a", "url": "u", "attempt": 1, "delay": 1.235, "kept": 60, "failure": FAILURE.to_record()},
    ),
    (
        events.Exchanged("a", "http://h", 1, ("GET / HTTP/1.1",), (), True, {"head": 0.5}),
        "exchanged",
        {
            "path": "a", "origin": "http://h", "attempt": 1, "request": ["GET / HTTP/1.1"], "answer": [],
            "reused": True, "seconds": {"head": 0.5},
        },
    ),
    (events.Redirected("a", "u", "v"), "redirected", {"path": "a", "url": "u", "location": "v"}),
    (
        events.Cooling("https://h", 2.00049, "429"),
        "cooling", {"origin": "https://h", "delay": 2.0, "reason": "429"},
    ),
    (events.Notice("a stale lock"), "notice", {"message": "a stale lock", "level": "warning"}),
    (events.RunFinished(Summary(dest="d")), "run_finished", Summary(dest="d").to_record()),
]  # fmt: skip
FINISHED = events.Finished(Outcome(ENTRY, Status.FETCHED, "a", "https://example.org/a", key=b"key"))
EVENTS = [*(row[0] for row in RECORDS), FINISHED]
CLASSES = [cls for cls in vars(events).values() if isinstance(cls, type) and issubclass(cls, Event)]


def test_every_event_is_tested():
    assert {type(event) for event in EVENTS} == set(CLASSES) - {Event}


def test_names_are_unique():
    assert len({cls.name for cls in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize(("event", "name", "fields"), RECORDS, ids=[row[1] for row in RECORDS])
def test_an_event_is_one_flat_record(event, name, fields):
    assert json.loads(json.dumps(event.to_record())) == {"v": VERSION, "event": name, **fields}


def test_a_finished_record_is_the_outcomes():
    record = json.loads(json.dumps(FINISHED.to_record()))
    assert (record["path"], record["status"], record["station"]) == ("a", "fetched", "K1")
    assert (record["v"], record["event"]) == (VERSION, "finished")


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_every_event_pickles(event):
    assert pickle.loads(pickle.dumps(event)) == event
