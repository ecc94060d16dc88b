"""A host that serves 25 requests a second and answers 429 past that, and beside it a healthy one.

    python -m benchmarks.limited [ENTRIES]

Prints the seconds each host's entries took, the ideal, and the requests refused.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from faultserver import Server  # noqa: E402 - the tests' own server

PER_SECOND = 25
HEALTHY = 2000  # entries of the healthy host


class Result(NamedTuple):
    """What one run came to."""

    seconds: float  # from the limited host's first request to its last
    refused: int
    healthy: float  # the same of the healthy host
    status: int  # of the command


def measure(entries: int, retry_after: str | None) -> Result:
    """Run the command once; 0 entries: the healthy host alone."""
    with tempfile.TemporaryDirectory() as folder, Server() as limited, Server() as healthy:
        for server in (limited, healthy):
            server.add("/n/*", body=b"x" * 1000)
        limited.throttle(per_second=PER_SECOND, retry_after=retry_after)
        urls = [limited.url(f"/n/l{number}") for number in range(entries)]
        urls += [healthy.url(f"/n/h{number}") for number in range(HEALTHY)]
        command = [sys.executable, "-m", "bulkfetch", "get", "-", "-d", folder, "-q"]
        done = subprocess.run(command, input="\n".join(urls), text=True, check=False)
        refused = sum(request.status == 429 for request in limited.requests)
        return Result(_span(limited), refused, _span(healthy), done.returncode)


def _span(server: Server) -> float:
    times = [request.time for request in server.requests]
    return max(times) - min(times) if times else 0.0


def main() -> None:
    """Print a table."""
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    ideal = entries / PER_SECOND
    print(f"healthy host alone: {measure(0, None).healthy:.2f} s")
    for retry_after in ("1", None):
        result = measure(entries, retry_after)
        share = 100 * result.refused / entries
        print(f"Retry-After {retry_after or 'none'}: {result.seconds:.1f} s, ideal {ideal:.1f} s", end="; ")
        print(f"{result.refused} refused ({share:.1f} %)", end="; ")
        print(f"healthy host {result.healthy:.2f} s; exit status {result.status}")


if __name__ == "__main__":
    main()
