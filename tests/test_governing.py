"""Hosts that limit how they may be asked: the real command, on real sockets."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter

import pytest
from faultserver import pattern, route

import bulkfetch
from bulkfetch.cli.byhost import host_lines


class Window:
    """A server that counts requests in windows, tells what is left of them and refuses what is past them.

    The first window begins with the first request: what answers of two windows under way at once may lead
    to is simulated in test_ratelimit.py.
    """

    def __init__(self, allowed, seconds, tell, used=0):
        self.allowed, self.seconds, self.tell = allowed, seconds, tell
        self.began = math.inf
        self.used = Counter({0: used})
        self.refused = 0
        self.lock = threading.Lock()

    def __call__(self, request):
        with self.lock:
            self.began = min(self.began, request.time)
            passed = request.time - self.began
            number = int(passed / self.seconds)
            is_over = self.used[number] >= self.allowed
            self.used[number] += not is_over
            self.refused += is_over
            fields = self.tell(self.allowed - self.used[number], (number + 1) * self.seconds - passed)
        if is_over:
            return route(status=429, extra_headers=fields)
        return route(body=b"x", extra_headers=fields)


def structured(left, seconds):
    return [
        ("RateLimit-Policy", '"default";q=12;w=1'),
        ("RateLimit", f'"default";r={left};t={math.ceil(seconds)}'),
    ]


def separate(left, seconds):
    return [("X-RateLimit-Remaining", str(left)), ("X-RateLimit-Reset", f"{seconds:.3f}")]


def urls_of(server, count):
    return [server.url(f"/n/{number}") for number in range(count)]


@pytest.mark.parametrize("tell", [structured, separate])
@pytest.mark.parametrize("transport", ["fast", "requests"])
def test_a_limit_that_is_told_is_never_hit(server, tmp_path, run_bulkfetch, tell, transport):
    limit = Window(12, 1.0, tell)
    server.add_generator(limit)
    done = run_bulkfetch("get", *urls_of(server, 30), "-d", tmp_path, "--transport", transport)
    assert done.returncode == 0, done.stderr
    assert sum(limit.used.values()) == len(server.requests) == 30
    assert limit.refused == 0
    assert max(limit.used.values()) <= 12


def test_a_longer_wait_than_the_user_allows_is_deferred_with_the_time(server, tmp_path, run_bulkfetch):
    server.add_generator(Window(10, 7200.0, separate))
    done = run_bulkfetch("get", *urls_of(server, 40), "-d", tmp_path, "--print", "json")
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    failures = [outcome["failure"] for outcome in outcomes if outcome["status"] == "failed"]
    assert len(outcomes) == 40
    assert len(failures) == 30
    assert {failure["kind"] for failure in failures} == {"deferred"}
    assert "longer than --max-wait 3600 s; try again after 2" in failures[0]["message"]
    assert len(server.requests) == 10, "none past the limit"


# -- what the user limits -------------------------------------------------------------------------


@pytest.fixture
def policy(tmp_path, server):
    """Return a function that writes a policy file; HOST in it stands for the server."""

    def write(text):
        path = tmp_path / "policy.toml"
        path.write_text(text.replace("HOST", server.netloc))
        path.chmod(0o600)
        return path

    return write


def test_the_bytes_of_one_host_are_limited_and_no_other_host_waits(
    server, make_server, tmp_path, policy, run_bulkfetch
):
    other = make_server()
    for one in (server, other):
        one.add("/n/*", body=pattern(60_000))
    config = policy('[host."HOST"]\nlimit_rate = "100K"\n')
    urls = [*urls_of(server, 3), *(other.url(f"/n/x{number}") for number in range(3))]
    done = run_bulkfetch("get", *urls, "-d", tmp_path / "out", "--config", config, "--print", "json")
    assert done.returncode == 0, done.stderr
    seconds = {True: [], False: []}
    for line in done.stdout.splitlines():
        record = json.loads(line)
        seconds[server.netloc in record["url"]].append(record["seconds"])
    assert max(seconds[True]) >= (3 * 60_000 - 5_120) / 102_400 * 0.95, "a chunk passes at once"
    assert max(seconds[False]) < max(seconds[True])


def test_requests_of_one_host_are_spaced(server, tmp_path):
    server.add("/n/*", body=b"x")
    policy = bulkfetch.policy_from_table({"host": {server.netloc: {"rate": "20/s"}}})
    started = time.monotonic()
    outcomes = list(bulkfetch.fetch(urls_of(server, 11), tmp_path, policies=[policy]))
    assert time.monotonic() - started >= 10 / 20 * 0.9
    assert [outcome.failure for outcome in outcomes] == [None] * 11


# -- credentials ----------------------------------------------------------------------------------


def test_wrong_credentials_are_told_once_and_the_host_is_left_alone(server, tmp_path, policy, run_bulkfetch):
    server.add("/n/*", body=b"x", require={"Authorization": "Bearer right"})
    config = policy('[host."HOST"]\nauth = { type = "bearer", token = "env:TOKEN" }\n')
    done = run_bulkfetch(
        "get", "-", "-d", tmp_path / "out", "--config", config, "--print", "json",
        env={"TOKEN": "wr0ng-token"}, stdin="\n".join(urls_of(server, 300)),
    )  # fmt: skip
    failures = [json.loads(line)["failure"] for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [failure["kind"] for failure in failures] == ["auth"] * 300
    assert len(server.requests) <= 5 + 6, "five, and what was under way"
    told = [line for line in done.stderr.splitlines() if line.startswith("failed")]
    assert len(told) == 2, done.stderr
    assert "nothing more is asked of this host" in told[1]


def test_wrong_credentials_of_a_path_do_not_go_on_being_refused(server, tmp_path, policy, run_bulkfetch):
    server.add("/n/*", body=b"x", require={"Authorization": "Bearer right"})
    config = policy('[host."http://HOST/n"]\nauth = { type = "bearer", token = "wr0ng-token" }\n')
    urls = "\n".join(urls_of(server, 60))
    done = run_bulkfetch("get", "-", "-d", tmp_path / "out", "--config", config, stdin=urls)
    assert done.returncode == 1
    assert len(server.requests) <= 5 + 6, "five, and what was under way"
    assert "nothing more is asked of this host" in done.stderr


@pytest.mark.parametrize("field", ["Authorization: Bearer wr0ng", "X-Api-Key: wr0ng"])
def test_wrong_credentials_of_the_run_do_not_go_on_being_refused(server, tmp_path, run_bulkfetch, field):
    server.add("/n/*", status=401)
    done = run_bulkfetch("get", "-", "-d", tmp_path, "-H", field, stdin="\n".join(urls_of(server, 40)))
    assert done.returncode == 1
    assert len(server.requests) <= 5 + 6, "five, and what was under way"


@pytest.mark.parametrize("where", ["column", "url", "query"])
@pytest.mark.parametrize("has_own", [True, False], ids=["a host with credentials", "a host without"])
def test_five_wrong_tokens_of_entries_gave_up_the_whole_host(
    server, tmp_path, policy, run_bulkfetch, where, has_own
):
    server.add("/n/*", body=b"x", require={"Authorization": "Bearer right"})
    server.add("/n/39", body=b"x")
    config = policy('[host."HOST"]\nauth = { type = "bearer", token = "wr0ng-token" }\n' if has_own else "")
    urls = urls_of(server, 40)
    lines = {
        "column": [json.dumps({"url": url, "header.Authorization": "Bearer wr0ng"}) for url in urls],
        "url": [url.replace("://", "://me:wr0ng@") for url in urls],
        "query": [f"{url}?token=wr0ng" for url in urls],
    }
    source = "\n".join(lines[where])
    done = run_bulkfetch("get", "-", "-d", tmp_path / "out", "--config", config, stdin=source)
    assert done.returncode == 1
    assert len(server.requests) == 40
    if where != "query":
        assert (tmp_path / "out" / "39").read_bytes() == b"x"
    assert "the server wants other credentials, or refuses ours" in done.stderr


def test_the_closing_hint_spoke_of_our_credentials_where_there_are_none(server, tmp_path, run_bulkfetch):
    server.add("/n/*", body=b"x", require={"Authorization": "Bearer right"})
    done = run_bulkfetch("get", *urls_of(server, 3), "-d", tmp_path)
    assert "  3 auth: no credentials were given, and the server wants some or forbids it" in done.stderr
    assert "refuses ours" not in done.stderr
    source = f"{server.url('/n/0')}\n{server.url('/n/1').replace('://', '://me:wr0ng@')}"
    done = run_bulkfetch("get", "-", "-d", tmp_path, stdin=source)
    assert "  2 auth: the server refuses our credentials, or there were none to give" in done.stderr


def test_a_public_list_with_forbidden_entries_is_asked_to_its_end(server, tmp_path, run_bulkfetch):
    server.add("/n/*", status=403)
    server.add("/n/39", body=b"x")
    done = run_bulkfetch("get", *urls_of(server, 40), "-d", tmp_path)
    assert done.returncode == 1
    assert len(server.requests) == 40
    assert (tmp_path / "39").read_bytes() == b"x"


# -- looking back ---------------------------------------------------------------------------------


def test_status_tells_host_by_host_what_became_of_it(server, make_server, tmp_path, policy, run_bulkfetch):
    other = make_server()
    other.add("/ok", body=b"x")
    server.add("/n/*", body=b"x", require={"Authorization": "Bearer right"})
    config = policy('[host."HOST"]\nauth = { type = "bearer", token = "env:TOKEN" }\n')
    run_bulkfetch(
        "get", "-", "-d", tmp_path / "out", "--config", config, "--per-host", "1",
        env={"TOKEN": "wr0ng-token"}, stdin="\n".join([*urls_of(server, 30), other.url("/ok")]),
    )  # fmt: skip
    shown = run_bulkfetch("status", tmp_path / "out", "--by-host").stdout.splitlines()
    assert shown[:2] == [f"{server.origin}: 30 entries", "         30  failed: auth 30"]
    assert shown[2].startswith("  last run: 1 of 1 connections, ")
    assert "refuses the credentials it was sent" in shown[2]
    assert shown[3:] == [f"{other.origin}: 1 entry", "          1  fetched"]
    hosts = json.loads(run_bulkfetch("status", tmp_path / "out", "--by-host", "--json").stdout)["hosts"]
    assert hosts[0]["failures"] == {"auth": 30}
    assert hosts[0]["last_run"]["refused"] == 0


def test_status_left_out_a_host_with_a_rate_of_the_users(server, tmp_path, run_bulkfetch):
    server.add("/n/*", body=b"x")
    run_bulkfetch("get", *urls_of(server, 2), "-d", tmp_path, "--host-rate", "50/s")
    shown = run_bulkfetch("status", tmp_path, "--by-host").stdout
    assert "  last run: 6 of 6 connections, 50.0 requests/s" in shown


def test_one_refused_request_is_told_as_one():
    record = {"host": "http://h", "entries": 1, "states": {}, "failures": {}, "last_run": {"refused": 1}}
    assert list(host_lines([record])) == ["http://h: 1 entry", "  last run: 1 request refused"]


def test_status_tells_the_rate_a_host_was_found_to_allow(server, tmp_path, run_bulkfetch):
    server.add("/n/*", body=b"x")
    server.throttle(per_second=20, retry_after="1")
    done = run_bulkfetch("get", "-", "-d", tmp_path, stdin="\n".join(urls_of(server, 60)))
    assert done.returncode == 0, done.stderr
    hosts = json.loads(run_bulkfetch("status", tmp_path, "--by-host", "--json").stdout)["hosts"]
    told = hosts[0]["last_run"]
    assert told["refused"] == sum(request.status == 429 for request in server.requests)
    assert 0 < told["rate"] < 40
