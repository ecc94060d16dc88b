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
from collections.abc import Callable, Iterator, Sequence

from bulkfetch.errors import DeadlinePassed, Stopped, TimedOut, TooSlow, TransferError
from bulkfetch.events import Notice
from bulkfetch.safetext import redact_url

TICK = 0.2  # seconds between looks
SPEED_WINDOW = 30.0  # seconds over which the minimum speed is taken
_SPEED_SAMPLES = 10
GRACE = 5.0  # seconds a worker has to come back once its socket is shut

NEVER = float("inf")

Reason = Callable[[], TransferError]


class Lease:
    """What one worker is waiting for, and until when; written by the worker, read by the watchdog."""

    __slots__ = (
        "_lock",
        "_reason",
        "_sampled",
        "_samples",
        "_sock",
        "bodies",
        "bound",
        "cut_at",
        "deadline",
        "min_speed",
        "number",
        "path",
        "paused",
        "received",
        "reused",
        "sent",
        "spare",
        "streaming",
        "url",
        "wants_fresh",
        "what",
    )
    traced = False  # whether somebody wants to know what goes over the wire

    def said(self, head: Sequence[str]) -> None:
        """Take the lines of a request's head, where somebody wants to know."""

    def heard(self, head: Sequence[str]) -> None:
        """Take the lines of the head that answered it, where somebody wants to know."""

    def __init__(self) -> None:
        # Guards _sock, spare and cut_at: what is let go of must never be shut, and who is back not be named.
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._reason: Reason | None = None
        # The watchdog's own: (time, bytes received then), and the body they belong to.
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SPEED_SAMPLES + 1)
        self._sampled = 0
        self.bodies = 0  # begun so far; one attempt may see several, with a wait for a head between them
        self.path = self.url = ""  # what the attempt is at
        self.cut_at = NEVER  # monotonic time at which the attempt was cut, until that has been told
        self.number = 0  # of the attempt; a cut meant for an earlier one must not meet the next
        self.bound = NEVER  # monotonic end of the present phase
        self.what = ""  # the present phase, for the message
        self.spare = NEVER  # monotonic time from which the connection is given up, not the attempt
        self.deadline = NEVER  # monotonic end of the entry
        self.min_speed = 0.0  # bytes per second, below which a body ends; 0 is off
        self.received = 0  # body bytes of this attempt so far
        self.paused = 0.0  # seconds of this body spent waiting for our own rate limit
        self.reused = False  # the connection had served a request before, and nothing has come back on it yet
        self.wants_fresh = False  # a connection used before had gone stale: not another one
        self.sent = True  # something of the entry's own request may have arrived
        self.streaming = False  # a body is being read: minimum speed applies

    def begin(self, deadline: float, path: str = "", url: str = "") -> None:
        """Start an attempt at `url` for `path`, which are told if it does not end."""
        with self._lock:
            self.number += 1
            self._sock = self._reason = None
            self.cut_at = NEVER
        self.path, self.url = path, url
        self.received = 0
        self.paused = 0.0
        self.reused = self.streaming = self.sent = False
        self.bound = NEVER
        self.deadline = deadline

    def enter(self, what: str, seconds: float) -> float:
        """Start a phase that may take `seconds` from now, which it returns; raises if it was cut."""
        now = time.monotonic()
        self.what = what
        self.bound = now + seconds
        if self._reason is not None:
            raise self._reason()
        return now

    def stream(self) -> None:
        """Start the body: from here idle time and speed are the bounds."""
        self.bound = NEVER
        self.what = "the wait for more of the body"  # should a bound pass
        self.bodies += 1
        self.streaming = True

    def waste(self, seconds: float) -> None:
        """Start to read what nobody wants: should that take longer, it costs the connection alone."""
        self.bound = NEVER
        self.streaming = False
        self.spare = time.monotonic() + seconds

    def pause(self, wait: Callable[[], None]) -> None:
        """Run `wait`, a wait of our own making, without counting it as a slow server."""
        self.streaming = False
        started = time.monotonic()
        wait()
        self.paused += time.monotonic() - started
        self.streaming = True

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Do what comes before the entry's own request: what is sent meanwhile may be sent again."""
        sent = self.sent
        try:
            yield
        finally:
            self.sent = sent

    def attach(self, sock: socket.socket) -> None:
        """Name the socket to shut; raises when the attempt was already cut."""
        self._sock = sock
        if self._reason is not None:
            raise self._reason()

    def forget(self, sock: socket.socket | None) -> None:
        """Note that `sock` is about to be closed by its owner."""
        with self._lock:
            if sock is not None and self._sock is sock:
                self._sock = None

    def leave(self) -> None:
        """Let go of the socket: from here on it must not be shut."""
        with self._lock:
            self._sock = None
            self.spare = NEVER
        self.bound = NEVER
        self.streaming = False

    def end(self) -> None:
        """Finish the attempt."""
        if self._sock is not None or self._reason is not None:  # else there is nothing to let go of
            with self._lock:
                self._sock = None
                self.cut_at = NEVER
        self.spare = self.bound = self.deadline = NEVER
        self.streaming = False

    @property
    def is_cut(self) -> bool:
        """Say whether the attempt was ended from outside."""
        return self._reason is not None

    def check(self) -> None:
        """Raise the reason if the attempt was cut."""
        if self._reason is not None:
            raise self._reason()

    def cut(self, reason: Reason, number: int) -> None:
        """End attempt `number` if it still runs: note why and shut the socket, which wakes the worker."""
        with self._lock:
            if number != self.number:
                return
            if self._reason is None:
                self._reason = reason
                self.cut_at = time.monotonic()
            self._shut()

    def drop(self, now: float) -> None:
        """Shut the socket if what is read from it is unwanted and has taken too long."""
        with self._lock:
            if now > self.spare:
                self._shut()

    def outlived(self, now: float) -> str:
        """Say, once, who has not come back long after being cut, and which bound that was; or ""."""
        with self._lock:
            if self._reason is None or now - self.cut_at < GRACE:
                return ""
            self.cut_at = NEVER
            return f"{self.path} from {redact_url(self.url)} does not end: {self._reason()}"

    def _shut(self) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError, ValueError):
                # Not SSLSocket.shutdown: it would drop the TLS state under the reading thread.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def overdue(self, now: float, window: float = SPEED_WINDOW) -> Reason | None:
        """Return why the attempt must end now, if it must; `window` is what the speed is taken over."""
        if now > self.deadline:
            return lambda: DeadlinePassed("the entry's deadline passed")
        if now > self.bound:
            what = self.what
            return lambda: TimedOut(f"{what} took too long")
        if self.streaming and self.min_speed > 0:
            return self._too_slow(now - self.paused, window)
        return None

    def _too_slow(self, now: float, window: float) -> Reason | None:
        samples = self._samples
        if self._sampled != self.bodies:
            samples.clear()
            self._sampled = self.bodies
        if not samples or now - samples[-1][0] >= window / _SPEED_SAMPLES:
            samples.append((now, self.received))
        since, before = samples[0]
        if now - since < window * 0.99 or self.received - before >= self.min_speed * (now - since):
            return None
        speed = (self.received - before) / (now - since)
        return lambda: TooSlow(f"{speed:.0f} bytes/s over {now - since:.0f} s is under --min-speed")


class Watchdog:
    """Shuts the sockets of attempts that outlive their bounds, and of all once the run stops.

    Args:
        stop: says that the run stops.
        min_speed: bytes per second, where an attempt says nothing else.
        tell: takes the name of each attempt that does not end although its socket was shut.
        is_ending: says that the program ends, and the run with it.
        tick: seconds between looks.
        window: seconds over which the speed is taken.
    """

    def __init__(
        self,
        stop: threading.Event,
        min_speed: float,
        *,
        tell: Callable[[Notice], None] = lambda _notice: None,
        is_ending: Callable[[], bool] = lambda: False,
        tick: float = TICK,
        window: float = SPEED_WINDOW,
    ) -> None:
        self._stop = stop
        self._min_speed = min_speed
        self._tell = tell
        self._is_ending = is_ending
        self._tick = tick
        self._window = window
        self._leases: list[Lease] = []
        self._lock = threading.Lock()  # guards _leases
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bulkfetch-watchdog", daemon=True)
        self._thread.start()

    def lease(self, kind: type[Lease] = Lease) -> Lease:
        """Return a new lease under this watch."""
        lease = kind()
        lease.min_speed = self._min_speed
        with self._lock:
            self._leases.append(lease)
        return lease

    def look(self, now: float) -> None:
        """Cut what is overdue at `now`."""
        with self._lock:
            leases = list(self._leases)
        stopping = self._stop.is_set()
        for lease in leases:
            number = lease.number
            if stopping:
                lease.cut(_stopped, number)
            elif reason := lease.overdue(now, self._window):
                lease.cut(reason, number)
            else:
                lease.drop(now)
            if text := lease.outlived(now):
                self._tell(Notice(text))

    def close(self) -> None:
        """End the watch."""
        self._done.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._done.wait(self._tick):
            if self._is_ending():
                self._stop.set()
            self.look(time.monotonic())


def _stopped() -> TransferError:
    return Stopped("the run was stopped")
