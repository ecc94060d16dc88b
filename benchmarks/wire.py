"""`python -m benchmarks.wire`: what one small request costs over our own connection, and over others'.

Every contender asks one nginx for the same 10 KB file and reads the body into memory; nothing is stored.
CPU time is this process's alone. Rounds take turns and the best counts, so compare within one run only:
on a busy machine the wall times say little.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.nginx import HOST, Nginx, is_installed
from benchmarks.scratch import open_scratch
from bulkfetch.config import FetchConfig
from bulkfetch.models import Origin
from bulkfetch.transport import Transport
from bulkfetch.urls import origin_of
from bulkfetch.watchdog import Watchdog
from bulkfetch.wire import Wire

SMALL, LARGE = 10_000, 1 << 30  # bytes
CHUNK = 1 << 20  # largest read asked for
THREADS = (1, 4, 16)
KINDS = ("plain", "tls")
Fetch = Callable[[str], int]  # path -> bytes of the body


@dataclass(frozen=True, slots=True)
class Cost:
    """What one round took."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask, and with what."""

    base: str
    origin: Origin
    config: FetchConfig
    watchdog: Watchdog


@contextlib.contextmanager
def through_seam(client: Wire | Transport, target: Target) -> Iterator[Callable[[], Fetch]]:
    """Give each thread a lease of its own over one shared client."""

    def start() -> Fetch:
        lease = target.watchdog.lease()

        def fetch(path: str) -> int:
            lease.begin(float("inf"))
            reply = client.open(target.origin, target.base + path, {}, lease)
            size = 0
            while data := reply.read(CHUNK):
                size += len(data)
                lease.received = size
            reply.close()
            lease.end()
            return size

        return fetch

    yield start
    client.close()


def by_wire(target: Target) -> contextlib.AbstractContextManager[Callable[[], Fetch]]:
    """Our own connection."""
    return through_seam(Wire(target.config), target)


def by_requests(target: Target) -> contextlib.AbstractContextManager[Callable[[], Fetch]]:
    """`requests` as bulkfetch uses it, bodies by urllib3's read1."""
    return through_seam(Transport(target.config), target)


@contextlib.contextmanager
def by_http_client(target: Target) -> Iterator[Callable[[], Fetch]]:
    """The standard library: one connection for each thread."""
    opened: list[http.client.HTTPConnection] = []
    context = ssl.create_default_context(cafile=target.config.ca_bundle)

    def start() -> Fetch:
        host, port = target.origin.host, target.origin.port
        if target.origin.scheme == "https":
            opened.append(http.client.HTTPSConnection(host, port, timeout=60, context=context))
        else:
            opened.append(http.client.HTTPConnection(host, port, timeout=60))
        connection = opened[-1]
        buffer = bytearray(CHUNK)

        def fetch(path: str) -> int:
            connection.request("GET", path, headers={"Accept-Encoding": "identity"})
            answer, size = connection.getresponse(), 0
            while count := answer.readinto(buffer):
                size += count
            return size

        return fetch

    yield start
    for connection in opened:
        connection.close()


CONTENDERS = {"wire": by_wire, "http.client": by_http_client, "requests": by_requests}


def measure(name: str, target: Target, path: str, size: int, requests: int, threads: int) -> Cost:
    """Make `requests` requests in `threads` threads, each over a connection that is open already."""

    def work(fetch: Fetch) -> None:
        for _ in range(requests // threads):
            if (got := fetch(path)) != size:
                raise RuntimeError(f"{name} read {got} of {size} bytes")

    with CONTENDERS[name](target) as start, ThreadPoolExecutor(threads) as workers:
        fetches = [start() for _ in range(threads)]
        list(workers.map(lambda fetch: fetch("/small"), fetches))
        wall, cpu = time.perf_counter(), time.process_time()
        list(workers.map(work, fetches))
        return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def best_of(
    rounds: int, target: Target, path: str, size: int, requests: int, threads: int
) -> dict[str, Cost]:
    """Let all contenders take turns and return the least of each."""
    costs: dict[str, list[Cost]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, seen in costs.items():
            seen.append(measure(name, target, path, size, requests, threads))
    return {
        name: Cost(min(one.wall for one in seen), min(one.cpu for one in seen))
        for name, seen in costs.items()
    }


def show_small(target: Target, kind: str, requests: int, rounds: int) -> None:
    """Print microseconds of each contender for one request."""
    for threads in THREADS:
        costs = best_of(rounds, target, "/small", SMALL, requests, threads)
        base = costs["wire"]
        for name, cost in costs.items():
            numbers = f"{cost.wall / requests * 1e6:8.1f} {cost.cpu / requests * 1e6:8.1f}"
            ratios = f"{cost.wall / base.wall:6.2f} {cost.cpu / base.cpu:6.2f}"
            print(f"{kind:6} {threads:7} {name:12} {numbers} {ratios}", flush=True)


def show_large(target: Target, kind: str, rounds: int) -> None:
    """Print GiB a second of one large body: by the clock, and by this process's CPU time."""
    for name, cost in best_of(rounds, target, "/large", LARGE, 1, 1).items():
        size = LARGE / (1 << 30)
        print(f"{kind:6} {name:12} {size / cost.wall:8.2f} {size / cost.cpu:8.2f}", flush=True)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wire", description=__doc__)
    parser.add_argument("--requests", type=int, default=8000, help="in each round (default 8000)")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    return parser.parse_args()


def run(server: Nginx, options: argparse.Namespace) -> None:
    """Measure small requests, then one large body, over each kind of link."""
    (server.root / "small").write_bytes(os.urandom(SMALL))
    with (server.root / "large").open("wb") as large:
        for _ in range(LARGE >> 20):
            large.write(bytes(1 << 20))
    config = FetchConfig(per_host=max(THREADS), ca_bundle=server.ca_file, min_speed=0)
    watchdog = Watchdog(threading.Event(), 0)
    bases = {kind: server.bases(kind)[0] for kind in KINDS}
    targets = {kind: Target(base, origin_of(base + "/"), config, watchdog) for kind, base in bases.items()}
    print(f"10 KB from nginx on {HOST}: microseconds a request, and times the wire's")
    print(f"{'link':6} {'threads':>7} {'':12} {'wall':>8} {'CPU':>8} {'x wall':>6} {'x CPU':>6}")
    for kind, target in targets.items():
        show_small(target, kind, options.requests, options.rounds)
    print(f"\n1 GiB: GiB a second\n{'link':6} {'':12} {'wall':>8} {'CPU':>8}")
    for kind, target in targets.items():
        show_large(target, kind, options.rounds)
    watchdog.close()


def main() -> int:
    """Run the command and return its exit status."""
    options = parse_arguments()
    if not is_installed():
        print("benchmarks: nginx is not installed", file=sys.stderr)
        return 2
    with (
        open_scratch(LARGE + (64 << 20)) as scratch,
        contextlib.closing(Nginx(scratch.folder / "nginx", KINDS)) as server,
    ):
        run(server, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
