"""Bounds and rates that a section gives one host, where the run as a whole has others or none."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import pytest
from attempting import DATA, QUICK, WHICH, Attempts
from faultserver import pattern

import bulkfetch
from bulkfetch.policy import Policies

MB = 1024 * 1024
ETAG = '"v1"'


def table_of(server, **keys):
    """Return a policy for the server alone."""
    return bulkfetch.policy_from_table({"host": {server.netloc: keys}})


@pytest.fixture
def attempt(server, tmp_path):
    """Return a function that makes attempts under the keys of the server's section and gives the last."""

    def attempt(keys, watchdog=None, count=1, **options):
        with Attempts(tmp_path, watchdog=watchdog, **options) as attempts:
            policies = Policies(attempts.config, [table_of(server, **keys)])
            attempts.context = replace(attempts.context, policies=policies)
            made = attempts.fetch(server.url("/a"))
            for _ in range(1, count):
                made = attempts.go_on(server.url("/a"), made.part)
            return made

    return attempt


@pytest.mark.parametrize(
    ("of_run", "of_host", "every", "kind"),
    [(0.0, "1M", 1.0, "slow"), (1024.0 * 1024.0, 0, 0.04, None)],
    ids=["of the host", "not of the host"],
)
def test_the_least_speed_of_a_host_holds_for_it(server, attempt, of_run, of_host, every, kind):
    server.add("/a", body=DATA, trickle=(5000, every))
    made = attempt({"min_speed": of_host}, {"window": 0.3}, min_speed=of_run)
    assert (made.failure and made.failure.kind) == kind


def test_the_deadline_of_a_hosts_entries_ends_them_while_they_wait_too(server, tmp_path):
    server.add("/busy", status=429, retry_after="60", head_delay=0.15)
    server.add("/n/*", body=b"content", first=[{"status": 500}])
    urls = [server.url("/busy"), *(server.url(f"/n/{number}") for number in range(8))]
    policy = table_of(server, entry_deadline=1.0, per_host=16, backoff=1.0)
    started = time.monotonic()
    outcomes = list(bulkfetch.fetch(urls, tmp_path, policies=[policy], deadline=40.0))
    assert time.monotonic() - started < 30.0
    assert len(outcomes) == 9
    assert {outcome.failure.kind for outcome in outcomes if outcome.failure} == {"deadline"}


def test_r14_where_a_host_counts_requests_each_short_range_is_an_attempt(server, attempt):
    server.add("/a", body=DATA, etag=ETAG, ranges="short:15000", first=[{"cut": 60_000}])
    made = attempt({"rate": "100/s"}, count=2)
    assert (made.failure and made.failure.kind, made.part.offset) == ("truncated", 75_000)


def test_ranges_of_a_host_that_counts_requests_are_few_and_within_its_connections(server, tmp_path):
    body = pattern(20 * MB)
    server.add("/a", body=body, etag=ETAG)
    options = {"segments": 4, "per_host": 4, "jobs": 8, "transport": WHICH, **QUICK}
    policy = table_of(server, rate="50/s", per_host=2)
    (outcome,) = bulkfetch.fetch([server.url("/a")], tmp_path, policies=[policy], **options)
    assert outcome.failure is None
    assert outcome.sha256 == hashlib.sha256(body).hexdigest()
    assert len(server.hits("/a")) <= 4
