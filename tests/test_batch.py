"""A batch over one connection: its next request is on its way while a file is stored."""

from __future__ import annotations

import threading

import pytest
from attempting import QUICK, Attempts, assert_failed
from faultserver import CLOSE, STALL, pattern

from bulkfetch.engine.base import run_batch
from bulkfetch.errors import DiskFailed
from bulkfetch.exchange import Exchange
from bulkfetch.policy import Policies, from_table
from bulkfetch.store import LocalStore
from bulkfetch.transfer import run_attempts

DATA = pattern(10_000)
ETAG = '"v1"'


class Batches(Attempts):
    """What one worker has that is given several tasks at once."""

    def __init__(self, dest, **options):
        super().__init__(dest, **options)
        self.transport.close()
        self.transport = Exchange(self.config, self.policies)
        self.context = self.new_context()

    def run_all(self, server, paths, **fields):
        """Return the attempts and the paths handed back of a batch."""
        tasks = [self.task(server.url(path), path[1:], **fields) for path in paths]
        reports = []
        run_batch(tasks, lambda batch: run_attempts(batch, self.context), reports.append)
        assert [report.task for report in reports] == tasks[: len(reports)]
        assert [report.ends_batch for report in reports][-1:] == [True]
        left = [task.path for report in reports for task in report.unstarted]
        return [report.attempt for report in reports], left


@pytest.fixture
def make(tmp_path):
    made = []

    def make(**options):
        made.append(Batches(tmp_path / "out", **{**QUICK, **options}))
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


def serve(server, count=4, **options):
    paths = [f"/{number}" for number in range(count)]
    for path in paths:
        server.add(path, body=DATA + path.encode(), **options)
    return paths


def asked(server):
    return [request.path for request in server.requests]


def assert_whole(attempts, paths):
    for path in paths:
        assert attempts.file(path[1:]) == DATA + path.encode()


@pytest.mark.parametrize("tls", [False, True])
def test_every_file_of_a_batch_is_asked_for_once_over_one_connection(make_server, make, tls):
    server = make_server(tls=tls)
    paths = serve(server, 6)
    attempts = make(ca_bundle=server.ca_file if tls else None)
    ended, left = attempts.run_all(server, paths)
    assert [attempt.done.size for attempt in ended] == [10_002] * 6
    assert all(attempt.started and 0 < attempt.seconds < 60 for attempt in ended)
    assert (asked(server), left) == (paths, [])
    assert server.connections == 1
    assert_whole(attempts, paths)


def test_the_next_request_is_sent_before_the_file_is_stored(server, make):
    paths = serve(server, 3)
    attempts = make()
    seen = []
    put = attempts.store.put

    def put_late(key, data, path, **named):
        server.wait_until(lambda: len(server.requests) == min(3, len(seen) + 2))
        seen.append(attempts.file(path))
        return put(key, data, path, **named)

    attempts.store.put = put_late
    attempts.run_all(server, paths)
    assert seen == [None, None, None]
    assert server.peak_requests == 1
    assert_whole(attempts, paths)


def test_a_wrong_digest_ends_the_batch_and_costs_no_file(server, make):
    paths = serve(server)
    attempts = make()
    ended, left = attempts.run_all(server, paths, digests=(("sha256", "0" * 64),))
    assert_failed(ended[0], "digest")
    assert (len(ended), left) == (1, ["1", "2", "3"])
    assert attempts.left() == set()
    assert attempts.parts() == []
    again, _ = attempts.run_all(server, paths)
    assert all(attempt.done for attempt in again)
    assert_whole(attempts, paths)


def test_a_disk_that_fails_ends_the_batch_and_the_next_one_goes_on(server, make):
    paths = serve(server)
    attempts = make()
    put, calls = attempts.store.put, []

    def fail_once(key, data, path, **named):
        calls.append(path)
        if len(calls) == 2:
            raise DiskFailed("no space left")
        return put(key, data, path, **named)

    attempts.store.put = fail_once
    ended, left = attempts.run_all(server, paths)
    assert ended[0].done
    assert_failed(ended[1], "disk")
    assert left == ["2", "3"]
    server.wait_until(lambda: server.open_connections == 0)  # with what was asked for ahead
    ended, left = attempts.run_all(server, paths[1:])
    assert (len(ended), left) == (3, [])
    assert_whole(attempts, paths)


def test_a_name_that_was_taken_meanwhile_fails_and_the_answer_asked_for_ahead_is_not_taken_for_another(
    server, make
):
    paths = serve(server)
    attempts = make()
    (attempts.dest / "1").write_bytes(b"mine")
    ended, left = attempts.run_all(server, paths)
    assert ended[0].done
    assert_failed(ended[1], "exists")
    assert left == ["2", "3"]
    ended, _ = attempts.run_all(server, paths[2:])
    assert all(attempt.done for attempt in ended)
    assert attempts.file("1") == b"mine"
    assert_whole(attempts, ["/0", "/2", "/3"])


@pytest.mark.parametrize(
    "options",
    [
        {"keep_alive": False},
        {"close_after": 1},
        {"close_after": 2},
        {"http10": True},
        {"chunked": 1000},
        {"no_length": True},
        {"encoding": "gzip"},
        {"trickle": (5000, 0.15)},
        {"extra_headers": [("Set-Cookie", "a=1")]},
        {"early": [b"HTTP/1.1 103 Early Hints\r\n\r\n"]},
        {"at": {5000: 0.3}},
        {"head_delay": 0.05},
    ],
    ids=lambda options: next(iter(options)),
)
def test_whatever_way_the_answers_come_every_file_is_right(server, make, options):
    paths = serve(server, 5, **options)
    attempts = make()
    rest, ended = list(paths), []
    while rest:  # what a stale connection swallowed is tried again, as the scheduler does
        done, left = attempts.run_all(server, rest)
        ended += done
        failed = [attempt.url for attempt in done if attempt.done is None]
        assert all(attempt.reused and attempt.failure.kind == "reset" for attempt in done if not attempt.done)
        rest = [path for path in rest if path[1:] in left or server.url(path) in failed]
        assert len(ended) < 30
    assert_whole(attempts, paths)


def test_a03_a_cookie_that_a_batch_is_given_is_sent_with_the_rest_of_it(server, make):
    paths = serve(server)
    server.add("/1", body=DATA + b"/1", extra_headers=[("Set-Cookie", "a=1; Path=/")])
    attempts = make()
    ended, _ = attempts.run_all(server, paths)
    assert all(attempt.done for attempt in ended)
    assert [request.headers.get("Cookie") for request in server.requests] == [None, None, "a=1", "a=1"]


@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"])
def test_b04_b05_what_follows_an_answer_is_not_taken_for_the_next_file(server, make, surplus):
    paths = serve(server, 3)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10002\r\n\r\n"
    server.add("/0", raw=[head + DATA + b"/0" + surplus], keep_alive=True)
    attempts = make()
    ended, _ = attempts.run_all(server, paths)
    assert [bool(attempt.done) for attempt in ended] == [True] * 3
    assert ended[0].done.warnings
    assert server.connections == 3  # none is used again
    assert_whole(attempts, paths)


@pytest.mark.parametrize("status", [404, 503, 302])
def test_after_an_answer_that_is_no_file_nothing_was_asked_for_ahead(server, make, status):
    paths = serve(server)
    server.add("/1", status=status, body=b"no", extra_headers=[("Location", "http://other.test/")])
    ended, left = make().run_all(server, paths)
    if status == 302:
        assert ended[1].redirect == "http://other.test/"
        assert asked(server) == paths
    else:
        assert_failed(ended[1], {404: "not-found", 503: "throttled"}[status])
        assert left == ["2", "3"]
        assert asked(server) == paths[:2]


def test_a_cut_body_within_a_batch_is_kept_and_resumed(server, make):
    paths = serve(server, 3, etag=ETAG)
    server.add("/1", body=DATA + b"/1", etag=ETAG, cut=4000)
    attempts = make()
    ended, left = attempts.run_all(server, paths)
    assert_failed(ended[1], "truncated", retryable=True)
    assert (ended[1].part.offset, left) == (4000, ["2"])
    server.add("/1", body=DATA + b"/1", etag=ETAG)
    assert attempts.go_on(server.url("/1"), ended[1].part, "1").done
    assert_whole(attempts, ["/0", "/1"])


def test_p01_a_stop_within_a_batch_cuts_the_wait_for_the_answer(server, make):
    paths = serve(server, 3)
    server.add("/1", raw=[STALL])
    attempts = make()
    found = []
    worker = threading.Thread(target=lambda: found.append(attempts.run_all(server, paths)))
    worker.start()
    server.wait_for_hits("/1")
    attempts.stop.set()
    worker.join(30)
    ended, left = found[0]
    assert ended[0].done
    assert_failed(ended[1], "stopped")
    assert left == ["2"]


def test_c02_each_answer_of_a_batch_has_its_own_time(server, make):
    paths = serve(server, 3)
    server.add("/1", raw=[STALL])
    ended, left = make(idle_timeout=0.3).run_all(server, paths)
    assert ended[0].done
    assert_failed(ended[1], "timeout", retryable=True)
    assert left == ["2"]


def test_c01_a_connection_that_ended_after_an_answer_is_replaced(server, make):
    paths = serve(server)
    server.add("/1", body=DATA + b"/1", after=[CLOSE])
    attempts = make()
    ended, left = attempts.run_all(server, paths)
    if left:  # the request ahead came too late: our race, which is tried again for nothing
        assert ended[-1].reused
        ended, left = attempts.run_all(server, paths[len(ended) - 1 :])
    assert left == []
    assert_whole(attempts, paths)


class NoLinks(LocalStore):
    """A store on a file system without links."""

    def put(self, *args, **named):
        self._apart.add("")
        return super().put(*args, **named)


def test_f11_without_links_nothing_is_asked_for_ahead(server, make, tmp_path):
    paths = serve(server)
    attempts = make()
    attempts.store.close()
    attempts.store = NoLinks(attempts.dest)
    attempts.store.prepare()
    attempts.context = attempts.new_context()
    ended, _ = attempts.run_all(server, paths)
    assert all(attempt.done for attempt in ended)
    assert asked(server) == ["/0", "/1", *paths[1:]]  # the first one shows it
    assert server.connections == 2
    assert_whole(attempts, paths)


def test_s04_a_ca_bundle_that_cannot_be_read_is_told_for_the_task(make_server, make, tmp_path):
    server = make_server(tls=True)
    paths = serve(server, 2)
    bundle = tmp_path / "none.pem"
    bundle.write_text("none")
    ended, left = make(ca_bundle=bundle).run_all(server, paths)
    assert_failed(ended[0], "tls")
    assert left == ["1"]


def test_a_task_that_needs_more_than_a_plain_get_takes_the_long_way_between_others(server, make):
    paths = serve(server, 4)
    attempts = make()
    tasks = [attempts.task(server.url(path), path[1:]) for path in paths]
    tasks[1] = attempts.task(server.url(paths[1]), "1", headers=(("X-A", "b"),))
    tasks[2] = tasks[2]._replace(attempt=2)
    ended = list(run_attempts(tasks, attempts.context))
    assert all(attempt.done for attempt in ended)
    assert [attempt.number for attempt in ended] == [1, 1, 2, 1]
    assert [request.headers.get("X-A") for request in server.requests] == [None, "b", None, None]
    assert server.connections == 1
    assert_whole(attempts, paths)


@pytest.mark.parametrize("options", [{"headers": (("X-A", "b"),)}, {"fsync": True}])
def test_what_holds_for_the_whole_run_holds_for_a_batch(server, make, options):
    paths = serve(server, 3)
    attempts = make(**options)
    ended, _ = attempts.run_all(server, paths)
    assert all(attempt.done for attempt in ended)
    assert {request.headers.get("X-A") for request in server.requests} == {
        "b" if "headers" in options else None
    }


def test_a_batch_that_nobody_asks_on_leaves_its_connection_usable(server, make):
    paths = serve(server, 3)
    attempts = make()
    batch = run_attempts([attempts.task(server.url(path), path[1:]) for path in paths], attempts.context)
    assert next(batch).done
    batch.close()
    server.wait_until(lambda: server.open_connections == 0)  # the second answer was on its way
    ended, _ = attempts.run_all(server, paths[1:])
    assert all(attempt.done for attempt in ended)
    assert_whole(attempts, paths)


def test_b05_a_server_that_sends_more_than_it_declares_gets_no_second_request_on_a_connection(server, make):
    paths = serve(server, 6)
    server.add(
        "/0", raw=[b"HTTP/1.1 200 OK\r\nContent-Length: 10002\r\n\r\n" + DATA + b"/0more"], keep_alive=True
    )
    attempts = make()
    ended, _ = attempts.run_all(server, paths)
    assert all(attempt.done for attempt in ended)
    assert server.connections == 6
    assert_whole(attempts, paths)


def test_b05_surplus_that_comes_late_is_seen_before_the_connection_is_used_again(server, make):
    paths = serve(server, 3)
    come = threading.Event()
    server.add("/0", body=DATA + b"/0", after=[come, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"])
    attempts = make()
    assert attempts.run_all(server, paths[:1])[0][0].done
    come.set()
    server.wait_until(lambda: server.hits("/0")[0].done)
    for path in paths[1:]:
        assert attempts.fetch(server.url(path), path[1:]).done
    assert_whole(attempts, paths)
    assert server.connections == 3


def test_a_host_that_sets_cookies_sees_no_idle_connection_of_ours(server, make):
    paths = serve(server, 4)
    server.add("/1", body=DATA + b"/1", extra_headers=[("Set-Cookie", "a=1; Path=/")])
    attempts = make()
    ended, _ = attempts.run_all(server, paths)
    assert all(attempt.done for attempt in ended)
    server.wait_until(lambda: server.open_connections == 1)


def test_c01_after_a_stale_connection_a_new_one_is_opened(server, make):
    serve(server, 1)
    attempts = make()
    for stale in (0, 0, 1, 0):
        assert attempts.fetch(server.url("/0"), f"{stale}-{server.connections}", stale=stale).done
    assert [request.connection for request in server.requests] == [1, 1, 2, 2]
    assert server.open_connections == 1


def test_the_slot_of_a_batch_is_free_only_once_its_connection_is(server, make):
    paths = serve(server, 3)
    attempts = make()
    tasks = [attempts.task(server.url(path), path[1:]) for path in paths]
    batch = run_attempts(tasks, attempts.context)
    for _ in tasks:
        assert next(batch).done
    other = run_attempts([attempts.task(server.url("/0"), "other")], attempts.new_context())
    assert next(other).done
    assert server.connections == 1


def test_an_answer_that_tells_a_limit_ends_its_batch(server, make):
    paths = serve(server, 4)
    server.add(
        "/1", body=DATA + b"/1", extra_headers=[("RateLimit-Remaining", "0"), ("RateLimit-Reset", "5")]
    )
    ended, left = make().run_all(server, paths)
    assert [bool(attempt.done) for attempt in ended] == [True, True]
    assert ended[1].rate_limit
    assert left == ["2", "3"]
    assert asked(server) == paths[:2]


def test_a_task_is_not_failed_by_what_holds_for_the_one_after_it(server, make, tmp_path):
    paths = serve(server, 2)
    attempts = make()
    table = {"host": {f"{server.origin}/1": {"headers": {"X-Token": "env:NOT_THERE"}}}}
    policies = Policies(attempts.config, [from_table(table, "test")])
    attempts.transport.close()
    attempts.policies, attempts.transport = policies, Exchange(attempts.config, policies)
    attempts.context = attempts.new_context()
    ended, _ = attempts.run_all(server, paths)
    assert ended[0].done
    assert_failed(ended[1], "auth")


def test_a_connection_that_broke_within_a_body_stays_broken(server, make):
    serve(server, 1)
    server.add("/0", body=DATA, cut=4000, cut_how="reset")
    ended, _ = make().run_all(server, ["/0"])
    assert_failed(ended[0], "reset", retryable=True)
