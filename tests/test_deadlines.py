"""An entry ends by its deadline, wherever it waits."""

from __future__ import annotations

import threading
import time

from faultserver import route

import bulkfetch

BUSY = b"HTTP/1.1 429 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"


def test_an_entry_behind_a_cooled_host_does_not_outwait_its_deadline(server, tmp_path):
    seen: set[str] = set()
    all_seen = threading.Event()

    def fail_once(request):
        known = request.path in seen
        seen.add(request.path)
        if len(seen) == 15:
            all_seen.set()
        return route(body=b"content") if known else route(status=500)

    server.add_generator(fail_once)
    server.add("/busy", raw=[all_seen, BUSY])
    urls = [server.url("/busy"), *(server.url(f"/n/{number}") for number in range(15))]
    started = time.monotonic()
    options = {"per_host": 16, "backoff": 1.0, "entry_deadline": 1.5}
    outcomes = {outcome.path: outcome for outcome in bulkfetch.fetch(urls, tmp_path, **options)}
    assert time.monotonic() - started < 30.0
    assert len(outcomes) == 16
    late = [outcome.failure for outcome in outcomes.values() if outcome.failure and outcome.path != "busy"]
    assert {failure.kind for failure in late} == {"deadline"}
    # Back-off is random: few of them were tried again before the host was cooled.
    assert any("while" in failure.message for failure in late)
