"""What is tried again, how often, and what a status means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.models import NO_PART, Attempt, Entry, Failure, Head, Origin, PartInfo, Task
from bulkfetch.retry import (
    MOST_ATTEMPTS,
    MOST_RESTARTS,
    REAL_PROGRESS,
    RetryPolicy,
    count_failure,
    has_progressed,
    refuse_status,
)

POLICY = RetryPolicy(retries=5, backoff=1.0, cap=60.0)
ENTRY = Entry(("https://example.org/a",))


def task_of(offset=0, **values):
    part = PartInfo(offset, '"v"', None, "t")
    return Task(ENTRY, b"key", "a", ENTRY.urls[0], Origin("https", "example.org", 443), part=part, **values)


def attempt_of(kind, number=1, *, offset=0, retryable=True, **values):
    part = PartInfo(offset, '"v"', None, "t")
    return Attempt(number, failure=Failure(kind, "why", retryable=retryable), part=part, **values)


# -- back-off -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "chance", "seconds"),
    [(1, 0.5, 0.5), (2, 0.5, 1.0), (6, 0.5, 16.0), (7, 0.5, 30.0), (5000, 0.5, 30.0), (3, 0.0, 0.0)],
)
def test_t13_back_off_is_exponential_with_full_jitter(failures, chance, seconds):
    assert POLICY.delay(failures, chance) == seconds


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_back_off_is_bounded(failures, chance):
    assert 0 <= POLICY.delay(failures, chance) <= POLICY.cap


# -- whether --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["dns", "connect", "reset", "timeout", "slow", "truncated", "throttled", "server"]
)
def test_t01_what_passes_is_tried_as_often_as_allowed(kind):
    assert [POLICY.may_retry(task_of(failures=n), attempt_of(kind, n + 1)) for n in (0, 4, 5, 6)] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    ["not-found", "auth", "status", "tls", "protocol", "url", "disk-full", "size", "stopped", "internal"],
)
def test_t10_what_no_retry_mends_is_tried_once(kind):
    assert not POLICY.may_retry(task_of(), attempt_of(kind, retryable=False))


def test_a_good_attempt_is_not_followed_by_another():
    assert not POLICY.may_retry(task_of(), Attempt(1))


@pytest.mark.parametrize("kind", ["truncated", "throttled", "not-http", "digest", "decode"])
def test_no_retries_means_one_attempt(kind):
    assert not RetryPolicy(retries=0).may_retry(task_of(), attempt_of(kind, offset=10 * REAL_PROGRESS))


def test_one_retry_is_one_retry():
    policy = RetryPolicy(retries=1)
    assert policy.may_retry(task_of(), attempt_of("truncated"))
    assert not policy.may_retry(task_of(failures=1), attempt_of("truncated", 2))


@pytest.mark.parametrize(
    ("kind", "values", "allowed"),
    [
        ("digest", {"restarts": 0}, True),  # B32
        ("digest", {"restarts": 1}, False),
        ("decode", {"restarts": 0}, True),  # B17
        ("decode", {"restarts": 1}, False),
        ("not-http", {"failures": 0}, True),  # B28
        ("not-http", {"failures": 1}, False),
        ("range", {"failures": 9, "restarts": 0}, True),  # R02: the host did nothing wrong
        ("range", {"restarts": MOST_RESTARTS - 1}, True),  # R25
        ("range", {"restarts": MOST_RESTARTS}, False),
    ],
)
def test_some_kinds_have_their_own_bound(kind, values, allowed):
    assert POLICY.may_retry(task_of(**values), attempt_of(kind)) is allowed


@pytest.mark.parametrize("retries", [0, 5])
def test_a_part_that_does_not_fit_is_dropped_even_without_retries(retries):
    assert RetryPolicy(retries=retries).may_retry(task_of(), attempt_of("range"))


@pytest.mark.parametrize(
    ("before", "after", "forgiven"),
    [
        (0, 1, False),
        (0, REAL_PROGRESS - 1, False),
        (0, REAL_PROGRESS, True),
        (10**6, 10**6 + 1, False),
        (10**6, 10**6 + REAL_PROGRESS, True),
        (10**6, REAL_PROGRESS, False),
        (10**6, 0, False),
    ],
    ids=[
        "one byte", "just too little", "just enough", "one more byte", "enough more", "begun again",
        "all lost",
    ],
)  # fmt: skip
def test_t11_failures_are_forgiven_for_real_progress_only(before, after, forgiven):
    task, attempt = task_of(before, failures=5), attempt_of("truncated", 6, offset=after)
    assert has_progressed(task, attempt) is forgiven
    assert POLICY.may_retry(task, attempt) is forgiven
    assert count_failure(task, attempt).failures == (1 if forgiven else 6)


def test_t11_progress_is_not_forgiven_for_ever():
    assert POLICY.may_retry(task_of(), attempt_of("truncated", MOST_ATTEMPTS - 1, offset=REAL_PROGRESS))
    assert not POLICY.may_retry(task_of(), attempt_of("truncated", MOST_ATTEMPTS, offset=REAL_PROGRESS))


# -- what the next attempt starts from ------------------------------------------------------------


def test_the_next_attempt_continues_what_was_kept():
    attempt = attempt_of("truncated", 3, offset=70_000, received=20_000)
    again = count_failure(task_of(60_000, attempt=3, failures=2, restarts=1, received=60_000), attempt)
    assert (again.attempt, again.failures, again.restarts, again.received) == (4, 3, 1, 80_000)
    assert again.part == attempt.part


@pytest.mark.parametrize("kind", ["range", "digest", "decode"])
def test_bytes_that_are_of_no_use_are_not_offered_again(kind):
    again = count_failure(task_of(60_000, restarts=1), attempt_of(kind, offset=60_000))
    assert again.part == NO_PART
    assert again.restarts == 2


# -- what a status means --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "kind", "retryable"),
    [
        ((429, 503), "throttled", True),
        ((408, 425, 500, 502, 504, 522, 524), "server", True),
        ((404, 410), "not-found", False),
        ((401, 403, 407), "auth", False),
        ((201, 203, 226, 300, 305, 400, 402, 405, 451, 501, 505, 599), "status", False),
        ((100, 102, 103, 600, 999, 99), "protocol", False),
    ],
    ids=[
        "T06 throttled",
        "T01 passing",
        "T10 not found",
        "T10 R17 auth",
        "T10 B24 other",
        "B22 B24 no status",
    ],
)
def test_a_refused_status(statuses, kind, retryable):
    for status in statuses:
        error = refuse_status(Head(status, "Some reason", retry_after=2.0))
        assert (error.kind, error.retryable, error.status_code) == (kind, retryable, status)
        assert str(error) == f"the server answered {status} Some reason"
        assert error.retry_after == (2.0 if retryable else None)


@pytest.mark.parametrize("status", [200, 204, 205, 206, 301, 302, 303, 304, 307, 308, 416])
def test_a_status_that_others_decide_about(status):
    assert refuse_status(Head(status)) is None


def test_b26_a_network_that_wants_a_login_is_told_apart():
    error = refuse_status(Head(511, "Network Authentication Required"))
    assert (error.kind, error.retryable, error.status_code) == ("login", False, 511)
    assert "the network wants a login" in str(error)


def test_a_status_without_a_reason():
    assert str(refuse_status(Head(404))) == "the server answered 404"


@given(st.integers(-10, 2000))
def test_every_status_is_decided(status):
    error = refuse_status(Head(status))
    assert error is None or error.status_code == status
