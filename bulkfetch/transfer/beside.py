"""The digests of a large body, computed beside its receiving while a core is free for that.

Hashing lets go of the interpreter's lock, and costs more than everything else about a large body.
"""

from __future__ import annotations

import os
import queue
import threading

from bulkfetch.checksums import Digests

_WAITING = 3  # chunks received and not yet hashed


class Cores:
    """Counts the large bodies under way, over all workers of a run."""

    def __init__(self, cores: int | None = None) -> None:
        self._most = (cores or _count_cores()) // 2  # a body keeps one busy receiving, and one hashing
        self._bodies = 0
        self._lock = threading.Lock()  # guards _bodies

    def enter(self) -> None:
        """Count one more body."""
        with self._lock:
            self._bodies += 1

    def leave(self) -> None:
        """Count one body less."""
        with self._lock:
            self._bodies -= 1

    @property
    def suffice(self) -> bool:
        """Say whether every body may keep two cores busy."""
        return self._bodies <= self._most


class Beside:
    """Feeds digests from a thread of its own while cores suffice, and in place otherwise."""

    def __init__(self, digests: Digests, cores: Cores) -> None:
        self._digests = digests
        self._cores = cores
        self._queue: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        cores.enter()

    def update(self, chunk: bytes | memoryview) -> None:
        """Take in the next bytes; the memory of `chunk` is free for other use afterwards."""
        if self._cores.suffice and (self._thread is not None or self._start()):
            self._queue.put(bytes(chunk))  # waits for a chunk to be hashed at most
            return
        self._queue.join()
        self._digests.update(chunk)

    def end(self) -> Digests:
        """End the thread and return the digests of what was taken in; called once, whatever happened.

        Raises:
            Exception: what went wrong in the thread.
        """
        self._cores.leave()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._digests

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name="bulkfetch-digest", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads may be started
            return False
        self._thread = thread
        return True

    def _run(self) -> None:
        while (chunk := self._queue.get()) is not None:
            try:
                self._digests.update(chunk)
            except Exception as exc:  # noqa: BLE001 - told by `end`: this thread has nobody to tell
                self._error = exc
            self._queue.task_done()


def _count_cores() -> int:
    """Return how many cores this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
