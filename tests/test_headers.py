"""Header fields read strictly: what is not plainly right says nothing, or ends the attempt."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.errors import ProtocolViolation, TooLarge, TransferError
from bulkfetch.headers import (
    choose_validator,
    parse_codings,
    parse_content_range,
    parse_date,
    parse_etag,
    parse_head,
    parse_length,
    parse_retry_after,
    parse_transfer_encoding,
)
from bulkfetch.models import Head
from bulkfetch.safetext import clean

NOV_6 = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
TEXT = st.text(st.characters(max_codepoint=0xFF))  # a field value as http.client reads it


def head_of(*pairs, status=200, now=0.0):
    return parse_head(status, "OK", pairs, now)


# -- framing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["abc", "-5", "+5", "0x5", "5 5", "5_5", "", "5.", "\xb2", "\u0665", "5\x00", "5\xa0", "5\x0b"],
    ids=ascii,
)
def test_b08_a_length_is_only_digits(value):
    with pytest.raises(ProtocolViolation, match="not a number"):
        parse_length([value])


@pytest.mark.parametrize("values", [["5", "7"], ["5, 7"], ["5", "5, 7"], ["5, "], ["5", "05"]], ids=str)
def test_b09_lengths_must_agree(values):
    with pytest.raises(ProtocolViolation, match="two different"):
        parse_length(values)


@pytest.mark.parametrize(
    ("values", "length"),
    [([], None), (["0"], 0), (["100000"], 100_000), (["5", "5"], 5), (["5, 5"], 5), (["007"], 7)],
    ids=str,
)
def test_lengths(values, length):
    assert parse_length(values) == length


@pytest.mark.parametrize(
    "digits", [str(2**63), str(2**65), "9" * 31, "1" + "0" * 6000], ids=["2^63", "2^65", "31", "6001"]
)
def test_b10_no_file_is_that_long(digits):
    with pytest.raises(TooLarge, match=r"claims \d{1,30} bytes"):
        parse_length([digits])


def test_the_longest_file():
    assert parse_length([str(2**63 - 1)]) == 2**63 - 1


@pytest.mark.parametrize(
    "length", ["7", "200000", "abc", "5, 7"], ids=["short", "long", "not a number", "two"]
)
def test_b14_chunked_wins_over_a_length(length):
    head = head_of(("Content-Length", length), ("Transfer-Encoding", "chunked"))
    assert head.chunked
    assert head.length is None


@pytest.mark.parametrize("values", [["chunked"], ["Chunked"], [" chunked\t"]], ids=str)
def test_chunked_is_the_one_transfer_coding(values):
    assert parse_transfer_encoding(values)


def test_without_a_transfer_coding():
    assert not parse_transfer_encoding([])


@pytest.mark.parametrize(
    "values",
    [
        ["gzip, chunked"],
        ["gzip", "chunked"],
        ["gzip"],
        ["chunked, chunked"],
        ["identity"],
        [""],
        ["chunked\0"],
    ],
    ids=ascii,
)
def test_b15_other_transfer_codings_are_refused(values):
    with pytest.raises(ProtocolViolation, match="transfer coding"):
        parse_transfer_encoding(values)


@pytest.mark.parametrize(
    ("values", "codings"),
    [
        ([], ()),
        (["identity"], ()),
        (["gzip"], ("gzip",)),
        (["GZIP "], ("gzip",)),
        (["bogus"], ("bogus",)),  # B20: refused later, when the file's name is known
        (["gzip"] * 6, ("gzip",) * 6),
        (["gzip, deflate", "identity", " br"], ("gzip", "deflate", "br")),
        ([", ,"], ()),
    ],
    ids=str,
)
def test_b20_content_codings_in_order(values, codings):
    assert parse_codings(values) == codings


# -- ranges and validators ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bytes 500-999/1000", (500, 999, 1000)),
        ("Bytes 0-0/1", (0, 0, 1)),
        ("bytes 500-999/*", (500, 999, None)),
        ("bytes */1000", (None, None, 1000)),
        ("bytes 500-1000/1000", (None, None, None)),  # ends after the file
        ("bytes 999-500/1000", (None, None, None)),
        ("bytes 0-99", (None, None, None)),
        ("bytes=0-99/100", (None, None, None)),
        ("bytes banana", (None, None, None)),  # R04
        ("items 0-99/100", (None, None, None)),
        ("bytes -5-99/100", (None, None, None)),
        ("bytes 0-99/100, bytes 0-99/100", (None, None, None)),
        (f"bytes 0-99/{2**65}", (None, None, None)),
        ("", (None, None, None)),
    ],
)
def test_content_range(value, found):
    assert parse_content_range(value) == found


@pytest.mark.parametrize(
    ("value", "etag"),
    [
        ('"v1"', '"v1"'), ('W/"v1"', 'W/"v1"'), ('""', '""'), ('"\xe9"', '"\xe9"'),
        ("v1", None), ('w/"v1"', None), ('"a", "a"', None), ('"a b"', None), ("", None),
        ('"a\x00"', None), ('"\x1b[31m"', None), ('"a\r\n b"', None),  # B30
    ],
    ids=ascii,
)  # fmt: skip
def test_an_etag_is_well_formed_or_nothing(value, etag):
    assert parse_etag(value) == etag


def one_second_apart(**values):
    return Head(200, last_modified=DATE, date=NOV_6 + 1.0, **values)


@pytest.mark.parametrize(
    ("head", "validator"),
    [
        (Head(200, etag='"v1"'), '"v1"'),
        (one_second_apart(etag='"v1"'), '"v1"'),
        (one_second_apart(etag='W/"v1"'), DATE),
        (one_second_apart(), DATE),
        (Head(200, last_modified=DATE, date=NOV_6 + 0.5), None),
        (Head(200, last_modified=DATE), None),
        (Head(200, etag='W/"v1"'), None),
        (Head(200), None),
        (Head(200, etag='"v1"', codings=("gzip",)), None),
    ],
    ids=[
        "strong", "strong before date", "R08 weak, strong date", "strong date", "changed just now",
        "no date to compare", "R08 weak alone", "R09 none", "B19 an encoded body",
    ],
)  # fmt: skip
def test_only_strong_validators_pin_a_resume(head, validator):
    assert choose_validator(head) == validator


# -- dates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 09:49:37 +0100",
     "06 Nov 1994 08:49:37 UTC"],
)  # fmt: skip
@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone cannot be changed")
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_dates_mean_the_same_in_every_zone(monkeypatch, value, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    parse_date.cache_clear()
    try:
        assert parse_date(value) == NOV_6
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Mon, 01 Jan 0001 00:00:00 GMT", -62135596800.0),  # no error: the store judges what it can set
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799.0),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228799.0),  # a leap second
    ],
)
def test_f18_odd_dates(value, seconds):
    assert parse_date(value) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "abc", "0", "-1", "1.5", " ", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT",
     "Sun, 06 Foo 1994 08:49:37 GMT", "Sat, 31 Dec 99999 00:00:00 GMT", "Mon, 00 Jan 0000 00:00:00 GMT",
     f"{DATE}\x1b[31m", f"{DATE}\x00", f"Sun,\r\n {DATE[5:]}", "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT"],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_date_says_nothing(value):
    assert parse_date(value) is None


@given(TEXT)
def test_no_text_breaks_the_date_parser(value):
    assert parse_date(value) is None or math.isfinite(parse_date(value))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("0", 0.0),
        ("Sun, 06 Nov 1994 08:49:42 GMT", 5.0),
        ("Sun, 06 Nov 1994 08:49:32 GMT", 0.0),
        ("9999", 9999.0),
        ("1" + "0" * 20, 1e20),
        ("1" + "0" * 5000, 1e30),
        ("abc", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("\u0662", None),
    ],
    ids=[
        "T02 seconds", "T05 zero", "T02 date", "T05 past date", "T03 long", "T03 10^20", "T03 10^5000",
        "T04 word", "T04 negative", "T04 fraction", "empty", "other digits",
    ],
)  # fmt: skip
def test_retry_after(value, seconds):
    assert parse_retry_after(value, NOV_6) == seconds


@pytest.mark.parametrize(
    ("pairs", "seconds"),
    [
        ([("Date", "Sun, 06 Nov 1994 08:49:32 GMT")], 10.0),  # its own clock, however wrong
        ([], 5.0),
        ([("Date", "nonsense")], 5.0),
    ],
    ids=["T02 the answer's Date", "no Date", "no usable Date"],
)
def test_a_retry_after_date_is_measured_against_the_answer(pairs, seconds):
    head = head_of(("Retry-After", "Sun, 06 Nov 1994 08:49:42 GMT"), *pairs, status=429, now=NOV_6)
    assert head.retry_after == seconds


# -- the whole head -------------------------------------------------------------------------------


def test_a_partial_answer():
    head = head_of(
        ("content-LENGTH", " 500 "), ("Content-Range", "bytes 500-999/1000"), ("ETag", '"v1"'),
        ("Date", DATE), ("Last-Modified", DATE), ("Content-Type", "Text/CSV; charset=utf-8"),
        ("X-Other", "\x00"), status=206,
    )  # fmt: skip
    assert head == Head(
        206, "OK", 500, range_start=500, range_end=999, total=1000, etag='"v1"', last_modified=DATE,
        date=NOV_6, content_type="text/csv", has_ranges=True,
    )  # fmt: skip


def test_an_empty_head():
    assert head_of() == Head(200, "OK")


@pytest.mark.parametrize(
    ("name", "values", "field"),
    [
        ("Content-Range", ("bytes 0-9/10", "bytes 5-9/10"), "range_start"),
        ("ETag", ('"a"', '"b"'), "etag"),
        ("Last-Modified", (DATE, "Mon, 07 Nov 1994 08:49:37 GMT"), "last_modified"),
        ("Date", (DATE, "Mon, 07 Nov 1994 08:49:37 GMT"), "date"),
        ("Retry-After", ("1", "2"), "retry_after"),
    ],
)
def test_a_field_that_contradicts_itself_says_nothing(name, values, field):
    assert getattr(head_of(*((name, value) for value in values)), field) is None
    assert getattr(head_of((name, values[0]), (name, values[0])), field) is not None


def test_a_last_modified_that_is_no_date_is_left_out():
    assert head_of(("Last-Modified", "abc")).last_modified is None


def test_b30_control_characters_reach_no_stored_field():
    pairs = [
        (name, "\x00a\x1b[31m\r\n b") for name in ("ETag", "Last-Modified", "Content-Range", "Retry-After")
    ]
    assert head_of(*pairs) == Head(200, "OK")


NAMES = (
    "Content-Length Content-Range ETag Last-Modified Date Retry-After Content-Type Content-Encoding "
    "Transfer-Encoding Location"
)
VALUES = TEXT | st.sampled_from([DATE, "5", "chunked", "bytes 0-9/10"]) | TEXT.map('"{}"'.format)


@given(st.lists(st.tuples(st.sampled_from(NAMES.split()), VALUES), max_size=5))
def test_no_head_breaks_the_parser(pairs):
    try:
        head = head_of(*pairs)
    except TransferError:
        return
    assert head.length is None or 0 <= head.length < 2**63
    assert clean(head.etag or "") == (head.etag or "")
    assert clean(head.last_modified or "") == (head.last_modified or "")
