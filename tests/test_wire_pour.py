"""Large bodies whose bytes nobody has to see: moved from the socket into the part by the system (Linux)."""

from __future__ import annotations

import errno
import os
import threading

import attempting
import pytest
from attempting import Attempts, assert_failed, open_handles, sha256
from faultserver import pattern

from bulkfetch.wire.pipe import Pipe

pytestmark = pytest.mark.skipif(not hasattr(os, "splice"), reason="Linux only")

BODY = pattern(3_000_000)
CUT = 2_500_000
ETAG = '"v1"'


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(attempting, "WHICH", "fast")  # requests' connections only read
    made = []

    def start(**options):
        made.append(Attempts(tmp_path / "out", **{"digest": "none", **options}))
        return made[-1]

    yield start
    for attempts in made:
        attempts.__exit__()


@pytest.fixture
def attempts(make):
    return make()


@pytest.fixture
def poured(monkeypatch):
    """Return the sizes of all moves out of a pipe."""
    splice, sizes = os.splice, []

    def watch(source, target, count, **options):
        if not options and os.path.isfile(f"/proc/self/fd/{target}"):  # noqa: PTH113 - a link to no path at all
            sizes.append(count)
        return splice(source, target, count, **options)

    monkeypatch.setattr(os, "splice", watch)
    return sizes


def assert_whole(attempts, attempt, body=BODY):
    assert attempt.failure is None, attempt.failure
    assert attempt.received == len(body)
    assert attempts.file() == body


def test_a_large_body_is_poured(server, attempts, poured):
    server.add("/a", body=BODY, etag=ETAG)
    assert_whole(attempts, attempts.fetch(server.url("/a")))
    assert sum(poured) > len(BODY) // 2


def test_the_connection_serves_again(server, attempts, poured):
    server.add("/a", body=BODY)
    for path in ("a", "b", "c"):
        assert attempts.fetch(server.url("/a"), path).done
        assert attempts.file(path) == BODY
    assert len({request.connection for request in server.requests}) == 1
    assert poured


@pytest.mark.parametrize("size", [(1 << 20) + extra for extra in (-1, 0, 1, 65_536, 300_000)])
def test_bodies_of_any_size(server, attempts, size):
    body = pattern(size)
    server.add("/a", body=body)
    assert_whole(attempts, attempts.fetch(server.url("/a")), body)


@pytest.mark.parametrize(
    "reason",
    [
        {"fields": {"digests": sha256(BODY)}},
        {"options": {"digest": "md5"}},
        {"options": {"limit_rate": 1e9}},
        {"served": {"chunked": True}},
        {"served": {"no_length": True}},
        {"tls": True},
    ],
    ids=["digest declared", "digest recorded", "limited", "chunked", "open", "tls"],
)
def test_bodies_that_must_be_seen_are_read(make_server, make, poured, reason):
    server = make_server(tls=True) if "tls" in reason else make_server()
    attempts = make(**reason.get("options", {}), ca_bundle=server.ca_file if "tls" in reason else None)
    server.add("/a", body=BODY, **reason.get("served", {}))
    assert_whole(attempts, attempts.fetch(server.url("/a"), **reason.get("fields", {})))
    assert poured == []


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_broken_body_keeps_what_came_and_goes_on(server, attempts, poured, how):
    server.add("/a", body=BODY, etag=ETAG, cut=CUT, cut_how=how, times=1)
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, {"close": "truncated", "reset": "reset"}[how], retryable=True)
    (part,) = attempts.parts()
    assert attempt.received == attempt.part.offset == part.stat().st_size
    assert part.read_bytes() == BODY[: attempt.received]
    assert how == "reset" or attempt.received == CUT
    assert poured
    server.add("/a", body=BODY, etag=ETAG)
    attempts.go_on(server.url("/a"), attempt.part)
    assert attempts.file() == BODY


def test_a_silent_server_is_given_up(server, make, poured):
    attempts = make(idle_timeout=1.0)
    server.add("/a", body=BODY, etag=ETAG, cut=CUT, cut_how="stall")
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "timeout", retryable=True)
    assert attempt.received == CUT
    assert attempt.seconds < 15.0
    assert poured


def test_a_stop_is_heard(server, make):
    stalled = threading.Event()
    attempts = make()
    attempts.context = attempts.new_context(
        lambda _: stalled.is_set() or (stalled.set(), attempts.stop.set())
    )
    server.add("/a", body=BODY, etag=ETAG, cut=CUT, cut_how="stall")
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "stopped")
    assert attempt.seconds < 15.0


def test_b04_more_bytes_than_declared_are_not_stored(server, attempts, poured):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    server.add("/a", raw=head + BODY + b"more")
    attempt = attempts.fetch(server.url("/a"))
    assert_whole(attempts, attempt)
    assert poured


def test_a_page_where_none_was_expected_is_not_stored(server, attempts, poured):
    server.add("/a", body=b"<!doctype html><title>Sign in" + BODY, content_type="text/html")
    assert attempts.fetch(server.url("/a")).failure is not None
    assert poured == []
    assert attempts.left() == set()


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, "disk-full"), (errno.EIO, "disk")])
def test_a_disk_that_takes_no_more_keeps_what_is_whole(server, attempts, monkeypatch, code, kind):
    splice, moves = os.splice, []

    def fail(source, target, count, **options):
        if not options and os.path.isfile(f"/proc/self/fd/{target}"):  # noqa: PTH113
            moves.append(count)
            if len(moves) > 1:
                splice(source, target, 1000)
                raise OSError(code, os.strerror(code))
        return splice(source, target, count, **options)

    monkeypatch.setattr(os, "splice", fail)
    server.add("/a", body=BODY, etag=ETAG)
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, kind, os.strerror(code))
    monkeypatch.undo()
    (part,) = attempts.parts()
    kept = attempt.part.offset
    assert 0 < kept <= attempt.received
    assert part.read_bytes()[:kept] == BODY[:kept]
    attempts.go_on(server.url("/a"), attempt.part)
    assert attempts.file() == BODY


def test_a_file_system_that_refuses_gets_its_bytes_written(server, attempts, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "splice", refuse)
    server.add("/a", body=BODY)
    assert_whole(attempts, attempts.fetch(server.url("/a")))


def test_without_files_to_open_the_body_is_read(server, attempts, monkeypatch, poured):
    def refuse():
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pipe", refuse)
    server.add("/a", body=BODY)
    assert_whole(attempts, attempts.fetch(server.url("/a")))
    assert poured == []


@pytest.mark.parametrize("served", [{}, {"cut": CUT}, {"cut": CUT, "cut_how": "reset"}])
def test_no_pipe_stays_open(server, attempts, served):
    server.add("/a", body=BODY, etag=ETAG, **served)
    attempts.fetch(server.url("/a"), "first")
    before = {handle for handle in open_handles() if "pipe" in handle}
    attempts.fetch(server.url("/a"), "second")
    assert {handle for handle in open_handles() if "pipe" in handle} <= before


@pytest.mark.parametrize(("flags", "does"), [(os.O_WRONLY, True), (os.O_WRONLY | os.O_APPEND, False)])
def test_a_pipe_is_tried_before_bytes_are_in_it(tmp_path, flags, does):
    pipe, file = Pipe(), os.open(tmp_path / "a", flags | os.O_CREAT)
    try:
        assert pipe.leads_to(file) is does
        os.write(pipe.start, b"hello")
        if does:
            pipe.empty(file, 5)
            assert (tmp_path / "a").read_bytes() == b"hello"
    finally:
        pipe.close()
        os.close(file)
