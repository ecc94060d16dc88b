"""`plan --sizes`: what servers say of sizes, asked by HEAD within the limits of a run."""

from __future__ import annotations

import json
import time

import pytest

from bulkfetch.cli.plan import _measure, _Tally, _visited
from bulkfetch.config import FetchConfig
from bulkfetch.fetcher import Fetcher
from bulkfetch.formatting import format_size
from bulkfetch.models import Entry, Outcome, Status, Task
from bulkfetch.policy import Policies
from bulkfetch.urls import origin_of

RESETS = [("X-RateLimit-Limit", "1"), ("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "60")]


@pytest.fixture
def plan(tmp_path, command):
    """Return a function that plans URLs and returns what is shown."""

    def plan(*urls, code=0):
        done = command("plan", *urls, "-d", tmp_path / "out", "--sizes", "--backoff", "0.01")
        assert done.returncode == code, done.stderr
        assert not (tmp_path / "out").exists()
        return done.stdout

    return plan


def test_sizes_are_summed_up_and_no_body_is_fetched(server, plan):
    server.add("/a", body=b"x" * 2048)
    server.add("/b", body=b"x" * 1024)
    text = plan(server.url("/a"), server.url("/b"))
    assert "2  size told by its server" in text
    assert f"{format_size(3072)} in all, as far as it is known\n" in text
    assert {request.method for request in server.requests} == {"HEAD"}
    assert server.connections <= 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"chunked": True}, "the server does not say"),
        ({"encoding": "gzip"}, "the server does not say"),
        ({"head": {"status": 405}}, "the server answered 405"),
        ({"status": 404}, "the server answered 404"),
    ],
    ids=["chunked", "compressed", "no HEAD", "missing"],
)
def test_what_is_not_told_is_said_to_be_unknown(server, plan, options, reason):
    server.add("/a", body=b"x" * 2048)
    server.add("/b", **{"body": b"x" * 1024, **options})
    text = plan(server.url("/a"), server.url("/b"))
    assert "1 file of unknown size besides" in text
    assert reason in text


def test_a_redirect_is_followed_with_head_to_another_origin_too(server, make_server, plan):
    other = make_server()
    server.add("/a", redirect="/b")
    server.add("/b", status=303, redirect=other.url("/c"))
    other.add("/c", body=b"x" * 2048)
    assert "1  size told by its server" in plan(server.url("/a"))
    assert [request.method for request in (*server.requests, *other.requests)] == ["HEAD"] * 3


def test_failures_that_may_pass_are_tried_again(server, plan):
    def answer(request):
        refused = len(server.hits("/a")) == 1
        status = b"503 Busy\r\nRetry-After: 0" if refused else b"200 OK"
        return [b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"]

    server.add("/a", raw=answer)
    assert "1  size told by its server" in plan(server.url("/a"))


def test_what_a_manifest_declares_is_not_asked_for(server, tmp_path, plan):
    listed = tmp_path / "list.jsonl"
    records = [{"url": server.url("/a"), "size": 7}, {"url": server.url("/b"), "json": 1}]
    listed.write_text("".join(json.dumps(record) + "\n" for record in records))
    text = plan(listed)
    assert "7 B declared by what would be fetched" in text
    assert "unknown size" in text
    assert server.requests == []


def test_a_host_is_asked_within_its_limits(server, tmp_path, command):
    server.add("/n/*", body=b"x", head_delay=0.02)
    urls = [server.url(f"/n/{n}") for n in range(12)]
    done = command("plan", *urls, "-d", tmp_path / "out", "--sizes", "-j", "8", "--per-host", "2")
    assert done.returncode == 0, done.stderr
    assert "12  size told by its server" in done.stdout
    assert server.peak_requests <= 2


def test_a_run_that_may_last_so_long_ends_then(server, tmp_path, command):
    server.add("/a", body=b"x", head_delay=30.0)
    done = command("plan", server.url("/a"), "-d", tmp_path / "out", "--sizes", "--deadline", "0.3")
    assert done.returncode == 0, done.stderr
    assert "the deadline passed" in done.stdout


def test_sizes_are_not_asked_for_where_robots_txt_forbids_it(server, tmp_path, command):
    server.add("/robots.txt", body="User-agent: *\nDisallow: /n/1\nCrawl-delay: 0.1\n")
    server.add("/n/*", body=b"x")
    config = tmp_path / "policy.toml"
    config.write_text(f'[host."{server.netloc}"]\nrobots = "obey"\n')
    config.chmod(0o600)
    urls = [server.url(f"/n/{n}") for n in range(4)]
    started = time.monotonic()
    done = command("plan", *urls, "-d", tmp_path / "out", "--sizes", "--config", config)
    assert time.monotonic() - started >= 2 * 0.1 * 0.9
    assert done.returncode == 0, done.stderr
    assert "does not allow this" in done.stdout
    assert [request.path for request in server.requests].count("/robots.txt") == 1
    asked = [request for request in server.requests if request.path != "/robots.txt"]
    assert sorted(request.path for request in asked) == ["/n/0", "/n/2", "/n/3"]


def test_a_limit_told_in_answers_to_head_is_kept_to(server, tmp_path, command):
    server.add("/n/*", body=b"x", extra_headers=RESETS)
    urls = [server.url(f"/n/{n}") for n in range(4)]
    options = ("--sizes", "--per-host", "1", "--max-wait", "1")
    done = command("plan", *urls, "-d", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    assert "longer than --max-wait" in done.stdout
    assert len(server.requests) == 1


@pytest.mark.parametrize("route", [{"head_delay": 30.0}, {"status": 503, "retry_after": "30"}])
def test_the_deadline_of_an_entry_was_ignored(server, make_server, tmp_path, command, route):
    other = make_server()
    server.add("/slow", **route)
    other.add("/b", body=b"x" * 2048)
    urls = [server.url("/slow"), other.url("/b")]
    options = ("--sizes", "--entry-deadline", "0.5", "--deadline", "20")
    started = time.monotonic()
    done = command("plan", *urls, "-d", tmp_path / "out", *options)
    assert time.monotonic() - started < 10.0
    assert done.returncode == 0, done.stderr
    assert "deadline" in done.stdout
    assert "1  size told by its server" in done.stdout
    assert "the deadline passed" not in done.stdout, "that of the whole plan"


def test_the_whole_window_was_read_before_the_first_size_was_asked_for(server, tmp_path):
    server.add("/*", body=b"x")

    def tasks():
        for number in range(200):
            if number == 150:
                server.wait_until(lambda: len(server.requests) > 0)
            url = server.url(f"/{number}")
            yield Task(Entry((url,)), number.to_bytes(16, "big"), str(number), url, origin_of(url))

    sized = list(Fetcher(FetchConfig(dest=tmp_path)).sizes(tasks()))
    assert [one.size for one in sized] == [1] * 200


def test_rows_that_need_no_asking_were_kept_until_the_next_answer(tmp_path):
    class Row(Outcome):
        """One whose end is seen."""

        def __del__(self):
            gone.append(True)

    made, gone = [], []

    def rows():
        for _ in range(500):
            made.append(True)
            yield Row(Entry(("http://127.0.0.1:9/a",)), Status.SKIPPED)
            assert len(made) - len(gone) < 5

    config = FetchConfig(dest=tmp_path)
    _measure(_visited(rows(), _Tally(), lambda _: None), config, Policies(config), _Tally())
    assert len(made) == 500
