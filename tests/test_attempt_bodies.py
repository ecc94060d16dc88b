"""Section B of the fault catalogue: what one attempt makes of a broken or lying answer."""

from __future__ import annotations

import gzip
import hashlib
import zlib

import pytest
from attempting import CUT, DATA, NAME, OTHER, SIZE, WHICH, Attempts, assert_failed, sha256
from faultserver import CLOSE, STALL, Filled, Forever, gzip_bomb

ETAG = '"v1"'


@pytest.fixture
def attempts(tmp_path):
    with Attempts(tmp_path / "out") as made:
        yield made


@pytest.fixture
def impatient(tmp_path):
    """Attempts that soon give up on silence."""
    with Attempts(tmp_path / "out", idle_timeout=1.0) as made:
        yield made


def assert_fetched(attempts, attempt, data=DATA, path=NAME):
    """Check that the whole file is there, and nothing else."""
    assert attempt.failure is None, attempt.failure
    assert attempt.done is not None
    assert attempts.file(path) == data
    assert attempt.done.size == len(data)
    assert attempt.done.digest == hashlib.sha256(data).hexdigest()
    assert attempts.parts() == []
    assert attempt.part.token == ""


def assert_nothing_left(attempts):
    """Check that neither a file nor a part is there."""
    assert attempts.left() == set()
    assert attempts.parts() == []


# -- bodies that end early ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "kind"),
    [("close", "truncated"), ("clean", "truncated"), ("reset", "reset"), ("stall", "timeout")],
    ids=["b01_short_body", "b01_short_body_closed_cleanly", "b02_reset_body", "b03_silent_body"],
)
def test_a_body_that_ends_early_keeps_what_came_and_goes_on(server, impatient, how, kind):
    server.add("/a", body=DATA, etag=ETAG, cut=CUT, cut_how=how, times=1)
    first = impatient.fetch(server.url("/a"))
    assert_failed(first, kind, f"after {CUT} of {SIZE} bytes", retryable=True)
    assert first.received == CUT
    assert (first.part.offset, first.part.validator, first.part.total) == (CUT, ETAG, SIZE)
    assert impatient.left() == set()
    assert [path.stat().st_size for path in impatient.parts()] == [CUT]
    second = impatient.go_on(server.url("/a"), first.part)
    assert_fetched(impatient, second)
    assert second.received == SIZE - CUT
    ranged = server.hits("/a")[1]
    assert (ranged.range, ranged.headers["If-Range"]) == (f"bytes={CUT}-", ETAG)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_b01_without_a_validator_nothing_is_kept(server, attempts, how):
    server.add("/a", body=DATA, cut=CUT, cut_how=how)
    assert_failed(attempts.fetch(server.url("/a")), "truncated" if how == "close" else "reset")
    assert_nothing_left(attempts)


def test_b04_a_body_longer_than_declared_is_cut_and_its_connection_dropped(server, attempts):
    server.add("/long", body=DATA, length=CUT, keep_alive=True)
    server.add("/next", body=OTHER)
    attempt = attempts.fetch(server.url("/long"))
    assert_fetched(attempts, attempt, DATA[:CUT])
    assert attempt.done.warnings == ("more bytes than declared followed",)
    assert_fetched(attempts, attempts.fetch(server.url("/next"), "next"), OTHER, "next")
    assert server.connections == 2


@pytest.mark.parametrize("size", [1, 5, 8000])
def test_b04_a_small_surplus_in_one_segment_is_seen_too(server, attempts, size):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    server.add("/long", raw=[head + DATA[:size] + b"x"], keep_alive=True)
    attempt = attempts.fetch(server.url("/long"))
    assert_fetched(attempts, attempt, DATA[:size])
    assert attempt.done.warnings == ("more bytes than declared followed",)
    server.add("/next", body=OTHER)
    assert_fetched(attempts, attempts.fetch(server.url("/next"), "next"), OTHER, "next")
    assert server.connections == 2


def test_b05_a_late_surplus_is_not_the_answer_to_the_next_request(server, attempts):
    fake = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfake"
    server.add("/a", body=b"first", after=[0.05, fake], keep_alive=True)
    server.add("/b", body=b"second")
    assert_fetched(attempts, attempts.fetch(server.url("/a")), b"first")
    server.wait_until(lambda: server.hits("/a")[0].done)
    assert_fetched(attempts, attempts.fetch(server.url("/b"), "b"), b"second", "b")
    assert server.connections == 2


@pytest.mark.parametrize("how", ["close", "clean"])
def test_b06_a_body_without_a_length_is_stored_and_marked(server, attempts, how):
    server.add("/a", body=DATA, no_length=True, cut=CUT, cut_how=how)
    attempt = attempts.fetch(server.url("/a"))
    assert_fetched(attempts, attempt, DATA[:CUT])
    assert attempt.done.warnings == ("length unverified",)


def test_b06_strict_refuses_a_body_without_a_length_before_it_is_read(server, tmp_path):
    server.add("/a", body=Forever(b"x" * 1000), no_length=True)
    with Attempts(tmp_path / "out", strict=True) as attempts:
        attempt = attempts.fetch(server.url("/a"))
        assert_failed(attempt, "protocol", "--strict", retryable=False)
        assert attempt.received == 0
        assert_nothing_left(attempts)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("declared", [{"size": SIZE}, {"digests": sha256(DATA)}], ids=["size", "digest"])
def test_b06_what_is_declared_verifies_a_body_without_a_length(server, tmp_path, declared, strict):
    server.add("/a", body=DATA, no_length=True, first=[{"cut": CUT}])
    with Attempts(tmp_path / "out", strict=strict) as attempts:
        short = attempts.fetch(server.url("/a"), **declared)
        assert_failed(short, "size" if "size" in declared else "digest")
        assert_nothing_left(attempts)
        whole = attempts.fetch(server.url("/a"), **declared)
        assert_fetched(attempts, whole)
        assert whole.done.warnings == ()


def test_b07_a_reset_body_without_a_length_is_an_error(server, attempts):
    server.add("/a", body=DATA, no_length=True, cut=CUT, cut_how="reset")
    assert_failed(attempts.fetch(server.url("/a")), "reset", f"after {CUT} bytes", retryable=True)
    assert_nothing_left(attempts)


# -- lengths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["abc", "-5", "+5", "0x5", "5 5", "5_5", "", "\uff15"])
def test_b08_a_length_that_is_no_number(server, attempts, length):
    server.add("/a", body=b"hello", length=length)
    assert_failed(attempts.fetch(server.url("/a")), "protocol", "Content-Length", retryable=False)
    assert_nothing_left(attempts)


def test_b09_two_lengths(server, attempts):
    server.add("/a", body=b"hello!!", length=["5", "7"])
    assert_failed(attempts.fetch(server.url("/a")), "protocol", "two different Content-Length")
    assert_nothing_left(attempts)


def test_b09_the_same_length_twice_is_one(server, attempts):
    server.add("/a", body=b"hello", length=["5", "5"])
    assert_fetched(attempts, attempts.fetch(server.url("/a")), b"hello")


@pytest.mark.parametrize(("length", "kind"), [(2**62, "disk"), (2**65, "too-large"), (10**25, "too-large")])
def test_b10_an_absurd_length_is_no_reason_to_reserve_space(server, attempts, length, kind):
    server.add("/a", body=b"hello", length=length, etag=ETAG)
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, kind, str(length), retryable=False)
    assert not attempt.failure.fatal  # one server's lie does not end the run
    assert sum(path.stat().st_blocks for path in attempts.parts()) <= 8
    assert attempts.left() == set()


def test_b10_the_size_limit_is_asked_before_anything_is_written(server, tmp_path):
    server.add("/a", body=b"hello", length=2**62)
    with Attempts(tmp_path / "out", max_size=1000) as attempts:
        assert_failed(attempts.fetch(server.url("/a")), "too-large", "--max-size", retryable=False)
        assert_nothing_left(attempts)


def test_i09_a_declared_size_is_compared_before_the_body(server, attempts):
    server.add("/a", body=DATA)
    attempt = attempts.fetch(server.url("/a"), size=SIZE + 1)
    assert_failed(attempt, "size", str(SIZE + 1), retryable=False)
    assert attempt.received == 0
    assert_nothing_left(attempts)


# -- chunks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 10, 1000, True], ids=str)
def test_a_chunked_body_is_whole(server, attempts, size):
    data = DATA if size is True or size > 100 else DATA[:500]
    server.add("/a", body=data, chunked=size)
    attempt = attempts.fetch(server.url("/a"))
    assert_fetched(attempts, attempt, data)
    assert attempt.done.warnings == ()
    assert_fetched(attempts, attempts.fetch(server.url("/a"), "again"), data, "again")
    assert server.connections == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"raw": [b"5\r\nhello\r\n", CLOSE]}, "the last chunk is missing after 5 bytes"),
        ({"raw": [b"5\r\nhello", CLOSE]}, "the last chunk is missing after 5 bytes"),
        ({"raw": [b"5\r\nhel", CLOSE]}, "inside a chunk after 3 bytes"),
        ({"raw": [b"5", CLOSE]}, "damaged after 0 bytes"),
        ({"raw": [CLOSE]}, "the last chunk is missing after 0 bytes"),
        ({"raw": [b"zz\r\nhello\r\n0\r\n\r\n"]}, "damaged"),
        ({"raw": [b"-5\r\nhello\r\n0\r\n\r\n"]}, "damaged"),
        ({"raw": [b"+5\r\nhello\r\n0\r\n\r\n"]}, "damaged"),
        ({"raw": [b"0x5\r\nhello\r\n0\r\n\r\n"]}, "damaged"),
        ({"raw": [b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"]}, "damaged"),
        ({"raw": [b"\r\nhello\r\n0\r\n\r\n"]}, "damaged"),
        ({"raw": [b"f" * 17 + b"\r\nhello\r\n0\r\n\r\n"]}, "damaged"),
        ({"raw": [b"0" * 70_000 + b"5\r\nhello\r\n0\r\n\r\n"]}, "damaged"),
        ({"raw": [b"3\r\nhello\r\n0\r\n\r\n"]}, "damaged after 3 bytes"),
    ],
    ids=[
        "b11_no_last_chunk", "b11_no_end_of_chunk", "b12_cut_inside_a_chunk", "b13_cut_size",
        "b11_nothing", "b13_letters", "b13_negative", "b13_plus", "b13_prefix", "b13_underscore",
        "b13_empty", "b13_overflow", "b13_endless_line", "b13_chunk_longer_than_its_size",
    ],
)  # fmt: skip
def test_a_broken_chunked_body_is_incomplete(server, attempts, options, text):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    server.add("/a", raw=[head, *options["raw"]])
    assert_failed(attempts.fetch(server.url("/a")), "truncated", text, retryable=True)
    assert_nothing_left(attempts)


def test_b12_what_came_of_a_chunked_body_is_continued(server, attempts):
    server.add("/a", body=DATA, chunked=SIZE, etag=ETAG, cut=CUT, times=1)
    first = attempts.fetch(server.url("/a"))
    assert_failed(first, "truncated", f"after {CUT} bytes")
    assert (first.part.offset, first.part.total) == (CUT, None)
    assert_fetched(attempts, attempts.go_on(server.url("/a"), first.part))


def test_chunk_extensions_and_trailers_are_read_over(server, attempts):
    body = b"5;a=b\r\nhello\r\n0;c\r\nX-Sum: 1\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.add("/a", raw=[head + body], keep_alive=True)
    assert_fetched(attempts, attempts.fetch(server.url("/a")), b"hello")
    assert_fetched(attempts, attempts.fetch(server.url("/a"), "again"), b"hello", "again")
    assert server.connections == 1


def test_an_endless_trailer_ends_with_the_connection(server, attempts):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    server.add("/a", raw=[head, Forever(b"X-Sum: 1\r\n")])
    server.add("/b", body=b"second")
    attempt = attempts.fetch(server.url("/a"))
    assert_fetched(attempts, attempt, b"hello")
    assert attempt.done.warnings == ("more bytes than declared followed",)
    assert_fetched(attempts, attempts.fetch(server.url("/b"), "b"), b"second", "b")
    assert server.connections == 2


@pytest.mark.parametrize("length", [7, 200_000])
def test_b14_chunks_beside_a_length_win_and_end_the_connection(server, attempts, length):
    server.add("/a", body=DATA, chunked=1000, length=length, keep_alive=True)
    assert_fetched(attempts, attempts.fetch(server.url("/a")))
    assert_fetched(attempts, attempts.fetch(server.url("/a"), "again"), DATA, "again")
    assert server.connections == 2


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "identity", "chunked, chunked", "x"])
def test_b15_a_transfer_coding_that_was_not_asked_for(server, attempts, coding):
    server.add("/a", body=gzip.compress(DATA), transfer_encoding=coding)
    assert_failed(attempts.fetch(server.url("/a")), "protocol", "transfer coding", retryable=False)
    assert_nothing_left(attempts)


# -- content codings ------------------------------------------------------------------------------


def test_identity_is_asked_for(server, attempts):
    server.add("/a", body=DATA)
    attempts.fetch(server.url("/a"))
    assert server.hits("/a")[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("chunked", [None, 1000])
def test_b19_a_body_encoded_all_the_same_is_decoded_and_its_coded_length_checked(
    server, attempts, coding, chunked
):
    data = b"text " * 20_000
    server.add("/a", body=data, encoding=coding, etag=ETAG, chunked=chunked)
    attempt = attempts.fetch(server.url("/a"), "a.txt")
    assert_fetched(attempts, attempt, data, "a.txt")
    assert attempt.received < 5000
    assert attempt.done.warnings == ()


def test_b19_an_encoded_body_is_never_continued(server, attempts):
    coded = gzip.compress(DATA)
    server.add("/a", body=coded, content_encoding="gzip", etag=ETAG, cut=CUT, times=1)
    first = attempts.fetch(server.url("/a"))
    assert_failed(first, "truncated")
    assert_nothing_left(attempts)
    assert first.part.token == ""


@pytest.mark.parametrize("no_length", [False, True])
def test_b16_half_a_gzip_stream_under_its_own_length(server, attempts, no_length):
    coded = gzip.compress(DATA)
    server.add("/a", body=coded[: len(coded) // 2], content_encoding="gzip", no_length=no_length)
    assert_failed(attempts.fetch(server.url("/a")), "decode", "before its end mark", retryable=True)
    assert_nothing_left(attempts)


@pytest.mark.parametrize(
    "coded",
    [
        b"\0" + gzip.compress(DATA)[1:],
        gzip.compress(DATA)[:-8] + bytes(8),
        DATA,
        gzip.compress(DATA)[:50_000] + b"xxxx" + gzip.compress(DATA)[50_004:],
    ],
    ids=["b17_magic", "b17_checksum", "b17_plain_bytes", "b17_flipped"],
)
def test_b17_a_damaged_gzip_body_is_one_clean_error(server, attempts, coded):
    server.add("/a", body=coded, content_encoding="gzip", etag=ETAG)
    assert_failed(attempts.fetch(server.url("/a")), "decode", "gzip", retryable=True)
    assert_nothing_left(attempts)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "A.GZ"])
def test_b18_a_gz_file_labelled_gzip_is_kept_as_it_comes(server, attempts, name):
    coded = gzip.compress(DATA)
    server.add("/a", body=coded, content_encoding="gzip")
    attempt = attempts.fetch(server.url("/a"), name, digests=sha256(coded))
    assert_fetched(attempts, attempt, coded, name)


@pytest.mark.parametrize("coding", ["bogus", "br", "gzip, gzip", ", ".join(["gzip"] * 6)])
def test_b20_codings_we_do_not_know(server, attempts, coding):
    server.add("/a", body=DATA, content_encoding=coding)
    assert_failed(attempts.fetch(server.url("/a")), "protocol", "which was not asked for", retryable=False)
    assert_nothing_left(attempts)


def test_raw_deflate_under_the_name_deflate(server, attempts):
    packer = zlib.compressobj(wbits=-15)
    server.add("/a", body=packer.compress(DATA) + packer.flush(), content_encoding="deflate")
    assert_fetched(attempts, attempts.fetch(server.url("/a")))


# -- statuses -------------------------------------------------------------------------------------


def test_b21_a_part_that_was_not_asked_for(server, attempts):
    server.add("/a", body=DATA, ranges="206-unasked")
    assert_failed(attempts.fetch(server.url("/a")), "protocol", "not asked for", retryable=False)
    assert_nothing_left(attempts)


@pytest.mark.parametrize("status", [100, 102, 103])
@pytest.mark.parametrize("count", [1, 20])
def test_b22_interim_answers_are_skipped(server, attempts, status, count):
    interim = b"HTTP/1.1 %d Early\r\nLink: </x>\r\n\r\n" % status
    server.add("/a", body=DATA, early=[interim] * count)
    assert_fetched(attempts, attempts.fetch(server.url("/a")))


@pytest.mark.parametrize("status", [100, 103])
def test_b23_endless_interim_answers(server, attempts, status):
    server.add("/a", raw=Forever(b"HTTP/1.1 %d More\r\n\r\n" % status, 0.001))
    assert_failed(attempts.fetch(server.url("/a")), "protocol", "interim", retryable=False)
    assert_nothing_left(attempts)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(304, "protocol"), (300, "status"), (302, "redirect"), (600, "protocol"), (999, "protocol"),
     (101, "protocol"), (207, "status"), (226, "status"), (418, "status"), (501, "status"),
     (416, "protocol")],
)  # fmt: skip
def test_b24_only_a_200_is_a_file(server, attempts, status, kind):
    server.add("/a", body=DATA, status=status)
    attempts.dest.joinpath(NAME).write_bytes(b"old")
    attempt = attempts.fetch(server.url("/a"), replace=True)
    assert_failed(attempt, kind, retryable=False)
    assert attempt.failure.status_code == status
    assert attempts.file() == b"old"
    assert attempts.parts() == []


@pytest.mark.parametrize("location", ["", "   "])
def test_b24_a_redirect_to_nowhere(server, attempts, location):
    server.add("/a", redirect=location)
    assert_failed(attempts.fetch(server.url("/a")), "redirect", "no location", retryable=False)


@pytest.mark.parametrize("status", [204, 205])
def test_b25_no_content_is_no_file(server, attempts, status):
    server.add("/a", body=b"", status=status)
    assert_failed(attempts.fetch(server.url("/a")), "content", str(status), retryable=False)
    assert_nothing_left(attempts)


@pytest.mark.parametrize("options", [{}, {"chunked": True}], ids=["length", "chunked"])
def test_b25_an_empty_file_is_told(server, attempts, options):
    server.add("/a", body=b"", **options)
    attempt = attempts.fetch(server.url("/a"))
    assert_fetched(attempts, attempt, b"")
    assert attempt.done.warnings == ("empty",)


def test_b25_an_empty_file_that_was_declared_is_nothing_special(server, attempts):
    server.add("/a", body=b"")
    attempt = attempts.fetch(server.url("/a"), size=0)
    assert_fetched(attempts, attempt, b"")
    assert attempt.done.warnings == ()


@pytest.mark.parametrize(
    "options", [{}, {"chunked": True}, {"no_length": True}], ids=["length", "chunked", "close"]
)
def test_b25_an_empty_answer_does_not_replace_a_file(server, attempts, options):
    server.add("/a", body=b"", **options)
    attempts.dest.joinpath(NAME).write_bytes(b"old")
    attempt = attempts.fetch(server.url("/a"), replace=True)
    assert_failed(attempt, "content", "empty", retryable=False)
    assert attempts.file() == b"old"
    assert attempts.parts() == []


HTML = b"\xef\xbb\xbf\r\n <!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.mark.parametrize("options", [{}, {"trickle": (1, 0.0)}, {"chunked": 3}, {"encoding": "gzip"}])
def test_b26_a_login_page_is_no_archive(server, attempts, options):
    server.add("/a", body=HTML, content_type="text/html; charset=utf-8", **options)
    attempt = attempts.fetch(server.url("/a"), "data.zip")
    assert_failed(attempt, "content", "--allow-html", retryable=False)
    assert_nothing_left(attempts)


@pytest.mark.parametrize("name", ["page.html", "page", "page.xhtml"])
def test_b26_a_page_under_a_name_that_allows_one(server, attempts, name):
    server.add("/a", body=HTML, content_type="text/html")
    assert_fetched(attempts, attempts.fetch(server.url("/a"), name), HTML, name)


def test_b26_what_is_only_labelled_a_page(server, attempts):
    server.add("/a", body=DATA, content_type="text/html")
    assert_fetched(attempts, attempts.fetch(server.url("/a"), "data.zip"), DATA, "data.zip")


def test_b26_the_check_can_be_overridden(server, tmp_path):
    server.add("/a", body=HTML, content_type="text/html")
    with Attempts(tmp_path / "out", allow_html=True) as attempts:
        assert_fetched(attempts, attempts.fetch(server.url("/a"), "data.zip"), HTML, "data.zip")


def test_b26_a_declared_digest_decides_better(server, attempts):
    server.add("/a", body=HTML, content_type="text/html")
    attempt = attempts.fetch(server.url("/a"), "data.zip", digests=sha256(HTML))
    assert_fetched(attempts, attempt, HTML, "data.zip")


def test_b26_a_captive_portal(server, attempts):
    server.add("/a", body=HTML, status=511, content_type="text/html")
    assert_failed(attempts.fetch(server.url("/a")), "login", "the network wants a login", retryable=False)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429, 451, 500, 503])
def test_b27_an_error_body_never_touches_the_file(server, attempts, status):
    server.add("/a", body=b"not here", status=status)
    attempts.dest.joinpath(NAME).write_bytes(b"old")
    attempt = attempts.fetch(server.url("/a"), replace=True)
    assert attempt.failure.status_code == status
    assert attempts.file() == b"old"
    assert attempts.parts() == []


# -- heads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n", b"<html>hello</html>\n", b"HTTP/1.1 99 Odd\r\n\r\n",
        b"HTTP/1.1 abc Odd\r\n\r\n", b"HTTP/1.1 2_0 OK\r\n\r\n", b"HTTP/1.1 +200 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n", b"ICY 200 OK\r\n\r\n", b"\r\n\r\n", b"\x15\x03\x01\x00\x02\x02",
    ],
    ids=["ssh", "http09", "99", "letters", "underscore", "plus", "http2", "icy", "blank", "tls"],
)  # fmt: skip
def test_b28_what_is_not_http(server, attempts, answer):
    server.add("/a", raw=[answer])
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "not-http", "not HTTP", retryable=True)
    assert attempt.failure.message.isprintable()
    assert not attempt.reused
    assert_nothing_left(attempts)


def test_odd_but_legal_status_lines(server, attempts):
    for number, line in enumerate((b"HTTP/1.1 200\r\n", b"HTTP/1.1 200 \r\n", b"HTTP/1.0 200 A  b\n")):
        server.add("/a", raw=[line + b"Content-Length: 2\r\n\r\nok"], keep_alive=True)
        name = f"file{number}"
        assert_fetched(attempts, attempts.fetch(server.url("/a"), name), b"ok", name)


def test_b29_a_hundred_header_lines_are_read(server, attempts):
    lines = b"".join(b"X-%d: 1\r\n" % n for n in range(99))
    server.add("/a", raw=[b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 2\r\n\r\nok"])
    assert_fetched(attempts, attempts.fetch(server.url("/a")), b"ok")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([b"X: 1\r\n"] * 101, "more than 100 header lines"),
        ([b"X: " + b"a" * 66_000 + b"\r\n"], "longer than"),
        (Forever(b"X: 1\r\n"), "more than 100 header lines"),
        (Forever(b"a" * 1000), "longer than"),
    ],
    ids=["101 lines", "66 kB line", "endless lines", "endless line"],
)
def test_b29_too_much_head(server, attempts, lines, text):
    server.add("/a", raw=[b"HTTP/1.1 200 OK\r\n", lines, b"\r\n"])
    assert_failed(attempts.fetch(server.url("/a")), "protocol", text, retryable=False)


@pytest.mark.parametrize(
    "line",
    [
        b"no colon",
        b"Content-Length : 2",
        b": empty",
        b"Two words: 1",
        b" folded first",
        b"\x00: 1",
        b"\xff: 1",
    ],
)
def test_b29_a_malformed_header_line_does_not_hide_those_after_it(server, attempts, line):
    server.add("/a", raw=[b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 2\r\n\r\nok, and more"])
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "protocol", "malformed", retryable=False)
    assert attempt.failure.message.isprintable()
    assert_nothing_left(attempts)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nX: 1\r\n"]
)
def test_a_head_that_is_cut_is_no_head(server, attempts, head):
    server.add("/a", raw=[head, CLOSE])
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "reset", "inside the answer's head", retryable=True)
    assert not attempt.reused
    assert_nothing_left(attempts)


def test_b30_control_characters_and_folds_in_values(server, attempts):
    server.add(
        "/a",
        body=DATA,
        etag='"v\x001"',
        extra_headers=[
            ("Last-Modified", "Sun, 13 Sep 2020\r\n 12:26:40 GMT"),
            ("X-Odd", b"a\x00b\x1b]0;x\x07\rContent-Length: 3"),
        ],
        reason="\x1b[31mFine\x07",
    )
    attempt = attempts.fetch(server.url("/a"))
    if WHICH == "fast":  # a bare CR in a head is refused outright
        assert_failed(attempt, "protocol", retryable=False)
        return
    assert_fetched(attempts, attempt)
    assert attempt.done.last_modified == "Sun, 13 Sep 2020 12:26:40 GMT"
    assert attempt.done.etag is None


def test_b30_a_reason_cannot_reach_a_terminal(server, attempts):
    server.add("/a", status=404, reason="\x1b]0;owned\x07")
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "not-found")
    assert attempt.failure.message.isprintable()


def test_b31_head_is_never_asked(server, attempts):
    server.add("/a", body=DATA, head={"status": 405, "raw": [STALL]})
    assert_fetched(attempts, attempts.fetch(server.url("/a")))
    assert [request.method for request in server.requests] == ["GET"]


def test_b32_wrong_bytes_of_the_right_length(server, attempts):
    server.add("/a", body=DATA, flip=50_000, times=1, etag=ETAG)
    first = attempts.fetch(server.url("/a"), digests=sha256(DATA))
    assert_failed(first, "digest", sha256(DATA)[0][1], retryable=True)
    wrong = bytearray(DATA)
    wrong[50_000] ^= 0xFF
    assert hashlib.sha256(wrong).hexdigest() in first.failure.message
    assert_nothing_left(attempts)
    assert_fetched(attempts, attempts.go_on(server.url("/a"), first.part, digests=sha256(DATA)))


# -- resource exhaustion --------------------------------------------------------------------------


def test_x01_a_bomb_is_stopped_by_its_decoded_size(server, tmp_path):
    server.add("/a", body=gzip_bomb(64 << 20), content_encoding="gzip")
    with Attempts(tmp_path / "out", max_size=1 << 20) as attempts:
        assert_failed(attempts.fetch(server.url("/a")), "too-large", "--max-size", retryable=False)
        assert_nothing_left(attempts)


@pytest.mark.parametrize("options", [{"no_length": True}, {"chunked": 1000}], ids=["close", "chunked"])
def test_x02_an_endless_body_is_stopped_by_the_size_limit(server, tmp_path, options):
    server.add("/a", body=Forever(b"x" * 1000), **options)
    with Attempts(tmp_path / "out", max_size=1 << 20) as attempts:
        assert_failed(attempts.fetch(server.url("/a")), "too-large", "--max-size", retryable=False)
        assert_nothing_left(attempts)


def test_i09_a_body_longer_than_its_declared_size_is_stopped(server, attempts):
    server.add("/a", body=Forever(b"x" * 1000), no_length=True)
    assert_failed(
        attempts.fetch(server.url("/a"), size=5000), "size", "longer than the 5000", retryable=False
    )
    assert_nothing_left(attempts)


def test_x08_a_large_error_body_is_not_read(server, attempts):
    server.add("/a", body=Filled(512 << 20), status=404)
    assert_failed(attempts.fetch(server.url("/a")), "not-found", "404")
    server.wait_until(lambda: server.active_requests == 0)
    assert server.hits("/a")[0].sent < 64 << 20
