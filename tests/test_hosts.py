"""The governor of one origin: connections, cooldown, circuit breaker."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from bulkfetch.hosts import PROBE_AFTER, HostLimits, HostSlot
from bulkfetch.models import Entry, Failure, Origin, Task
from bulkfetch.retry import RetryPolicy

POLICY = RetryPolicy(retries=5, backoff=1.0, cap=60.0, max_wait=3600.0)
ORIGIN = Origin("https", "example.org", 443)
TASK = Task(Entry(("https://example.org/a",)), b"key", "a", "https://example.org/a", ORIGIN)
REFUSED = Failure("connect", "connection refused", retryable=True)
NOW = 1000.0


@pytest.fixture
def slot():
    return HostSlot(ORIGIN, HostLimits(POLICY, 8))


@pytest.fixture
def spaced():
    return HostSlot(ORIGIN, HostLimits(POLICY, 8, 0.25))


def even():
    return 0.5


def busy(seconds=None, status=429):
    return Failure("throttled", f"the server answered {status}", status, seconds, retryable=True)


def miss(slot, times, now=NOW, chance=0.0):
    for _ in range(times):
        slot.miss(REFUSED, now, chance)


# -- connections ----------------------------------------------------------------------------------


def test_room_needs_a_task_and_a_connection(slot):
    assert not slot.has_room()
    slot.ready.append(TASK)
    assert slot.has_room()
    slot.active = 8
    assert not slot.has_room()


def test_t06_throttling_halves_the_connections_once_for_one_moment(slot):
    for _ in range(8):  # eight answers to requests under way
        slot.shrink(NOW)
    assert slot.limit == 4
    slot.shrink(NOW + 0.9)
    assert slot.limit == 4
    slot.shrink(NOW + 1.0)
    assert slot.limit == 2


def test_one_connection_is_always_left(slot):
    for second in range(10):
        slot.shrink(NOW + second)
    assert slot.limit == 1


def test_connections_come_back_one_by_one_after_successes(slot):
    slot.shrink(NOW)
    for _ in range(19):
        slot.succeed()
    assert slot.limit == 4
    slot.succeed()
    assert slot.limit == 5
    for _ in range(1000):
        slot.succeed()
    assert slot.limit == 8


def test_a_run_of_successes_is_broken_by_throttling(slot):
    slot.shrink(NOW)
    for _ in range(19):
        slot.succeed()
    slot.shrink(NOW)  # too soon to halve again
    slot.succeed()
    assert slot.limit == 4


# -- request rate ---------------------------------------------------------------------------------


def test_starts_are_spaced(spaced):
    spaced.ready.extend([TASK] * 4)
    starts = []
    for _ in range(4):
        starts.append(max(NOW, spaced.ready_at(NOW)))
        assert spaced.can_start(starts[-1])
        spaced.start(starts[-1], even)
        assert not spaced.can_start(starts[-1] + 0.2)
    assert starts == [1000.0, 1000.25, 1000.5, 1000.75]


@pytest.mark.parametrize("pause", [0.6, 60.0])
def test_time_without_requests_is_not_saved_up(spaced, pause):
    spaced.ready.extend([TASK] * 3)
    spaced.start(NOW, even)
    spaced.start(NOW + pause, even)
    assert spaced.ready_at(NOW) == NOW + pause + 0.25


def test_a_start_that_comes_late_does_not_slow_the_pace(spaced):
    spaced.ready.extend([TASK] * 3)
    spaced.start(NOW, even)
    spaced.start(NOW + 0.3, even)
    assert spaced.ready_at(NOW) == NOW + 0.5


def test_the_spacing_varies_a_little_around_the_rate(spaced):
    chance, now = random.Random(1), NOW
    gaps = []
    for _ in range(400):
        spaced.ready.append(TASK)
        spaced.start(now, chance.random)
        gaps.append(spaced.ready_at(now) - now)
        now = spaced.ready_at(now)
    assert min(gaps) >= 0.25 * 0.95
    assert max(gaps) <= 0.25 * 1.05
    assert len(set(gaps)) == 400
    assert now - NOW == pytest.approx(100.0, rel=0.01)


def test_without_a_rate_all_start_at_once(slot):
    slot.ready.extend([TASK] * 3)
    for _ in range(3):
        assert slot.can_start(NOW)
        slot.start(NOW, even)
    assert slot.active == 3


# -- batches --------------------------------------------------------------------------------------


def task_of(size=None):
    return TASK._replace(entry=Entry(TASK.entry.urls, size=size))


@pytest.mark.parametrize(
    ("seconds", "waiting", "most", "along"),
    [
        (0.001, 800, 16, 15),
        (0.001, 80, 16, 4),
        (0.001, 8, 16, 0),
        (0.022, 800, 16, 10),
        (0.06, 800, 16, 3),
        (0.15, 800, 16, 0),
        (5.0, 800, 16, 0),
        (0.0, 800, 16, 0),
    ],
    ids=[
        "fast",
        "shared among connections",
        "few wait",
        "not so fast",
        "far away",
        "slow",
        "very slow",
        "not known",
    ],
)
def test_small_files_of_a_host_ride_along(slot, seconds, waiting, most, along):
    slot.ready.extend([TASK] * waiting)
    slot.succeed(seconds)
    assert len(slot.ride_along(most)) == along
    assert len(slot.ready) == waiting - along


def test_one_slow_answer_does_not_end_the_batches(slot):
    slot.ready.extend([TASK] * 800)
    slot.succeed(0.001)
    slot.succeed(0.1)
    assert len(slot.ride_along(16)) == 15


@pytest.mark.parametrize(("seconds", "at_once"), [(0.0, False), (0.001, True), (0.05, False)])
def test_what_answers_at_once_is_known_once_it_has_answered(slot, seconds, at_once):
    slot.succeed(seconds)
    assert slot.answers_at_once is at_once


def test_small_files_of_a_quick_host_come_at_once_also_where_they_wait_for_the_processor(slot):
    for _ in range(8):
        slot.succeed(0.002)
        for _ in range(15):
            slot.succeed(0.02)
    assert slot.answers_at_once


@pytest.mark.parametrize("answers", [[0.012], [0.001, 0.2]], ids=["further away", "one in two slow"])
def test_a_host_that_was_quick_once_is_found_slow(slot, answers):
    slot.succeed(0.001)
    for _ in range(1000):
        for seconds in answers:
            slot.succeed(seconds)
    assert not slot.answers_at_once


def test_only_small_files_ride_along(slot):
    small, large = task_of(256 * 1024), task_of(256 * 1024 + 1)
    slot.ready.extend([small, small, large, *[small] * 800])
    slot.succeed(0.001)
    assert slot.ride_along(16) == [small, small]


def test_nothing_rides_along_to_a_host_in_trouble(slot):
    slot.ready.extend([TASK] * 800)
    slot.succeed(0.001)
    slot.cool(busy(2.0), NOW, 0.0)
    assert slot.ride_along(16) == []
    slot.succeed(0.001)
    miss(slot, 1)
    assert slot.ride_along(16) == []


# -- cooldown -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chance", "wait"), [(0.0, 2.0), (0.5, 2.25), (0.999, 2.5)], ids=["at once", "in the middle", "at last"]
)
def test_t06_a_host_waits_as_asked_and_a_little_more(slot, chance, wait):
    assert slot.cool(busy(2.0), NOW, chance) == pytest.approx(wait, abs=0.001)
    assert slot.ready_at(NOW) == pytest.approx(NOW + wait, abs=0.001)


@pytest.mark.parametrize("asked", [None, 0.0], ids=["T13 no Retry-After", "T05 zero or past"])
@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (0.9, 0.95)])
def test_the_floor_is_our_own_back_off(slot, asked, chance, share):
    now = NOW
    for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
        wait = slot.cool(busy(asked), now, chance)
        assert wait == pytest.approx(seconds * share)
        now += wait


def test_t06_answers_to_requests_under_way_count_once(slot):
    first = slot.cool(busy(), NOW, 0.5)
    for _ in range(7):
        assert slot.cool(busy(), NOW, 0.5) == first
    assert slot.throttles == 1
    slot.cool(busy(), NOW + first, 0.5)
    assert slot.throttles == 2


def test_the_longest_wait_asked_for_counts(slot):
    slot.cool(busy(30.0), NOW, 0.0)
    assert slot.cool(busy(2.0), NOW + 1.0, 0.0) == 29.0
    assert slot.cool(busy(40.0), NOW + 2.0, 0.0) == 40.0


def test_a_success_ends_the_row_of_throttles(slot):
    for second in range(5):
        slot.cool(busy(), NOW + 100 * second, 0.0)
    slot.succeed()
    assert slot.cool(busy(), NOW + 1000, 0.0) == 0.5


@pytest.mark.parametrize("asked", [3601.0, 9999.0, 1e20, 1e30])
def test_t03_a_wait_longer_than_max_wait_is_not_obeyed_but_told(slot, asked):
    slot.cool(busy(asked), NOW, 0.5)
    refusal = slot.refused(NOW)
    assert (refusal.kind, refusal.status_code, refusal.retry_after) == ("deferred", 429, asked)
    assert f"{asked:.0f} s" in refusal.message
    assert not refusal.retryable
    assert slot.ready_at(NOW) <= NOW


def test_the_longest_wait_is_obeyed(slot):
    assert slot.cool(busy(3600.0), NOW, 0.0) == 3600.0
    assert slot.refused(NOW) is None


def test_a_deferred_host_may_be_asked_when_its_time_has_come(slot):
    slot.cool(busy(9999.0), NOW, 0.0)
    assert slot.refused(NOW + 9998.0) is not None
    assert slot.refused(NOW + 9999.0) is None


# -- circuit breaker ------------------------------------------------------------------------------


def test_t08_after_some_misses_one_attempt_at_a_time_probes(slot):
    slot.ready.extend([TASK] * 3)
    miss(slot, PROBE_AFTER - 1)
    slot.active = 1
    assert slot.has_room()
    slot.active = 0
    miss(slot, 1)
    assert slot.ready_at(NOW) > NOW
    assert slot.has_room()
    slot.active = 1
    assert not slot.has_room()


@pytest.mark.parametrize(
    ("has_answered", "probes"), [(False, 5), (True, 10)], ids=["never seen", "was there"]
)
def test_t08_after_the_probes_a_host_is_given_up(slot, has_answered, probes):
    if has_answered:
        slot.answered()
    miss(slot, PROBE_AFTER + probes - 1)
    assert slot.refused(NOW) is None
    miss(slot, 1)
    refusal = slot.refused(NOW)
    assert (refusal.kind, refusal.retryable) == ("host-down", False)
    assert f"https://example.org does not answer after {PROBE_AFTER + probes} attempts" in refusal.message
    assert "connection refused" in refusal.message


def test_attempts_begun_before_the_probes_are_no_probes(slot):
    """One short outage under many connections must not look like a dead host."""
    for active in range(99, -1, -1):
        slot.active = active
        miss(slot, 1)
    assert slot.refused(NOW) is None
    assert slot.misses == PROBE_AFTER + 1  # the last of them was alone


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (0.5, 0.75)])
def test_probes_wait_longer_and_longer(slot, chance, share):
    miss(slot, PROBE_AFTER - 1)
    now, waits = NOW, []
    for _ in range(5):
        miss(slot, 1, now, chance)
        waits.append((slot.ready_at(NOW) - now) / share)
        now = slot.ready_at(NOW)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_an_answer_ends_the_probing(slot):
    miss(slot, PROBE_AFTER + 2)
    slot.answered()
    miss(slot, PROBE_AFTER - 1, NOW + 100)
    slot.ready.append(TASK)
    slot.active = 7
    assert slot.has_room()


def test_a_host_that_was_given_up_is_probed_again_later(slot):
    miss(slot, PROBE_AFTER + 5)
    assert slot.refused(NOW + 299.0) is not None
    assert slot.refused(NOW + 300.0) is None
    slot.ready.append(TASK)
    slot.active = 1
    assert not slot.has_room()  # one attempt, not a crowd
    slot.active = 0
    miss(slot, 1, NOW + 300.0)
    assert slot.refused(NOW + 301.0) is not None


# -- forgetting -----------------------------------------------------------------------------------


def test_a_new_host_is_idle(slot):
    assert slot.is_idle()
    assert not slot.is_waiting(NOW)


@pytest.mark.parametrize(
    "values",
    [{"active": 1}, {"delayed": 1}, {"in_ring": True}, {"has_timer": True}, {"ready": [TASK]}],
    ids=str,
)
def test_a_host_with_tasks_is_not(slot, values):
    for name, value in values.items():
        setattr(slot, name, value)
    assert not slot.is_idle()


def test_a_host_that_asked_to_be_left_alone_is_remembered(slot):
    slot.cool(busy(10.0), NOW, 0.0)
    assert slot.is_waiting(NOW + 9.0)
    assert not slot.is_waiting(NOW + 10.0)
    slot.cool(busy(9999.0), NOW, 0.0)
    assert slot.is_waiting(NOW + 11.0)
    assert not slot.is_waiting(NOW + 9999.0)


# -- credentials ----------------------------------------------------------------------------------


def denied(status):
    return Failure("auth", f"the server answered {status}", status)


def known(**limits):
    return HostSlot(ORIGIN, HostLimits(POLICY, 8, has_credentials=True, **limits))


@pytest.mark.parametrize("status", [401, 403])
def test_after_five_refusals_of_our_credentials_in_a_row_nothing_more_is_asked(status):
    slot = known()
    for _ in range(4):
        assert "refuses the credentials it was sent" in slot.deny(denied(status)).message
    assert slot.refused(NOW) is None
    slot.deny(denied(status))
    refusal = slot.refused(NOW + 1e9)
    assert refusal.kind == "auth"
    assert refusal.message == (
        "https://example.org refuses the credentials it was sent:"
        f" the server answered {status}, 5 times in a row: nothing more is asked of this host"
    )


def test_a_success_between_begins_the_count_anew():
    slot = known()
    for _ in range(10):
        slot.deny(denied(401))
        slot.succeed(0.1)
    assert slot.refused(NOW) is None


@pytest.mark.parametrize("status", [401, 403])
def test_without_credentials_every_entry_is_asked_for(slot, status):
    for _ in range(100):
        assert slot.deny(denied(status)) == replace(denied(status), anonymous=True)
    assert slot.refused(NOW) is None


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_of_entries_say_nothing_of_the_hosts_own(status):
    slot = known()
    for _ in range(100):
        assert slot.deny(denied(status), own=True) == denied(status)
    assert slot.refused(NOW) is None


def test_a_host_that_has_granted_something_may_forbid_the_rest():
    slot = known()
    slot.succeed(0.1)
    for _ in range(100):
        assert slot.deny(denied(403)) == denied(403)
    assert slot.refused(NOW) is None


def test_a_proxy_that_refuses_us_is_not_asked_for_ever(slot):
    for _ in range(5):
        slot.deny(denied(407))
    assert slot.refused(NOW).message.startswith("the proxy refuses the credentials")
