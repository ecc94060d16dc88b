"""Content codings undone, bounded, and only to their own end."""

from __future__ import annotations

import contextlib
import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch import codings
from bulkfetch.codings import Decoder, choose_decoder
from bulkfetch.errors import DecodeFailed, ProtocolViolation, TooLarge

TEXT = b"station,value\n" * 20_000
STEP = 256 * 1024
WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 15, "raw": -15}


def coded(data, form):
    compressor = zlib.compressobj(9, zlib.DEFLATED, WBITS[form])
    return compressor.compress(data) + compressor.flush()


def coding_of(form):
    return "deflate" if form == "raw" else form


def decoded(decoder, data, size=1000):
    """Return what `data`, arriving `size` bytes at a time, decodes to."""
    pieces = [piece for i in range(0, len(data), size) for piece in decoder.decode(data[i : i + size])]
    decoder.finish()
    return b"".join(pieces)


forms = pytest.mark.parametrize("form", WBITS)


@forms
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_each_coding_is_undone(form, size):
    assert decoded(Decoder(coding_of(form)), coded(TEXT, form), size) == TEXT


@forms
def test_an_empty_body_that_is_coded(form):
    assert decoded(Decoder(coding_of(form)), coded(b"", form)) == b""


@forms
@pytest.mark.parametrize("extra", [0, 1, 100, 258, 259])
def test_a_body_that_ends_just_after_a_full_piece(form, extra):
    """All input may be taken in while output is still to come; raw deflate has no trailer to wait for."""
    data = b"a" * (STEP + extra)
    assert decoded(Decoder(coding_of(form)), coded(data, form), 1 << 20) == data


@given(st.binary(max_size=3000), st.sampled_from(list(WBITS)), st.integers(1, 500))
def test_any_body_in_any_pieces(data, form, size):
    assert decoded(Decoder(coding_of(form)), coded(data, form), size) == data


@forms
def test_b16_a_body_cut_short_is_not_whole(form):
    data = coded(TEXT, form)
    decoder = Decoder(coding_of(form))
    with pytest.raises(DecodeFailed, match="ends before its end mark"):
        decoded(decoder, data[: len(data) // 2])


@pytest.mark.parametrize("form", ["gzip", "deflate"])
def test_b16_even_one_byte_short(form):
    with pytest.raises(DecodeFailed):
        decoded(Decoder(form), coded(TEXT, form)[:-1])


def test_b16_no_body_at_all():
    with pytest.raises(DecodeFailed):
        Decoder("gzip").finish()


@pytest.mark.parametrize(
    "data",
    [TEXT, gzip.compress(TEXT)[:-5] + b"\0\0\0\0\0", gzip.compress(TEXT)[:20] + b"\xff" * 40, b"<html>"],
    ids=["plain bytes", "wrong checksum", "damaged", "a page"],
)
def test_b17_damage_is_one_clean_error(data):
    with pytest.raises(DecodeFailed):
        decoded(Decoder("gzip"), data)


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_b17_no_bytes_break_it_otherwise(data, coding):
    with contextlib.suppress(DecodeFailed):
        decoded(Decoder(coding), data, 50)


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_gzip_body_may_have_several_members(size):
    assert decoded(Decoder("gzip"), gzip.compress(b"one") + gzip.compress(b"two"), size) == b"onetwo"


@pytest.mark.parametrize("cut", [1, 10, 22])
def test_b16_a_further_member_must_end_too(cut):
    second = gzip.compress(b"two")
    with pytest.raises(DecodeFailed):
        decoded(Decoder("gzip"), gzip.compress(b"one") + second[:cut])


@pytest.mark.parametrize("form", ["deflate", "raw"])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_nothing_may_follow_a_deflate_body(form, size):
    with pytest.raises(DecodeFailed, match="follow"):
        decoded(Decoder("deflate"), coded(b"one", form) + b"more", size)


def test_x01_a_bomb_comes_in_small_pieces():
    sizes = [len(piece) for piece in Decoder("gzip").decode(coded(bytes(10 * STEP), "gzip"))]
    assert sum(sizes) == 10 * STEP
    assert max(sizes) <= STEP


def test_x01_a_bomb_is_stopped(monkeypatch):
    monkeypatch.setattr(codings, "_RATIO_FROM", 4 * STEP)
    bomb = coded(bytes(64 * STEP), "gzip")
    pieces = Decoder("gzip").decode(bomb)
    most = [next(pieces) for _ in range(len(bomb) * 200 // STEP)]
    assert max(map(len, most)) <= STEP
    with pytest.raises(TooLarge, match="200 times"):
        list(pieces)


def test_x01_an_honest_large_body_is_not(monkeypatch):
    monkeypatch.setattr(codings, "_RATIO_FROM", STEP)
    data = random.Random(1).randbytes(4 * STEP)
    assert decoded(Decoder("gzip"), coded(data, "gzip"), STEP) == data


# -- which ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "path", "is_undone"),
    [
        ((), "a.csv", False),
        (("gzip",), "a.csv", True),
        (("x-gzip",), "a", True),
        (("deflate",), "a.csv", True),
        (("gzip",), "a.csv.gz", False),
        (("x-gzip",), "sub/A.TGZ", False),
        (("gzip",), "map.svgz", False),
        (("gzip",), "gz", True),
        (("deflate",), "a.gz", True),
    ],
    ids=[
        "none", "gzip", "x-gzip", "deflate", "B18 .gz", "B18 .tgz", "B18 .svgz", "no ending", "deflated .gz",
    ],
)  # fmt: skip
def test_choose_decoder(names, path, is_undone):
    assert (choose_decoder(names, path) is not None) is is_undone


@pytest.mark.parametrize(
    "names", [("bogus",), ("br",), ("gzip",) * 6, ("gzip", "deflate"), ("aws-chunked",)], ids=str
)
@pytest.mark.parametrize("path", ["a.csv", "a.gz"])
def test_b20_other_codings_and_chains_are_refused(names, path):
    with pytest.raises(ProtocolViolation, match="not asked for"):
        choose_decoder(names, path)


def test_b30_a_coding_is_shown_escaped_and_short():
    with pytest.raises(ProtocolViolation) as caught:
        choose_decoder(("\x1b]0;x\x07" + "y" * 500,), "a")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 120
