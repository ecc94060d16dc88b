"""An entry ends by its deadline, wherever it waits."""

from __future__ import annotations

import time

import bulkfetch


def test_an_entry_behind_a_cooled_host_does_not_outwait_its_deadline(server, tmp_path):
    server.add("/n/*", body=b"content", first=[{"status": 500}])
    server.add("/busy", status=429, retry_after="30", head_delay=0.15)
    urls = [server.url("/busy"), *(server.url(f"/n/{number}") for number in range(15))]
    started = time.monotonic()
    options = {"per_host": 16, "backoff": 1.0, "entry_deadline": 1.5}
    outcomes = {outcome.path: outcome for outcome in bulkfetch.fetch(urls, tmp_path, **options)}
    assert time.monotonic() - started < 4.0
    assert len(outcomes) == 16
    late = [outcome for outcome in outcomes.values() if outcome.failure]
    assert {outcome.failure.kind for outcome in late} == {"deadline"}
    waited = [outcome for outcome in late if outcome.path != "busy"]
    assert waited  # back-off is random: few of them were tried again before the host was cooled
    assert all("while" in outcome.failure.message for outcome in waited)
