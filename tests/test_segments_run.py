"""Large files fetched in several ranges at once, on real sockets."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from attempting import QUICK, WHICH
from faultserver import pattern

from bulkfetch import FetchConfig, Fetcher, Outcome
from bulkfetch.events import Event

MB = 1024 * 1024
SIZE = 12 * MB + 345
DATA = pattern(SIZE)
SLOW = (65536, 0.002)  # some 30 MB/s and connection, so that ranges overlap
ROUTE: dict[str, Any] = {
    "body": DATA,
    "etag": '"v1"',
    "extra_headers": [("Accept-Ranges", "bytes")],
    "trickle": SLOW,
}


def run(dest: Path, *urls: Any, events: list[Event] | None = None, **options: Any) -> list[Outcome]:
    """Fetch into `dest`."""
    defaults = {"transport": WHICH, "segments": 4, "per_host": 4, "jobs": 8, "backoff": 0.05, **QUICK}
    config = FetchConfig(dest=dest, **{**defaults, **options})
    with Fetcher(config, on_event=events.append if events is not None else None) as fetcher:
        return list(fetcher.run(urls))


def asked(server: Any, path: str = "/a") -> list[tuple[int, int]]:
    """Return the ranges of all requests, in order of their first byte."""
    found = []
    for request in server.hits(path):
        first, _, last = (request.range or f"bytes=0-{SIZE - 1}").removeprefix("bytes=").partition("-")
        found.append((int(first), int(last or SIZE - 1) + 1))
    return sorted(found)


def test_a_large_file_comes_in_ranges(server, tmp_path):
    server.add("/a", **ROUTE)
    [outcome] = run(tmp_path, server.url("/a"))
    assert outcome.failure is None
    assert (tmp_path / "a").read_bytes() == DATA
    assert outcome.sha256 == hashlib.sha256(DATA).hexdigest()
    assert len(server.hits("/a")) >= 4
    assert server.peak_requests == 4
