"""What servers tell of their limits, and how many requests that leaves."""

from __future__ import annotations

import heapq
import math
import pickle
import random
from collections import Counter
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkfetch.allowance import Allowance
from bulkfetch.models import RateLimit
from bulkfetch.ratelimit import has_rate_limit, parse_rate_limit

NOW = 1_800_000_000.0
YEAR = 366 * 86400.0
NAMES = [
    "ratelimit",
    "ratelimit-policy",
    *(
        f"{prefix}{name}"
        for prefix in ("ratelimit-", "x-ratelimit-", "x-rate-limit-")
        for name in ("limit", "remaining", "reset", "reset-after", "policy")
    ),
]


# -- reading --------------------------------------------------------------------------------------


LIMITS = {
    "draft 08": ({"ratelimit": '"default";r=50;t=30'}, (50, 30)),
    "token for a name": ({"ratelimit": "default;r=0;t=1"}, (0, 1)),
    "other order": ({"ratelimit": '"a";t=30;r=50'}, (50, 30)),
    "others": ({"ratelimit": '"a"; r=50; t=30; pk=:c2VjcmV0:; x=1.5; y; z="\\"q\\\\"; b=?1'}, (50, 30)),
    "policy": ({"ratelimit": '"a";r=9;t=9', "ratelimit-policy": '"a";q=10;w=60'}, (9, 9, 60)),
    "no time": ({"ratelimit": '"a";r=9', "ratelimit-policy": '"a";q=10;w=60'}, (9, 60, 60)),
    "no time at all": ({"ratelimit": '"a";r=9', "ratelimit-policy": '"b";q=10;w=60'}, None),
    "slowest of two": ({"ratelimit": '"hour";r=900;t=3000, "second";r=1;t=1'}, (900, 3000)),
    "slowest of two, other order": ({"ratelimit": '"day";r=1;t=80000,"second";r=5;t=1'}, (1, 80000)),
    "longest of two used up": ({"ratelimit": '"a";r=0;t=1, "b";r=0;t=60'}, (0, 60)),
    "draft 07": ({"ratelimit": "limit=100, remaining=50, reset=5"}, (50, 5)),
    "draft 07 policy": (
        {"ratelimit": "limit=9,remaining=5,reset=5", "ratelimit-policy": "9;w=10"},
        (5, 5, 10),
    ),
    "draft 07 policies": (
        {"ratelimit": "remaining=5, reset=5", "ratelimit-policy": "9;w=1, 99;w=60"},
        (5, 5),
    ),
    "draft 06": (
        {"ratelimit-limit": "10, 10;w=1, 1000;w=3600", "ratelimit-remaining": "9", "ratelimit-reset": "1"},
        (9, 1, 1),
    ),
    "draft 06 name, Unix time": ({"ratelimit-remaining": "9", "ratelimit-reset": f"{NOW + 60:.0f}"}, (9, 60)),
    "seconds": ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "17"}, (0, 17)),
    "Unix time": ({"x-ratelimit-remaining": "59", "x-ratelimit-reset": f"{NOW + 3600:.0f}"}, (59, 3600)),
    "Unix time in ms": (
        {"x-ratelimit-remaining": "59", "x-ratelimit-reset": f"{(NOW + 3600) * 1000:.0f}"},
        (59, 3600),
    ),
    "Unix time past": ({"x-ratelimit-remaining": "59", "x-ratelimit-reset": f"{NOW - 5:.0f}"}, (59, 0)),
    "decimals": ({"x-ratelimit-remaining": "594.0", "x-ratelimit-reset": "12.5"}, (594, 12.5)),
    "reset-after": ({"x-ratelimit-remaining": "3", "x-ratelimit-reset-after": "0.25"}, (3, 0.25)),
    "x-rate-limit, white space": ({"x-rate-limit-remaining": " 3\t", "x-rate-limit-reset": " 9 "}, (3, 9)),
}


@pytest.mark.parametrize(("fields", "limit"), LIMITS.values(), ids=LIMITS)
def test_limits(fields, limit):
    assert (
        parse_rate_limit(fields, NOW) == RateLimit(*limit) if limit else parse_rate_limit(fields, NOW) is None
    )
    assert has_rate_limit(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ratelimit": ""},
        {"ratelimit": '"a";r=-1;t=5'},
        {"ratelimit": '"a";r=1.5;t=5'},
        {"ratelimit": '"a";r="5";t=5'},
        {"ratelimit": '"a";r=5;t=5,'},
        {"ratelimit": '"a";r=5;t=5 nonsense'},
        {"ratelimit": '"a;r=5;t=5'},
        {"ratelimit": '"a";R=5;T=5'},
        {"ratelimit": '"a";r=5;t=99999999999'},
        {"ratelimit": '"\u00e9";r=5;t=5'},
        {"ratelimit": "remaining=5"},
        {"ratelimit": "remaining=5, reset=soon"},
        {"ratelimit": '"a";r=1234567890123456;t=5'},
        {"x-ratelimit-remaining": "5"},
        {"x-ratelimit-reset": "5"},
        {"x-ratelimit-remaining": "5", "x-ratelimit-reset": "-5"},
        {"x-ratelimit-remaining": "5", "x-ratelimit-reset": "1e3"},
        {"x-ratelimit-remaining": "unlimited", "x-ratelimit-reset": "5"},
        {"x-ratelimit-remaining": "5, 5", "x-ratelimit-reset": "5"},
        {"x-ratelimit-remaining": "5", "x-ratelimit-reset": "999999999"},
        {"x-ratelimit-remaining": "5", "x-ratelimit-reset": f"{NOW + 2 * YEAR:.0f}"},
        {"x-ratelimit-remaining": "\u0665", "x-ratelimit-reset": "5"},
        {"x-ratelimit-remaining": "5", "x-rate-limit-reset": "5"},
        {"ratelimit": '"a";r=5;t=5' + ";x" * 5000},
    ],
)
def test_nonsense_is_no_limit(fields):
    assert parse_rate_limit(fields, NOW) is None


def test_nonsense_beside_a_limit_changes_nothing():
    fields = {"ratelimit": "?", "x-ratelimit-remaining": "5", "x-ratelimit-reset": "7"}
    assert parse_rate_limit(fields, NOW) == RateLimit(5, 7)


@pytest.mark.parametrize("name", ["content-length", "x-rate", "x-ratelimited", "ratelimited"])
def test_other_fields_are_no_limit(name):
    assert not has_rate_limit({name: ""})


PIECES = st.lists(
    st.sampled_from(
        [
            '"a"',
            "r",
            "t",
            "w",
            "q",
            "=",
            ";",
            ",",
            " ",
            "1",
            "60",
            "-",
            ".",
            ":",
            "?1",
            "remaining",
            "reset",
            "limit",
            "1800000060",
            "9" * 40,
            "\\",
            "\t",
            "\x00",
            "é",
            "a",
            "*",
        ]
    )
).map("".join)


@given(st.dictionaries(st.sampled_from(NAMES), st.one_of(PIECES, st.text())), st.floats(0, 4e9))
@example({"ratelimit": "a" * 8000 + "\x00"}, NOW)
@example({"ratelimit": '"' + "\\\\" * 4000}, NOW)
@example({"ratelimit": "a;" * 4000}, NOW)
@example({"ratelimit": "a," * 4000}, NOW)
def test_any_fields_give_a_sound_limit_or_none(fields, now):
    limit = parse_rate_limit(fields, now)
    if limit is not None:
        assert limit.remaining >= 0
        assert 0 <= limit.reset <= YEAR
        assert limit.window is None or 0 <= limit.window <= YEAR


def test_a_limit_pickles():
    assert pickle.loads(pickle.dumps(RateLimit(1, 2.0, 3.0))) == RateLimit(1, 2.0, 3.0)


# -- keeping to it --------------------------------------------------------------------------------


def test_without_a_limit_everything_may_start():
    allowance = Allowance()
    for now in (0.0, 1.0, 2.0):
        assert allowance.ready_at(now) <= now
        allowance.start(now)
    allowance.settle(0.0, 3.0)
    assert allowance.ready_at(3.0) <= 3.0


def test_what_is_under_way_is_taken_as_not_yet_counted():
    allowance = Allowance()
    for _ in range(3):
        allowance.start(0.0)
    allowance.settle(0.0, 0.1, RateLimit(3, 60.0))
    assert allowance.ready_at(0.1) <= 0.1, "one more than the two under way"
    allowance.start(0.1)
    assert allowance.ready_at(0.1) == 0.1 + 61.0, "a second for rounding"


def test_a_long_request_is_counted_by_the_server_at_last():
    allowance = Allowance()
    for _ in range(2):
        allowance.start(0.0)
    allowance.settle(0.0, 0.1, RateLimit(1, 60.0))
    assert allowance.ready_at(0.1) > 0.1
    assert allowance.ready_at(5.1) <= 5.1


def test_after_the_window_one_request_asks():
    allowance = Allowance()
    allowance.start(0.0)
    allowance.settle(0.0, 0.0, RateLimit(0, 2.0))
    assert allowance.ready_at(1.9) == 2.0
    assert allowance.ready_at(2.0) <= 2.0
    allowance.start(2.0)
    assert allowance.ready_at(2.0) == math.inf
    allowance.settle(2.0, 2.1, RateLimit(9, 2.0))
    assert allowance.ready_at(2.1) <= 2.1


def test_when_the_one_that_asked_learns_nothing_another_asks():
    allowance = Allowance()
    allowance.start(0.0)
    allowance.settle(0.0, 0.0, RateLimit(0, 2.0))
    assert allowance.ready_at(2.0) <= 2.0
    allowance.start(2.0)
    allowance.settle(2.0, 2.5)
    assert allowance.ready_at(2.5) <= 2.5


def test_nothing_left_until_now_is_waited_for():
    allowance = Allowance()
    allowance.start(0.0)
    allowance.settle(0.0, 0.0, RateLimit(0, 0.0))
    assert allowance.ready_at(0.0) == 1.0
    quick = Allowance()
    quick.start(0.0)
    quick.settle(0.0, 0.0, RateLimit(0, 0.0, 0.5))
    assert quick.ready_at(0.0) == 0.5


def test_an_answer_of_the_window_before_does_not_end_the_next_one_early():
    """Symptom: a host that tells its limit refused one request after a window's change on a busy machine."""
    allowance = Allowance()
    for _ in range(3):
        allowance.start(0.0)
    allowance.settle(0.0, 0.01, RateLimit(5, 0.1))
    for _ in range(2):
        allowance.settle(0.0, 0.12, RateLimit(9, 0.29))  # the next window, by its end
    for _ in range(5):
        assert allowance.ready_at(0.13) <= 0.13
        allowance.start(0.13)
    assert allowance.ready_at(0.13) == 0.12 + 0.29


def test_answers_that_overtake_those_begun_before_them_do_not_let_one_more_through():
    """Symptom: on a busy machine a host that tells its limit was asked once more than it allows."""
    allowance = Allowance()
    for _ in range(3):
        allowance.start(0.0)
    allowance.settle(0.003, 0.1, RateLimit(9, 7200.0))  # begun last, counted first
    allowance.settle(0.002, 0.1, RateLimit(7, 7200.0))
    allowance.settle(0.001, 0.1, RateLimit(8, 7200.0))
    for _ in range(7):
        assert allowance.ready_at(0.1) <= 0.1
        allowance.start(0.1)
    assert allowance.ready_at(0.1) > 0.1


def test_an_overtaken_answer_does_not_give_back_what_a_later_one_took():
    """Symptom: a host whose tokens come back one by one, and so ends its window ever later, refused many."""
    allowance = Allowance()
    allowance.start(0.0)
    allowance.settle(0.0, 0.01, RateLimit(5, 0.5))
    for now in (0.05, 0.06):
        allowance.start(now)
    allowance.settle(0.06, 0.1, RateLimit(2, 1.5))
    allowance.settle(0.05, 0.11, RateLimit(3, 1.4))
    for _ in range(2):
        assert allowance.ready_at(0.12) <= 0.12
        allowance.start(0.12)
    assert allowance.ready_at(0.12) > 0.12


class FixedWindow:
    """A server that counts requests in windows of its own clock and tells whole seconds, rounded up."""

    def __init__(self, allowed: int, window: int, phase: float) -> None:
        self.allowed, self.window, self.phase = allowed, window, phase
        self.used: Counter[int] = Counter()

    def ask(self, now: float) -> tuple[bool, RateLimit]:
        number = math.floor((now + self.phase) / self.window)
        end = (number + 1) * self.window - self.phase
        is_served = self.used[number] < self.allowed
        self.used[number] += is_served
        return is_served, RateLimit(self.allowed - self.used[number], math.ceil(end - now), self.window)


class Bucket:
    """A server whose tokens come back one by one."""

    def __init__(self, allowed: int, window: int, _: float) -> None:
        self.allowed, self.rate = allowed, allowed / window
        self.tokens, self.filled = float(allowed), 0.0

    def ask(self, now: float) -> tuple[bool, RateLimit]:
        self.tokens = min(self.allowed, self.tokens + (now - self.filled) * self.rate)
        self.filled = now
        is_served = self.tokens >= 1
        self.tokens -= is_served
        return is_served, RateLimit(int(self.tokens), math.ceil((self.allowed - self.tokens) / self.rate))


def simulate(
    server: FixedWindow | Bucket, slots: int, todo: int, trip: Callable[[], float]
) -> tuple[float, int]:
    """Return the seconds until `todo` requests were served, and how many were refused on the way."""
    allowance, events, order = Allowance(), [], count()
    now, active, refused, left = 0.0, 0, 0, todo
    while left or active:
        while left and active < slots and (ready := allowance.ready_at(now)) <= now:
            allowance.start(now)
            active, left = active + 1, left - 1
            heapq.heappush(events, (now + trip(), next(order), "arrives", now, None))
        if left and active < slots and ready < math.inf:
            heapq.heappush(events, (ready, next(order), "wakes", now, None))
        now, _, what, started, answer = heapq.heappop(events)
        if what == "arrives":
            heapq.heappush(events, (now + trip(), next(order), "answers", started, server.ask(now)))
        elif what == "answers":
            is_served, limit = answer
            active, left, refused = active - 1, left + (not is_served), refused + (not is_served)
            allowance.settle(started, now, limit)
    return now, refused


@given(
    kind=st.sampled_from([FixedWindow, Bucket]),
    allowed=st.integers(2, 40),
    window=st.sampled_from([1, 2, 10, 60]),
    slots=st.integers(1, 12),
    seed=st.randoms(use_true_random=False),
    slowest=st.sampled_from([0.002, 0.02, 0.1]),
)
def test_hardly_a_request_is_refused_and_none_waits_for_ever(kind, allowed, window, slots, seed, slowest):
    server = kind(allowed, window, seed.uniform(0, window))
    todo = allowed * 4
    seconds, refused = simulate(server, slots, todo, lambda: seed.uniform(0.0005, slowest))
    unknowing = max(0, slots - allowed)  # before the first answer nothing is known
    # A bucket that refills while it tells refuses some more: seldom, yet found by chance.
    some = todo // 50 if kind is FixedWindow else 8 + todo // 10
    assert refused <= unknowing + 2 + some
    assert seconds <= 1.5 * (4 * (window + 2) + todo / slots * 2 * slowest)


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.9])
def test_25_requests_a_second(phase):
    chance = random.Random(1)
    seconds, refused = simulate(
        FixedWindow(25, 1, phase), slots=6, todo=500, trip=lambda: chance.uniform(0.001, 0.005)
    )
    assert refused == 0
    assert seconds <= 500 / 25 * 1.15
