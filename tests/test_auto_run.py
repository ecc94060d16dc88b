"""`--jobs auto` and `--per-host auto`, from every place they can be said, against real servers."""

from __future__ import annotations

import json

import click
import pytest

import bulkfetch
from bulkfetch.cli.params import COUNT
from bulkfetch.config import MOST_JOBS, MOST_PER_HOST, FetchConfig
from bulkfetch.errors import UsageError
from bulkfetch.hosts import HostLimits, HostSlot
from bulkfetch.models import Failure, Origin
from bulkfetch.openfiles import count_origins
from bulkfetch.policy import HostPolicy
from bulkfetch.retry import RetryPolicy
from bulkfetch.segments import count_ranges

FILES = 200
BUSY = Failure("throttled", "the server answered 429", 429, 1.0, retryable=True)


@pytest.fixture
def urls(server):
    """Return the URLs of files that come after 30 ms each."""
    server.add("/n/*", body=b"x" * 100, head_delay=0.03)
    return [server.url(f"/n/{number}") for number in range(FILES)]


def test_more_connections_are_opened_while_they_pay(server, urls, tmp_path):
    outcomes = list(bulkfetch.fetch(urls, tmp_path, jobs="auto", per_host="auto"))
    assert {outcome.status for outcome in outcomes} == {"fetched"}
    assert 8 <= server.peak_requests <= MOST_PER_HOST


def test_the_workers_are_a_bound_as_ever(server, urls, tmp_path):
    assert len(list(bulkfetch.fetch(urls[:40], tmp_path, jobs=3, per_host="auto"))) == 40
    assert server.peak_requests <= 3


def test_the_connections_are_a_bound_as_ever(server, urls, tmp_path):
    assert len(list(bulkfetch.fetch(urls[:40], tmp_path, jobs="auto", per_host=3))) == 40
    assert server.peak_requests <= 3


def test_more_workers_are_at_work_while_they_pay(server, urls, tmp_path):
    both = [url.replace("127.0.0.1", host) for url in urls for host in ("127.0.0.1", "localhost")]
    listed = [{"url": url, "path": str(number)} for number, url in enumerate(both)]
    outcomes = list(bulkfetch.fetch(listed, tmp_path, jobs="auto", per_host=16))
    assert {outcome.status for outcome in outcomes} == {"fetched"}
    assert 16 < server.peak_requests <= 32


def test_the_environment_and_a_policy_file_may_say_auto(server, urls, tmp_path, run_bulkfetch):
    config, told = tmp_path / "policy.toml", tmp_path / "events"
    config.write_text(f'[host."{server.netloc}"]\nper_host = "auto"\n')
    given = ("-d", tmp_path / "out", "--config", config, "--events", told)
    done = run_bulkfetch("get", *urls, *given, env={"BULKFETCH_JOBS": "auto"})
    assert done.returncode == 0, done.stderr
    assert server.peak_requests > 6
    assert json.loads(told.read_text().splitlines()[0])["jobs"] == MOST_JOBS
    shown = run_bulkfetch("status", tmp_path / "out", "--by-host").stdout
    assert f"of {MOST_PER_HOST} connections" in shown


def test_the_plan_explains_auto(tmp_path, run_bulkfetch):
    url = "http://127.0.0.1:9/a"
    shown = run_bulkfetch("plan", url, "--explain", url, "-d", tmp_path, "--per-host", "auto")
    row = next(line.split() for line in shown.stdout.splitlines() if line.split()[:1] == ["per_host"])
    assert row[1:] == ["auto", "--per-host"]


@pytest.mark.parametrize("option", ["--jobs", "--per-host"])
def test_other_words_are_refused(tmp_path, run_bulkfetch, option):
    done = run_bulkfetch("get", "http://127.0.0.1:9/a", "-d", tmp_path, option, "many")
    assert done.returncode == 2
    assert "'many' is neither auto nor a number from 1 to 1024" in done.stderr


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("AUTO", "auto"), ("1", 1), ("1024", 1024)])
def test_a_count_is_a_number_or_auto(text, value):
    assert COUNT.convert(text, None, None) == value


@pytest.mark.parametrize("text", ["0", "1025", "-1", "autos", "1.5", ""])
def test_no_other_text_is_a_count(text):
    with pytest.raises(click.BadParameter):
        COUNT.convert(text, None, None)


@pytest.mark.parametrize("name", ["jobs", "per_host", "segments"])
@pytest.mark.parametrize("value", [0, -1, "many", 1.5])
def test_the_configuration_is_checked(name, value):
    with pytest.raises(UsageError, match=f"{name} must be at least 1 or auto, not"):
        FetchConfig(**{name: value}).validate()
    FetchConfig(**{name: "auto"}).validate()


def test_auto_counts_as_the_most_it_may_become():
    config = FetchConfig(jobs="auto", per_host="auto", segments=100)
    assert (config.most_jobs, config.most_per_host) == (MOST_JOBS, MOST_PER_HOST)
    assert HostPolicy(per_host="auto").most_per_host == MOST_PER_HOST
    assert count_ranges(1 << 40, config) == MOST_PER_HOST
    assert count_origins(config) >= 1


# -- refusals go first ----------------------------------------------------------------------------


@pytest.fixture
def slot():
    limits = HostLimits(RetryPolicy(retries=5, backoff=1.0), MOST_PER_HOST, adapts=True)
    return HostSlot(Origin("https", "example.org", 443), limits)


def answer(slot, begin, seconds, latency=0.05):
    """Let a host that never runs out of tasks answer for a while; returns the time after it."""
    slot.ready.append(None)
    now = begin
    while now < begin + seconds:
        now += latency / slot.limit
        slot.active = slot.limit - 1
        slot.succeed(latency, 1000, now)
    return now


def test_connections_begin_few_and_double(slot):
    assert slot.limit == 6
    answer(slot, 1000.0, 1.0)
    assert slot.limit == MOST_PER_HOST


def test_a_refusal_halves_them_and_a_run_of_good_answers_brings_them_back(slot):
    now = answer(slot, 1000.0, 1.0)
    slot.cool(BUSY, now, 0.5)
    slot.shrink(now)
    assert slot.limit == 8
    now = answer(slot, now + 1.0, 0.2)
    assert slot.limit == 8
    now = answer(slot, now, 4.0)
    assert slot.limit == MOST_PER_HOST - 1  # where it was refused


def test_one_connection_until_robots_txt_is_known():
    limits = HostLimits(RetryPolicy(retries=5), MOST_PER_HOST, adapts=True, asks_first=True)
    slot = HostSlot(Origin("https", "example.org", 443), limits)
    slot.ready.append(None)
    slot.succeed(0.01, 10, 1000.0)
    assert slot.limit == 1
    slot.obey(0.0, 1000.0)
    assert slot.limit == 6


def test_help_shows_auto_as_it_is_typed(run_bulkfetch):
    shown = run_bulkfetch("get", "--help").stdout
    assert "--jobs N|auto" in shown
    assert "AUTO" not in shown


def test_status_says_what_jobs_auto_came_to(server, tmp_path, run_bulkfetch):
    server.add("/a", body=b"x")
    assert run_bulkfetch("get", server.url("/a"), "-d", tmp_path, "--jobs", "auto").returncode == 0
    assert "--jobs auto came to 16 workers in the last run" in run_bulkfetch("status", tmp_path).stdout
    assert run_bulkfetch("get", server.url("/a"), "-d", tmp_path).returncode == 0
    assert "auto" not in run_bulkfetch("status", tmp_path).stdout
