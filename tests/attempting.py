"""Attempts made one by one, on real sockets and in a real folder."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from faultserver import pattern

from bulkfetch.config import FetchConfig
from bulkfetch.events import Progress
from bulkfetch.exchange import Exchange
from bulkfetch.limits import Buckets
from bulkfetch.models import Attempt, Entry, PartInfo, Task
from bulkfetch.policy import Policies
from bulkfetch.store import LocalStore
from bulkfetch.transfer import Context, run_attempt, run_attempts
from bulkfetch.transport import Transport
from bulkfetch.urls import origin_of, split_userinfo
from bulkfetch.watchdog import Watchdog

NAME = "file.bin"
SIZE, CUT = 100_000, 60_000
DATA = pattern(SIZE)
OTHER = pattern(SIZE, 1)
DATE = 1_600_000_000.0  # of files that are old enough for their date to pin them
WHICH = os.environ.get("BULKFETCH_TEST_TRANSPORT", "requests")  # `tests/check.py` runs the suite on both
QUICK = {"connect_timeout": 20.0, "idle_timeout": 20.0}  # ends what hangs; a test that waits for it says less


def sha256(data: bytes) -> tuple[tuple[str, str], ...]:
    """Return the digests of an entry that declares `data`."""
    return (("sha256", hashlib.sha256(data).hexdigest()),)


class Attempts:
    """What one worker has; options are those of `FetchConfig`."""

    def __init__(
        self,
        dest: Path,
        *,
        store: dict[str, Any] | None = None,
        transport: dict[str, Any] | None = None,
        watchdog: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.dest = dest
        self.config = FetchConfig(dest=dest, **{**QUICK, **options})
        self.store = LocalStore(dest, fsync=self.config.fsync, **store or {})
        self.store.prepare()
        self.stop = threading.Event()
        self.watchdog = Watchdog(self.stop, self.config.min_speed, **{"tick": 0.02, **(watchdog or {})})
        fast = WHICH == "fast" and not transport and not self.config.proxies
        self.policies = Policies(self.config)
        self.transport = (
            Exchange(self.config, self.policies)
            if fast
            else Transport(self.config, self.policies, **transport or {})
        )
        self.events: list[Progress] = []
        self.buckets = Buckets(self.config.limit_rate, self.stop)
        self.context = self.new_context()

    def new_context(self, emit: Callable[[Progress], None] | None = None) -> Context:
        """Return what one more worker has."""
        lease, emit = self.watchdog.lease(), emit or self.events.append
        config, policies = self.config, self.policies
        return Context(config, policies, self.store, self.transport, self.buckets, self.stop, lease, emit)

    def task(self, url: str, path: str = NAME, **fields: Any) -> Task:
        """Return a task; `size`, `digests` and `headers` go to its entry."""
        declared = {name: fields.pop(name) for name in ("size", "digests", "headers") if name in fields}
        entry = Entry((url,), path, **declared)
        bare = split_userinfo(url)[0]
        key = hashlib.sha256(f"{url} {path}".encode()).digest()[:16]
        return Task(
            **{"entry": entry, "key": key, "path": path, "url": bare, "origin": origin_of(bare), **fields}
        )

    def run(self, task: Task) -> Attempt:
        """Make one attempt."""
        if isinstance(self.transport, Exchange):
            return next(run_attempts([task], self.context))
        return run_attempt(task, self.context)

    def fetch(self, url: str, path: str = NAME, **fields: Any) -> Attempt:
        """Make the first attempt at a URL."""
        return self.run(self.task(url, path, **fields))

    def go_on(self, url: str, part: PartInfo, path: str = NAME, **fields: Any) -> Attempt:
        """Make the attempt after one that left `part`."""
        return self.fetch(url, path, part=part, attempt=2, **fields)

    def file(self, path: str = NAME) -> bytes | None:
        """Return what stands at a destination."""
        found = self.dest / path
        return found.read_bytes() if found.is_file() else None

    def parts(self) -> list[Path]:
        """Return the part files there are."""
        return sorted((self.dest / ".bulkfetch" / "parts").iterdir())

    def left(self) -> set[str]:
        """Return the names of everything below the destination but our own folder."""
        found = (path.relative_to(self.dest) for path in self.dest.rglob("*"))
        return {path.as_posix() for path in found if path.parts[0] != ".bulkfetch"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop.set()
        self.transport.close()
        self.watchdog.close()
        self.store.close()


def assert_failed(attempt: Attempt, kind: str, text: str = "", *, retryable: bool | None = None) -> None:
    """Check how an attempt failed; `text` is a part of its message."""
    failure = attempt.failure
    assert failure is not None, attempt
    assert failure.kind == kind, failure
    assert WHICH == "fast" or text in failure.message  # the two transports have words of their own
    assert attempt.done is None
    assert attempt.redirect is None
    assert retryable is None or failure.retryable is retryable


def open_handles() -> set[str]:
    """Return what this process has open (Linux)."""
    gc.collect()
    found = set()
    for link in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # the one that reads the folder
            found.add(f"{link.name} {link.readlink()}")
    return found


def read_all(reply: Any) -> bytes:
    """Return a reply's body, and close it."""
    data = b""
    while piece := reply.read(65536):
        data += piece
    reply.close()
    return data
