"""The real command in a process of its own, with the standard library watched around it.

    python -m harness.child [--kill POINT:N] [--fail CALL:PATH:ERRNO[:N[:TIMES]]] [--boot ID]
                            [--record FOLDER] [--no-locks] [--host NAME] [--no-dns] -- get ...

`--kill before-rename:3` sends SIGKILL to the process itself right before the third rename of a part.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import os
import pathlib
import signal
import socket
import time
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

from harness.intercept import Call, Intercept, Observer
from harness.record import Recorder

BOOT_FILE = "/proc/sys/kernel/random/boot_id"


def _is_part(call: Call) -> bool:
    return call.path.endswith(".part")


def _is_move(call: Call) -> bool:
    return call.name in ("rename", "replace", "link") and _is_part(call)


# point -> (which side of the call, which calls)
POINTS: dict[str, tuple[str, Callable[[Call], bool]]] = {
    "part-opened": ("after", lambda c: c.name == "open" and _is_part(c) and bool(c.flags & os.O_CREAT)),
    "part-adopted": ("after", lambda c: c.name == "open" and _is_part(c) and not c.flags & os.O_CREAT),
    "part-written": ("after", lambda c: c.name == "write" and _is_part(c)),
    "part-cut": ("after", lambda c: c.name == "ftruncate" and _is_part(c)),
    "part-closed": ("after", lambda c: c.name == "close" and _is_part(c)),
    "before-rename": ("before", _is_move),
    "after-rename": ("after", _is_move),
    "planned": ("after", lambda c: c.name == "sql" and "INTO entries" in c.sql),
    "part-recorded": ("after", lambda c: c.name == "sql" and "INTO parts" in c.sql),
    "before-commit": ("before", lambda c: c.name == "commit"),
    "after-commit": ("after", lambda c: c.name == "commit"),
    "before-sync": ("before", lambda c: c.name == "sync"),
    "after-sync": ("after", lambda c: c.name == "sync"),
}


class Killer(Observer):
    """Kills the process at the n-th passing of a named point."""

    def __init__(self, point: str, number: int) -> None:
        self._side, self._matches = POINTS[point]
        self._number = number
        self._count = itertools.count(1)  # its `next` is atomic

    def before(self, call: Call) -> None:
        if self._side == "before":
            self._pass(call)

    def after(self, call: Call, result: Any) -> None:
        if self._side == "after":
            self._pass(call)

    def _pass(self, call: Call) -> None:
        if self._matches(call) and next(self._count) == self._number:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # the signal is on its way to every thread


class Saboteur(Observer):
    """Makes calls ("link|replace") on paths that fit a pattern fail, from the n-th on, a number of times."""

    def __init__(self, call: str, path: str, code: str, first: str = "1", times: str = "1000000000") -> None:
        self._calls, self._path, self._code = call.split("|"), path, getattr(errno, code)
        self._hits = range(int(first), int(first) + int(times))
        self._count = itertools.count(1)

    def before(self, call: Call) -> None:
        if call.name in self._calls and fnmatch(call.path, self._path) and next(self._count) in self._hits:
            raise OSError(self._code, os.strerror(self._code))


class Everyone(Observer):
    """Passes calls on to several observers."""

    def __init__(self, observers: list[Observer]) -> None:
        self._observers = observers

    def before(self, call: Call) -> None:
        for observer in self._observers:
            observer.before(call)

    def after(self, call: Call, result: Any) -> None:
        for observer in self._observers:
            observer.after(call, result)


def pretend_boot(identity: str) -> None:
    """Make this look like another boot of the machine, which began just now."""
    real = pathlib.Path.read_text

    def read_text(self: pathlib.Path, *args: Any, **options: Any) -> str:
        return f"{identity}\n" if str(self) == BOOT_FILE else real(self, *args, **options)

    def clock_gettime(clock: int) -> float:
        return 0.0 if clock == time.CLOCK_BOOTTIME else real_clock(clock)

    real_clock = time.clock_gettime
    pathlib.Path.read_text = read_text  # type: ignore[method-assign]
    time.clock_gettime = clock_gettime


def pretend_locks() -> None:
    """Grant every lock on a file, as some network file systems do (fault K03)."""
    import fcntl

    fcntl.flock = lambda file, operation: None


def pretend_silent_resolver() -> None:
    """Leave look-ups of names below .example without an answer."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str | bytes, *args: Any, **options: Any) -> Any:
        return real(host, *args, **options) if not str(host).endswith(".example") else time.sleep(3600)

    socket.getaddrinfo = getaddrinfo


def main() -> None:
    """Prepare the process, then run the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill", action="append", default=[])
    parser.add_argument("--fail", action="append", default=[])
    parser.add_argument("--record")
    parser.add_argument("--boot")
    parser.add_argument("--no-locks", action="store_true")
    parser.add_argument("--host")
    parser.add_argument("--no-dns", action="store_true")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    observers: list[Observer] = []
    for spec in options.kill:
        point, _, number = spec.partition(":")
        observers.append(Killer(point, int(number or 1)))
    observers += [Saboteur(*spec.split(":")) for spec in options.fail]
    if options.record:
        observers.append(Recorder(options.record))
    if options.boot:
        pretend_boot(options.boot)
    if options.no_locks:
        pretend_locks()
    if options.host:
        socket.gethostname = lambda: options.host
    if options.no_dns:
        pretend_silent_resolver()
    if observers:
        Intercept(Everyone(observers))
    from bulkfetch.cli import main as run

    run(options.command)


if __name__ == "__main__":
    main()
