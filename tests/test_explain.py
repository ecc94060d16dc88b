"""`bulkfetch explain`: every attempt, wait and reason of one entry."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing

import pytest

from bulkfetch.chronicle import tell_ended, tell_moved, tell_requeued
from bulkfetch.journal import AttemptRow, Journal
from bulkfetch.models import Attempt, Entry, Failure, Task
from bulkfetch.scheduler import Ended, Requeued
from bulkfetch.urls import origin_of

URL = "http://a.example/x"
TASK = Task(Entry((URL,)), b"k" * 16, "x", URL, origin_of(URL))
BUSY = Failure("throttled", "the server answered 503", 503, retry_after=7.0, retryable=True)
RESET = Failure("reset", "the connection was reset", retryable=True)
ATTEMPT = Attempt(1, 10, 0.5, RESET, url=URL)
ELSEWHERE = TASK._replace(origin=origin_of("http://b.example/x"))


@pytest.mark.parametrize(
    ("step", "attempt", "why"),
    [
        (Requeued(TASK, 1.0, RESET), ATTEMPT, "back-off"),
        (Requeued(TASK, 0.0, RESET), ATTEMPT, "nothing is wrong with the host"),
        (Requeued(TASK, 7.0, BUSY, 7.0), ATTEMPT, "the server asked for it"),
        (Requeued(TASK, 7.0, RESET, 7.0), ATTEMPT, "the host is left alone"),
        (Requeued(TASK, 0.0, RESET), ATTEMPT._replace(reused=True), "the connection had gone stale"),
        (Requeued(ELSEWHERE, 0.0, RESET), ATTEMPT, "the next mirror"),
    ],
)  # fmt: skip
def test_why_the_next_attempt_comes_when_it_comes(step, attempt, why):
    row = tell_requeued(step, attempt)
    assert (row.why, row.wait, row.number) == (why, step.delay, 1)
    assert row.what == f"failed, {step.failure.kind}: {step.failure.message}"


def test_one_attempt_needs_no_record_of_its_own():
    assert tell_ended(Ended(TASK, RESET), ATTEMPT) is None
    assert tell_ended(Ended(TASK, None), ATTEMPT._replace(number=2)).what == "fetched"
    assert tell_ended(Ended(TASK._replace(hops=1), None), ATTEMPT) is not None
    assert tell_moved(TASK, ATTEMPT._replace(refreshed=True), "there").what == "a new link was given: there"


def test_attempts_are_bounded_for_an_entry_and_over_the_runs(tmp_path):
    for _ in range(25):
        with closing(Journal.open(tmp_path)) as journal:
            journal.begin_run()
            for number in range(1, 60):
                journal.add_attempt(AttemptRow(b"k" * 16, number, URL, "failed"))
            journal.commit()
    with closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as database:
        assert database.execute("SELECT count(*), min(run), max(number) FROM attempts").fetchone() == (
            600,
            6,
            30,
        )


# -- with the real command -----------------------------------------------------------------------


@pytest.fixture
def explained(server, tmp_path, command):
    """Return a function that fetches paths, then explains the first."""

    def explained(*paths, options=()):
        urls = [server.url(path) for path in paths]
        command("get", *urls, "-d", tmp_path / "out", "--backoff", "0.01", *options)
        done = command("explain", tmp_path / "out", urls[0])
        assert done.returncode == 0, done.stderr
        return done.stdout

    return explained


def test_retries_are_told_with_their_waits(server, explained):
    server.add(
        "/a",
        body=b"x" * 1000,
        etag='"1"',
        first=[{"status": 500}, {"cut": 400}, {"status": 503, "retry_after": "0"}],
    )
    text = explained("/a")
    assert "attempt 1: failed, server: the server answered 500 Internal Server Error" in text
    assert "attempt 2: failed, truncated: the body ended early after 400 of 1000 bytes" in text
    assert ": back-off" in text
    assert "attempt 3: failed, throttled" in text
    assert "attempt 4: fetched" in text
    assert "fetched (4 attempts, 1.0 kB received" in text or "fetched (4 attempts, 1000 B received" in text


def test_the_last_attempt_is_listed_beside_those_of_an_earlier_run(server, explained, tmp_path):
    server.add("/a", status=500)
    explained("/a", options=("--retries", "1"))
    server.add("/a", status=404)
    text = explained("/a", options=("--retries", "0"))
    first, _, second = text.partition("  run 2\n")
    assert first.count("attempt ") == 2
    assert "  run 1\n" in first
    assert "attempt 1: failed, not-found: the server answered 404" in second
    assert "attempt 2" not in second


def test_an_attempt_keeps_the_number_of_its_run_while_later_ones_have_nothing_to_do(server, explained):
    server.add("/a", body=b"x", first=[{"status": 500}])
    explained("/a", options=("--retries", "0"))
    explained("/a")
    text = explained("/a")
    assert "  run 2\n" in text
    assert "attempt 1: fetched" in text.partition("  run 2\n")[2]
    assert "run 3" not in text


def test_an_earlier_end_is_listed_while_a_new_run_goes_on(
    server, explained, tmp_path, start_bulkfetch, command
):
    server.add("/a", status=404)
    explained("/a")
    server.add("/a", body=b"x", at={0: 60.0})
    start_bulkfetch("get", server.url("/a"), "-d", tmp_path / "out")
    server.wait_for_hits("/a", 2)
    text = command("explain", tmp_path / "out", server.url("/a")).stdout
    assert "  run 1\n" in text
    assert "attempt 1: failed, not-found" in text
    assert "\n  pending" in text


def test_an_outcome_without_an_attempt_lists_none(server, explained, tmp_path):
    server.add("/a", body=b"x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"mine")
    assert "attempt 1" not in explained("/a")


def test_a_plain_success_is_told_from_its_own_record(server, explained, tmp_path):
    server.add("/a", body=b"x")
    text = explained("/a")
    assert "attempt 1: fetched" in text
    assert "fetched (1 attempt, 1 B received" in text
    with closing(sqlite3.connect(tmp_path / "out" / ".bulkfetch" / "journal.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM attempts").fetchone() == (0,)


def test_a_failure_is_told_with_its_reason(server, explained):
    assert "failed, not-found: the server answered 404 Not Found" in explained("/a")


def test_redirects_to_other_origins_are_told(server, make_server, explained):
    other = make_server()
    server.add("/a", redirect=other.url("/b"))
    other.add("/b", body=b"x")
    text = explained("/a")
    assert f"attempt 1: redirected: {other.url('/b')}" in text
    assert f"asked {other.url('/b')}" in text


def test_secrets_of_a_url_are_not_shown(server, explained, tmp_path):
    server.add("/a", status=500)
    text = explained("/a?token=s3cret-value", options=("--retries", "1"))
    assert "s3cret-value" not in text
    assert "token=***" in text


def test_a_run_that_goes_on_is_told_of(server, tmp_path, start_bulkfetch, command):
    server.add("/a", body=b"x", first=[{"status": 500}], head_delay=0.0, at={0: 300.0})
    start_bulkfetch("get", server.url("/a"), "-d", tmp_path / "out", "--backoff", "0.01")
    server.wait_for_hits("/a", 2)
    asked = ("explain", tmp_path / "out", server.url("/a"))
    server.wait_until(lambda: "attempt 1: failed, server" in command(*asked).stdout)
    assert "\n  pending" in command(*asked).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="the holder's file says nothing for sure")
@pytest.mark.parametrize("first", [[], [{"status": 500}]], ids=["the first attempt", "a later one"])
def test_an_attempt_that_was_killed_was_not_told_of(server, tmp_path, start_bulkfetch, command, first):
    server.add("/a", body=b"x" * 3_000_000, first=first, etag='"1"', at={2_500_000: 60.0})
    process = start_bulkfetch("get", server.url("/a"), "-d", tmp_path / "out", "--backoff", "0.01")
    asked = ("explain", tmp_path / "out", server.url("/a"))
    server.wait_until(lambda: "  kept" in command(*asked).stdout)
    ended = "run 1 ended with the program"
    assert ended not in command(*asked).stdout, "it goes on"
    process.kill()
    process.wait(30)
    text = command(*asked).stdout
    assert f"  {ended}; an attempt under way then has no line of its own\n  kept" in text
    assert text.count("attempt 1") == len(first)
    server.add("/a", status=404)
    command("get", server.url("/a"), "-d", tmp_path / "out")
    assert ended not in command(*asked).stdout


def test_what_is_not_there_is_said_in_one_sentence(server, tmp_path, command, explained):
    server.add("/a", body=b"x")
    explained("/a")
    done = command("explain", tmp_path / "out", server.url("/b"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"knows nothing of {server.url('/b')}" in done.stderr
    assert command("explain", tmp_path / "out", "nonsense").returncode == 2
    assert command("explain", tmp_path / "none", server.url("/a")).returncode == 2


def test_a_journal_of_an_older_version_is_read(server, tmp_path, command, explained):
    server.add("/a", body=b"x")
    explained("/a")
    with closing(sqlite3.connect(tmp_path / "out" / ".bulkfetch" / "journal.sqlite3")) as database:
        database.execute("DROP TABLE attempts")
    assert "fetched (1 attempt" in command("explain", tmp_path / "out", server.url("/a")).stdout
