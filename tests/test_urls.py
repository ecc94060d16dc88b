"""URLs: what is refused, what is made canonical, what stays, and where redirects lead."""

from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bulkfetch import urls
from bulkfetch.errors import LineError
from bulkfetch.models import Origin
from bulkfetch.urls import join_redirect, join_url, origin_of, parse_url, split_userinfo

LONG_HOST = ".".join(["a" * 63] * 3 + ["a" * 61])  # 253 characters

CANONICAL = {
    "plain": "https://example.org/a/b.csv",
    "root": "http://h/",
    "port": "http://127.0.0.1:8080/x",
    "port of the other scheme": "http://h:443/",
    "highest port": "http://h:65535/",
    "query": "https://h/a?b=c&d=e;f",
    "two question marks": "http://h/a?b?c",
    "percent": "https://h/%7Euser/%e4%2f?x=%20",
    "reserved characters": "http://h/a:b@c!$&'()*+,;=~-._",
    "dot segments": "http://h/a/../b/./c",
    "empty segments": "http://h//a///b",
    "underscore": "http://my_bucket.example/",
    "dashes at the edges": "http://-a-.example/",
    "trailing dot": "http://example.org./",
    "punycode": "http://xn--bcher-kva.example/",
    "IPv6": "http://[2001:db8::1]/",
    "IPv6 and port": "http://[::1]:8080/x",
    "IPv6 with IPv4": "http://[::ffff:127.0.0.1]/",
    "userinfo": "http://user:pa%40ss@h/",
    "longest label": f"http://{'a' * 63}.org/",
    "longest host": f"http://{LONG_HOST}/",
}


@pytest.mark.parametrize("url", CANONICAL.values(), ids=CANONICAL)
def test_canonical_urls_stay_as_they_are(url):
    assert parse_url(url) == url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        pytest.param("HTTP://EXAMPLE.org/Path?Q", "http://example.org/Path?Q", id="case"),
        pytest.param("http://h:80/", "http://h/", id="default port"),
        pytest.param("https://h:443/x", "https://h/x", id="default TLS port"),
        pytest.param("http://h:0080/", "http://h/", id="port 0080"),
        pytest.param("http://h:08081/", "http://h:8081/", id="leading zero"),
        pytest.param("http://h:/x", "http://h/x", id="empty port"),
        pytest.param("http://h", "http://h/", id="no path"),
        pytest.param("http://h?x", "http://h/?x", id="query without path"),
        pytest.param("http://h/a#b?c", "http://h/a", id="fragment"),
        pytest.param("http://h#b", "http://h/", id="fragment without path"),
        pytest.param("  http://h/x \t", "http://h/x", id="I03 blanks around"),
        pytest.param("http://h/a b", "http://h/a%20b", id="space"),
        pytest.param("http://h/é?ü=€", "http://h/%C3%A9?%C3%BC=%E2%82%AC", id="UTF-8"),
        pytest.param("http://h/\u3000", "http://h/%E3%80%80", id="ideographic space"),
        pytest.param('http://h/"<>^`{|}', "http://h/%22%3C%3E%5E%60%7B%7C%7D", id="not allowed by RFC 3986"),
        pytest.param("http://h/é%e9", "http://h/%C3%A9%e9", id="mixed"),
        pytest.param("http://bücher.example/", "http://xn--bcher-kva.example/", id="IDNA"),
        pytest.param("http://BÜCHER。example/", "http://xn--bcher-kva.example/", id="IDNA dots"),
        pytest.param("http://[2001:DB8::1]:80/", "http://[2001:db8::1]/", id="IPv6"),
        pytest.param("http://@h/", "http://h/", id="empty userinfo"),
        pytest.param("http://ü:%zz@h/", "http://%C3%BC:%25zz@h/", id="userinfo"),
    ],
)
def test_urls_are_made_canonical(text, url):
    assert parse_url(text) == url
    assert parse_url(url) == url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        pytest.param("http://h/%s", "http://h/%25s", id="%s"),
        pytest.param("http://h/{0}", "http://h/%7B0%7D", id="{0}"),
        pytest.param("http://h/[1-3]", "http://h/%5B1-3%5D", id="[1-3]"),
        pytest.param("http://h/-o", "http://h/-o", id="dash"),
        pytest.param("http://h/%", "http://h/%25", id="lone percent"),
        pytest.param("http://h/%4", "http://h/%254", id="half a percent"),
    ],
)
def test_i11_patterns_are_taken_literally(text, url):
    assert parse_url(text) == url


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "no URL", id="empty"),
        pytest.param("   ", "no URL", id="blank"),
        pytest.param("http://", "no host", id="nothing after the scheme"),
        pytest.param("http:///path", "no host", id="three slashes"),
        pytest.param("http://:80/", "no host", id="port alone"),
        pytest.param("http://user@/", "no host", id="userinfo alone"),
        pytest.param("http://h:99999/", "the port 99999 is not between 1 and 65535", id="port 99999"),
        pytest.param("http://h:0/", "the port 0 is not between", id="port 0"),
        pytest.param("http://h:-1/", "the port is not a number", id="port -1"),
        pytest.param("http://h:" + "9" * 5000, "the port 9{12} is not", id="port of 5000 digits"),
        pytest.param("http://h:\uff18\uff10/", "the port is not a number", id="fullwidth port"),
        pytest.param("http://a..b/", "empty label", id="a..b"),
        pytest.param("http://.a/", "empty label", id=".a"),
        pytest.param("http://./", "empty label", id="dot alone"),
        pytest.param(f"http://{'a' * 64}.org/", "longer than 63", id="64-char label"),
        pytest.param(f"http://b.{LONG_HOST}/", "longer than 253", id="254-char host"),
        pytest.param("http://a%41/", "a character no host name may have", id="percent in host"),
        pytest.param("http://a*/", "a character no host name may have", id="star in host"),
        pytest.param("http://☃.example/", "not a valid international name", id="snowman"),
        pytest.param("http://℀/", "not a valid international name", id="character that maps to a/c"),
        pytest.param("http://é..b/", "not a valid international name", id="international a..b"),
        pytest.param(
            f"http://é{'a' * 63}/", "not a valid international name", id="international label too long"
        ),
    ],
)
def test_i01_bad_hosts_and_ports(text, reason):
    with pytest.raises(LineError, match=reason):
        parse_url(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("file:///etc/passwd", 'the scheme "file"', id="file"),
        pytest.param("ftp://h/", 'the scheme "ftp"', id="ftp"),
        pytest.param("data:,x", 'the scheme "data"', id="data"),
        pytest.param("javascript:alert(1)", 'the scheme "javascript"', id="javascript"),
        pytest.param("httpx://h/", 'the scheme "httpx"', id="httpx"),
        pytest.param("x" * 999 + ":", '^the scheme "x{20}"', id="endless"),
        pytest.param("http:/h/", '"//" is missing', id="one slash"),
        pytest.param("https:h", '"//" is missing', id="no slash"),
        pytest.param("//h/x", "does not begin with", id="no scheme"),
        pytest.param("www.example.org/x", "does not begin with", id="bare host"),
        pytest.param("localhost:8080/x", "does not begin with", id="host and port"),
        pytest.param("-rf", "does not begin with", id="I11 leading dash"),
    ],
)
def test_i02_other_schemes(text, reason):
    with pytest.raises(LineError, match=reason):
        parse_url(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("http://h/a\nb", r"control character \(U\+000A\)", id="LF"),
        pytest.param("http://h/a\rb", r"U\+000D", id="CR"),
        pytest.param("http://h/a\tb", r"U\+0009", id="tab"),
        pytest.param("http://h/\x00", r"U\+0000", id="NUL"),
        pytest.param("http://h/\x1b[31m", r"U\+001B", id="ESC"),
        pytest.param("http://h/\x85", r"U\+0085", id="C1"),
        pytest.param("ht\ntp://h/", r"U\+000A", id="LF in scheme"),
        pytest.param("http://h\n/", r"U\+000A", id="LF in host"),
        pytest.param("http://h/\ud800", "not valid text", id="I05 lone surrogate"),
        pytest.param("http://h/a http://h/b", "two URLs in one place", id="two URLs"),
        pytest.param("http://h/a  HTTPS://h/b", "two URLs in one place", id="two URLs and spaces"),
    ],
)
def test_i04_control_characters(text, reason):
    with pytest.raises(LineError, match=reason):
        parse_url(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(r"http://a\@b/", "a backslash", id="before @"),
        pytest.param(r"http://h/a\..\b", "a backslash", id="path"),
        pytest.param(r"http:\\h", "a backslash", id="for slashes"),
        pytest.param("http://a b/", "a space in the host name", id="space"),
        pytest.param("http://good.example @evil.example/", "a space in the host name", id="space before @"),
        pytest.param("http://a@b@c/", 'two "@"', id="two @"),
        pytest.param("http://h\xa0/", "not a valid international name", id="no-break space"),
    ],
)
def test_a12_parser_tricks(text, reason):
    with pytest.raises(LineError, match=reason):
        parse_url(text)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("[::1", id="open"),
        pytest.param("::1]", id="not opened"),
        pytest.param("[]", id="empty"),
        pytest.param("[:::1]", id="colons"),
        pytest.param("[1:2:3:4:5:6:7:8:9]", id="nine groups"),
        pytest.param("[::g]", id="no hex"),
        pytest.param("[::1]x", id="more after it"),
        pytest.param("[fe80::1%25eth0]", id="zone"),
        pytest.param("[::1.2.3.256]", id="bad IPv4"),
    ],
)
def test_a14_broken_ipv6(host):
    with pytest.raises(LineError, match=r"IPv6|port|no host"):
        parse_url(f"http://{host}/")


def test_reason_of_a_bad_port_tells_no_password():
    with pytest.raises(LineError) as caught:
        parse_url("http://user:secret/word@h/")
    assert "secret" not in str(caught.value)


def parse(text):
    """Return the URL and "", or "" and the reason why it is none."""
    try:
        return parse_url(text), ""
    except LineError as exc:
        return "", str(exc)


URL_TEXT = st.text(
    st.sampled_from("htps:/.@?#[]%-_~ \\\t\n\x00abZ019é。\u200b\ud800&=;|") | st.characters(), max_size=40
)
PLAUSIBLE = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["http://", "https://", "HTTP://"]),
        st.from_regex(r"[a-zA-Z0-9_.ü-]{1,12}(:[0-9]{0,5})?", fullmatch=True),
        st.sampled_from(["", "/", "?", "#"]),
        URL_TEXT,
    ),
)


@given(URL_TEXT | PLAUSIBLE)
@example("http://h:443/")
@example("https://h:443/")
@example("http://%/")
def test_parse_gives_a_canonical_url_or_a_printable_reason(text):
    url, reason = parse(text)
    assert reason.isprintable()
    assume(url)
    assert parse_url(url) == url
    assert re.fullmatch(r"https?://[!-~]+", url)
    assert "#" not in url
    assert origin_of(url) == origin_of(parse_url(url + "x"))


@given(
    st.from_regex(
        r"https?://([a-z0-9_-]{1,64}\.){0,3}[a-z0-9]{1,5}(:[0-9]{1,5})?/([a-zA-Z0-9%?&=+~.;@:/-]|%[0-9a-fA-F]{2}){0,30}",
        fullmatch=True,
    )
)
def test_fast_and_slow_path_agree(text):
    assume(urls._CANONICAL.fullmatch(text))
    assert urls._parse_slowly(text) == text


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        pytest.param("http://h/x", Origin("http", "h", 80), id="http"),
        pytest.param("https://h/x", Origin("https", "h", 443), id="https"),
        pytest.param("http://h:8080/x:1/@y", Origin("http", "h", 8080), id="port"),
        pytest.param("https://u:p@h:1/", Origin("https", "h", 1), id="userinfo"),
        pytest.param("http://[::1]/", Origin("http", "::1", 80), id="IPv6"),
        pytest.param("http://u@[::1]:8080/", Origin("http", "::1", 8080), id="IPv6, port and userinfo"),
    ],
)
def test_origin_of(url, origin):
    assert origin_of(url) == origin
    assert pickle.loads(pickle.dumps(origin_of(url))) == origin


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("http://h/@x", ("http://h/@x", None, None), id="@ in the path"),
        pytest.param("http://h/", ("http://h/", None, None), id="none"),
        pytest.param("http://u@h/", ("http://h/", "u", None), id="user"),
        pytest.param("http://u:@h/", ("http://h/", "u", ""), id="empty password"),
        pytest.param("http://:p@h/", ("http://h/", "", "p"), id="no user"),
        pytest.param("https://u:p%40%3A%2F:x@h:1/y?z@", ("https://h:1/y?z@", "u", "p@:/:x"), id="encoded"),
    ],
)
def test_a11_userinfo_is_lifted(url, expected):
    assert split_userinfo(url) == expected


# RFC 3986 section 5.4, whose base differs in scheme and fragment alone.
@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("g", "/b/c/g"), ("./g", "/b/c/g"), ("g/", "/b/c/g/"), ("/g", "/g"), ("?y", "/b/c/d;p?y"),
        ("g?y", "/b/c/g?y"), ("#s", "/b/c/d;p?q"), ("g#s", "/b/c/g"), ("g?y#s", "/b/c/g?y"),
        (";x", "/b/c/;x"), ("g;x", "/b/c/g;x"), ("", "/b/c/d;p?q"), (".", "/b/c/"), ("./", "/b/c/"),
        ("..", "/b/"), ("../", "/b/"), ("../g", "/b/g"), ("../..", "/"), ("../../", "/"),
        ("../../g", "/g"), ("../../../g", "/g"), ("/./g", "/g"), ("/../g", "/g"), ("g.", "/b/c/g."),
        (".g", "/b/c/.g"), ("..g", "/b/c/..g"), ("./../g", "/b/g"), ("./g/.", "/b/c/g/"),
        ("g/./h", "/b/c/g/h"), ("g/../h", "/b/c/h"), ("g;x=1/../y", "/b/c/y"),
        ("g?y/../x", "/b/c/g?y/../x"), ("a//b", "/b/c/a//b"),
    ],
)  # fmt: skip
def test_references_are_resolved(reference, target):
    assert join_url("http://a/b/c/d;p?q", reference) == f"http://a{target}"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        pytest.param("//other/x", "https://other/x", id="other host"),
        pytest.param("http://other:8080/x", "http://other:8080/x", id="absolute"),
        pytest.param("HTTP://Other:80", "http://other/", id="not canonical"),
        pytest.param("/x", "https://base:1/x", id="path"),
        pytest.param(" /x\t", "https://base:1/x", id="blanks around"),
        pytest.param("/a b", "https://base:1/a%20b", id="space"),
        pytest.param("https://u:p@other/", "https://other/", id="A11 userinfo"),
        pytest.param("/x#fragment", "https://base:1/x", id="fragment"),
        pytest.param("/é".encode().decode("latin-1"), "https://base:1/%C3%A9", id="UTF-8"),
        pytest.param("/\xe9\x85", "https://base:1/%E9%85", id="latin-1"),
        pytest.param("/é€", "https://base:1/%C3%A9%E2%82%AC", id="characters"),
        pytest.param(
            "http://bücher.example/".encode().decode("latin-1"),
            "http://xn--bcher-kva.example/",
            id="international",
        ),
        pytest.param("/%2e%2E/%zz", "https://base:1/%2e%2E/%25zz", id="percent"),
    ],
)
def test_redirects_are_resolved_without_userinfo(location, target):
    assert join_redirect("https://me:pw@base:1/a/b?c", location) == target


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        pytest.param("", "names no location", id="B24 empty"),
        pytest.param(" \t", "names no location", id="B24 blank"),
        pytest.param("file:///etc/passwd", 'scheme "file"', id="A06 file"),
        pytest.param("ftp://h/", 'scheme "ftp"', id="A06 ftp"),
        pytest.param("data:text/html,x", 'scheme "data"', id="A06 data"),
        pytest.param("javascript:alert(1)", 'scheme "javascript"', id="A06 javascript"),
        pytest.param("http://[::1", "IPv6", id="A14 IPv6"),
        pytest.param(f"http://{'a' * 64}/", "longer than 63", id="A14 label"),
        pytest.param("http://", "no host", id="no host"),
        pytest.param("//", "no host", id="two slashes"),
        pytest.param("http:///x", "no host", id="three slashes"),
        pytest.param("http:x", '"//" is missing', id="no slashes"),
        pytest.param(r"\\evil.example\x", "a backslash", id="A12 backslashes"),
        pytest.param(r"/\evil.example", "a backslash", id="A12 backslash"),
        pytest.param("/x\r\nSet-Cookie: a=b", "control character", id="I04 CRLF"),
        pytest.param("http://h\xff/", "a character no host name may have", id="host in latin-1"),
    ],
)
def test_redirects_that_are_refused(location, reason):
    with pytest.raises(LineError, match=reason):
        join_redirect("https://base/a", location)


@given(st.text(st.sampled_from("htps:/.@?#[]%x\\ \xe9\xc3\xa9"), max_size=20) | st.text())
def test_any_location_gives_a_canonical_url_or_a_line_error(location):
    try:
        url = join_redirect("https://u:p@base:1/a/b?c", location)
    except LineError:
        return
    assert parse_url(url) == url
    assert split_userinfo(url)[1] is None
