"""Counting outcomes and choosing the exit status."""

from __future__ import annotations

import json
import pickle

import pytest

from bulkfetch.models import Entry, Failure, Outcome, Status
from bulkfetch.summary import Summary

ENTRY = Entry(("https://example.org/a",))


def outcome(status, kind=None, size=None):
    return Outcome(ENTRY, status, size=size, failure=Failure(kind, "why") if kind else None)


@pytest.fixture
def summary():
    totals = Summary(dest="data", entries=7, received=5000, retries=3, seconds=1.23456)
    for one in (
        outcome(Status.FETCHED, size=1000), outcome(Status.FETCHED), outcome(Status.UNCHANGED, size=9),
        outcome(Status.SKIPPED), outcome(Status.FAILED, "dns"), outcome(Status.FAILED, "dns"),
        outcome(Status.FAILED),
    ):  # fmt: skip
        totals.count(one)
    return totals


def test_outcomes_are_counted_by_status_and_kind(summary):
    assert (summary.fetched, summary.unchanged, summary.skipped, summary.failed) == (2, 1, 1, 3)
    assert summary.finished == 7
    assert summary.stored == 1000
    assert summary.failures == {"dns": 2, "internal": 1}


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({}, 0),
        ({"fetched": 3, "skipped": 2, "unchanged": 1}, 0),
        ({"bad_lines": 1}, 3),
        ({"failed": 1, "bad_lines": 1}, 1),
        ({"stopped": "the deadline passed", "failed": 1, "bad_lines": 1}, 5),
        ({"signal": 2, "stopped": "SIGINT", "failed": 1}, 130),
        ({"signal": 15, "stopped": "SIGTERM", "failed": 1}, 143),
    ],
    ids=["nothing to do", "all well", "bad lines", "failures", "stopped", "SIGINT", "SIGTERM"],
)
def test_the_most_serious_decides_the_exit_status(values, status):
    assert Summary(**values).exit_status == status


def test_it_renders_as_json(summary):
    record = json.loads(json.dumps(summary.to_record()))
    assert (record["dest"], record["fetched"], record["failed"], record["seconds"]) == ("data", 2, 3, 1.235)
    assert record["failures"] == {"dns": 2, "internal": 1}
    assert record["exit_status"] == 1


def test_a_record_is_a_copy(summary):
    summary.to_record()["failures"]["dns"] = 99
    assert summary.failures["dns"] == 2


def test_it_pickles(summary):
    assert pickle.loads(pickle.dumps(summary)) == summary
