"""robots.txt obeyed, or warned of, by the real command."""

from __future__ import annotations

import json
import sys
import time

import pytest
from attempting import Attempts

import bulkfetch
from bulkfetch import errors
from bulkfetch.transfer import Gate
from bulkfetch.urls import origin_of

PUBLIC = "93.184.216.34"
SPACED = 0.2 * 0.95 - 0.01  # seconds: a delay of 0.2 with its jitter
RULES = "User-agent: *\nDisallow: /n/1\nAllow: /n/1/\n"


@pytest.fixture
def fetch(server, tmp_path, run_bulkfetch):
    """Return a function that fetches paths under a policy; it gives status, outcomes by path and stderr."""

    def run(mode, *paths, **env):
        config = tmp_path / "policy.toml"
        config.write_text(f'[host."{server.netloc}"]\nrobots = "{mode}"\n')
        config.chmod(0o600)
        urls = [server.url(path) for path in paths]
        done = run_bulkfetch(
            "get", *urls, "-d", tmp_path / "out", "--config", config, "--print", "json", "--retries", "1",
            "--backoff", "0.01", "--layout", "tree", env=env,
        )  # fmt: skip
        records = [json.loads(line) for line in done.stdout.splitlines()]
        return done.returncode, {"/" + r["url"].split("/", 3)[3]: r for r in records}, done.stderr

    return run


@pytest.fixture
def obeyed(server, tmp_path):
    """Return a function that fetches paths within this process; it gives outcomes and seconds."""

    def run(paths):
        policy = bulkfetch.policy_from_table({"host": {server.netloc: {"robots": "obey"}}})
        started = time.monotonic()
        urls = [server.url(path) for path in paths]
        return list(bulkfetch.fetch(urls, tmp_path / "out", policies=[policy])), time.monotonic() - started

    return run


def paths_of(server):
    return [request.path for request in server.requests]


@pytest.fixture
def files(server):
    server.add("/n/*", body=b"x")
    return [f"/n/{number}" for number in range(12)]


def test_what_is_disallowed_is_not_asked_for(server, files, fetch):
    server.add("/robots.txt", body=RULES)
    status, outcomes, _ = fetch("obey", *files)
    assert status == 1
    failures = {path: r["failure"] for path, r in outcomes.items() if r["status"] == "failed"}
    assert set(failures) == {"/n/1", "/n/10", "/n/11"}
    assert {failure["kind"] for failure in failures.values()} == {"robots"}
    assert failures["/n/1"]["message"] == f"robots.txt of {server.origin} does not allow this"
    assert paths_of(server)[0] == "/robots.txt"
    assert paths_of(server).count("/robots.txt") == 1
    assert not set(failures) & set(paths_of(server))


def test_with_warn_all_is_fetched_and_the_host_told_of_once(server, files, fetch):
    server.add("/robots.txt", body=RULES)
    status, _, told = fetch("warn", *files)
    assert status == 0
    assert paths_of(server).count("/robots.txt") == 1
    assert told.count("does not allow this") == 1


def test_by_default_nobody_asks_for_it(server, files, tmp_path, run_bulkfetch):
    server.add("/robots.txt", body=RULES)
    assert run_bulkfetch("get", *map(server.url, files), "-d", tmp_path).returncode == 0
    assert "/robots.txt" not in paths_of(server)


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [({"status": 404}, True), ({"status": 403}, True), ({"status": 500}, False), ({"status": 503}, False)],
    ids=str,
)
def test_a_host_without_one_allows_all_and_one_with_errors_nothing(server, files, fetch, answer, allowed):
    server.add("/robots.txt", **answer)
    status, outcomes, _ = fetch("obey", *files[:3])
    assert status == (0 if allowed else 1)
    assert {r["status"] for r in outcomes.values()} == {"fetched" if allowed else "failed"}
    assert paths_of(server).count("/robots.txt") == 1


def test_redirects_of_robots_txt_are_followed(server, make_server, files, fetch):
    other = make_server()
    server.add("/robots.txt", redirect="/r2")
    server.add("/r2", redirect=other.url("/rules"))
    other.add("/rules", body="User-agent: *\nDisallow: /n/0\n")
    _, outcomes, _ = fetch("obey", *files[:2])
    assert [outcomes[path]["status"] for path in files[:2]] == ["failed", "fetched"]


def test_redirects_without_an_end_are_as_no_robots_txt(server, files, fetch):
    server.add("/robots.txt", redirect="/robots.txt")
    assert fetch("obey", files[0])[0] == 0
    assert paths_of(server).count("/robots.txt") == 6


def test_a_redirect_within_the_host_leads_nowhere_it_forbids(server, fetch):
    server.add("/robots.txt", body="User-agent: *\nDisallow: /private\n")
    server.add("/a", redirect="/private/b")
    server.add("/private/b", body=b"x")
    _, outcomes, _ = fetch("obey", "/a")
    assert outcomes["/a"]["failure"]["kind"] == "robots"
    assert "/private/b" not in paths_of(server)


def test_the_crawl_delay_is_kept(server, files, obeyed):
    server.add("/robots.txt", body="User-agent: bulkfetch\nCrawl-delay: 0.2\n")
    outcomes, seconds = obeyed(files[:4])
    assert [outcome.failure for outcome in outcomes] == [None] * 4
    assert seconds >= 3 * SPACED


def test_the_crawl_delay_is_kept_where_the_first_entry_is_disallowed(server, files, obeyed):
    server.add("/robots.txt", body="User-agent: *\nDisallow: /n/0\nCrawl-delay: 0.2\n")
    outcomes, seconds = obeyed(files[:4])
    assert {o.path: o.failure and o.failure.kind for o in outcomes}["0"] == "robots"
    assert sum(outcome.failure is None for outcome in outcomes) == 3
    assert seconds >= 2 * SPACED


def test_a_host_that_cannot_be_reached_fails_as_that(server, fetch):
    server.accept_as("close")
    _, outcomes, _ = fetch("obey", "/a")
    assert outcomes["/a"]["failure"]["kind"] == "reset"


def test_a_robots_txt_without_an_end_is_read_no_further_than_needed(server, files, fetch):
    server.add("/robots.txt", body=b"User-agent: *\nDisallow: /n/1\n" + b"# filler\n" * 200_000)
    _, outcomes, _ = fetch("obey", *files[:2])
    assert [outcomes[path]["status"] for path in files[:2]] == ["fetched", "failed"]


def test_a_missing_library_is_told_at_the_start(server, tmp_path, monkeypatch):
    import bulkfetch
    from bulkfetch.policy import Policies, read_policy

    monkeypatch.setitem(sys.modules, "protego", None)
    path = tmp_path / "policy.toml"
    path.write_text('[defaults]\nrobots = "obey"\n')
    config = bulkfetch.FetchConfig(dest=tmp_path / "out")
    policies = Policies(config, [read_policy(path)])
    with (
        pytest.raises(bulkfetch.UsageError, match=r"needs protego: install bulkfetch\[robots\]"),
        bulkfetch.Fetcher(config, policies=policies),
    ):
        pytest.fail("it was entered")


def test_the_rules_of_hosts_asked_long_ago_are_forgotten(make_server, tmp_path):
    first, second = servers = [make_server(), make_server()]
    with Attempts(tmp_path / "out") as attempts:
        gate = Gate(attempts.transport, most_hosts=1)
        for server in (*servers, second, first):
            attempts.context.lease.begin(float("inf"))
            gate.check(origin_of(server.url("/a")), server.url("/a"), attempts.context.lease)
    assert [len(server.requests) for server in servers] == [2, 1]


# -- where robots.txt is asked for -----------------------------------------------------------------


@pytest.fixture
def check(tmp_path):
    """Return a function that asks a gate for a URL, some servers standing at a public address."""

    def check(url, *public, ask=None, **options):
        ports = {(server.host, server.port) for server in public}
        seen = {"peer_of": lambda address: PUBLIC if address[:2] in ports else str(address[0])}
        with Attempts(tmp_path / "out", transport=seen, **options) as attempts:
            lease = attempts.context.lease
            lease.begin(float("inf"))
            gate = Gate(attempts.transport, untrusted=options.get("untrusted", False))
            return gate.check(origin_of(url), url, lease, **ask or {})

    return check


def test_a09_robots_txt_of_a_public_server_leads_to_no_private_one(server, make_server, check):
    other = make_server()
    server.add("/robots.txt", redirect=other.url("/rules"))
    assert check(server.url("/a"), server) == (0.0, "")
    assert other.requests == []


def test_a09_nor_is_it_asked_of_a_private_one_that_a_public_one_names(server, check):
    with pytest.raises(errors.RedirectRefused, match="private address"):
        check(server.url("/a"), ask={"public_only": True})
    assert server.requests == []


def test_untrusted_a_redirect_of_robots_txt_keeps_to_web_ports(server, check):
    server.add("/robots.txt", redirect="http://127.0.0.1:22/")
    assert check(server.url("/a"), server, untrusted=True) == (0.0, "")


@pytest.mark.parametrize("named", [True, False])
def test_robots_txt_shows_the_client_certificate_to_named_origins_only(make_server, check, named):
    home = make_server(tls=True, client_cert=True)
    other = make_server(tls=True, client_cert=True, host="127.0.0.2")
    home.add("/robots.txt", redirect=other.url("/rules"))
    cert = {"client_cert": home.client_cert_file, "ca_bundle": home.ca_file}
    with pytest.raises(errors.TransferError):
        check(home.url("/a"), ask={"named": named}, **cert)
    assert len(home.requests) == named
    assert other.requests == []


def test_a_post_behind_a_robots_txt_that_fails_was_not_sent(server, tmp_path, run_bulkfetch):
    server.add("/robots.txt", status=429, retry_after="0", times=1)
    server.add("/a", body=lambda request: request.body)
    config = tmp_path / "policy.toml"
    config.write_text(f'[host."{server.netloc}"]\nrobots = "obey"\n')
    listed = tmp_path / "list.jsonl"
    listed.write_text(json.dumps({"url": server.url("/a"), "body": "x"}))
    done = run_bulkfetch("get", listed, "-d", tmp_path / "out", "--config", config, "--backoff", "0.01")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a").read_bytes() == b"x"
