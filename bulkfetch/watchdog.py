"""Bounds that blocking sockets cannot keep by themselves, kept by one thread that shuts them.

A socket timeout bounds one operation: a server that trickles a byte now and then never meets it
(faults C02, C03). Each worker has a `Lease`; the watchdog looks at all of them a few times a second.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

from bulkfetch.errors import DeadlinePassed, Stopped, TimedOut, TooSlow, TransferError

TICK = 0.2  # seconds between looks
SPEED_WINDOW = 30.0  # seconds over which the minimum speed is taken
_SPEED_SAMPLES = 10

Reason = Callable[[], TransferError]


class Lease:
    """What one worker is waiting for, and until when; written by the worker, read by the watchdog."""

    __slots__ = (
        "_lock",
        "_reason",
        "_samples",
        "_sock",
        "bound",
        "deadline",
        "received",
        "reused",
        "streaming",
        "what",
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _sock and _reason: a cut hits the attempt it was meant for
        self._sock: socket.socket | None = None
        self._reason: Reason | None = None
        self._samples = _no_samples()
        self.bound = float("inf")  # monotonic end of the present phase
        self.what = ""  # the present phase, for the message
        self.deadline = float("inf")  # monotonic end of the entry
        self.received = 0  # body bytes of this attempt so far
        self.reused = False  # the connection had served a request before
        self.streaming = False  # a body is being read: minimum speed applies

    def begin(self, deadline: float) -> None:
        """Start an attempt."""
        with self._lock:
            self._sock = self._reason = None
            self._samples = _no_samples()
            self.received = 0
            self.reused = self.streaming = False
            self.bound = float("inf")
            self.deadline = deadline

    def enter(self, what: str, seconds: float) -> None:
        """Start a phase that may take `seconds` at most; raises when the attempt was already cut."""
        self.what = what
        self.bound = time.monotonic() + seconds
        self.check()

    def stream(self) -> None:
        """Start the body: from here idle time and speed are the bounds."""
        with self._lock:
            self.bound = float("inf")
            self.what = "body"
            self._samples = _no_samples()  # time spent waiting for this body's head is not its speed
            self.streaming = True

    def attach(self, sock: socket.socket) -> None:
        """Name the socket to shut; raises when the attempt was already cut."""
        with self._lock:
            self._sock = sock
        self.check()

    def forget(self, sock: socket.socket | None) -> None:
        """Note that `sock` is about to be closed by its owner."""
        with self._lock:
            if self._sock is sock:
                self._sock = None

    def leave(self) -> None:
        """Let go of the socket: from here on it must not be shut."""
        with self._lock:
            self.bound = float("inf")
            self.streaming = False
            self._sock = None

    def end(self) -> None:
        """Finish the attempt."""
        self.leave()
        self.deadline = float("inf")

    @property
    def is_cut(self) -> bool:
        """Say whether the attempt was ended from outside."""
        return self._reason is not None

    def check(self) -> None:
        """Raise the reason if the attempt was cut."""
        if self._reason is not None:
            raise self._reason()

    def cut(self, reason: Reason) -> None:
        """End the attempt: note why and shut the socket, which wakes the worker."""
        with self._lock:
            self._cut(reason)

    def look(self, now: float, min_speed: float) -> None:
        """End the attempt if it is overdue at `now`."""
        with self._lock:
            if reason := self.overdue(now, min_speed):
                self._cut(reason)

    def overdue(self, now: float, min_speed: float) -> Reason | None:
        """Return why the attempt must end now, if it must."""
        if now > self.deadline:
            return lambda: DeadlinePassed("the entry's deadline passed")
        if now > self.bound:
            what = self.what
            return lambda: TimedOut(f"{what} took too long")
        if self.streaming and min_speed > 0:
            return self._too_slow(now, min_speed)
        return None

    def _cut(self, reason: Reason) -> None:
        if self._reason is None:
            self._reason = reason
        if self._sock is not None:
            with contextlib.suppress(OSError, ValueError):
                # Not SSLSocket.shutdown: it would drop the TLS state under the reading thread.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def _too_slow(self, now: float, min_speed: float) -> Reason | None:
        samples = self._samples
        if not samples or now - samples[-1][0] >= SPEED_WINDOW / _SPEED_SAMPLES:
            samples.append((now, self.received))
        since, before = samples[0]
        if now - since < SPEED_WINDOW * 0.99 or self.received - before >= min_speed * (now - since):
            return None
        speed = (self.received - before) / (now - since)
        return lambda: TooSlow(f"{speed:.0f} bytes/s over {now - since:.0f} s is under --min-speed")


def _no_samples() -> deque[tuple[float, int]]:
    return deque(maxlen=_SPEED_SAMPLES + 1)


class Watchdog:
    """Shuts the sockets of attempts that outlive their bounds, and of all once the run stops."""

    def __init__(self, stop: threading.Event, min_speed: float) -> None:
        self._stop = stop
        self._min_speed = min_speed
        self._leases: list[Lease] = []
        self._lock = threading.Lock()  # guards _leases
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bulkfetch-watchdog", daemon=True)
        self._thread.start()

    def lease(self) -> Lease:
        """Return a new lease under this watch."""
        lease = Lease()
        with self._lock:
            self._leases.append(lease)
        return lease

    def look(self, now: float) -> None:
        """Cut what is overdue at `now`."""
        with self._lock:
            leases = list(self._leases)
        stopping = self._stop.is_set()
        for lease in leases:
            if stopping:
                lease.cut(lambda: Stopped("the run was stopped"))
            else:
                lease.look(now, self._min_speed)

    def close(self) -> None:
        """End the watch."""
        self._done.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._done.wait(TICK):
            self.look(time.monotonic())
