"""Digest algorithms: names, lengths, order, and several at once."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.checksums import ALGORITHMS, Digests, is_hex_digest, new, parse_digest, strongest
from bulkfetch.errors import LineError, UsageError

EMPTY = {name: getattr(hashlib, name)(b"").hexdigest() for name in ALGORITHMS}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_table_holds_the_true_lengths(name):
    assert len(EMPTY[name]) == ALGORITHMS[name]
    assert new(name).hexdigest() == EMPTY[name]
    assert is_hex_digest(name, EMPTY[name])


def test_new_names_the_known_algorithms():
    with pytest.raises(UsageError, match=r"sha512, blake2b.*md5"):
        new("crc32")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("sha256", "a" * 63, id="short"),
        pytest.param("sha256", "a" * 65, id="long"),
        pytest.param("sha256", "g" * 64, id="no hex"),
        pytest.param("sha256", "é" * 64, id="no ASCII"),
        pytest.param("sha256", "a" * 63 + "\n", id="line end"),
        pytest.param("sha256", "", id="empty"),
        pytest.param("crc32", "a" * 8, id="unknown"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_is_hex_digest_is_strict(name, text):
    assert not is_hex_digest(name, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("sha256:" + "A" * 64, ("sha256", "a" * 64), id="named"),
        pytest.param("SHA-256: " + "a" * 64, ("sha256", "a" * 64), id="dashed"),
        pytest.param(" md5:" + "1" * 32 + " ", ("md5", "1" * 32), id="spaces"),
        pytest.param("blake2b:" + "0" * 128, ("blake2b", "0" * 128), id="blake2b"),
        pytest.param("a" * 32, ("md5", "a" * 32), id="bare md5"),
        pytest.param("a" * 40, ("sha1", "a" * 40), id="bare sha1"),
        pytest.param("A" * 64, ("sha256", "a" * 64), id="bare sha256"),
        pytest.param("a" * 128, ("sha512", "a" * 128), id="bare sha512"),
    ],
)
def test_parse_digest(text, expected):
    assert parse_digest(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("crc32:00000000", "not one of", id="unknown"),
        pytest.param(":" + "a" * 64, "not one of", id="no name"),
        pytest.param("sha256:abc", "the sha256 is not a whole digest", id="short"),
        pytest.param("abc", "the digest is not a whole digest", id="bare and short"),
        pytest.param("", "the digest is not a whole digest", id="empty"),
    ],
)
def test_parse_digest_refuses(text, reason):
    with pytest.raises(LineError, match=reason):
        parse_digest(text)


@given(st.text())
def test_parse_digest_gives_a_digest_or_a_line_error(text):
    try:
        name, digits = parse_digest(text)
    except LineError:
        return
    assert is_hex_digest(name, digits)
    assert digits == digits.lower()


def test_strongest_follows_the_table():
    pairs = [("md5", "1"), ("sha256", "2"), ("sha1", "3")]
    assert strongest(pairs) == ("sha256", "2")
    assert strongest([*pairs, ("sha512", "4")]) == ("sha512", "4")
    assert strongest([("crc32", "1")]) is None
    assert strongest([]) is None


def test_digests_take_every_kind_of_buffer():
    digests = Digests(["sha256", "md5", "sha256"])
    buffer = bytearray(b"xxhello")
    digests.update(memoryview(buffer)[2:4])
    digests.update(b"ll")
    digests.update(buffer[6:])
    assert digests.hexdigest("sha256") == hashlib.sha256(b"hello").hexdigest()
    assert digests.hexdigest("md5") == hashlib.md5(b"hello", usedforsecurity=False).hexdigest()


def test_digests_of_nothing_wanted():
    digests = Digests([])
    digests.update(b"x")
    with pytest.raises(KeyError):
        digests.hexdigest("sha256")
