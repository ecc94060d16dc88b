"""How long an answer is fresh: tables, and what holds for any field at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.config import FetchConfig
from bulkfetch.freshness import LONGEST, fresh_until, lifetime, parse_age, parse_cache_control
from bulkfetch.headers import parse_head
from bulkfetch.journal import Answer, Row
from bulkfetch.models import Entry, Head, Held, Request, Status
from bulkfetch.resume import plan_condition
from bulkfetch.revisits import Revisits

NOW = 1_700_000_000.0
NOV_14 = "Tue, 14 Nov 2023 22:13:20 GMT"  # NOW


@pytest.mark.parametrize(
    ("control", "seconds"),
    [
        ("max-age=60", 60.0),
        ("MAX-AGE=60", 60.0),
        ('max-age="60"', 60.0),
        ("public, max-age=60", 60.0),
        (" ,, private ,\tmax-age=060 , ", 60.0),
        ('extension="a, no-store, \\" b", max-age=60', 60.0),
        ("max-age=60, s-maxage=5", 60.0),
        ("max-age=60, must-revalidate, immutable", 60.0),
        ("max-age=60, max-age=60", 60.0),
        ("max-age=0", 0.0),
        ("max-age=60, max-age=61", 0.0),
        ("max-age=60, no-cache", 0.0),
        ('max-age=60, no-cache="Set-Cookie"', 0.0),
        ("No-Store, max-age=60", 0.0),
        ("max-age", 0.0),
        ("max-age=", 0.0),
        ("max-age=-1", 0.0),
        ("max-age=+1", 0.0),
        ("max-age=1.5", 0.0),
        ("max-age=60s", 0.0),
        ("max-age = 60", 0.0),
        ("max-age=60; public", 0.0),
        ('max-age="60', 0.0),
        ("max-age=\u0661", 0.0),
        ("max-age=2147483647", 2.0**31 - 1),
        ("max-age=99999999999", 2.0**31),
        ("max-age=" + "9" * 5000, 2.0**31),
        ("", None),
        ("public", None),
        ("must-revalidate", None),
        ("s-maxage=60", None),
        ("x-max-age=60", None),
    ],
)
def test_cache_control_names_seconds_or_asks_always(control, seconds):
    assert parse_cache_control(control) == seconds


@pytest.mark.parametrize(
    ("control", "expires_in", "seconds"),
    [
        (None, None, None),
        (None, 60.0, 60.0),
        (None, -60.0, 0.0),
        (None, 1e12, float(LONGEST)),
        ("public", 60.0, 60.0),
        ("max-age=5", 60.0, 5.0),
        ("max-age=nonsense", 60.0, 0.0),
        ("no-cache", 60.0, 0.0),
        ("s-maxage=5", None, None),
    ],
)
def test_max_age_goes_before_expires(control, expires_in, seconds):
    assert lifetime(control, expires_in) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("60", 60.0),
        ("60, 70", 60.0),
        ("", 0.0),
        ("x", 0.0),
        ("-1", 0.0),
        ('"60"', 0.0),
        ("9" * 5000, float(LONGEST)),
    ],
)
def test_age_is_a_number_or_nothing(value, seconds):
    assert parse_age(value) == seconds


@pytest.mark.parametrize(
    ("pairs", "until"),
    [
        ([("Cache-Control", "max-age=60"), ("Date", NOV_14)], NOW + 60),
        ([("Cache-Control", "max-age=60")], NOW + 60),
        ([("Cache-Control", "max-age=60"), ("Age", "20")], NOW + 40),
        ([("Cache-Control", "max-age=60"), ("Date", "Tue, 14 Nov 2023 22:12:50 GMT")], NOW + 30),
        (
            [("Cache-Control", "max-age=60"), ("Date", "Tue, 14 Nov 2023 22:12:50 GMT"), ("Age", "40")],
            NOW + 20,
        ),
        ([("Cache-Control", "max-age=60"), ("Date", "Tue, 14 Nov 2023 23:13:20 GMT")], NOW + 60),
        ([("Cache-Control", "public"), ("Cache-Control", "max-age=60")], NOW + 60),
        ([("Expires", "Tue, 14 Nov 2023 22:14:20 GMT"), ("Date", NOV_14)], NOW + 60),
        ([("Expires", "Tue, 14 Nov 2023 22:14:20 GMT")], NOW + 60),
        ([("Expires", "Tuesday, 14-Nov-23 22:14:20 GMT"), ("Date", NOV_14)], NOW + 60),
        ([("Expires", NOV_14), ("Date", NOV_14)], None),
        ([("Expires", "0"), ("Date", NOV_14)], None),
        ([("Expires", "never")], None),
        ([("Expires", NOV_14), ("Expires", "Tue, 14 Nov 2033 22:14:20 GMT")], None),
        ([("Cache-Control", "no-store"), ("Expires", "Tue, 14 Nov 2033 22:14:20 GMT")], None),
        ([("Date", NOV_14), ("Last-Modified", "Tue, 14 Nov 2003 22:14:20 GMT")], None),  # nothing is guessed
    ],
)
def test_an_answer_is_fresh_from_its_date_on_less_its_age(pairs, until):
    assert fresh_until(parse_head(200, "OK", pairs, NOW), NOW) == until


directives = st.sampled_from(
    ["max-age=60", "max-age=0", "no-cache", "no-store", "private", 'a="b, c"', "s-maxage=9", ""]
)


@given(st.text(max_size=60) | st.lists(directives, max_size=5).map(", ".join))
def test_any_field_has_a_bounded_meaning(control):
    told = parse_cache_control(control)
    assert told is None or 0 <= told <= LONGEST
    assert told in (None, 0.0) or "max-age" in control.lower()


@given(st.lists(directives, min_size=1, max_size=5), st.sampled_from(["no-cache", "no-store", "max-age=0"]))
def test_nothing_added_makes_an_answer_fresh_that_asks_always(parts, strict):
    assert not parse_cache_control(", ".join([*parts, strict]))
    assert not parse_cache_control(", ".join([strict, *parts]))


seconds = st.integers(0, 10_000)


@given(seconds, seconds, st.none() | st.integers(-10_000, 10_000), seconds)
def test_age_is_counted_as_the_rfc_does(life, age, sent, delay):
    """RFC 9111 section 4.2.3, with the time of the response `delay` after that of the request."""
    date = None if sent is None else NOW + sent
    response = NOW + delay
    apparent = 0.0 if date is None else max(0.0, response - date)
    initial = max(apparent, age + delay)
    head = Head(200, date=date, lifetime=float(life), age=float(age))
    if date is None or date <= response:
        expected = int(response - initial + life) if life else None
        assert fresh_until(head, NOW) == expected
    else:
        assert (fresh_until(head, NOW) or 0) <= response + life


HELD = Held("https://a/b", 5, 1, "", 'W/"1"', NOV_14)


@pytest.mark.parametrize(
    ("held", "asked_range", "names"),
    [
        (HELD, False, ["If-None-Match", "If-Modified-Since"]),
        (HELD, True, ["If-None-Match"]),
        (HELD._replace(etag=None), False, ["If-Modified-Since"]),
        (HELD._replace(etag=None), True, []),
        (HELD._replace(etag=None, last_modified=None), False, []),
    ],
)
def test_a_condition_names_what_is_held(held, asked_range, names):
    assert [name for name, _ in plan_condition(held, asked_range=asked_range)] == names


KEY = b"k" * 16
ROW = Row(KEY, "b", Status.FETCHED, 5, 2, "", 1, '"1"', None, needs_check=False)
ENTRY = Entry(("https://a/b",))


class Found:
    """What `os.lstat` tells, as far as anyone looks."""

    st_size, st_mtime_ns = 5, 2


@pytest.mark.parametrize(
    ("answer", "entry", "is_asked"),
    [
        (Answer(int(NOW) + 1, ""), ENTRY, False),
        (Answer(int(NOW), ""), ENTRY, True),
        (Answer(None, ""), ENTRY, True),
        (Answer(None, ""), Entry(ENTRY.urls, digests=(("md5", "0" * 32),)), False),
        (Answer(None, ""), Entry(ENTRY.urls, request=Request()), False),
        (Answer(None, ""), Entry(ENTRY.urls, size=5), True),
    ],
    ids=["fresh", "just stale", "not told", "declared digest", "a post", "declared size"],
)
def test_what_is_not_fresh_is_asked_about(answer, entry, is_asked):
    revisits = Revisits(FetchConfig(respect_cache=True), {KEY: answer}, NOW)
    assert (revisits.held(entry, ROW, Found) is not None) is is_asked
    assert Revisits(FetchConfig(), {KEY: answer}, NOW).held(entry, ROW, Found) is None
