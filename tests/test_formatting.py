"""Numbers, durations and names as text."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch import formatting as f


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (-5, "0 B"), (1, "1 B"), (999, "999 B"), (999.6, "1.0 kB"), (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"), (99_949_999, "99.9 MB"), (99_950_000, "100 MB"), (999_499_999, "999 MB"),
        (999_500_000, "1.0 GB"), (5 * 10**15, "5.0 PB"), (10**22, "10,000 EB"),
    ],
)  # fmt: skip
def test_sizes_are_si(size, text):
    assert f.format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "words", "clock"),
    [
        (-1, "0.0 s", "0:00"), (0.44, "0.4 s", "0:00"), (9.94, "9.9 s", "0:10"), (9.96, "10 s", "0:10"),
        (59.6, "1 min 00 s", "1:00"), (200, "3 min 20 s", "3:20"), (3599.7, "1 h 00 min", "1:00:00"),
        (7500, "2 h 05 min", "2:05:00"), (86400 * 3 + 4 * 3600, "3 d 4 h", "3d04h"),
        (math.inf, "?", "?"), (math.nan, "?", "?"),
    ],
)  # fmt: skip
def test_durations_carry_when_rounded(seconds, words, clock):
    assert f.format_duration(seconds) == words
    assert f.format_clock(seconds) == clock


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 retries"), (1, "1 retry"), (2, "2 retries"), (1234567, "1,234,567 retries")]
)
def test_nouns_agree_with_their_number(count, text):
    assert f.format_number_of(count, "retry", "retries") == text


def test_a_noun_without_a_plural_takes_an_s():
    assert [f.format_number_of(n, "file") for n in (1, 2)] == ["1 file", "2 files"]


@pytest.mark.parametrize(
    ("rate", "text"), [(0.04, "0.0/s"), (9.9, "9.9/s"), (9.96, "10/s"), (12345.6, "12,346/s")]
)
def test_rates_of_entries(rate, text):
    assert f.format_per_second(rate) == text


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("目录", 4),
        ("é", 1),
        ("e\u0301", 1),
        ("😀", 2),
        ("\U0001fae8", 2),
        ("ｱ", 1),
        ("\uff21", 2),
    ],
    ids=["ascii", "cjk", "composed", "combining", "emoji", "new emoji", "half width", "full width"],
)
def test_width_is_what_a_terminal_uses(text, width):
    assert f.text_width(text) == width


@given(st.text(max_size=60), st.integers(-1, 40))
def test_shortened_text_never_exceeds_its_width(text, width):
    assert f.text_width(f.shorten_middle(text, width)) <= max(width, 0)
    assert f.text_width(f.cut(text, width)) <= max(width, 0)


def test_the_middle_is_what_is_left_out():
    assert f.shorten_middle("data/very/long/name-0001.csv.gz", 20) == "data/ve…-0001.csv.gz"
    assert f.shorten_middle("data/very/long/name-0001.csv.gz", 20, "..") == "data/ve..0001.csv.gz"
    assert f.shorten_middle("目录" * 10, 8) == "目…目录"
    assert f.shorten_middle("short", 20) == "short"


def test_a_cut_does_not_leave_an_accent_on_the_mark():
    assert "…\u0301" not in f.shorten_middle("abcdefghe\u0301xyz", 6)


@pytest.mark.parametrize(
    ("fraction", "bar"),
    [(-1, "|    |"), (0, "|    |"), (0.5, "|##  |"), (0.625, "|##- |"), (1, "|####|"), (7, "|####|")],
)
def test_a_bar_is_clamped(fraction, bar):
    assert f.draw_bar(fraction, 6, " -#") == bar


@given(st.floats(0, 1), st.integers(2, 60))
def test_a_bar_is_as_wide_as_asked(fraction, width):
    assert f.text_width(f.draw_bar(fraction, width)) == width


@pytest.mark.parametrize(
    "text",
    ["plain", "tab\there", "new\nline", "\x1b[31m", "\x7f\x9b", "\u2028\u202e", "目录", "\udcff", '"\\'],
)
def test_json_is_one_line_of_safe_ascii_that_reads_back(text):
    line = f.json_line({"text": text})
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {"text": text}


def test_numbers_that_json_lacks_become_null():
    line = f.json_line({"a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": 1.5})
    assert json.loads(line) == {"a": None, "b": [None, {"c": None}], "d": 1.5}


def test_values_of_unknown_types_become_text():
    assert json.loads(f.json_line({"a": 1 + 2j})) == {"a": "(1+2j)"}
