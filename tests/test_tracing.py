"""`-vv`: the exchange with the server, on both transports, without anything secret."""

from __future__ import annotations

import json

import pytest

from bulkfetch import FetchConfig, Fetcher
from bulkfetch.events import Exchanged
from bulkfetch.safetext import redact_head
from bulkfetch.tracing import TracedLease

SECRET = "tr4ced-s3cret"
both = pytest.mark.parametrize("transport", ["fast", "requests"])


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"Authorization: Bearer {SECRET}", "Authorization: ***"),
        (f"Proxy-Authorization: Basic {SECRET}", "Proxy-Authorization: ***"),
        (f"Cookie: id={SECRET}", "Cookie: ***"),
        (f"set-cookie: id={SECRET}; Path=/", "set-cookie: ***"),
        (f"X-API-Key: {SECRET}", "X-API-Key: ***"),
        (f"WWW-Authenticate: Digest nonce={SECRET}", "WWW-Authenticate: ***"),
        (f"Location: https://me:{SECRET}@h/a?token={SECRET}&b=1", "Location: https://h/a?token=***&b=1"),
        (f"GET /a?x=1&sig={SECRET} HTTP/1.1", "GET /a?x=1&sig=*** HTTP/1.1"),
        ("HTTP/1.1 200 OK", "HTTP/1.1 200 OK"),
        ("GET /auth:key HTTP/1.1", "GET /auth:key HTTP/1.1"),
        ("Content-Length: 7", "Content-Length: 7"),
    ],
)
def test_what_is_secret_in_a_head_is_removed(line, shown):
    assert list(redact_head([line])) == [shown]


def test_a_request_that_is_sent_again_is_an_exchange_of_its_own():
    lease = TracedLease()
    lease.begin(float("inf"))
    lease.enter("the answer's head", 1.0)
    lease.enter("connecting to h", 1.0)
    lease.enter("the TLS handshake", 1.0)
    lease.enter("the answer's head", 1.0)
    for status in ("401", "200"):
        lease.said(["GET / HTTP/1.1"])
        lease.heard([f"HTTP/1.1 {status}"])
    lease.stream()
    lease.end()
    first, second = lease.exchanges
    assert (first.answer, set(first.seconds), first.reused) == (
        ("HTTP/1.1 401",),
        {"head", "connect", "tls"},
        False,
    )
    assert (second.answer, set(second.seconds), second.reused) == (("HTTP/1.1 200",), {"head", "body"}, True)


def test_an_attempt_that_reached_nobody_is_told_too():
    lease = TracedLease()
    lease.begin(float("inf"))
    lease.enter("connecting to h", 1.0)
    lease.end()
    (exchange,) = lease.exchanges
    assert (exchange.request, exchange.answer, exchange.reused) == ((), (), False)


def exchanges(tmp_path, urls, **options):
    """Return what a run with tracing tells."""
    found = []
    config = FetchConfig(dest=tmp_path / "out", trace=True, jobs=1, backoff=0.01, **options)
    with Fetcher(config, on_event=found.append) as fetcher:
        outcomes = list(fetcher.run(urls))
    assert not [outcome for outcome in outcomes if outcome.failure]
    return [event for event in found if isinstance(event, Exchanged)]


@both
def test_heads_timings_and_the_connection_are_told(server, tmp_path, transport):
    server.add("/n/*", body=b"x", head_delay=0.2, extra_headers=[("X-Odd", "1"), ("Set-Cookie2", SECRET)])
    first, second = exchanges(tmp_path, [server.url("/n/a"), server.url("/n/b")], transport=transport)
    assert first.request[0] == "GET /n/a HTTP/1.1"
    assert f"Host: {server.netloc}" in first.request
    assert first.answer[0] == "HTTP/1.1 200 OK"
    assert "X-Odd: 1" in first.answer
    assert "Set-Cookie2: ***" in first.answer
    assert (first.reused, second.reused) == (False, True)
    assert set(first.seconds) == {"connect", "head", "body"}
    assert first.seconds["head"] >= 0.1  # the server may have it before we know that it is sent
    assert SECRET not in json.dumps([first.to_record(), second.to_record()])


@both
def test_tls_has_a_time_of_its_own(tls_server, tmp_path, transport):
    tls_server.add("/a", body=b"x")
    (one,) = exchanges(
        tmp_path, [tls_server.url("/a")], transport=transport, ca_bundle=str(tls_server.ca_file)
    )
    assert set(one.seconds) == {"connect", "tls", "head", "body"}


@both
def test_each_hop_of_a_redirect_is_told(server, tmp_path, transport):
    server.add("/a", redirect="/b")
    server.add("/b", body=b"x")
    told = exchanges(tmp_path, [server.url("/a")], transport=transport)
    assert [one.answer[0] for one in told] == ["HTTP/1.1 302 Found", "HTTP/1.1 200 OK"]


def test_a_post_is_told_without_its_body(server, tmp_path):
    server.add("/a", body=b"x")
    (one,) = exchanges(tmp_path, [{"url": server.url("/a"), "json": {"pw": SECRET}}])
    assert one.request[0] == "POST /a HTTP/1.1"
    assert SECRET not in str(one)


def test_nothing_is_told_where_nobody_asked(server, tmp_path):
    server.add("/a", body=b"x")
    found = []
    with Fetcher(FetchConfig(dest=tmp_path), on_event=found.append) as fetcher:
        list(fetcher.run([server.url("/a")]))
    assert not [event for event in found if isinstance(event, Exchanged)]


@pytest.mark.parametrize("transport", ["auto", "requests"])
def test_the_command_shows_it_and_no_secret(server, tmp_path, command, transport):
    server.add("/a", body=b"x", extra_headers=[("Set-Cookie", f"id={SECRET}")])
    url = server.url(f"/a?token={SECRET}").replace("://", f"://me:{SECRET}@")
    log, events = tmp_path / "log", tmp_path / "events"
    done = command(
        "get", url, "-d", tmp_path / "out", "-vv", "-H", f"X-Key: {SECRET}", "--transport", transport,
        "--log-file", log, "--events", events,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = done.stderr
    assert "  > GET /a?token=*** HTTP/1.1\n" in text
    assert "  > Authorization: ***\n" in text
    assert "  < HTTP/1.1 200 OK\n" in text
    assert "new connection  connect " in text
    assert "  > GET /a" in log.read_text()
    assert '"event": "exchanged"' in events.read_text().replace('":"', '": "')
    assert SECRET not in text + log.read_text() + events.read_text()
    again = command("get", server.url("/a"), "-d", tmp_path / "out2", "-v")
    assert "  > " not in again.stderr
    assert "start  a" in again.stderr


@pytest.mark.parametrize("given", ["option", "column", "section"])
@pytest.mark.parametrize("transport", ["auto", "requests"])
def test_no_value_the_user_gives_in_a_header_is_shown_whatever_its_name(
    server, tmp_path, command, given, transport
):
    server.add("/a", body=b"x", extra_headers=[("X-Echo", f"for {SECRET}")])
    fields = {"X-JWT": SECRET, "X-CL": f"{SECRET}-2", "Accept-Language": "de"}
    columns = {f"header.{name}": value for name, value in fields.items()} if given == "column" else {}
    config, manifest, events = tmp_path / "c.toml", tmp_path / "m.jsonl", tmp_path / "events"
    manifest.write_text(json.dumps({"url": server.url("/a"), **columns}))
    lines = "".join(f'"{name}" = "{value}"\n' for name, value in fields.items())
    section = f'[host."{server.netloc}"]\n[host."{server.netloc}".headers]\n{lines}'
    config.write_text(section if given == "section" else "")
    config.chmod(0o600)
    options = [text for name, value in fields.items() for text in ("-H", f"{name}: {value}")]
    done = command(
        "get", manifest, "-d", tmp_path / "out", "-vv", "--events", events, "--config", config,
        "--transport", transport, *(options if given == "option" else ()),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert server.requests[0].headers["X-JWT"] == SECRET
    told = done.stderr + events.read_text()
    assert SECRET not in told
    for shown in ("X-JWT: ***", "X-CL: ***", "Accept-Language: de", "X-Echo: for ***"):
        assert told.count(shown) >= 2, told
