"""Which bytes are there, which are under way, and who gets what next."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.config import FetchConfig
from bulkfetch.errors import UsageError
from bulkfetch.models import PartInfo
from bulkfetch.segments import LEAST, SegmentMap, choose_piece, clip, count_ranges, joined

MB = 1024 * 1024


@pytest.mark.parametrize(
    ("left", "options", "ranges"),
    [
        (200 * MB, {}, 1),
        (200 * MB, {"segments": 4}, 4),
        (200 * MB, {"segments": 16}, 6),
        (200 * MB, {"segments": 16, "per_host": 16}, 16),
        (200 * MB, {"segments": 16, "per_host": 16, "jobs": 3}, 3),
        (3 * MB, {"segments": 6}, 3),
        (MB, {"segments": 6}, 1),
        (0, {"segments": 6}, 1),
        (200 * MB, {"segments": "auto"}, 6),
        (20 * MB, {"segments": "auto"}, 2),
        (15 * MB, {"segments": "auto"}, 1),
    ],
    ids=["default", "as asked", "the host's cap", "a higher cap", "few workers", "small", "tiny", "empty",
         "auto", "auto, two are worth it", "auto, too small"],
)  # fmt: skip
def test_how_many_ranges(left, options, ranges):
    assert count_ranges(left, FetchConfig(**options)) == ranges


@pytest.mark.parametrize(
    ("left", "ranges", "options", "piece"),
    [
        (320 * MB, 4, {}, 10 * MB),
        (10 * MB, 4, {}, MB),
        (320 * MB, 1, {}, 320 * MB),
        (320 * MB, 4, {"host_rate": 1.0}, 80 * MB),
        (0, 1, {}, LEAST),
    ],
    ids=["several each", "never less than", "one stream", "requests are counted", "nothing left"],
)
def test_bytes_of_one_request(left, ranges, options, piece):
    assert choose_piece(left, ranges, FetchConfig(**options)) == piece


@pytest.mark.parametrize("segments", [0, -1, "many", "4", 2.5, None])
def test_nonsense_is_refused(segments):
    with pytest.raises(UsageError, match="segments must"):
        FetchConfig(segments=segments).validate()


def test_pieces_are_handed_out_in_order_and_then_the_longest_is_halved():
    segments = SegmentMap([(0, 100)], 40, least=5)
    claims = [segments.claim() for _ in range(4)]
    assert [(claim.stored, claim.end) for claim in claims] == [(0, 20), (40, 80), (80, 100), (20, 40)]


def test_nothing_shorter_than_the_least_is_split_off():
    segments = SegmentMap([(0, 9)], 9, least=5)
    segments.claim()
    assert segments.claim() is None
    assert not segments.wants_more


def test_the_half_is_of_what_is_still_to_come():
    segments = SegmentMap([(0, 100)], 100, least=5)
    first = segments.claim()
    assert segments.reserve(first, 60) == 60
    second = segments.claim()
    assert (first.end, second.stored, second.end) == (80, 80, 100)


def test_bytes_on_their_way_into_the_file_are_nobody_elses():
    segments = SegmentMap([(0, 100)], 100, least=1)
    first = segments.claim()
    segments.reserve(first, 98)
    second = segments.claim()
    assert second.stored == 99
    assert segments.missing() == ((0, 100),)
    segments.store(first)
    assert segments.missing() == ((98, 100),)


def test_an_answer_stops_where_another_one_begins():
    segments = SegmentMap([(0, 100)], 50, least=5)
    first, second = segments.claim(), segments.claim()
    first.limit = 100  # as of an answer without a range
    assert segments.reserve(first, 60) == 50
    assert segments.left(first) == 0
    segments.store(first)
    segments.give_back(second)
    assert segments.left(first) == 50
    assert segments.reserve(first, 60) == 50


def test_an_answer_goes_no_further_than_was_asked_for():
    segments = SegmentMap([(0, 100)], 50, least=5)
    first, second = segments.claim(), segments.claim()
    segments.give_back(second)
    assert segments.left(first) == 50
    assert segments.reserve(first, 60) == 50


def test_what_was_not_stored_is_asked_for_again():
    segments = SegmentMap([(0, 100)], 50, least=5)
    first = segments.claim()
    segments.reserve(first, 30)
    segments.store(first)
    segments.reserve(first, 10)  # the write of these failed
    segments.give_back(first)
    assert segments.missing() == ((30, 100),)
    again = segments.claim()
    assert (again.stored, again.end) == (30, 80)


@pytest.mark.parametrize(
    ("size", "offset", "missing"),
    [
        (100, 10, ((10, 20), (60, 100))),
        (60, 10, ((10, 20), (60, 100))),
        (40, 10, ((10, 20), (40, 100))),
        (15, 10, ((10, 100),)),
        (5, 5, ((5, 100),)),
        (0, 0, ((0, 100),)),
    ],
    ids=["whole", "to the last gap", "cut after a gap", "cut in a gap", "cut before", "emptied"],
)
def test_a_part_that_was_cut(size, offset, missing):
    part = PartInfo(10, '"v"', 100, "t", ((10, 20), (60, 100)))
    assert clip(part, size) == PartInfo(offset, '"v"', 100, "t", missing)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=8))
def test_joined_gaps_cover_the_same_bytes(pairs):
    gaps = [(start, start + length) for start, length in pairs]
    found = joined(gaps)
    assert {byte for start, end in found for byte in range(start, end)} == {
        byte for start, end in gaps for byte in range(start, end)
    }
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))


STEPS = st.lists(
    st.tuples(st.sampled_from(["claim", "open", "read", "fail"]), st.integers(0, 7), st.integers(1, 40)),
    max_size=80,
)


@given(total=st.integers(1, 300), piece=st.integers(1, 300), least=st.integers(1, 20), steps=STEPS)
def test_every_byte_is_written_once_by_whoever_comes_and_goes(total, piece, least, steps):
    segments = SegmentMap([(0, total)], piece, least=least)
    written, claims = set(), []

    def read(claim, length):
        count = segments.reserve(claim, length)
        fresh = set(range(claim.taken - count, claim.taken))
        assert not fresh & written
        assert claim.taken <= claim.limit
        written.update(fresh)
        segments.store(claim)
        if not segments.left(claim):
            claims.remove(claim)
            segments.give_back(claim)

    for step, which, length in steps:
        if step in ("claim", "open"):
            before = segments.wants_more
            claim = segments.claim()
            assert (claim is not None) == before
            if claim is not None:
                claim.limit = total if step == "open" else claim.limit
                claims.append(claim)
        elif claims and step == "read":
            read(claims[which % len(claims)], length)
        elif claims:
            segments.give_back(claims.pop(which % len(claims)))
        missing = {byte for start, end in segments.missing() for byte in range(start, end)}
        assert missing | written == set(range(total))
        assert not missing & written
        assert segments.front(total) == min(missing, default=total)
    while claims or segments.wants_more:
        if not claims:
            claims.append(segments.claim())
        read(claims[0], 50)
    assert written == set(range(total))
    assert not segments.missing()
    assert not segments.is_busy
