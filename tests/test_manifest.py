"""Manifests: every format, what is tolerated, what is refused with its line, and laziness."""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import json
import os
import pathlib
import pickle
import sys
import threading
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkfetch.errors import ManifestError
from bulkfetch.manifest import EXTENSIONS, READERS, as_entries, read_manifest, read_urls
from bulkfetch.manifest.lines import LINE_LIMIT
from bulkfetch.models import BadLine, Entry, Request
from bulkfetch.safetext import clean

SHA256 = "ab" * 32
A, B, C = "http://h/a", "http://h/b", "http://h/c"


def read(content, **options):
    """Read a manifest given as text or bytes."""
    return list(
        read_manifest(io.BytesIO(content.encode() if isinstance(content, str) else content), **options)
    )


def urls(found):
    """Return the first URL of each entry, and the line number of each bad line."""
    return [one.urls[0] if isinstance(one, Entry) else one.line for one in found]


def only(found):
    """Return the one entry or bad line there is."""
    assert len(found) == 1
    return found[0]


def lines_of(found):
    return [one.line for one in found]


class Trickle(io.RawIOBase):
    """A raw stream that gives each chunk by itself, as a pipe does."""

    def __init__(self, chunks):
        self.chunks = iter(chunks)

    def readable(self):
        return True

    def readinto(self, buffer):
        chunk = next(self.chunks, b"")
        buffer[: len(chunk)] = chunk
        return len(chunk)


# Text


def test_text_lines_comments_and_blanks():
    found = read(f"# a list\n\n{A}\n  # more\n \t \n{B}\n", format="txt")
    assert urls(found) == [A, B]
    assert lines_of(found) == [3, 6]
    assert found[0] == Entry((A,), source="stream", line=3)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f"\ufeff{A}\n{B}", id="BOM"),
        pytest.param(f"{A}\r\n{B}\r\n", id="CRLF"),
        pytest.param(f"  {A}\t\n\t {B}  \n", id="blanks around"),
        pytest.param(f"{A}\n\n\n{B}", id="no last line end"),
        pytest.param(f"{A}\n\ufeff{B}\n", id="BOM of a file put behind another"),
        pytest.param(f"{A}\n{B}\n".encode("utf-16"), id="UTF-16"),
        pytest.param(codecs.BOM_UTF16_BE + f"{A}\r\n{B}".encode("utf-16-be"), id="UTF-16, big endian"),
        pytest.param(gzip.compress(f"{A}\n{B}\n".encode()), id="gzip"),
        pytest.param(
            gzip.compress(f"{A}\n".encode()) + gzip.compress(f"{B}\n".encode()), id="two gzip members"
        ),
        pytest.param(gzip.compress(f"{A}\n{B}".encode()) + b"\0" * 9, id="padded gzip"),
        pytest.param(gzip.compress(f"{A}\n{B}".encode("utf-16")), id="UTF-16 in gzip"),
    ],
)
def test_i03_what_is_tolerated(content):
    assert urls(read(content)) == [A, B]


def test_text_mirrors_are_separated_by_tabs():
    found = read(f"{A}\t{B} \t\t {A}\t\n{C}\n")
    assert [entry.urls for entry in found] == [(A, B), (C,)]


def test_text_is_made_canonical():
    assert urls(read("HTTP://H:80/ä b#x\n")) == ["http://h/%C3%A4%20b"]


def test_i01_bad_rows_among_good_ones():
    rows = [
        A,
        "http://",
        "http://h:99999/",
        "http://a..b/",
        f"http://{'a' * 64}/",
        "file:///x",
        B,
        "http://[::1",
    ]
    found = read("\n".join(rows))
    assert urls(found) == [A, 2, 3, 4, 5, 6, B, 8]
    assert all(
        one.reason and one.text and one.source == "stream" for one in found if isinstance(one, BadLine)
    )


def test_i04_control_characters_refuse_the_row():
    found = read(
        b"http://h/\x00\nhttp://h/a\rb\nhttp://h/\x1b[31m\nhttp://h/\x0b\nhttp://h/ok\n", format="txt"
    )
    assert urls(found) == [1, 2, 3, 4, "http://h/ok"]
    assert all(one.text.isprintable() for one in found[:4])


def test_i05_lines_that_are_not_utf8():
    found = read(b"http://h/a\nhttp://h/\xe9\nhttp://h/b\nhttp://h/\xed\xa0\x80\nhttp://h/c")
    assert urls(found) == [A, 2, B, 4, C]
    assert found[1] == BadLine("stream", 2, "the line is not UTF-8", r"http://h/\xe9")


def test_lone_surrogates_of_utf16_refuse_the_row():
    found = read(codecs.BOM_UTF16_LE + f"{A}\nhttp://h/\ud800\n{B}".encode("utf-16-le", "surrogatepass"))
    assert urls(found) == [A, 2, B]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("http://u:p:w@h:x/", "http://h:x/", id="L03 login"),
        pytest.param("http://u:p/w@h@i/", "http://i/", id="L03 login that does not parse"),
        pytest.param("ftp://h/?token=abc&x=1", "ftp://h/?token=***&x=1", id="L03 token"),
        pytest.param("ftp://h/\x1b]0;x", "ftp://h/\\x1b]0;x", id="L01 escape sequence"),
        pytest.param('{"header.Authorization": "Bearer abc", x}', "", id="L03 header"),
        pytest.param("x" * 300, "x" * 119 + "…", id="long"),
    ],
)
def test_bad_lines_are_safe_to_show(line, shown):
    assert only(read(line, format="jsonl" if line.startswith("{") else "txt")).text == shown


# Bounds


@pytest.mark.parametrize("size", [1, 7, 1000, 65536], ids=lambda size: f"chunks of {size}")
def test_i08_a_line_over_the_cap_is_one_bad_line(size):
    content = b"\n".join([A.encode(), b"http://h/" + b"x" * LINE_LIMIT, B.encode(), b"y" * 3 * LINE_LIMIT])
    chunks = [content[at : at + size] for at in range(0, len(content), size)]
    found = list(read_manifest(Trickle(chunks)))
    assert urls(found) == [A, 2, B, 4]
    assert found[1].reason == "the line is longer than 64 KiB"
    assert found[1].text.startswith("http://h/xxx")


def test_i08_a_line_at_the_cap_is_read():
    url = "http://h/" + "x" * (LINE_LIMIT - 9)
    assert urls(read(f"{url}\n{url}x\n{url}")) == [url, 2, url]


def test_i08_endless_line_and_endless_manifest_take_flat_memory():
    def endless():
        yield from [b"x" * 65536] * 400
        yield b"\n"
        for number in itertools.count():
            yield b"".join(b"http://h/%d\n" % (number * 1000 + at) for at in range(1000))

    tracemalloc.start()
    try:
        found = read_manifest(Trickle(endless()))
        assert next(found).line == 1
        assert sum(1 for _ in itertools.islice(found, 20000)) == 20000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_gzip_bomb_takes_flat_memory():
    bomb = gzip.compress(b"x" * 30_000_000 + b"\n" + A.encode())
    tracemalloc.start()
    try:
        found = read(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert urls(found) == [1, A]
    assert peak < 2_000_000


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"# nothing\n", codecs.BOM_UTF8, gzip.compress(b"")],
    ids=["no byte", "blank lines", "comment", "BOM", "gzip"],
)
@pytest.mark.parametrize("name", [None, *READERS])
def test_nothing_in_a_manifest_is_no_error(content, name):
    assert read(content, format=name) == []


# Laziness


def first_of_pipe(sent, **options):
    """Return what a manifest yields first while its pipe stays open, None if it waits for more."""
    reading, writing = os.pipe()
    found = []
    with os.fdopen(reading, "rb") as stream:
        try:
            os.write(writing, sent)
            thread = threading.Thread(
                target=lambda: found.append(next(read_manifest(stream, **options))), daemon=True
            )
            thread.start()
            thread.join(30)
            result = found[0] if found else None
        finally:
            os.close(writing)
        thread.join(30)
    return result


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(f"{A}\n", id="text"),
        pytest.param(f"\n# comment\n{A}\nhttp://h/unfinish", id="text after a comment"),
        pytest.param(f'{{"url": "{A}"}}\n', id="jsonl"),
        pytest.param(f"id,url\n1,{A}\n", id="csv"),
        pytest.param(f"url\tid\n{A}\t1\n", id="tsv"),
        pytest.param(f"\ufeff{A}\n", id="BOM"),
        pytest.param(f"{A}\n".encode("utf-16"), id="UTF-16"),
    ],
)
def test_i07_the_first_line_is_yielded_before_the_pipe_closes(sent):
    found = first_of_pipe(sent.encode() if isinstance(sent, str) else sent)
    assert isinstance(found, Entry)
    assert found.urls == (A,)


def test_i07_nothing_is_read_before_it_is_asked_for():
    def chunks():
        asked.append(1)
        yield f"{A}\n".encode()
        asked.append(2)
        yield f"{B}\n".encode()

    asked = []
    found = read_manifest(Trickle(chunks()))
    assert asked == []
    assert (next(found).urls, asked) == ((A,), [1])
    assert (next(found).urls, asked) == ((B,), [1, 2])


# JSON Lines


def test_jsonl_columns():
    record = {
        "URL": A,
        "Path": "a/b.csv",
        "size": "12",
        "sha256": SHA256.upper(),
        "md5": "0" * 32,
        "header.X-Key": "v",
        "Header.Accept": "text/csv",
        "Station": {"id": [1, None]},
        "note": "",
    }
    entry = only(read(json.dumps(record)))
    assert entry.urls == (A,)
    assert (entry.path, entry.size) == ("a/b.csv", 12)
    assert entry.digests == (("sha256", SHA256), ("md5", "0" * 32))
    assert entry.headers == (("X-Key", "v"), ("Accept", "text/csv"))
    assert entry.extra == {"Station": {"id": [1, None]}, "note": ""}
    assert pickle.loads(pickle.dumps(entry)) == entry


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param({"url": [A, B]}, (A, B), id="list"),
        pytest.param({"urls": [A, B]}, (A, B), id="urls"),
        pytest.param({"url": A, "urls": [B, A, C]}, (A, B, C), id="both"),
        pytest.param({"urls": f"{A} {B}\t{C}"}, (A, B, C), id="urls as text"),
        pytest.param({"url": f" {A} "}, (A,), id="blanks around"),
        pytest.param(A, (A,), id="string"),
        pytest.param(f"{A}\t{B}", (A, B), id="string of mirrors"),
    ],
)
def test_jsonl_urls_and_mirrors(record, expected):
    assert only(read(json.dumps(record), format="jsonl")).urls == expected


def test_jsonl_skips_blanks_and_comments():
    found = read(f'# c\n\n{{"url": "{A}"}}\n  \n# d\n{{"url": "{B}"}}')
    assert (urls(found), lines_of(found)) == ([A, B], [3, 6])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("{", "not JSON: Expecting property name", id="open"),
        pytest.param('{"url": "http://h/"} x', "something follows the value at column 21", id="more"),
        pytest.param("3", "neither a JSON object nor a URL", id="number"),
        pytest.param("null", "neither a JSON object nor a URL", id="null"),
        pytest.param("{}", "no URL", id="no column"),
        pytest.param('{"url": null}', "no URL", id="null URL"),
        pytest.param('{"url": []}', "no URL", id="empty list"),
        pytest.param('""', "no URL", id="empty string"),
        pytest.param('{"url": 3}', "the column url is not text", id="URL as number"),
        pytest.param('{"url": ["http://h/", {}]}', "the column url is not text", id="list with an object"),
        pytest.param('{"url": "ftp://h/"}', 'the scheme "ftp"', id="scheme"),
        pytest.param('{"url": "http://h/\\ud800"}', "not valid text", id="I05 surrogate"),
        pytest.param('{"url": "http://h/", "x": NaN}', "NaN is no number", id="NaN"),
        pytest.param('{"url": "http://h/", "x": ' + "9" * 5000 + "}", "too long", id="5000 digits"),
        pytest.param("[1, " * 12000, "not JSON|nested", id="deeply nested"),
        pytest.param('{"x":' * 12000, "not JSON|nested", id="deeply nested objects"),
        pytest.param('{"url": "http://h/", "path": 3}', "the column path is not text", id="path"),
    ],
)
def test_jsonl_lines_that_are_refused(line, reason):
    found = read(f'"{A}"\n{line}\n"{B}"\n', format="jsonl")
    assert urls(found) == [A, 2, B]
    assert any(part in found[1].reason for part in reason.split("|"))


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        pytest.param("sha256", "abc", "the sha256 is not 64 hex digits", id="I09 short digest"),
        pytest.param("sha1", "x" * 40, "the sha1 is not 40 hex digits", id="I09 no hex"),
        pytest.param("md5", 3, "the column md5 is not text", id="I09 digest as number"),
        pytest.param("size", -1, "the size is not a whole number", id="I09 negative"),
        pytest.param("size", 1.5, "the size is not a whole number", id="I09 fraction"),
        pytest.param("size", True, "the size is not a whole number", id="I09 boolean"),
        pytest.param("size", "1e3", "the size is not a whole number", id="I09 exponent"),
        pytest.param("size", "٣", "the size is not a whole number", id="I09 other digits"),
        pytest.param("size", 1 << 63, "the size is not a whole number", id="I09 too large"),
        pytest.param("size", "9" * 20, "the size is not a whole number", id="I09 too many digits"),
        pytest.param("size", [], "the size is not a whole number", id="I09 list"),
        pytest.param("method", "PUT", "the method PUT is not sent: GET and POST are", id="PUT"),
        pytest.param("method", 3, "this method is not sent", id="method as number"),
        pytest.param("body", 3, "the column body is not text", id="body as number"),
        pytest.param("header.Range", "bytes=0-1", "set by bulkfetch itself", id="own header"),
        pytest.param(
            "header.accept-encoding", "gzip", "set by bulkfetch itself", id="own header, lower case"
        ),
        pytest.param("header.X", "a\r\nY: b", "a character no header may have", id="header with a line end"),
        pytest.param("header.X", "€", "a character no header may have", id="header beyond latin-1"),
        pytest.param("header.X", {"a": 1}, "the column header.X is not text", id="header as object"),
        pytest.param("header.", "a", "not followed by the name", id="header without a name"),
        pytest.param("header.X Y", "a", "not followed by the name", id="header with a space"),
    ],
)
def test_columns_are_checked(column, value, reason):
    bad = only(read(json.dumps({"url": A, column: value}), format="jsonl"))
    assert isinstance(bad, BadLine)
    assert reason in bad.reason
    assert only(list(as_entries([{"url": A, column: value}]))).reason == bad.reason


@pytest.mark.parametrize(
    "column",
    ["path", "size", "sha256", "method", "body", "json", "form", "params", "header.X", "failure", "attempts"],
)
def test_columns_without_a_value_are_as_if_missing(column):
    for value in (None, ""):
        assert only(read(json.dumps({"url": A, column: value}))) == Entry((A,), source="stream", line=1)


def test_get_is_a_method():
    assert urls(read(json.dumps({"url": A, "method": "get", "params": {}, "form": []}))) == [A]


def test_a_failures_record_is_read_back():
    record = {
        "url": A,
        "path": "a",
        "size": None,
        "sha256": None,
        "station": "x",
        "failure": {"kind": "dns", "status": None, "message": "no address"},
        "attempts": 6,
    }
    others = {"status": "failed", "final_url": B, "etag": '"x"', "line": 3, "reason": "mine", "digest": "y"}
    entry = only(read(json.dumps({**record, **others})))
    assert (entry.urls, entry.path, entry.size) == ((A,), "a", None)
    assert entry.extra == {"station": "x", **others}


def test_json_array_is_refused_with_a_way_out():
    with pytest.raises(ManifestError, match="one JSON array; write one object per line"):
        read('[\n{"url": "http://h/"}\n]\n')


# CSV and TSV


@pytest.mark.parametrize("delimiter", [",", "\t"], ids=["csv", "tsv"])
def test_delimited_columns(delimiter):
    rows = [
        ["ID", " Url ", "path", "size", "sha256", "header.X-Key", "note"],
        ["1", f" {A} ", "a.csv", "12", SHA256, "k", f'"x{delimiter}y"'],
        ["2", B],
        ["3", C, "", "", "", "", "", "", ""],
    ]
    first, second, third = read("\n".join(delimiter.join(row) for row in rows))
    assert (first.urls, first.path, first.size) == ((A,), "a.csv", 12)
    assert first.digests == (("sha256", SHA256),)
    assert first.headers == (("X-Key", "k"),)
    assert first.extra == {"ID": "1", "note": f"x{delimiter}y"}
    assert second == Entry((B,), extra={"ID": "2"}, source="stream", line=3)
    assert third == Entry((C,), extra={"ID": "3", "note": ""}, source="stream", line=4)


def test_csv_rows_over_several_lines_count_by_their_first():
    found = read(f'note,url\r\n"one\r\ntwo ""x""",{A}\r\n\r\n,,\r\nz,{B}\r\n')
    assert (urls(found), lines_of(found)) == ([A, B], [2, 6])
    assert found[0].extra == {"note": 'one\r\ntwo "x"'}


def test_csv_comments_and_blanks_before_the_header():
    found = read(f"\ufeff# made by x\n\n# url,other\nurl\n{A}\n")
    assert (urls(found), lines_of(found)) == ([A], [5])


def test_csv_bad_rows_among_good_ones():
    content = f'id,url\n1,{A}\n2,{B},x\n3,\n4,ftp://h/\n5,"a"b\n6,a\rb\n7,{B}\n8,"open\n'
    found = read(content)
    assert urls(found) == [A, 3, 4, 5, 6, 7, B, 9]
    reasons = [one.reason for one in found if isinstance(one, BadLine)]
    assert reasons[0] == "3 fields under 2 columns"
    assert reasons[1] == "no URL"
    assert all(reason.startswith("not a row: ") for reason in reasons[3:])
    assert found[1].text == f"2,{B},x"


def test_csv_a_stray_quote_costs_its_own_line_and_no_other():
    rows = [f"http://h/{number},x\n" for number in range(100)]
    rows[2] = 'http://h/2,"5 inch\n'
    rows[60] = 'http://h/60,"x" y\n'
    found = read("url,n\n" + "".join(rows))
    assert [one.line for one in found if isinstance(one, BadLine)] == [4, 62]
    assert "reading goes on with the next line" in found[2].reason
    assert lines_of(found) == list(range(2, 102))


def test_csv_a_quoted_field_may_have_line_breaks():
    found = read(f'url,n\n{A},"one\ntwo, ""three""\n"\n{B},x\n')
    assert [(one.line, one.extra["n"]) for one in found] == [(2, 'one\ntwo, "three"\n'), (5, "x")]


def test_csv_a_bad_row_of_several_lines_says_which():
    (bad, good) = read(f'url,n\nftp://h/,"one\ntwo"\n{B},x\n')
    assert bad.reason == 'the scheme "ftp" is not http or https (lines 2 to 3 are one row)'
    assert good.urls == (B,)


@given(st.lists(st.text('a,"\n', max_size=8), max_size=30))
def test_csv_every_line_is_told_or_belongs_to_a_row(parts):
    taken = lines_of(read("url,n\n" + "\n".join(f"{A},{part}" for part in parts)))
    assert taken == sorted(set(taken))
    assert len(taken) >= bool(parts)


def test_csv_quoted_field_without_an_end_is_cut_off_at_the_cap():
    swallowed = "".join(f"{number},http://h/{number}\n" for number in range(5000))
    found = read(f'id,url\n1,"{A}\n{swallowed}')
    bad, *others = found
    assert (bad.line, bad.text) == (2, f'1,"{A}')
    assert "does not end within 64 KiB; reading goes on with the next line" in bad.reason
    assert lines_of(others) == list(range(3, 5003))


def test_csv_unreadable_lines():
    found = read(
        b'id,url\n1,http://h/a\n2,\xe9\n"3\nx\xe9\n4,http://h/b\n' + b"x" * 70000 + b"\n5,http://h/c\n"
    )
    assert urls(found) == [A, 3, 4, 5, B, 7, C]
    assert [one.reason for one in found if isinstance(one, BadLine)] == [
        "the line is not UTF-8",
        "a quoted field: it runs into a line that cannot be read; reading goes on with the next line",
        "the line is not UTF-8",
        "the line is longer than 64 KiB",
    ]


def test_l03_rows_under_a_header_column_are_not_shown():
    content = b'url,Header.Authorization\nftp://h/,Bearer s3cret\nhttp://h/,"a"s3cret\nhttp://h/,s3cret\xe9\n,s3cret,x\n'
    found = read(content)
    assert lines_of(found) == [2, 3, 4, 5]
    assert [one.text for one in found] == ["", "", "", ""]


def test_csv_url_columns():
    assert [entry.urls for entry in read(f"url,URL,urls\n{A},{B},{C} {A}\n,{B},\n")] == [(A, B, C), (B,)]


def test_csv_columns_without_a_name():
    assert only(read(f",url,\n1,{A},\n")).extra == {"column1": "1", "column3": ""}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(
            "id,link\n1,2\n", r'no column "url" \(it has: id, link\); name it with --url-column', id="missing"
        ),
        pytest.param("http://u:p@h/a?sig=x\n", r"it has: http://h/a\?sig=\*\*\*", id="L03 no header"),
        pytest.param("url,path,Path\n", 'column "path" more than once', id="twice"),
        pytest.param("url,x,x\n", 'column "x" more than once', id="user's column twice"),
        pytest.param('url,"x\n', "header row of stream cannot be read", id="open quote"),
        pytest.param(b"url,\xe9\n", "header row of stream cannot be read", id="not UTF-8"),
    ],
)
def test_csv_headers_that_are_refused(content, reason):
    with pytest.raises(ManifestError, match=reason):
        read(content, format="csv")


# Options


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(f"Link,url\n{A},{B}\n", {"url": B}, id="csv"),
        pytest.param(f"Link\turl\n{A}\t{B}\n", {"url": B}, id="tsv"),
        pytest.param(json.dumps({"Link": A, "url": B}), {"url": B}, id="jsonl"),
    ],
)
def test_url_column(content, expected):
    entry = only(read(content, url_column="link"))
    assert (entry.urls, entry.extra) == ((A,), expected)


@pytest.mark.parametrize("content", ["b\n", '{"url": "b"}\n', "id,url\n1,b\n"], ids=["txt", "jsonl", "csv"])
def test_base_url(content):
    assert urls(read(content, base_url="HTTP://H:80/x#y")) == [B]
    assert urls(read("//i/b\n?c\nhttp://j/\nftp://h/\n", base_url=A)) == [
        "http://i/b",
        f"{A}?c",
        "http://j/",
        4,
    ]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"format": "xml"}, 'no manifest format "xml"; known are txt, csv, tsv, jsonl'),
        ({"base_url": "ftp://h/"}, "the base URL cannot be used: the scheme"),
    ],
    ids=["format", "base URL"],
)
def test_options_that_are_refused_at_once(options, reason):
    with pytest.raises(ManifestError, match=reason):
        read_manifest(io.BytesIO(b""), **options)


# Detection


@pytest.mark.parametrize(
    ("content", "extra"),
    [
        pytest.param(f"{A}\n", {}, id="txt"),
        pytest.param(f"# c\n{A},b\n".replace(",b", ""), {}, id="txt after a comment"),
        pytest.param(json.dumps({"url": A, "x": "1"}), {"x": "1"}, id="jsonl"),
        pytest.param(f"x,url\n1,{A}\n", {"x": "1"}, id="csv"),
        pytest.param(f'"x","URL"\n"1","{A}"\n', {"x": "1"}, id="quoted csv"),
        pytest.param(f"url\n{A}\n", {}, id="one column"),
        pytest.param(f"x\turl\n1\t{A}\n", {"x": "1"}, id="tsv"),
        pytest.param(f"x,y\turl\n1\t{A}\n", {"x,y": "1"}, id="tsv with a comma"),
    ],
)
def test_format_is_detected_by_content(content, extra):
    entry = only(read(content))
    assert (entry.urls, entry.extra) == ((A,), extra)


@pytest.mark.parametrize("suffix", EXTENSIONS)
@pytest.mark.parametrize("packed", ["", ".gz"], ids=["plain", "gz"])
def test_format_is_detected_by_name(tmp_path, suffix, packed):
    content = {"txt": A, "csv": f"a,url\n,{A}", "tsv": f"a\turl\n\t{A}", "jsonl": f'"{A}"'}[
        EXTENSIONS[suffix]
    ].encode()
    path = tmp_path / f"List.{suffix[1:].upper()}{packed}"
    path.write_bytes(gzip.compress(content) if packed else content)
    for source in (path, str(path)):
        entry = only(list(read_manifest(source)))
        assert (entry.urls, entry.source) == ((A,), str(path))


def test_the_name_is_stronger_than_the_content(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(f'{{"url": "{A}"}}\n')
    assert urls(read_manifest(path)) == [1]


def test_an_unreadable_first_line_is_a_bad_line():
    assert urls(read(b"\xff\xfd\n" + A.encode())) == [1, A]


# Sources


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{A}\n".encode())))
    assert only(list(read_manifest("-"))) == Entry((A,), source="stdin", line=1)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{B}\n"))
    assert urls(read_manifest("-")) == [B]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ManifestError, match="cannot read the manifest stdin: there is no standard input"):
        list(read_manifest("-"))


@pytest.mark.skipif(not hasattr(os, "set_blocking"), reason="this system has no non-blocking pipes")
def test_standard_input_left_non_blocking_is_waited_for(monkeypatch):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        found = read_manifest("-")
        os.write(writing, f"{A}\n".encode())
        assert next(found).urls == (A,)
        assert os.get_blocking(reading)
        os.close(writing)
        assert list(found) == []


@pytest.mark.parametrize("mode", ["rb", "r"], ids=["binary", "text"])
@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
def test_open_streams_stay_open(tmp_path, mode, buffering):
    if mode == "r" and buffering == 0:
        buffering = 1
    path = tmp_path / "list.txt"
    path.write_text(f"{A}\n{B}\n")
    with path.open(mode, buffering, encoding=None if "b" in mode else "utf-8") as stream:
        found = list(read_manifest(stream))
        assert not stream.closed
    assert (urls(found), found[0].source) == ([A, B], str(path))


def test_streams_of_text_with_surrogates():
    assert urls(read_manifest(io.StringIO(f"{A}\nhttp://h/\ud800\n{B}"))) == [A, 2, B]


def test_a_stream_with_readline_alone():
    class Lines:
        lines = iter([f"{A}\n", f"{B}\n"])

        def readline(self, _limit):
            return next(self.lines, "")

    assert urls(read_manifest(Lines())) == [A, B]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("absent.txt", "there is no manifest .*absent.txt$", id="missing"),
        pytest.param(".", "the manifest .* is a folder$", id="folder"),
        pytest.param(
            "a\x1b\x00", r"cannot read the manifest .*a\\x1b\\x00: .*embedded null", id="NUL in the name"
        ),
        pytest.param("x" * 300, "(cannot read the|there is no) manifest .*xxx", id="long name"),
    ],
)
def test_paths_that_cannot_be_read_are_told_at_once(tmp_path, name, reason):
    with pytest.raises(ManifestError, match=reason):
        read_manifest(f"{tmp_path}/{name}")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told_at_once(tmp_path):
    path = tmp_path / "list.txt"
    path.touch(mode=0)
    with pytest.raises(ManifestError, match="Permission denied"):
        read_manifest(path)


class Failing(io.RawIOBase):
    """A stream that gives one line, and then the error or the value it was made with."""

    def __init__(self, then):
        self.chunks = [A.encode() + b"\n", then]

    def read(self, _size=-1):
        chunk = self.chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        pytest.param(OSError(5, "Input/output error"), "Input/output error", id="OSError"),
        pytest.param(ValueError("I/O operation on closed file."), "closed file", id="closed"),
        pytest.param(None, "the stream is non-blocking", id="non-blocking"),
    ],
)
def test_a_stream_that_fails_midway_ends_the_manifest(then, reason):
    found = read_manifest(Failing(then))
    assert next(found).urls == (A,)
    with pytest.raises(ManifestError, match=reason):
        next(found)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(gzip.compress(A.encode())[:-9], "the gzip data ends early", id="cut gzip"),
        pytest.param(gzip.compress(A.encode()) + b"rubbish", "incorrect header", id="gzip and rubbish"),
        pytest.param(b"\x1f\x8brubbish", "unknown compression method|incorrect header", id="no gzip"),
        pytest.param(f"{A}\n".encode("utf-16") + b"x", "truncated data", id="half a character"),
    ],
)
def test_damage_ends_the_manifest(content, reason):
    with pytest.raises(ManifestError, match=reason):
        read(content)


SOME_LINES = st.lists(
    st.sampled_from(
        [b"url,path", b"{", b'{"url":"http://h/"}', b'"', b",", b"\t", b"#", b"http://h/a", b"\xff\xfe",
         b"\xfe\xff", b"\xef\xbb\xbf", b"\x1f\x8b", b"\x00", b"\r", b"\xe9", b"[", b"\\ud800", b"header.x"]
    )
    | st.binary(max_size=12),
    max_size=30,
)  # fmt: skip


@settings(max_examples=200)
@given(
    SOME_LINES,
    st.sampled_from([b"", b"\n", b"\n", b"\r\n"]),
    st.sampled_from([None, *READERS]),
    st.integers(1, 9),
)
@example([b"\xff\xfe", b"x"], b"", None, 9)
@example([b"\xfe\xff\xd8\x00"], b"", "txt", 2)
def test_any_bytes_give_entries_bad_lines_or_a_manifest_error(parts, joint, name, size):
    content = joint.join(parts)
    try:
        found = read(content, format=name)
    except ManifestError as exc:
        found = []
        reason = str(exc)
        with pytest.raises(ManifestError):
            list(
                read_manifest(
                    Trickle([content[at : at + size] for at in range(0, len(content), size)]), format=name
                )
            )
    else:
        reason = ""
        trickled = Trickle([content[at : at + size] for at in range(0, len(content), size)])
        assert list(read_manifest(trickled, format=name)) == found
    assert clean(reason) == reason
    assert lines_of(found) == sorted(lines_of(found))
    for one in found:
        assert isinstance(one, Entry) or clean(one.reason + one.text) == one.reason + one.text


# Programs


def test_read_urls():
    found = list(read_urls([f" {A} ", "-rf", "", "http://h/%s"]))
    assert urls(found) == [A, 2, 3, "http://h/%25s"]
    assert found[0] == Entry((A,), source="arguments", line=1)
    assert found[1].source == "arguments"


def test_as_entries_takes_what_a_program_has():
    bad = BadLine("x", 9, "reason")
    given_entry = Entry(
        ("HTTP://H/c",), path="p", size=3, digests=(("sha512", "A" * 128),), extra={"a": 1}, line=7
    )
    found = list(as_entries([A, {"url": B, "x": [1]}, given_entry, bad, 3, {"url": "ftp://u:p@h/"}, {3: 4}]))
    assert found[0] == Entry((A,), source="list", line=1)
    assert found[1] == Entry((B,), extra={"x": [1]}, source="list", line=2)
    assert found[2] == given_entry._replace(urls=(C,), digests=(("sha512", "a" * 128),), source="list")
    assert found[3] is bad
    assert [(one.line, one.reason) for one in found[4:]] == [
        (5, "neither a URL nor a record nor an entry, but int"),
        (6, 'the scheme "ftp" is not http or https'),
        (7, "neither a URL nor a record nor an entry, but dict"),
    ]
    assert found[5].text == "ftp://h/"


@pytest.mark.parametrize("one", [A, {"url": A}, Entry((A,))], ids=["URL", "record", "entry"])
def test_as_entries_takes_one_for_a_list_of_one(one):
    assert urls(as_entries(one)) == [A]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (Entry(()), "no URL"),
        (Entry(("ftp://h/",)), 'the scheme "ftp"'),
        (Entry((A,), size=-1), "the size"),
        (Entry((A,), digests=(("crc32", "0" * 8),)), "not one of sha512"),
        (Entry((A,), digests=(("md5", "0"),)), "the md5 is not 32 hex digits"),
        (Entry((A,), headers=(("Range", "x"),)), "set by bulkfetch itself"),
        (Entry((A,), headers=(("X", "a\nb"),)), "a character no header may have"),
        (Entry(None), "the column urls is not text"),
        (Entry(5), "the column urls is not text"),
        *(
            (entry, "a field of the entry has the wrong type: ")
            for entry in (
                Entry((A,), path=pathlib.Path("a")),
                Entry((A,), path=5),
                Entry((A,), digests=None),
                Entry((A,), digests={"sha256": "00"}),
                Entry((A,), headers={"A": "b"}),
                Entry((A,), request="x"),
            )
        ),
    ],
)
def test_entries_of_programs_are_checked(entry, reason):
    assert reason in only(list(as_entries([entry]))).reason


def test_as_entries_is_lazy():
    assert [one.line for one in itertools.islice(as_entries(itertools.repeat(A)), 3)] == [1, 2, 3]


def test_an_entry_can_be_pickled():
    values = {"path": "p", "size": 1, "digests": (("md5", "0"),), "headers": (("A", "b"),), "extra": {"x": 1}}
    entry = Entry((A,), **values, source="source", line=3, request=Request())
    assert pickle.loads(pickle.dumps(entry)) == entry
    assert pickle.loads(pickle.dumps(Entry((A,)))) == Entry((A,))
