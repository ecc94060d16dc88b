"""A long run of small files over random faults: every outcome is checked, and nothing may leak.

python -m tests.harness.soak --entries 100000
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faultserver import Request, Route, Server, route

import bulkfetch
from bulkfetch.models import Outcome

# kind -> (weight, does the entry end well?); each fault is seen once per path unless it says "always"
KINDS: dict[str, tuple[float, bool]] = {
    "fine": (60, True), "status-500": (5, True), "cut": (8, True), "reset": (5, True),
    "status-429": (0.4, True),  # few: each one tells the run to ask less often
    "chunked-cut": (4, True), "closed": (4, True), "garbage": (2, True), "wrong-bytes": (3, True),
    "redirect": (3, True), "missing": (3, False), "always-cut": (1, False), "always-wrong": (1, False),
}  # fmt: skip


def kind_of(number: int) -> str:
    """Return the fault of one path; the same one every time."""
    names, weights = zip(*((name, weight) for name, (weight, _) in KINDS.items()), strict=True)
    return random.Random(number).choices(names, weights)[0]


def body_of(number: int) -> bytes:
    """Return the bytes of one path, 0 to 6 kB of them."""
    chance = random.Random(number * 31)
    return chance.randbytes(chance.randrange(1, 6000))


def options_of(number: int) -> dict[str, Any] | None:
    """Return how the server behaves for one path; None is 404."""
    kind, body = kind_of(number), body_of(number)
    half = len(body) // 2
    faults: dict[str, dict[str, Any] | None] = {
        "fine": {}, "status-500": {"statuses": [500, 200]}, "status-429": {"statuses": [429, 200]},
        "cut": {"cut": half, "times": 1}, "reset": {"cut": half, "cut_how": "reset", "times": 1},
        "chunked-cut": {"chunked": 512, "cut": half, "times": 1}, "closed": {"raw": [], "times": 1},
        "garbage": {"raw": [b"SSH-2.0-nothing\r\n"], "times": 1}, "wrong-bytes": {"flip": 0, "times": 1},
        "redirect": {"redirect": f"/n/{number}?again", "times": 1}, "missing": None,
        "always-cut": {"cut": half, "ranges": False}, "always-wrong": {"flip": 0},
    }  # fmt: skip
    chosen = faults[kind]
    return None if chosen is None else {"body": body, "etag": f'"{number}"', **chosen}


class Routes:
    """One route per path, kept so that it counts its requests."""

    def __init__(self) -> None:
        self._known: dict[int, Route | None] = {}
        self._lock = threading.Lock()  # guards _known

    def __call__(self, request: Request) -> Route | None:
        number = int(request.path.rpartition("/")[2])
        with self._lock:
            if number not in self._known:
                options = options_of(number)
                self._known[number] = None if options is None else route(**options)
            return self._known[number]


def rows(server: Server, entries: int) -> Any:
    """Yield the manifest, with the digest of every body."""
    for number in range(entries):
        digest = hashlib.sha256(body_of(number)).hexdigest()
        yield {"url": server.url(f"/n/{number}"), "path": f"{number % 100}/{number}", "sha256": digest}


def is_right(outcome: Outcome, dest: Path) -> bool:
    """Say whether an entry ended as its fault allows, with the right bytes or none on disk."""
    number = int(outcome.entry.urls[0].rpartition("/")[2])
    should = KINDS[kind_of(number)][1]
    path = dest / str(outcome.path)
    if (outcome.failure is None) is not should:
        return False
    return path.read_bytes() == body_of(number) if should else not path.exists()


def handles() -> list[str]:
    """Return what this process has open, where the system tells."""
    folder = Path("/proc/self/fd")
    links = sorted(folder.iterdir()) if folder.is_dir() else []
    return [str(link.readlink()) for link in links if link.is_symlink()]


def soak(entries: int, dest: Path, processes: int = 0) -> dict[str, Any]:
    """Run and return what was seen."""
    wrong: list[Outcome] = []
    retried: Counter[str] = Counter()
    with Server() as server:
        server.add_generator(Routes())
        before = (handles(), threading.active_count())
        config = bulkfetch.FetchConfig(dest=dest, backoff=0.02, retries=3, processes=processes)

        def note(event: Any) -> None:
            if event.name == "retrying":
                retried[event.failure.kind] += 1

        began = time.monotonic()
        with bulkfetch.Fetcher(config, on_event=note) as fetcher:
            seen = 0
            for outcome in fetcher.run(rows(server, entries)):
                seen += 1
                if not is_right(outcome, dest):
                    wrong.append(outcome)
        seconds = time.monotonic() - began
        server.drop_connections()
        server.wait_until(lambda: server.open_connections == 0 and threading.active_count() <= before[1])
        requests = len(server.requests)
        after = (handles(), threading.active_count())
    return {
        "entries": entries, "outcomes": seen, "wrong": len(wrong), "requests": requests,
        "faults": dict(Counter(kind_of(n) for n in range(entries))), "retries": dict(retried),
        "parts left": len(list((dest / ".bulkfetch" / "parts").iterdir())),
        "descriptors": (len(before[0]), len(after[0])), "new ones": sorted(set(after[0]) - set(before[0])),
        "threads": (before[1], after[1]), "seconds": round(seconds, 1),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "first wrong": [(o.entry.urls[0], str(o.status), o.failure) for o in wrong[:5]],
    }  # fmt: skip


def main() -> None:
    """Soak and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--entries", type=int, default=100_000)
    options.add_argument("--processes", type=int, default=0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bulkfetch-soak-") as folder:
        for name, value in soak(given.entries, Path(folder), given.processes).items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
