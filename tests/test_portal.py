"""A network that wants a login before it lets anything through (fault B26)."""

from __future__ import annotations

import bulkfetch
from bulkfetch.events import Notice

PAGE = {"status": 511, "body": b"<html>log in</html>", "content_type": "text/html"}


def test_b26_a_captive_portal_is_told_once_and_not_asked_for_every_file(server, make_server, tmp_path):
    other = make_server(host="127.0.0.2")
    server.add("/n/*", **PAGE)
    other.add("/a.bin", body=b"content")
    urls = [server.url(f"/n/{number}.bin") for number in range(500)]
    seen: list[object] = []
    config = bulkfetch.FetchConfig(dest=tmp_path, jobs=4)
    with bulkfetch.Fetcher(config, on_event=seen.append) as fetcher:
        outcomes = list(fetcher.run([*urls, other.url("/a.bin")]))
        assert fetcher.summary.exit_status == 1
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    assert len(failures) == 500
    assert {failure.kind for failure in failures} == {"login"}
    assert all("wants a login" in failure.message for failure in failures)
    assert len(server.requests) <= 8
    assert (tmp_path / "a.bin").read_bytes() == b"content"
    (notice,) = (event.message for event in seen if isinstance(event, Notice))
    assert notice.startswith(f"{server.url('')} answers 511: the network wants a login")


def test_b26_a_mirror_that_gets_through_is_taken(server, make_server, tmp_path):
    other = make_server(host="127.0.0.2")
    server.add("/n/*", **PAGE)
    other.add("/n/*", body=b"content")
    entries = [{"url": [server.url(f"/n/{n}"), other.url(f"/n/{n}")]} for n in range(20)]
    assert {outcome.status for outcome in bulkfetch.fetch(entries, tmp_path)} == {"fetched"}
    assert len(server.requests) <= 16


def test_b26_after_the_login_the_same_command_fetches_everything(server, tmp_path, run_bulkfetch):
    server.add("/a.bin", **PAGE)
    command = ("get", server.url("/a.bin"), "-d", tmp_path)
    done = run_bulkfetch(*command)
    assert done.returncode == 1
    assert done.stderr.count("answers 511: the network wants a login before it lets requests through") == 1
    server.add("/a.bin", body=b"content")
    assert run_bulkfetch(*command).returncode == 0
    assert (tmp_path / "a.bin").read_bytes() == b"content"
