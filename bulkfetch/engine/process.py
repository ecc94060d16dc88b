"""One worker process, as the coordinator sees it."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

from bulkfetch.config import FetchConfig
from bulkfetch.engine.base import Brought, Report, TellAny
from bulkfetch.engine.messages import (
    BATCH,
    BEAT,
    COOKIES,
    EVENT,
    HELLO,
    STOP,
    Frame,
    is_whole,
    pack_frame,
    pack_task,
    read_frame,
    unpack_attempt,
    write_all,
)
from bulkfetch.events import Notice
from bulkfetch.models import Attempt, Failure, Origin, Task
from bulkfetch.standing import declared
from bulkfetch.tuning import Overlap

_SILENT = 6 * BEAT  # seconds without a sign of life after which a process is not waited for
_ROOM = 1 << 18 if sys.platform == "linux" else 1 << 14  # bytes that a pipe holds
_REST = 1 << 10  # of them, for what ends a process
_ROOT = str(Path(__file__).parents[2])
_START = """import sys
sys.path[:] = sys.argv[1:]
from bulkfetch.loading import RARE, no_search, put_off
with no_search():
    put_off("inspect", *RARE)
    from bulkfetch.engine.child import main
main()"""


class Process:
    """A process at the other end of two pipes, and a thread that listens to it."""

    def __init__(
        self,
        config: FetchConfig,
        tell: TellAny,
        emit: Callable[[Any], None],
        keep_cookies: Callable[[Origin, str, Sequence[str]], None],
    ) -> None:
        self._tell = tell
        self._emit = emit
        self._keep_cookies = keep_cookies
        self._overlap = Overlap(int(config.jobs))
        self._batches: dict[int, tuple[Sequence[Task], int]] = {}  # under way there, and their size as sent
        self._unread = 0  # bytes sent with them: a process that stands still must never hold up who writes
        # Guards _batches, _unread and _is_closed: nothing is sent to one that has ended.
        self._lock = threading.Lock()
        self._is_closed = False
        self._number = 0
        self._hello = threading.Event()
        self._has_spoken = False  # since the coordinator looked last
        self._looked = 0.0  # monotonic time of that look
        self._silent = 0.0  # seconds without a word, while at work
        # Ours comes last: what else is installed there must hide no module of the language.
        command = [sys.executable, "-c", _START, *sys.path, _ROOT]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        # A group of its own: Ctrl-C is for the coordinator, who tells it what to do.
        self._process = subprocess.Popen(
            command, bufsize=0, stdin=pipe, stdout=pipe, stderr=null, process_group=0, pipesize=_ROOM
        )
        self._input = cast(IO[bytes], self._process.stdin)
        self._output = cast(IO[bytes], self._process.stdout)
        self._thread = threading.Thread(target=self._listen, name="bulkfetch-listener", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as exc:  # the system allows no more of them
            self._process.kill()
            with self._process:  # waits, and closes the pipes
                raise OSError(str(exc)) from exc
        self._write(pack_frame(pickle.dumps(config, pickle.HIGHEST_PROTOCOL)))

    @property
    def is_ready(self) -> bool:
        """Say whether it takes batches."""
        return self._hello.is_set() and not self._is_closed

    @property
    def busy(self) -> int:
        """Batches under way."""
        return len(self._batches)

    def wait(self, seconds: float) -> None:
        """Wait until it is ready, or will never be."""
        self._hello.wait(seconds)

    def look(self, now: float) -> None:
        """Give up a process that has batches and shows no sign of life; `now` is monotonic time."""
        if self._has_spoken or not self._batches:
            self._has_spoken, self._silent = False, 0.0
        else:
            self._silent += min(now - self._looked, 1.0)  # we may have stood still ourselves (Ctrl-Z)
        self._looked = now
        if self._silent > _SILENT:
            self._process.kill()

    @property
    def limit(self) -> int:
        """Batches it is worth giving it: the next is at hand when one has ended."""
        return self._overlap.limit + 1

    def send(self, batch: Sequence[Task]) -> bool:
        """Hand over a batch, which is then reported; False when it has ended, or has much to read already."""
        self._number += 1
        tasks = [pack_task(task) for task in batch]
        data = pack_frame((self._number, tuple(batch[0].origin), tasks, self._overlap.limit))
        with self._lock:
            if self._is_closed or self._unread + len(data) > _ROOM - _REST:
                return False
            self._unread += len(data)
            self._batches[self._number] = (batch, len(data))
        self._write(data)
        return True

    def stop(self) -> None:
        """Have it end: what is under way is cut, and reported."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            self._write(pack_frame(STOP))

    def close(self, seconds: float) -> bool:
        """Wait for its end; False when it had to be killed."""
        self.stop()
        try:
            self._process.wait(max(0.0, seconds))
            has_ended = True
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            has_ended = False
        if not sys.is_finalizing():  # else no thread runs any more
            self._thread.join()
            self._output.close()
        self._input.close()
        return has_ended

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # it has ended, and the thread that listens sees so
            write_all(self._input.fileno(), data)

    def _listen(self) -> None:
        try:
            with contextlib.suppress(EOFError, OSError):  # it has ended
                while True:
                    self._take(read_frame(self._output.fileno()))
                    self._has_spoken = True
        finally:  # also where it said what cannot be read: the run waits for what it was given
            self._process.kill()
            self._lose(self._process.wait())

    def _take(self, frame: Frame) -> None:
        kind, *facts = frame
        if kind == BATCH:
            self._report(*facts)
        elif kind == EVENT:
            self._emit(pickle.loads(facts[0]))
        elif kind == COOKIES:
            origin, url, values = facts
            self._keep_cookies(Origin(*origin), url, values)
        elif kind == HELLO:
            self._overlap.begin(facts[0], time.monotonic())
            self._hello.set()

    def _report(self, number: int, attempts: Sequence[Frame], cpu: float) -> None:
        batch, size = self._batches[number]
        if len(attempts) == len(batch) and all(map(is_whole, attempts)):
            fastest = min([file[0] for file in attempts])
            reports: list[Report | Brought] = [Brought(batch, attempts)]
        else:
            made = [unpack_attempt(frame, task) for frame, task in zip(attempts, batch, strict=False)]
            fastest = min(attempt.seconds for attempt in made)
            reports = [Report(task, attempt, False) for task, attempt in zip(batch, made, strict=False)]
            reports[-1] = Report(batch[len(made) - 1], made[-1], True, tuple(batch[len(made) :]))
        with self._lock:
            is_full = len(self._batches) >= self.limit
            del self._batches[number]
            self._unread -= size
        self._overlap.note(len(attempts), fastest, cpu, time.monotonic(), is_full=is_full)
        for report in reports:
            self._tell(report)

    def _lose(self, status: int) -> None:
        """Hand back what a process that was killed had been given; any of it may be there already."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            batches, self._batches = self._batches, {}
        self._hello.set()
        if not was_closed:
            why = f"signal {-status}" if status < 0 else f"status {status}"
            self._emit(Notice(f"a worker process has ended ({why}); what it was at is fetched again"))
        for batch, _ in batches.values():
            first, *others = (_perhaps_there(task) for task in batch)
            failure = Failure("internal", "the process that fetched it ended", retryable=True)
            # `reused`: nobody's failure, tried again although no retries may be wanted
            attempt = Attempt(first.attempt, failure=failure, reused=True, url=first.url)
            self._tell(Report(first, attempt, True, tuple(others)))


def _perhaps_there(task: Task) -> Task:
    return task._replace(check=declared(task.entry, "found complete"), replace=True)
