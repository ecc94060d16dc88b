"""Section R of the fault catalogue: the second attempt, with what the first one left."""

from __future__ import annotations

import os

import pytest
from attempting import CUT, DATA, DATE, NAME, OTHER, SIZE, Attempts, assert_failed, sha256
from faultserver import http_date

import bulkfetch
from bulkfetch.models import NO_PART, PartInfo

ETAG = '"v1"'
REST = f"bytes={CUT}-"


@pytest.fixture
def attempts(tmp_path):
    with Attempts(tmp_path / "out") as made:
        yield made


@pytest.fixture
def begin(server, attempts):
    """Return a function that makes a first attempt cut after 60000 bytes, and gives what it left."""

    def cut(**options):
        declared = {name: options.pop(name) for name in ("size", "digests") if name in options}
        server.add("/a", **{"body": DATA, "etag": ETAG, "cut": CUT, **options})
        attempt = attempts.fetch(server.url("/a"), **declared)
        assert_failed(attempt, "truncated")
        assert attempt.part.offset == CUT
        return attempt.part

    return cut


def part_file(attempts):
    """Return the one part there is."""
    (path,) = attempts.parts()
    return path


def assert_whole(attempts, attempt, data=DATA):
    assert attempt.failure is None, attempt.failure
    assert attempts.file() == data
    assert attempts.parts() == []
    assert attempt.part == NO_PART


def assert_started_anew(server, attempts, attempt, data=DATA, **declared):
    """Check that the part was given up, and that the attempt after it asks for everything."""
    assert_failed(attempt, "range", retryable=True)
    assert attempt.part == NO_PART
    assert attempts.parts() == []
    assert attempts.left() == set()
    assert_whole(attempts, attempts.go_on(server.url("/a"), attempt.part, **declared), data)
    assert server.requests[-1].range is None


# -- answers to a range ---------------------------------------------------------------------------


def test_the_rest_is_asked_for_and_appended(server, attempts, begin):
    part = begin()
    server.add("/a", body=DATA, etag=ETAG)
    attempt = attempts.go_on(server.url("/a"), part)
    assert_whole(attempts, attempt)
    assert attempt.received == SIZE - CUT
    (request,) = server.hits("/a")[1:]
    assert (request.range, request.headers["If-Range"]) == (REST, ETAG)
    assert attempt.done.etag == ETAG
    assert attempt.done.digest == sha256(DATA)[0][1]


def test_r01_a_server_that_ignores_the_range_sends_everything_again(server, attempts, begin):
    part = begin()
    server.add("/a", body=DATA, etag=ETAG, ranges="ignore")
    attempt = attempts.go_on(server.url("/a"), part)
    assert_whole(attempts, attempt)
    assert attempt.received == SIZE


def test_r01_progress_is_rolled_back(server, attempts):
    data = DATA * 20
    server.add("/a", body=data, etag=ETAG, cut=1_900_000)
    part = attempts.fetch(server.url("/a")).part
    assert attempts.events[-1].offset > 1_000_000
    attempts.events.clear()
    server.add("/a", body=data, etag=ETAG, ranges=False)
    assert_whole(attempts, attempts.go_on(server.url("/a"), part), data)
    assert attempts.events[0].offset == attempts.events[0].received <= 1 << 20


@pytest.mark.parametrize(
    "ranges",
    ["shift:-1000", "shift:1000", "start:0", "no-header", "no-header-whole", "garbage", "other-total:777",
     "200-slice", "multipart", "416:-1000", "416:1000", "416-no-header", "416"],
    ids=["r02_earlier", "r02_later", "r02_from_0", "r03_slice", "r03_whole", "r04_garbage", "r05_other_total",
         "r16_200_with_a_slice", "r15_multipart", "r12_shorter", "r12_longer", "r13_bare_416", "r12_416"],
)  # fmt: skip
def test_an_answer_that_does_not_fit_the_part_gives_it_up(server, attempts, begin, ranges):
    part = begin()
    server.add("/a", body=DATA, etag=ETAG, ranges=ranges)
    assert_started_anew(server, attempts, attempts.go_on(server.url("/a"), part))


def test_r06_a_changed_file_is_fetched_from_its_beginning(server, attempts, begin):
    part = begin()
    server.add("/a", body=OTHER, etag='"v2"')
    attempt = attempts.go_on(server.url("/a"), part)
    assert_whole(attempts, attempt, OTHER)
    assert attempt.done.etag == '"v2"'


@pytest.mark.parametrize(
    "changed",
    [{"etag": '"v2"'}, {"etag": None}, {"etag": 'W/"v1"'}, {"body": OTHER + b"x"}],
    ids=["etag", "no etag", "weak etag", "total"],
)
def test_r07_a_changed_file_behind_a_server_that_ignores_if_range(server, attempts, begin, changed):
    part = begin()
    changed = {"body": OTHER, "etag": ETAG, **changed}
    server.add("/a", ranges="ignore-if-range", **changed)
    assert_started_anew(server, attempts, attempts.go_on(server.url("/a"), part), changed["body"])


def test_r07_the_date_is_compared_too(server, attempts, begin):
    part = begin(etag=None, last_modified=DATE)
    assert part.validator == http_date(DATE)
    server.add("/a", body=OTHER, last_modified=DATE + 1, ranges="ignore-if-range")
    assert_started_anew(server, attempts, attempts.go_on(server.url("/a"), part), OTHER)


def test_r08_a_weak_etag_pins_nothing(server, attempts):
    server.add("/a", body=DATA, etag='W/"v1"', cut=CUT)
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "truncated")
    assert attempt.part == NO_PART
    assert attempts.parts() == []


def test_r08_beside_a_weak_etag_an_old_date_pins(server, attempts, begin):
    part = begin(etag='W/"v1"', last_modified=DATE)
    server.add("/a", body=DATA, etag='W/"v1"', last_modified=DATE)
    assert_whole(attempts, attempts.go_on(server.url("/a"), part))
    assert server.requests[-1].headers["If-Range"] == http_date(DATE)


def test_r09_without_a_validator_a_declared_digest_judges_the_whole(server, attempts, begin):
    part = begin(etag=None, digests=sha256(DATA))
    server.add("/a", body=DATA)
    attempt = attempts.go_on(server.url("/a"), part, digests=sha256(DATA))
    assert_whole(attempts, attempt)
    assert server.requests[-1].range == REST
    assert "If-Range" not in server.requests[-1].headers


def test_r09_the_digest_catches_what_was_spliced(server, attempts, begin):
    part = begin(etag=None, digests=sha256(OTHER))
    server.add("/a", body=OTHER)
    attempt = attempts.go_on(server.url("/a"), part, digests=sha256(OTHER))
    assert_failed(attempt, "digest", retryable=True)
    assert attempts.left() == set()
    assert attempts.parts() == []


def test_r09_a_part_that_nothing_pins_any_more_is_removed(server, attempts, begin):
    part = begin(etag=None, digests=sha256(DATA))
    server.add("/a", body=DATA)
    assert_whole(attempts, attempts.go_on(server.url("/a"), part))
    assert server.requests[-1].range is None


@pytest.mark.parametrize("token", ["", "0" * 8], ids=["no token", "another's token"])
def test_r10_a_part_is_adopted_by_its_token_alone(server, attempts, begin, token):
    part = begin()
    server.add("/a", body=OTHER, etag=ETAG)
    claimed = PartInfo(part.offset, part.validator, part.total, token)
    attempt = attempts.go_on(server.url("/a"), claimed)
    assert attempt.failure is None
    assert attempts.file() == OTHER
    assert server.requests[-1].range is None


def test_r10_the_part_of_another_entry_is_not_found(server, attempts, begin):
    part = begin()
    server.add("/b", body=OTHER, etag=ETAG)
    attempt = attempts.go_on(server.url("/b"), part, "b.bin")
    assert attempt.failure is None
    assert attempts.file("b.bin") == OTHER
    assert server.requests[-1].range is None


@pytest.mark.parametrize(
    "validators", [{"etag": ETAG}, {"etag": None, "last_modified": DATE}], ids=["etag", "date"]
)
def test_r11_r19_a_complete_part_is_finished_with_one_small_request(server, attempts, begin, validators):
    part = begin(**validators)
    with part_file(attempts).open("ab") as file:  # killed between the last byte and the rename
        file.write(DATA[CUT:])
    server.add("/a", body=DATA, **validators)
    whole = PartInfo(SIZE, part.validator, SIZE, part.token)
    attempt = attempts.go_on(server.url("/a"), whole)
    assert_whole(attempts, attempt)
    assert attempt.received == 0
    assert [request.status for request in server.requests][1:] == [416]
    assert attempt.done.etag == validators["etag"]
    if validators["etag"] is None:
        assert attempt.done.last_modified == http_date(DATE)
        assert (attempts.dest / NAME).stat().st_mtime == DATE


def test_r11_a_complete_part_is_verified_before_it_is_renamed(server, attempts, begin):
    part = begin(digests=sha256(DATA))
    with part_file(attempts).open("ab") as file:
        file.write(OTHER[CUT:])
    server.add("/a", body=DATA, etag=ETAG)
    attempt = attempts.go_on(server.url("/a"), PartInfo(SIZE, ETAG, SIZE, part.token), digests=sha256(DATA))
    assert_failed(attempt, "digest")
    assert attempts.left() == set()
    assert attempts.parts() == []


def test_r11_a_complete_part_of_another_size_than_declared_is_not_kept_for_ever(server, attempts, begin):
    part = begin()
    with part_file(attempts).open("ab") as file:
        file.write(DATA[CUT:])
    server.add("/a", body=DATA, etag=ETAG)
    attempt = attempts.go_on(server.url("/a"), PartInfo(SIZE, ETAG, SIZE, part.token), size=SIZE + 5)
    assert_failed(attempt, "size")
    assert attempts.parts() == []
    assert attempt.part == NO_PART


def test_r12_a_part_longer_than_the_file(server, attempts, begin):
    part = begin()
    server.add("/a", body=DATA[:50_000], etag=ETAG)
    attempt = attempts.go_on(server.url("/a"), part)
    assert_started_anew(server, attempts, attempt, DATA[:50_000])


def test_r14_a_short_206_is_asked_on_until_the_total(server, attempts, begin):
    part = begin()
    server.add("/a", body=DATA, etag=ETAG, ranges="short:15000")
    attempt = attempts.go_on(server.url("/a"), part)
    assert_whole(attempts, attempt)
    assert attempt.received == SIZE - CUT
    assert [request.range for request in server.requests[1:]] == [
        "bytes=60000-", "bytes=75000-", "bytes=90000-",
    ]  # fmt: skip
    assert server.connections == 2  # nothing was wrong with the one that served the ranges


def test_r14_little_by_little_is_bounded(server, attempts, begin):
    part = begin()
    server.add("/a", body=DATA, etag=ETAG, ranges="short:100")
    attempt = attempts.go_on(server.url("/a"), part)
    assert_failed(attempt, "truncated", "after 70100 of 100000 bytes", retryable=True)
    assert attempt.part.offset == CUT + 101 * 100


def test_r14_a_file_that_changes_between_two_ranges_is_not_spliced(server, attempts, begin):
    part = begin()
    server.add("/a", body=OTHER, etag='"v2"', first=[{"body": DATA, "etag": ETAG, "ranges": "short:15000"}])
    assert_whole(attempts, attempts.go_on(server.url("/a"), part), OTHER)


def test_r14_a_range_that_breaks_off_after_a_whole_one_keeps_both(server, attempts, begin):
    part = begin()
    server.add("/a", body=DATA, etag=ETAG, first=[{"ranges": "short:15000", "cut": None}], cut=5000)
    attempt = attempts.go_on(server.url("/a"), part)
    assert_failed(attempt, "truncated", "after 80000 of 100000 bytes", retryable=True)
    assert attempt.part.offset == 80_000


def test_r14_a_declared_digest_alone_lets_it_go_on(server, attempts, begin):
    part = begin(etag=None, last_modified=None, digests=sha256(DATA))
    server.add("/a", body=DATA, ranges="short:15000")
    assert_whole(attempts, attempts.go_on(server.url("/a"), part, digests=sha256(DATA)))


def test_r14_where_requests_are_counted_each_range_is_an_attempt(server, attempts, tmp_path):
    server.add("/a", body=DATA, etag=ETAG, first=[{"cut": CUT}], ranges="short:15000")
    with Attempts(tmp_path, host_rate=100.0) as paced:
        attempt = paced.fetch(server.url("/a"))
        attempt = paced.go_on(server.url("/a"), attempt.part)
    assert_failed(attempt, "truncated", "after 75000 of 100000 bytes", retryable=True)


def test_r14_small_ranges_do_not_use_up_the_retries(server, tmp_path):
    server.add("/a", body=DATA, etag=ETAG, first=[{"cut": CUT}], ranges="short:1000")
    (outcome,) = bulkfetch.fetch([server.url("/a")], tmp_path, retries=1, backoff=0.0)
    assert (outcome.status, outcome.attempts) == ("fetched", 2)
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize(
    "answer",
    [
        {"body": b"<html>log in</html>", "content_type": "text/html"},
        {"body": b"<html>log in</html>", "content_type": "text/html", "no_length": True},
        {"status": 403, "body": b"expired"},
        {"status": 401},
    ],
    ids=["page", "page without a length", "403", "401"],
)
@pytest.mark.parametrize(
    "declared", [{}, {"digests": sha256(DATA)}, {"size": SIZE}], ids=["", "digest", "size"]
)
def test_r17_an_expired_link_leaves_the_part_alone(server, attempts, begin, answer, declared):
    part = begin(**declared)
    server.add("/a", **answer)
    attempt = attempts.go_on(server.url("/a"), part, **declared)
    length_told = "size" in declared and "no_length" not in answer and "status" not in answer
    assert_failed(attempt, "size" if length_told else "auth", retryable=False)
    assert attempt.part == part
    assert part_file(attempts).read_bytes() == DATA[:CUT]
    server.add("/a", body=DATA, etag=ETAG)
    assert_whole(attempts, attempts.go_on(server.url("/a"), attempt.part, **declared))


def test_r18_a_gzip_answer_to_a_range_starts_anew(server, attempts, begin):
    part = begin()
    server.add("/a", body=DATA, etag=ETAG, encoding="gzip")
    assert_whole(attempts, attempts.go_on(server.url("/a"), part))


def test_r18_a_gzip_206_is_not_appended(server, attempts, begin):
    part = begin()
    server.add("/a", body=DATA, etag=ETAG, content_encoding="gzip")
    attempt = attempts.go_on(server.url("/a"), part)
    assert_failed(attempt, "range")
    assert attempts.parts() == []


def test_a_206_that_says_no_total_is_held_against_the_one_known(server, attempts, begin):
    part = begin()
    server.add("/a", body=DATA, etag=ETAG, ranges="no-total")
    assert_whole(attempts, attempts.go_on(server.url("/a"), part))


# -- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 30_000, CUT - 1])
def test_r20_a_part_shorter_than_remembered_counts_as_long_as_it_is(server, attempts, begin, size):
    part = begin()
    os.truncate(part_file(attempts), size)
    server.add("/a", body=DATA, etag=ETAG)
    attempt = attempts.go_on(server.url("/a"), part)
    assert_whole(attempts, attempt)
    assert server.requests[-1].range == f"bytes={size}-"
    assert attempt.received == SIZE - size


@pytest.mark.parametrize("loss", ["empty", "gone"])
def test_r20_a_part_without_bytes_is_none(server, attempts, begin, loss):
    part = begin()
    if loss == "gone":
        part_file(attempts).unlink()
    else:
        os.truncate(part_file(attempts), 0)
    server.add("/a", body=DATA, etag=ETAG)
    attempt = attempts.go_on(server.url("/a"), part)
    assert attempt.failure is None
    assert attempts.file() == DATA
    assert server.requests[-1].range is None


def test_r21_bytes_past_the_remembered_offset_are_cut_off(server, attempts, begin):
    part = begin()
    with part_file(attempts).open("ab") as file:
        file.write(bytes(60_000))  # more than is still to come
    server.add("/a", body=DATA, etag=ETAG)
    assert_whole(attempts, attempts.go_on(server.url("/a"), part))
    assert server.requests[-1].range == REST


def test_r22_a_part_holds_no_more_than_what_came(server, attempts, begin):
    begin()
    found = part_file(attempts).stat()
    assert found.st_size == CUT


@pytest.mark.parametrize("kind", ["link", "second name", "folder", "pipe"])
def test_f08_a_part_that_is_no_plain_file_of_its_own_is_not_adopted(server, attempts, begin, tmp_path, kind):
    part = begin()
    path = part_file(attempts)
    victim = tmp_path / "victim"
    victim.write_bytes(DATA[:CUT])
    if kind == "second name":
        os.link(path, tmp_path / "second")
    else:
        path.unlink()
        {"link": lambda: path.symlink_to(victim), "folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}[
            kind
        ]()
    server.add("/a", body=OTHER, etag=ETAG)
    attempt = attempts.go_on(server.url("/a"), part)
    assert attempt.failure is None
    assert attempts.file() == OTHER
    assert server.requests[-1].range is None
    assert victim.read_bytes() == DATA[:CUT]


def test_r23_a_connection_that_drops_all_the_time_gets_there(server, attempts):
    server.add("/a", body=DATA, etag=ETAG, cut=9_000)
    part = NO_PART
    for number in range(1, 12):
        attempt = attempts.go_on(server.url("/a"), part)
        assert attempt.failure is not None
        assert attempt.part.offset == 9_000 * number
        part = attempt.part
    assert_whole(attempts, attempts.go_on(server.url("/a"), part))


def test_r24_a_redirect_target_of_each_attempt_is_judged_by_its_validator(server, attempts):
    server.add("/a", redirect=lambda request: f"/signed?n={request.number}")
    server.add("/signed", body=DATA, etag=ETAG, cut=CUT, times=1)
    first = attempts.fetch(server.url("/a"))
    assert_failed(first, "truncated")
    assert first.url == server.url("/signed?n=1")
    second = attempts.go_on(server.url("/a"), first.part)
    assert_whole(attempts, second)
    assert second.url == server.url("/signed?n=2")
    assert [request.range for request in server.hits("/signed")] == [None, REST]


def test_r25_a_file_that_changes_its_version_all_the_time_is_told(server, attempts):
    server.add("/a", body=DATA, etag=['"a"', '"b"'], cut=CUT)
    first = attempts.fetch(server.url("/a"))
    second = attempts.go_on(server.url("/a"), first.part)
    assert_failed(second, "truncated", "60000 stored before belong to another version", retryable=True)
    assert (second.part.offset, second.part.validator) == (CUT, '"b"')


def test_r25_a_server_that_ignores_the_range_is_not_taken_for_another_version(server, attempts):
    server.add("/a", body=DATA, etag=ETAG, cut=CUT, ranges="ignore")
    first = attempts.fetch(server.url("/a"))
    second = attempts.go_on(server.url("/a"), first.part)
    told = f"ended early after {CUT} of {len(DATA)} bytes; the server ignored the range and began again"
    assert_failed(second, "truncated", told, retryable=True)
    assert second.part.offset == CUT


def test_r25_validators_that_differ_between_mirrors_with_the_same_bytes(server, attempts):
    server.add("/a", body=DATA, etag=['"a"', '"b"'], first=[{"cut": CUT}])
    first = attempts.fetch(server.url("/a"))
    assert_whole(attempts, attempts.go_on(server.url("/a"), first.part))


def test_a_stop_while_the_part_is_read_back_keeps_it(server, attempts, begin):
    part = begin()
    attempts.stop.set()
    attempt = attempts.go_on(server.url("/a"), part)
    assert_failed(attempt, "stopped")
    assert attempt.part == part
    assert part_file(attempts).stat().st_size == CUT


def test_an_attempt_that_reaches_nobody_keeps_the_part(server, attempts, begin):
    part = begin()
    server.drop_connections()
    server.accept_as("refuse")
    attempt = attempts.go_on(server.url("/a"), part)
    assert_failed(attempt, "connect", retryable=True)
    assert attempt.part == part
    server.accept_as("serve")
    server.add("/a", body=DATA, etag=ETAG)
    assert_whole(attempts, attempts.go_on(server.url("/a"), attempt.part))
