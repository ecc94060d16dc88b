"""The values that cross threads, processes and files."""

from __future__ import annotations

import dataclasses
import json
import pickle
from types import MappingProxyType

import pytest

from bulkfetch.models import (
    NO_PART,
    NOTHING,
    Action,
    Attempt,
    BadLine,
    BodyPlan,
    Check,
    Done,
    Entry,
    Failure,
    Head,
    Held,
    Origin,
    Outcome,
    PartInfo,
    Status,
    Task,
)

ORIGIN = Origin("https", "example.org", 443)
PART = PartInfo(500, '"v1"', 1000, "3f9a")
FAILURE = Failure("throttled", "the server answered 429", 429, 2.0, retryable=True)
ENTRY = Entry(
    ("https://example.org/a.csv", "https://mirror.example/a.csv"), "sub/a.csv", 1000,
    (("sha256", "ab" * 32),),
    (("Accept", "text/csv"),), MappingProxyType({"station": "K1", "tags": ["x", 1, None]}),
    "list.csv", 7,
)  # fmt: skip
TASK = Task(ENTRY, b"key", "sub/a.csv", ENTRY.urls[0], ORIGIN, 2, 1, part=PART, check=Check(1000))
DONE = Done(1000, "ab" * 32, etag='"v1"', warnings=("empty",))
OUTCOME = Outcome(ENTRY, Status.FETCHED, "sub/a.csv", ENTRY.urls[0], size=1000, sha256="ab" * 32, key=b"key")

VALUES = [
    ORIGIN, BadLine("list.csv", 3, "no URL", "x"), ENTRY, PART, NO_PART, Check(5, reason="listed"), TASK,
    Head(206, "Partial Content", 500, range_start=500, range_end=999, total=1000, codings=("gzip",)),
    BodyPlan(Action.APPEND, 500, 1000, '"v1"'), FAILURE, DONE,
    Held("https://example.org/a.csv", 5, 1, etag='"v1"'),
    Attempt(2, 500, 0.5, failure=FAILURE, part=PART), OUTCOME, *Status, *Action,
]  # fmt: skip


def names_of(value):
    return getattr(value, "_fields", None) or [field.name for field in dataclasses.fields(value)]


def changed(value, **fields):
    """Return a copy with other fields, of a NamedTuple or a dataclass."""
    return type(value)(**{name: getattr(value, name) for name in names_of(value)} | fields)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_value_pickles(value):
    copy = pickle.loads(pickle.dumps(value))
    assert copy == value
    assert type(copy) is type(value)


@pytest.mark.parametrize("value", [v for v in VALUES if not isinstance(v, str)], ids=type)
def test_values_are_frozen(value):
    with pytest.raises(AttributeError):
        setattr(value, names_of(value)[0], None)
    with pytest.raises((AttributeError, TypeError)):
        value.no_such_field = None


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (("https", "example.org", 443), "https://example.org"),
        (("http", "example.org", 80), "http://example.org"),
        (("https", "example.org", 80), "https://example.org:80"),
        (("http", "example.org", 8080), "http://example.org:8080"),
        (("http", "::1", 80), "http://[::1]"),
        (("https", "2001:db8::1", 8443), "https://[2001:db8::1]:8443"),
    ],
)
def test_an_origin_reads_as_a_url(origin, text):
    assert str(Origin(*origin)) == text


def test_origins_differ_by_scheme_host_and_port():
    assert len({ORIGIN, Origin("http", *ORIGIN[1:]), ORIGIN._replace(port=1), ORIGIN._replace(host="x")}) == 4


def test_columns_that_are_not_there_cannot_be_written():
    with pytest.raises(TypeError):
        NOTHING["x"] = 1
    assert Entry(("u",)).extra == {}


def test_a_pickled_entry_keeps_the_users_columns():
    assert pickle.loads(pickle.dumps(TASK)).entry.extra == {"station": "K1", "tags": ["x", 1, None]}


def test_a_record_is_json_with_the_users_columns_first():
    record = json.loads(json.dumps(OUTCOME.to_record()))
    assert list(record)[:3] == ["station", "tags", "url"]
    assert record["status"] == "fetched"
    assert (record["source"], record["line"]) == ("list.csv", 7)
    assert record["final_url"] is record["etag"] is record["digest"] is None
    assert not {"failure", "reason", "warnings"} & set(record)


def test_our_fields_win_over_the_users_columns():
    entry = changed(ENTRY, extra={"url": "theirs", "note": 1})
    record = changed(OUTCOME, entry=entry).to_record()
    assert record["url"] == ENTRY.urls[0]
    assert record["note"] == 1


def test_a_failed_record_says_why():
    outcome = changed(
        OUTCOME, status=Status.FAILED, failure=FAILURE, reason="stopped", warnings=("late",), sha256=""
    )
    record = json.loads(json.dumps(outcome.to_record()))
    assert record["failure"] == {"kind": "throttled", "status": 429, "message": "the server answered 429"}
    assert (record["reason"], record["warnings"], record["sha256"]) == ("stopped", ["late"], None)


def test_a_record_does_not_change_the_entry():
    OUTCOME.to_record()["station"] = "changed"
    assert ENTRY.extra["station"] == "K1"
