"""What SIGINT, SIGTERM and SIGHUP do: the first lets go cleanly, a second SIGINT leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_GRACE = 5.0  # seconds until a blocked main thread is not waited for any longer


@contextlib.contextmanager
def caught(stop: Callable[[str, int], None]) -> Iterator[None]:
    """Call `stop(reason, number)` on the first signal; restore the former ways at the end.

    A signal found ignored stays ignored (nohup, a shell's background jobs; fault P09).
    """
    seen: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if seen:
            _leave(seen[0])
        seen.append(number)
        timer = threading.Timer(_GRACE, _leave, (number,))
        timer.daemon = True
        timer.start()
        stop(f"stopped by {signal.Signals(number).name}", number)

    former = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            former[number] = signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, way in former.items():
            signal.signal(number, way)


def _leave(number: int) -> None:
    """End the process now: the journal holds everything up to its last commit."""
    os._exit(128 + number)
