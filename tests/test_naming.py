"""Destination names: portable, inside the folder, stable, and told apart."""

from __future__ import annotations

import os
import re
import unicodedata

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bulkfetch.errors import LineError, UnsafePath, UsageError
from bulkfetch.models import Entry
from bulkfetch.naming import (
    FIELDS,
    ancestors,
    checked_path,
    clean_segment,
    collision_key,
    identity,
    parse_layout,
    plan_path,
    split_ext,
    with_suffix,
)

DEVICES = [
    "con", "prn", "aux", "nul", "conin$", "conout$",
    *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"),
]  # fmt: skip
NASTY = st.text(
    st.sampled_from("./\\:~-_ \x00\x1b\n\u202e\u200d\ufeff\ud800\uffffeé\u0301\u0338ß<>|?*%2CONcon1.gz")
    | st.characters(),
    max_size=60,
)
LONG = st.text(st.sampled_from("aé字\U0001d4b3. "), min_size=60, max_size=400)
PATH_TEXT = st.text(
    st.sampled_from("./\\:~-_ \x00\n\u202e\u200d\u0301éaAbulkfetch%2F%2e%5C%00?#=&.gz") | st.characters(),
    max_size=60,
)
LAYOUTS = [
    "flat",
    "tree",
    "{host}/{stem}{ext}",
    "{dir}/x{name}",
    "{path}",
    "{index:06d}{ext}",
    "{column}/{name}",
]


def entry_of(url="http://h/x", **values):
    return Entry((url,), **values)


def assert_portable(segment):
    """Check by the rules as ext4, APFS and NTFS state them, not by our own expressions."""
    assert segment
    assert segment not in (".", "..")
    assert len(segment.encode()) <= 255
    assert unicodedata.is_normalized("NFC", segment)
    assert not set(segment) & set('<>:"/\\|?*')
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in segment)
    assert not any(unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF") for c in segment)
    assert segment[-1] not in ". "
    assert segment.partition(".")[0].rstrip(" ").casefold() not in DEVICES


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("data.tar.gz", "data.tar.gz", id="plain"),
        pytest.param("Ünï çödé 字.csv", "Ünï çödé 字.csv", id="letters"),
        pytest.param("../../evil", "_._.._evil", id="N01 traversal"),
        pytest.param("/etc/passwd", "_etc_passwd", id="N02 absolute"),
        pytest.param("..\\..\\evil", "_._.._evil", id="N03 backslash"),
        pytest.param("C:x", "C_x", id="N03 drive"),
        pytest.param("\\\\host\\share", "__host_share", id="N03 UNC"),
        pytest.param("a.txt:stream", "a.txt_stream", id="N03 stream"),
        pytest.param("%2e%2e%2f", "%2e%2e%2f", id="N04 never decoded"),
        pytest.param("", "_", id="N06 empty"),
        pytest.param(".", "_", id="N06 dot"),
        pytest.param("..", "_", id="N06 two dots"),
        pytest.param(" . . ", "_", id="N06 dots and spaces"),
        pytest.param("\u200b\u202e", "_", id="N06 nothing to see"),
        pytest.param(".bashrc", "_bashrc", id="N07 dotfile"),
        pytest.param(" .wgetrc", "_wgetrc", id="N07 dotfile after a space"),
        pytest.param("\u200b.wgetrc", "_wgetrc", id="N07 dotfile after a zero-width space"),
        pytest.param("-rf", "_-rf", id="N08 dash"),
        pytest.param("a\x00b\nc\x1b[31m\x85", "abc[31m", id="N09 controls"),
        pytest.param("a\ud800b\uffff", "ab", id="N09 surrogate and noncharacter"),
        pytest.param("\u202egpj.exe", "gpj.exe", id="N10 bidi"),
        pytest.param("a\u200b\u200d\u2066\ufeffb", "ab", id="N10 zero width"),
        pytest.param("e\u200b\u0301", "é", id="N10 zero width within a letter"),
        pytest.param("NUL.tar.gz", "_NUL.tar.gz", id="N11 device with extensions"),
        pytest.param("aux ", "_aux", id="N11 device and space"),
        pytest.param("con .txt", "_con .txt", id="N11 device, space, extension"),
        pytest.param("con:", "con_", id="N11 device and colon"),
        pytest.param("console", "console", id="N11 no device"),
        pytest.param("com10.txt", "com10.txt", id="N11 no port"),
        pytest.param("name. .", "name", id="N11 trailing dots and spaces"),
        pytest.param("e\u0301.txt", "é.txt", id="N14 NFD"),
        pytest.param(".bulkfetch", "_bulkfetch", id="N18 state folder"),
        pytest.param("BULKFE~1", "_BULKFE~1", id="N18 its short name"),
    ],
)
def test_clean_segment(name, expected):
    assert clean_segment(name) == expected
    assert_portable(expected)


@pytest.mark.parametrize("device", DEVICES)
def test_n11_devices_are_prefixed(device):
    for name in (device, device.upper(), f"{device}.txt", f"{device}.tar.gz"):
        assert clean_segment(name) == f"_{name}"


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        pytest.param("a" * 300, r"a{246}~[0-9a-f]{8}", id="ASCII"),
        pytest.param("é" * 128, r"é{123}~[0-9a-f]{8}", id="two bytes each"),
        pytest.param(
            "\U0001d4b3" * 100 + ".csv", r"\U0001d4b3{60}~[0-9a-f]{8}\.csv", id="four bytes each, extension"
        ),
        pytest.param("a" * 300 + ".tar.gz", r"a{239}~[0-9a-f]{8}\.tar\.gz", id="two extensions"),
        pytest.param("a." + "b" * 300, r"a\.b{244}~[0-9a-f]{8}", id="too long for an extension"),
        pytest.param("." + "a" * 300, r"_a{245}~[0-9a-f]{8}", id="dotfile"),
        pytest.param("con." + "a" * 300, r"_con\.a{241}~[0-9a-f]{8}", id="device"),
    ],
)
def test_n12_long_names_are_cut(name, ending):
    cut = clean_segment(name)
    assert re.fullmatch(ending, cut)
    assert_portable(cut)
    assert clean_segment(cut) == cut
    assert clean_segment(f"{name[:200]}x{name[200:]}") != cut


def test_n12_names_that_fit_are_not_cut():
    assert clean_segment("a" * 255) == "a" * 255
    assert clean_segment("é" * 127) == "é" * 127


@settings(max_examples=300)
@given(NASTY | LONG)
@example("con" + "\u0301")
@example("<\u0338")
@example("a" * 254 + "é")
def test_any_text_becomes_a_safe_segment(name):
    cleaned = clean_segment(name)
    assert_portable(cleaned)
    assert cleaned[0] not in ".-"
    assert clean_segment(cleaned) == cleaned
    assert checked_path(f"x/{cleaned}") == f"x/{cleaned}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("a", "a", id="name"),
        pytest.param("a/b/c.csv", "a/b/c.csv", id="folders"),
        pytest.param("a b/ c,(1)", "a b/ c,(1)", id="spaces"),
        pytest.param(".hidden/.x", ".hidden/.x", id="dotfiles, when asked for"),
        pytest.param("-x", "-x", id="dash, when asked for"),
        pytest.param("a/~", "a/~", id="tilde further in"),
        pytest.param("a/.bulkfetch", "a/.bulkfetch", id="reserved name further in"),
        pytest.param("e\u0301/x", "é/x", id="NFD becomes NFC"),
        pytest.param("می\u200cرود", "می\u200cرود", id="joiner a script needs"),
        pytest.param("a" * 255, "a" * 255, id="longest segment"),
        pytest.param("/".join(["a" * 249] * 16), "/".join(["a" * 249] * 16), id="longest path"),
    ],
)
def test_checked_path_takes(path, expected):
    assert checked_path(path) == expected


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("", "is empty", id="N06 empty"),
        pytest.param("/etc/passwd", "is absolute", id="N19 absolute"),
        pytest.param("//host/share", "is absolute", id="N19 UNC with slashes"),
        pytest.param("..", r'segment "\.\."', id="N19 parent"),
        pytest.param("../x", r'segment "\.\."', id="N19 traversal"),
        pytest.param("a/../../x", r'segment "\.\."', id="N19 traversal within"),
        pytest.param("a/..", r'segment "\.\."', id="N19 traversal at the end"),
        pytest.param("./a", r'segment "\."', id="N19 dot"),
        pytest.param("~/x", 'begins with "~"', id="N19 home"),
        pytest.param("~root/x", 'begins with "~"', id="N19 somebody's home"),
        pytest.param("C:/x", "drive", id="N19 drive"),
        pytest.param("c:x", "drive", id="N19 relative to a drive"),
        pytest.param("a\\..\\x", "backslash", id="N03 backslash"),
        pytest.param("\\\\host\\share", "backslash", id="N03 UNC"),
        pytest.param("a.txt:stream", 'has a ":"', id="N03 stream"),
        pytest.param("a//b", "empty segment", id="empty segment"),
        pytest.param("a/", "empty segment", id="folder"),
        pytest.param("a\x00", r"U\+0000", id="N09 NUL"),
        pytest.param("a\nb", r"U\+000A", id="N09 line end"),
        pytest.param("a\x1b[31m", r"U\+001B", id="N09 ESC"),
        pytest.param("a\ud800", r"U\+D800", id="N09 surrogate"),
        pytest.param("a\u202egpj.exe", r"U\+202E", id="N10 bidi"),
        pytest.param("a/nul.txt", "something else on Windows", id="N11 device"),
        pytest.param("a./b", "ends in a dot", id="N11 trailing dot"),
        pytest.param("a ", "ends in a dot or a space", id="N11 trailing space"),
        pytest.param("what?", r'has a "\?"', id="N11 question mark"),
        pytest.param("a" * 256, "longer than 255", id="N12 segment"),
        pytest.param("é" * 128, "longer than 255", id="N12 segment in bytes"),
        pytest.param("/".join(["a" * 249] * 16) + "/b", "longer than 4000", id="N12 path"),
        pytest.param(".bulkfetch", "reserved", id="N18 state folder"),
        pytest.param(".bulkfetch/journal.sqlite3", "reserved", id="N18 journal"),
        pytest.param(".BulkFetch/lock", "reserved", id="N18 case"),
        pytest.param(".bulk\u200dfetch/lock", "reserved", id="N18 ignorable character"),
        pytest.param(".bul\u212afetch/lock", "reserved", id="N18 Kelvin sign"),
        pytest.param("BULKFE~1/lock", "something else on Windows", id="N18 short name"),
    ],
)
def test_checked_path_refuses(path, reason):
    with pytest.raises(UnsafePath, match=reason):
        checked_path(path)


@pytest.mark.parametrize(
    ("url", "flat", "tree"),
    [
        pytest.param("https://h/a/b.csv", "b.csv", "h/a/b.csv", id="plain"),
        pytest.param("https://h:8443/b", "b", "h_8443/b", id="port"),
        pytest.param("http://[2001:db8::1]:8080/b", "b", "2001_db8__1_8080/b", id="IPv6"),
        pytest.param("http://u:p@h/b", "b", "h/b", id="userinfo"),
        pytest.param("http://h/", "index.html", "h/index.html", id="N06 root"),
        pytest.param("http://h/a/", "index.html", "h/a/index.html", id="N06 folder"),
        pytest.param("http://h/a//b", "b", "h/a/_/b", id="empty segment"),
        pytest.param("http://h/..", "_", "h/_", id="N06 dots"),
        pytest.param("http://h/a/../../x", "x", "h/a/_/_/x", id="N01 dot segments"),
        pytest.param("http://h/%2e%2e%2f%2e%2e%2fx", "_._.._x", "h/_._.._x", id="N04 %2F"),
        pytest.param("http://h/..%5C..%5Cx", "_._.._x", "h/_._.._x", id="N04 %5C"),
        pytest.param("http://h/a%252Fb", "a%2Fb", "h/a%2Fb", id="N04 decoded once"),
        pytest.param("http://h/x/%2e%2e/y", "y", "h/x/_/y", id="N04 encoded parent"),
        pytest.param("http://h/caf%C3%A9", "café", "h/café", id="N05 UTF-8"),
        pytest.param("http://h/caf%E9", "café", "h/café", id="N05 latin-1"),
        pytest.param("http://h/a%00b%0Ac", "abc", "h/abc", id="N09 controls"),
        pytest.param("http://h/~me/x", "x", "h/~me/x", id="home page"),
        pytest.param("http://h/~me", "_~me", "h/~me", id="N19 home"),
        pytest.param("http://h/.bulkfetch", "_bulkfetch", "h/_bulkfetch", id="N18 state folder"),
        pytest.param("http://h/a.desktop", "a.desktop", "h/a.desktop", id="N17 extension of the URL stays"),
    ],
)
def test_names_from_urls(url, flat, tree):
    assert plan_path(entry_of(url)) == flat
    assert plan_path(entry_of(url), "tree") == tree


@pytest.mark.parametrize(
    ("url", "name"),
    [
        pytest.param("http://h/t.csv?download=1", "t.csv", id="a file"),
        pytest.param("http://h/t.tar.gz?a=b", "t.tar.gz", id="two extensions"),
        pytest.param("http://h/items?page=2", "items_page=2", id="no extension"),
        pytest.param("http://h/download?id=5", "download_id=5", id="download"),
        pytest.param("http://h/get.php?f=a.pdf", "get.php_f=a.pdf", id="script"),
        pytest.param("http://h/v1.5?a=b", "v1.5_a=b", id="version, no extension"),
        pytest.param("http://h/a/?id=5", "index_id=5.html", id="folder"),
        pytest.param("http://h/items?", "items", id="empty query"),
        pytest.param("http://h/items?q=a%2Fb%3F", "items_q=a_b_", id="decoded once, then cleaned"),
        pytest.param("http://h/items?page=2&token=secret", "items", id="L03 credential"),
        pytest.param("http://h/items?X-Amz-Signature=abc", "items", id="L03 signature"),
    ],
)
def test_query_names_what_the_path_does_not(url, name):
    assert plan_path(entry_of(url)) == name


def test_n16_the_name_comes_from_the_first_url_alone():
    assert plan_path(Entry(("http://h/a.zip", "http://mirror/.wgetrc"))) == "a.zip"


def test_explicit_path_wins_over_every_layout():
    for layout in LAYOUTS:
        assert plan_path(entry_of(path="e\u0301/x.csv"), layout) == "é/x.csv"
    with pytest.raises(UnsafePath):
        plan_path(entry_of(path="../x"))


@pytest.mark.parametrize("url", ["", "h/x", "ftp://h/x", "http:/h"])
def test_urls_that_are_none_are_line_errors(url):
    with pytest.raises(LineError):
        plan_path(entry_of(url))


@pytest.mark.parametrize(
    ("layout", "path"),
    [
        pytest.param("{name}", "d.tar.gz", id="name"),
        pytest.param("{host}/{stem}{ext}", "h.org/d.tar.gz", id="stem and ext"),
        pytest.param("{scheme}/{port}/{name}", "https/8443/d.tar.gz", id="scheme and port"),
        pytest.param("{path}", "a_b/c%2F/d.tar.gz", id="path"),
        pytest.param("{dir}/{index:04d}-{name}", "a_b/c%2F/0007-d.tar.gz", id="dir and index"),
        pytest.param("{index}", "7", id="index"),
        pytest.param("{sha256}{ext}", "ab" * 32 + ".tar.gz", id="sha256"),
        pytest.param("{name:.1}", "d", id="cut"),
        pytest.param("{station}/{year}", "K_ln_Süd/2024", id="columns"),
        pytest.param("{Meta.id}", "7.5", id="column with a dot"),
        pytest.param("{up}/x", "_/x", id="N01 column that leads up"),
        pytest.param("{up}{up}/x", "_/x", id="N01 columns that lead up together"),
        pytest.param(".{state}/x", "_bulkfetch/x", id="N18 column that makes the state folder"),
        pytest.param("{device}{ext}", "_nul.tar.gz", id="N11 column that makes a device"),
        pytest.param("{home}/x", "_~root/x", id="N19 column that makes a home"),
        pytest.param(".cache/{name}", ".cache/d.tar.gz", id="dotfile of the user's own"),
        pytest.param("a/{{{name}}}", "a/{d.tar.gz}", id="braces"),
    ],
)
def test_templates(layout, path):
    columns = {"station": "K/ln\\Süd", "year": 2024, "Meta.id": 7.5}
    columns |= {"up": "..", "state": "bulkfetch", "device": "nul", "home": "~root"}
    entry = entry_of(
        "https://h.org:8443/a%2Fb/c%252F/d.tar.gz", digests=(("sha256", "ab" * 32),), extra=columns
    )
    assert plan_path(entry, layout, 7) == path
    assert checked_path(path) == path


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        pytest.param("{other}", 'column "other", which this entry does not have', id="missing"),
        pytest.param("{empty}", "no text or number", id="empty"),
        pytest.param("{none}", "no text or number", id="null"),
        pytest.param("{list}", "no text or number", id="list"),
        pytest.param("{bool}", "no text or number", id="boolean"),
        pytest.param("{sha256}", "declares none", id="no digest"),
        pytest.param("{dir}", "an empty path", id="no folder"),
    ],
)
def test_a_template_may_need_what_an_entry_lacks(layout, reason):
    entry = entry_of(
        digests=(("md5", "0" * 32),), extra={"empty": "", "none": None, "list": ["a"], "bool": True}
    )
    with pytest.raises(LineError, match=reason):
        plan_path(entry, layout)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        pytest.param("", "empty segment", id="empty"),
        pytest.param("flatt", "no field", id="misspelt"),
        pytest.param("{", "'{'", id="open"),
        pytest.param("}", "'}'", id="closed"),
        pytest.param("{}", "no name", id="no name"),
        pytest.param("{name!r}", "conversion", id="conversion"),
        pytest.param("{name:>99}", "format", id="format"),
        pytest.param("{index:0999999999d}", "format", id="huge index"),
        pytest.param("{name:{index}}", "format", id="nested"),
        pytest.param("/{name}", "empty segment", id="absolute"),
        pytest.param("{host}/", "empty segment", id="folder"),
        pytest.param("a//{name}", "empty segment", id="empty segment"),
        pytest.param("../{name}", r'segment "\.\."', id="parent"),
        pytest.param("~/{name}", '"~"', id="home"),
        pytest.param("C:/{name}", "drive", id="drive"),
        pytest.param("a\\{name}", r'has a "\\"', id="backslash"),
        pytest.param("con/{name}", "Windows", id="device"),
        pytest.param("{name}?", r'has a "\?"', id="question mark"),
        pytest.param("a\n/{name}", r"U\+000A", id="line end"),
        pytest.param(".bulkfetch/{name}", "reserved", id="state folder"),
    ],
)
def test_broken_templates_are_refused_with_the_fields(template, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        parse_layout(template)
    assert all(f"{{{field}}}" in str(caught.value) for field in FIELDS)
    with pytest.raises(UsageError):
        plan_path(entry_of(), template)


@pytest.mark.parametrize("template", LAYOUTS)
def test_good_templates_pass(template):
    assert parse_layout(template) == parse_layout(template)


def test_a_derived_path_leaves_room_for_a_suffix():
    longest = plan_path(entry_of("http://h/" + "a/" * 1993 + "bcd"), "tree")
    assert len(longest) == 3991
    assert checked_path(with_suffix(longest, b"key!")) == f"{longest}~6b657921"
    with pytest.raises(UnsafePath, match="longer than 3991"):
        plan_path(entry_of("http://h/" + "a/" * 1993 + "bcde"), "tree")


@settings(max_examples=300)
@given(PATH_TEXT, st.sampled_from(LAYOUTS), NASTY)
def test_n20_no_entry_leaves_the_folder(tmp_path_factory, rest, layout, column):
    try:
        path = plan_path(entry_of(f"http://h/{rest}", extra={"column": column}), layout, 3)
    except LineError:
        return
    root = os.path.realpath(tmp_path_factory.getbasetemp())
    inside = os.path.realpath(os.path.join(root, path))  # noqa: PTH118 - pathlib would hide what open() sees
    assert os.path.commonpath([root, inside]) == root != inside
    assert inside.removeprefix(root) == os.sep + path.replace("/", os.sep)
    assert checked_path(path) == path
    for segment in path.split("/"):
        assert_portable(segment)


@given(PATH_TEXT)
def test_checked_path_gives_a_path_inside_or_refuses(text):
    try:
        path = checked_path(text)
    except UnsafePath:
        return
    assert checked_path(path) == path
    assert path == unicodedata.normalize("NFC", text)
    for segment in path.split("/"):
        assert_portable(segment)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("A.txt", "a.txt", id="case"),
        pytest.param("é", "e\u0301", id="NFC and NFD"),
        pytest.param("É", "e\u0301", id="case and form"),
        pytest.param("straße", "STRASSE", id="ß"),
        pytest.param("ﬁle", "FILE", id="ligature"),
        pytest.param("Σ", "ς", id="final sigma"),
        pytest.param("a.", "a", id="trailing dot"),
        pytest.param("a /b. .", "A/b", id="trailing dots and spaces of every segment"),
        pytest.param("a\u200db", "ab", id="joiner"),
        pytest.param("\u1fb3", "\u0391\u0345", id="iota subscript"),
    ],
)
def test_n14_names_that_some_file_system_takes_for_one(one, other):
    assert collision_key(one) == collision_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("a", "b", id="letters"),
        pytest.param("a/b", "ab", id="folder"),
        pytest.param("é", "e", id="accent"),
        pytest.param("a.b", "ab", id="inner dot"),
        pytest.param("a b", "ab", id="inner space"),
    ],
)
def test_n14_names_that_differ_everywhere(one, other):
    assert collision_key(one) != collision_key(other)


@given(NASTY)
def test_n14_collision_key_is_stable(text):
    key = collision_key(text)
    assert collision_key(key) == key
    assert collision_key(unicodedata.normalize("NFD", text)) == key
    assert collision_key(text.casefold()) == key


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("a/b.csv", "a/b~01020304.csv", id="extension"),
        pytest.param("b.tar.gz", "b~01020304.tar.gz", id="two extensions"),
        pytest.param("a.b/c", "a.b/c~01020304", id="dot in a folder"),
        pytest.param(".bashrc", ".bashrc~01020304", id="dotfile"),
        pytest.param("é" * 127, "é" * 118 + "~XXXXXXXX~01020304", id="N12 as long as can be"),
    ],
)
def test_n13_with_suffix(path, expected):
    suffixed = with_suffix(path, bytes(range(1, 17)))
    assert re.sub("~[0-9a-f]{8}~", "~XXXXXXXX~", suffixed) == expected


@given(NASTY | LONG, st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_n13_suffixed_names_are_safe_and_differ(name, key, other):
    path = f"x/{clean_segment(name)}"
    suffixed = with_suffix(path, key)
    assert checked_path(suffixed) == suffixed
    assert with_suffix(path, key) == suffixed != path
    assume(key[:4] != other[:4])
    assert collision_key(with_suffix(path, other)) != collision_key(suffixed)


def test_n13_long_names_stay_apart_once_suffixed():
    names = [f"{'a' * 240}{number:010}.csv" for number in range(50)]
    assert len({with_suffix(name, b"same key") for name in names}) == 50


def test_i10_identity_is_url_and_destination():
    key = identity("http://h/x", "a")
    assert (len(key), key) == (16, identity("http://h/x", "a"))
    assert (
        len({key, identity("http://h/x", "b"), identity("http://h/y", "a"), identity("http://h/xa", "")}) == 4
    )
    assert identity("http://h/x", "\ud800") != key


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a", ()), ("a/b", ("a",)), ("a/b/c.csv", ("a", "a/b"))],
    ids=["top", "one", "two"],
)
def test_n15_ancestors(path, expected):
    assert ancestors(path) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", ("a", ".csv")),
        ("a.tar.gz", ("a", ".tar.gz")),
        ("a.TAR.xz", ("a", ".TAR.xz")),
        ("a.b.csv", ("a.b", ".csv")),
        (".tar.gz", (".tar", ".gz")),
        (".bashrc", (".bashrc", "")),
        ("a", ("a", "")),
        ("a.", ("a.", "")),
        ("a.b c", ("a.b c", "")),
        ("a." + "b" * 17, ("a." + "b" * 17, "")),
    ],
)
def test_split_ext(name, expected):
    assert split_ext(name) == expected
