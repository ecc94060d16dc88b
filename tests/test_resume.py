"""What is asked for when bytes are there already, and where the answer goes: the R rows of the fault list."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.errors import ProtocolViolation, RangeMismatch, TransferError, WrongContent
from bulkfetch.models import NO_PART, Action, BodyPlan, Head, PartInfo
from bulkfetch.resume import plan_body, plan_request

LATER = "Sun, 06 Nov 1994 08:49:37 GMT"
NOV_6 = 784111777.0


def replace(value, **fields):
    """Return a copy with other fields, of a NamedTuple or a dataclass."""
    return value._replace(**fields) if isinstance(value, tuple) else dataclasses.replace(value, **fields)


PART = PartInfo(60_000, '"v1"', 100_000, "token")
DATED = replace(PART, validator=LATER)
WHOLE = Head(200, length=100_000, etag='"v1"')
REST = Head(206, length=40_000, range_start=60_000, range_end=99_999, total=100_000, etag='"v1"')
NONE_LEFT = Head(416, total=60_000)


def plan(part, head, asked_range=True):
    return plan_body(part, head, asked_range=asked_range)


# -- the request ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "digest_known", "fields"),
    [
        (NO_PART, False, {}),
        (NO_PART, True, {}),
        (PartInfo(0, '"v1"', 100), True, {}),
        (PART, False, {"Range": "bytes=60000-", "If-Range": '"v1"'}),
        (PART, True, {"Range": "bytes=60000-", "If-Range": '"v1"'}),
        (DATED, False, {"Range": "bytes=60000-", "If-Range": LATER}),
        (replace(PART, validator=None), False, {}),
        (replace(PART, validator=None), True, {"Range": "bytes=60000-"}),
    ],
    ids=[
        "nothing stored", "nothing stored, digest", "R19 an empty part", "R06 strong tag",
        "R06 tag and digest", "R06 date", "R09 no validator", "R09 no validator, digest",
    ],
)  # fmt: skip
def test_plan_request(part, digest_known, fields):
    assert dict(plan_request(part, digest_known=digest_known)) == fields


# -- answers that continue or complete ------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "head"),
    [
        (PART, REST),
        (PART, replace(REST, length=None, chunked=True)),
        (PART, replace(REST, total=None)),
        (PART, replace(REST, length=10_000, range_end=69_999)),
        (replace(PART, total=None), REST),
        (DATED, replace(REST, etag=None, last_modified=LATER)),
        (DATED, replace(REST, etag=None)),
        (replace(PART, validator=None), replace(REST, etag='"other"')),
    ],
    ids=[
        "the rest", "the rest, chunked", "total not repeated", "R14 less than asked",
        "total not known before", "same date", "RFC 9110 15.3.7 date not repeated", "R09 a digest will judge",
    ],
)  # fmt: skip
def test_an_answer_that_fits_is_appended(part, head):
    assert plan(part, head) == BodyPlan(Action.APPEND, 60_000, 100_000, part.validator)


@pytest.mark.parametrize(
    ("part", "head"),
    [
        (replace(PART, offset=100_000), Head(416, total=100_000)),
        (replace(PART, offset=100_000, total=None), Head(416, total=100_000)),
        (replace(PART, offset=100_000), Head(416, total=100_000, etag='"v1"')),
        (replace(PART, offset=100_000, validator=None), Head(416, total=100_000, etag='"v1"')),
    ],
    ids=["R11 R19 total", "R11 total not known before", "R11 same tag", "R09 a digest will judge"],
)
def test_a_refused_range_may_mean_all_is_there(part, head):
    assert plan(part, head) == BodyPlan(Action.COMPLETE, 100_000, 100_000, part.validator)


# -- answers with the whole file ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "head", "expected"),
    [
        (PART, WHOLE, BodyPlan(Action.RESTART, 0, 100_000, '"v1"')),
        (PART, replace(WHOLE, etag='"v2"', length=7), BodyPlan(Action.RESTART, 0, 7, '"v2"')),
        (PART, Head(200, codings=("gzip",), length=9, etag='"v1"'), BodyPlan(Action.RESTART)),
        (PART, Head(200, chunked=True), BodyPlan(Action.RESTART)),
        (PART, Head(200, length=0), BodyPlan(Action.RESTART, 0, 0)),
        (PART, Head(200, etag='W/"v1"', length=5), BodyPlan(Action.RESTART, 0, 5)),
        (
            PART, Head(200, length=5, last_modified=LATER, date=NOV_6 + 60),
            BodyPlan(Action.RESTART, 0, 5, LATER),
        ),
        (
            PART, replace(WHOLE, range_start=0, range_end=99_999, total=100_000),
            BodyPlan(Action.RESTART, 0, 100_000, '"v1"'),
        ),
    ],
    ids=[
        "R01 range ignored", "R06 file changed", "R18 B19 encoded", "chunked", "B25 empty", "R08 weak tag",
        "strong date", "R16 a range that is the whole",
    ],
)  # fmt: skip
def test_a_whole_answer_starts_at_byte_0(part, head, expected):
    assert plan(part, head) == expected
    assert plan(NO_PART, head, asked_range=False) == expected


# -- answers that fit nothing ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "head"),
    [
        (PART, replace(REST, range_start=59_000, length=41_000)),
        (PART, replace(REST, range_start=59_000, length=None, chunked=True)),
        (PART, replace(REST, range_start=61_000, length=39_000)),
        (PART, replace(REST, range_start=0, length=100_000)),
        (PART, replace(REST, range_start=None, range_end=None, total=None)),
        (PART, replace(REST, range_start=None, range_end=None)),
        (PART, replace(REST, total=100_777, range_end=100_776, length=40_777)),
        (PART, replace(REST, etag='"v2"')),
        (PART, replace(REST, etag=None)),
        (PART, replace(REST, etag='W/"v1"')),
        (DATED, replace(REST, etag=None, last_modified="Mon, 07 Nov 1994 08:49:37 GMT")),
        (PART, replace(REST, content_type="multipart/byteranges", range_start=None, range_end=None)),
        (PART, replace(REST, codings=("gzip",))),
        (PART, replace(REST, length=39_999)),
        (PART, replace(REST, total=None, range_end=100_000, length=40_001)),
        (replace(PART, total=None), replace(REST, total=None)),
        (PART, replace(WHOLE, length=60_000, range_start=0, range_end=59_999, total=100_000)),
        (PART, replace(WHOLE, length=40_000, range_start=60_000, range_end=99_999, total=100_000)),
        (PART, replace(WHOLE, length=60_000, range_start=0, range_end=99_999, total=100_000)),
        (PART, replace(WHOLE, range_start=0, range_end=99_999)),
        (PART, Head(416, total=100_000)),
        (replace(PART, offset=100_500), Head(416, total=100_000)),
        (PART, Head(416)),
        (PART, NONE_LEFT),
        (replace(PART, total=60_000), replace(NONE_LEFT, etag='"v2"')),
        (replace(DATED, total=60_000), replace(NONE_LEFT, last_modified="Mon, 07 Nov 1994 08:49:37 GMT")),
    ],
    ids=[
        "R02 earlier", "R02 earlier, in chunks", "R02 later", "R02 from 0", "R03 no Content-Range",
        "R04 garbage", "R05 total changed",
        "R07 other tag", "R07 no tag", "R07 weak tag", "R07 other date", "R15 multipart", "R18 encoded",
        "length and range disagree", "R05 range past the total", "no total at all", "R16 first slice",
        "R16 last slice", "R16 slice of a whole range", "R16 no total", "R12 shorter than the file",
        "R12 longer than the file", "R13 no Content-Range", "R11 the file has shrunk to the part",
        "R11 other tag", "R11 other date",
    ],
)  # fmt: skip
def test_an_answer_that_does_not_fit_means_starting_again(part, head):
    with pytest.raises(RangeMismatch) as caught:
        plan(part, head)
    assert caught.value.retryable


@pytest.mark.parametrize(
    "head",
    [REST, replace(REST, range_start=0, range_end=49_999, length=50_000), NONE_LEFT,
     replace(WHOLE, length=50_000, range_start=0, range_end=49_999, total=100_000)],
    ids=["206", "B21 the first half", "416", "R16 200 with a slice"],
)  # fmt: skip
def test_a_range_that_was_not_asked_for_is_no_answer(head):
    with pytest.raises(ProtocolViolation):
        plan(NO_PART, head, asked_range=False)


@pytest.mark.parametrize("status", [204, 205])
def test_b25_no_content(status):
    with pytest.raises(WrongContent, match=str(status)) as caught:
        plan(PART, Head(status))
    assert caught.value.status_code == status


def test_b24_not_modified_answers_only_a_conditional_request():
    with pytest.raises(ProtocolViolation, match="304"):
        plan(PART, Head(304))


# -- properties -----------------------------------------------------------------------------------

OFFSETS = st.integers(0, 6)
MAYBE = st.none() | OFFSETS
TAGS = st.sampled_from([None, '"v1"', '"v2"', 'W/"v1"'])
PARTS = st.builds(PartInfo, st.integers(1, 6), st.sampled_from([None, '"v1"', LATER]), MAYBE, st.just("t"))
HEADS = st.builds(
    Head, st.sampled_from([200, 206, 416]), length=MAYBE, range_start=MAYBE, range_end=MAYBE, total=MAYBE,
    etag=TAGS, codings=st.sampled_from([(), ("gzip",)]),
)  # fmt: skip


@given(PARTS, HEADS, st.booleans())
def test_nothing_is_ever_spliced(part, head, asked_range):
    try:
        found = plan(part, head, asked_range)
    except TransferError:
        return
    if found.action is Action.APPEND:
        assert asked_range
        assert head.range_start == found.start == part.offset
        assert head.range_end < found.size
        assert found.size in (part.total, head.total)
        assert head.etag == part.validator or part.validator in (None, LATER)
        assert head.length in (None, head.range_end - head.range_start + 1)
    elif found.action is Action.COMPLETE:
        assert found.size == part.offset == head.total
    else:
        assert (found.action, found.start, head.status) == (Action.RESTART, 0, 200)
        assert found.size is None or found.size == head.length
