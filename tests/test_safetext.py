"""What may be shown, and what must not be stored."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkfetch.safetext import MASK, SECRET_PARAMS, clean, has_secret, host_of, redact, redact_url

ANY = st.text(st.characters(exclude_categories=()))  # lone surrogates too
SECRET = st.text("abcXYZ0189-._~!$'()*+,:@/?;%=", min_size=1).map(lambda text: f"s3cr3t{text}s3cr3t")
WORD = "s3cr3t"
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


# -- clean ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text: ~!", "plain text: ~!"),
        ("目录 é ñ 🎉", "目录 é ñ 🎉"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("ok\rfailed", r"ok\x0dfailed"),
        ("one\ntwo", r"one\x0atwo"),
        ("\x9b31m", r"\x9b31m"),
        ("\x7f\x00\t", r"\x7f\x00\x09"),
        ("exe\u202etxt.", r"exe\u202etxt."),
        ("a\u2066b\u061c", r"a\u2066b\u061c"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("a\u2028b", r"a\u2028b"),
        ("\ud800", r"\ud800"),
        ("a\U000e0041", r"a\U000e0041"),
    ],
    ids=[
        "plain", "other scripts", "L01 escape sequence", "L01 carriage return", "L02 newline", "L01 C1",
        "L01 controls", "N10 override", "N10 isolate", "N10 zero width", "L02 line separator",
        "I05 surrogate", "tag characters",
    ],
)  # fmt: skip
def test_clean(text, shown):
    assert clean(text) == shown


@given(ANY)
def test_nothing_unsafe_survives_clean(text):
    shown = clean(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(c) for c in shown} & BIDI
    shown.encode()
    assert clean(shown) == shown


@given(ANY, st.integers(1, 30))
@example("\x1b" * 40, 5)
def test_a_limit_holds_for_what_is_shown(text, limit):
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert shown == clean(text) or shown == clean(text)[: limit - 1] + "…"


def test_text_that_fits_is_not_cut():
    assert clean("12345", 5) == "12345"
    assert clean("123456", 5) == "1234…"


def test_a_long_text_is_not_read_to_its_end():
    class Long(str):
        def __getitem__(self, part):
            assert part.stop <= 11
            return "x" * part.stop

    assert clean(Long("x" * 1000), 10) == "x" * 9 + "…"


# -- redact ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("https://h/a?x=1&y=2#z", "https://h/a?x=1&y=2#z"),
        ("https://h/@scope/pkg@1.0", "https://h/@scope/pkg@1.0"),
        ("https://u:p@h/a", "https://h/a"),
        ("https://u@h", "https://h"),
        ("HTTPS://u:p@ss@h/a", "HTTPS://h/a"),
        ("https://h/a?token=abc", "https://h/a?token=***"),
        ("https://h/a?x=1&Token=abc&y=2", "https://h/a?x=1&Token=***&y=2"),
        ("https://h/a?X-Amz-Signature=ab&X-Amz-Date=1", "https://h/a?X-Amz-Signature=***&X-Amz-Date=1"),
        ("https://h/a?to%6Ben=abc", "https://h/a?to%6Ben=***"),
        ("https://h/a?token=", "https://h/a?token="),
        ("https://h/a?token", "https://h/a?token"),
        ("https://h/a?mytoken=1", "https://h/a?mytoken=1"),
        ("https://h/a?x=1;token=abc;y=2", "https://h/a?x=1;token=***"),
        ("https://h/a;jsessionid=abc?x=1", "https://h/a;jsessionid=***"),
        ("https://h/a#access_token=abc&x=1", "https://h/a#access_token=***&x=1"),
        ("https://h/a?sig=ab;cd?ef#gh&x=1", "https://h/a?sig=***&x=1"),
        ("https://h/?to=https%3A%2F%2Fg%2F%3Fsig%3Dab%26x%3D1&y=1", "https://h/?to=https%3A%2F%2Fg%2F%3Fsig%3D***&y=1"),
        ("https://h/a?sig=ab cd'ef\"gh", "https://h/a?sig=***"),
    ],
    ids=[
        "nothing secret", "an @ in the path", "userinfo", "user alone", "two @", "parameter", "among others",
        "upper case", "encoded name", "empty value", "no value", "another name", "separated by ;",
        "path parameter", "fragment", "separators in the value", "URL in a URL", "not a canonical URL",
    ],
)  # fmt: skip
def test_redact_url(url, redacted):
    assert redact_url(url) == redacted
    assert has_secret(url) is (url != redacted)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("no URL here, key=5; token=6", "no URL here, key=5; token=6"),
        ("from http://u:p@h/ to http://v:q@g/?sig=1 now", "from http://h/ to http://g/?sig=*** now"),
        ('"http://h/?token=a","http://u:p@g/"', '"http://h/?token=***","http://g/"'),
        ("<http://h/?token=it's> end", "<http://h/?token=***> end"),
        ("failed with url: /a?token=abc (by X)", "failed with url: /a?token=*** (by X)"),
        ("_http://u:p@h/ éhttps://u:p@g/", "_http://h/ éhttps://g/"),
    ],
    ids=["none", "several", "quoted", "an apostrophe in the value", "L03 a library's text", "no boundary"],
)
def test_redact(text, redacted):
    assert redact(text) == redacted


def spellings(name):
    """Return ways to write a parameter's name that servers read alike."""
    encoded = "".join(f"%{ord(c):02x}" for c in name)
    return [name, name.upper(), encoded, encoded.upper(), name[0] + encoded[3:]]


PLACES = [
    "?{}={}",
    "?x=1&{}={}&y=2",
    "?x=1;{}={}",
    ";{}={}",
    "#{}={}",
    "?a=b?{}={}",
    "?u=http%3A%2F%2Fh%2F%3F{}%3D{}",
]


def assert_removed(url):
    assert MASK in redact_url(url)
    assert WORD not in redact_url(url)
    assert WORD not in redact(f"the server said <{url}> and then {url}")


@pytest.mark.parametrize("name", sorted(SECRET_PARAMS))
@pytest.mark.parametrize("place", PLACES)
def test_a_planted_parameter_is_removed(name, place):
    for spelling in spellings(name):
        assert_removed(
            "https://example.org/a/b.csv" + place.format(spelling, f"{WORD};{WORD}?{WORD}={WORD}#{WORD}")
        )


@given(
    st.sampled_from(sorted(SECRET_PARAMS)).flatmap(lambda name: st.sampled_from(spellings(name))),
    st.sampled_from(PLACES),
    SECRET,
)
def test_any_planted_value_is_removed(name, place, secret):
    assert_removed("https://example.org/a/b.csv" + place.format(name, secret))


@given(SECRET, st.sampled_from(["{0}@", "user:{0}@", "{0}:@", "user:x@{0}@"]))
def test_planted_userinfo_is_removed(secret, form):
    secret = secret.translate(dict.fromkeys(map(ord, "/?"), None))  # these end the authority
    url = f"https://{form.format(secret)}example.org/a?x=1"
    assert redact_url(url) == "https://example.org/a?x=1"
    assert WORD not in redact(f"'{url}', then {url}.")


PIECES = st.sampled_from(
    ["://", "http://", "u:p@", "h", "/", "?", "&", ";", "#", "=", "token", "%3D", "%3f", "%26", "sig=1", " ",
     '"', "x", "***"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=14).map("".join) | ANY)
@example("://h;token=a/b&c@d")
def test_redacting_twice_changes_nothing_more(text):
    assert redact(redact(text)) == redact(text)
    assert redact_url(redact_url(text)) == redact_url(text)


@pytest.mark.parametrize(
    "text",
    ["://" * 20_000, "a.-+" * 15_000 + "://", "://" + "x@" * 30_000, "?a" * 30_000 + "=", ";" * 60_000 + "=",
     "%3" * 30_000, "?" + "a%3" * 20_000, "?token=" * 10_000, "&a=" * 20_000],
    ids=range(9),
)  # fmt: skip
def test_a_long_line_from_a_stranger_takes_no_time(text):
    started = time.process_time()
    redact(text)
    redact_url(text)
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://u:p@Example.org:8443/a", "example.org"),
        ("http://[::1]:80/", "::1"),
        ("http://[::1", ""),
        ("", ""),
        ("no url", ""),
        ("http://a\x1bb/", r"a\x1bb"),
    ],
)
def test_host_of(url, host):
    assert host_of(url) == host
