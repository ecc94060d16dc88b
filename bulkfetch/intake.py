"""The reader thread: entries flow from the manifest into a small buffer, and wait there."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from bulkfetch.models import BadLine, Entry

_MOST = 1024  # entries read ahead of the planner
_AT_ONCE = 128  # entries planned in one go: meanwhile workers that have ended wait for their next task
_STEP = 0.5  # seconds between looks at the stop event


class Intake:
    """Reads a manifest in a thread of its own, so that a slow pipe never stalls transfers.

    When the buffer is full the reading stops, which stops whoever writes the pipe.
    """

    def __init__(
        self, entries: Iterator[Entry | BadLine], wake: Callable[[], None], stop: threading.Event
    ) -> None:
        self._entries = entries
        self._wake = wake
        self._stop = stop
        self._buffer: deque[Entry | BadLine] = deque()  # its operations are atomic
        self._room = threading.Condition()  # told when there is room in _buffer again
        self._is_full = False  # the reader waits for room
        self._ended = False
        self._error: BaseException | None = None
        # A daemon: a read from a silent pipe cannot be interrupted.
        self._thread = threading.Thread(target=self._run, name="bulkfetch-reader", daemon=True)

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def is_done(self) -> bool:
        """Say whether everything has been read and taken."""
        return self._ended and not self._buffer and self._error is None

    def take(self) -> list[Entry | BadLine]:
        """Return the next of what has been read; `wake` is called if there is more.

        Raises:
            BaseException: what ended the reading; everything before it has been handed out.
        """
        is_over = self._ended  # looked at first: nothing comes after it
        buffer = self._buffer
        taken = [buffer.popleft() for _ in range(min(len(buffer), _AT_ONCE))]
        if self._is_full:  # asked when there is room: before, the reader might begin to wait just then
            with self._room:
                self._room.notify()
        if buffer:  # the rest, or what came while we took: nobody else says that it is there
            self._wake()
        if is_over and not taken and self._error is not None:
            error, self._error = self._error, None
            raise error
        return taken

    def _run(self) -> None:
        try:
            for entry in self._entries:
                if not self._put(entry):
                    break
        except BaseException as exc:  # noqa: BLE001 - the caller's own iterator may raise anything: it is told there
            self._error = exc
        finally:
            self._ended = True
            self._wake()

    def _put(self, entry: Entry | BadLine) -> bool:
        buffer = self._buffer
        if len(buffer) >= _MOST:
            with self._room:
                self._is_full = True
                while len(buffer) >= _MOST and not self._stop.is_set():
                    self._room.wait(_STEP)
                self._is_full = False
        buffer.append(entry)
        if len(buffer) == 1:  # none: it has been taken already
            self._wake()
        return not self._stop.is_set()
