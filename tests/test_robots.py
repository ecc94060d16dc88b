"""robots.txt as RFC 9309 reads it."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.errors import UsageError
from bulkfetch.robots import MOST_BYTES, Robots

pytest.importorskip("protego")

RULES = """\
User-agent: *
Disallow: /private
Allow: /private/but-not-this
Disallow: /*.pdf$
Disallow: /search?
Disallow: //double
Crawl-delay: 2
"""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", True),
        ("/private", False),
        ("/private/x", False),
        ("/privateer", False),
        ("/private/but-not-this/x", True),
        ("/a.pdf", False),
        ("/a.pdf?x", True),
        ("/search", True),
        ("/search?q=1", False),
        ("/%70rivate", False),
        ("//double", False),
        ("/double", True),
        ("/robots.txt", True),
    ],
)
def test_paths(path, allowed):
    assert Robots(RULES).allows(path) is allowed


def test_the_longest_rule_wins_wherever_it_stands():
    for lines in (["Disallow: /a", "Allow: /a/b"], ["Allow: /a/b", "Disallow: /a"]):
        robots = Robots("\n".join(["User-agent: *", *lines]))
        assert not robots.allows("/a/c")
        assert robots.allows("/a/b/c")


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("User-agent: bulkfetch\nDisallow: /\n", False),
        ("User-agent: BulkFetch\nDisallow: /\n", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: bulkfetch\nAllow: /\n", True),
        ("User-agent: otherbot\nDisallow: /\n", True),
        ("User-agent: a\nUser-agent: bulkfetch\nDisallow: /\n", False),
        ("User-agent: *\nDisallow:\n", True),
        ("Disallow: /\n", True),
        ("<html>not found</html>", True),
        ("", True),
    ],
)
def test_groups(text, allowed):
    assert Robots(text).allows("/x") is allowed


@pytest.mark.parametrize(
    ("lines", "delay"),
    [
        ("Crawl-delay: 2", 2.0),
        ("Crawl-delay: 0.5", 0.5),
        ("Request-rate: 1/5", 5.0),
        ("Request-rate: 2/1m", 30.0),
        ("Crawl-delay: 2\nRequest-rate: 10/10", 2.0),
        ("Crawl-delay: 9999999", 86400.0),
        ("Crawl-delay: -1", None),
        ("Crawl-delay: soon", None),
        ("Crawl-delay: nan", None),
        ("Request-rate: 0/5", None),
        ("Disallow: /x", None),
    ],
)
def test_delay(lines, delay):
    assert Robots(f"User-agent: *\n{lines}\n").crawl_delay == delay


def test_a_delay_for_others_is_none_for_us():
    assert Robots("User-agent: otherbot\nCrawl-delay: 9\n").crawl_delay is None


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        (200, False),
        (206, False),
        (304, True),
        (401, True),
        (404, True),
        (429, True),
        (500, False),
        (None, False),
    ],
)
def test_answers(status, allowed):
    assert Robots.from_answer(status, b"User-agent: *\nDisallow: /\n").allows("/x") is allowed


def test_bytes_of_any_kind():
    assert not Robots.from_answer(
        200, b"\xef\xbb\xbfUser-agent: *\r\nDisallow: /\xff\r\nDisallow: /x"
    ).allows("/x")


def test_only_the_beginning_of_a_long_file_is_read():
    body = b"User-agent: *\n" + b"# \n" * (MOST_BYTES // 3) + b"Disallow: /\n"
    assert Robots.from_answer(200, body).allows("/x")


@given(st.text(), st.text())
def test_any_text_is_read(text, path):
    robots = Robots(f"User-agent: *\n{text}")
    assert robots.allows(f"/{path}") in (True, False)
    assert robots.crawl_delay is None or 0 < robots.crawl_delay <= 86400.0


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "protego", None)
    with pytest.raises(UsageError, match=r"obeying robots.txt needs protego: install bulkfetch\[robots\]"):
        Robots("")
