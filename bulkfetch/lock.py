"""One run at a time in a destination: a kernel lock on a file that says who holds it.

The lock keeps a second run from being started by mistake; where it fails to (fault K03) nothing is
spliced, as parts and final files are made in steps that only one run can win. The file stays
behind: what counts is the kernel's lock, which a killed process cannot keep (fault K02). The file's
text counts where the kernel's lock does not exclude a process that is seen to live, and where the
file system has no locks at all; there a holder on another machine is believed until its file is
deleted.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bulkfetch.errors import DestinationLocked, DiskFull, UsageError, from_os_error
from bulkfetch.safetext import clean

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FILE = "lock"
_LIMIT = 4096  # bytes of the file that are read
_LATEST = 1 << 37  # Unix time; what lies past it is not a time
_LOCKED_BYTE = 1 << 30  # Windows locks bytes against reading too, so one that is never written
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_FLAGS |= getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
_HELD = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


class DestinationLock:
    """Holds a state folder for one run; use it in a `with` statement.

    Args:
        folder: the state folder, made where it is missing.
        command: what the holder is called when another run is refused.
        now: the wall clock.
    """

    def __init__(self, folder: Path, command: str = "", *, now: Callable[[], float] = time.time) -> None:
        self._path = Path(folder, FILE)
        self._dest = clean(str(self._path.parent.parent))
        self._command = command
        self._now = now
        self._fd = -1
        self.taken_over = ""  # for the user: a run that held the destination and is gone

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            DestinationLocked: another run holds it, in this process or in another one.
            UsageError: the folder cannot be written.
            DiskFull: there is no room in it.
        """
        if self._fd >= 0:
            raise DestinationLocked(f"this run holds {self._dest} already")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, _FLAGS, 0o666)
            self._take(self._fd)
        except OSError as exc:
            self._let_go()
            failure = from_os_error(exc, self._dest)
            if isinstance(failure, DiskFull):  # passes by itself, unlike what is not set up right
                raise failure from exc
            raise UsageError(f"cannot lock {self._dest}: {exc.strerror or exc}") from exc
        except BaseException:
            self._let_go()
            raise

    def release(self) -> None:
        """Let go; the file stays, empty. A forked child has nothing to let go of."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
        self._let_go()

    def forget(self) -> None:
        """Close the file without letting go: the lock belongs to the parent of this process."""
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):
            os.close(fd)

    def __del__(self) -> None:
        """Let go although an interrupt fell into `release`: nobody else could any more."""
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _take(self, fd: int) -> None:
        _REGISTRY.add(self, fd, self._dest)
        has_lock = self._lock(fd)
        holder = _read(fd)
        if holder is not None and _is_holding(holder, fd, has_lock):
            raise self._refusal(holder, has_lock)
        ours = _Holder(os.getpid(), socket.gethostname(), self._now(), self._command, _birth(os.getpid(), fd))
        _write(fd, ours)
        if not has_lock and (winner := _read(fd)) != ours:  # two runs in one moment
            raise self._refusal(winner, has_lock)
        if holder is not None:
            self.taken_over = f"{self._dest} was held by {holder}, which is gone"

    def _lock(self, fd: int) -> bool:
        """Take the kernel's lock; False where the file system has none."""
        try:
            _lock_file(fd)
        except OSError as exc:
            if exc.errno in _HELD:
                raise self._refusal(_read(fd), True) from exc
            if exc.errno in _NO_LOCKS:
                return False
            raise
        return True

    def _refusal(self, holder: _Holder | None, has_lock: bool) -> DestinationLocked:
        who = "" if holder is None else f": {holder}"
        advice = "" if has_lock else f"; if that run is gone, delete {clean(str(self._path))}"
        return DestinationLocked(f"another run holds {self._dest}{who}{advice}")

    def _let_go(self) -> None:
        if self._fd >= 0:
            _unlock_file(self._fd)  # not left to closing: an interrupt may fall in between
        _REGISTRY.remove(self)
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)


def holder_of(folder: Path) -> str:
    """Return the run that holds a state folder, or ""; the lock is not touched, as a new run may want it."""
    if sys.platform == "win32":  # where a killed run cannot be told from one that lives, by its file alone
        return ""
    try:
        fd = os.open(Path(folder, FILE), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        holder = _read(fd)
        return "" if holder is None or not _is_holding(holder, fd, has_lock=False) else str(holder)
    except OSError:
        return ""
    finally:
        os.close(fd)


class _Holder(NamedTuple):
    """What the file says."""

    pid: int
    host: str
    started: float  # Unix time
    command: str
    birth: str  # tells a process from a later one of its number; "" where the system does not

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.started))
        name = f" ({clean(self.command, 80)})" if self.command else ""
        return f"process {self.pid}{name} on {clean(self.host, 80)} since {since}"


_Held = weakref.WeakValueDictionary[tuple[int, int], DestinationLock]


class _Registry:
    """The locks of this process: a kernel may grant it the same one twice (fault K04)."""

    def __init__(self) -> None:
        self._held = _Held()  # by inode: two names may be one folder
        self._guard = threading.Lock()  # guards _held

    def add(self, lock: DestinationLock, fd: int, name: str) -> None:
        """Enter a lock, or raise `DestinationLocked`."""
        found = os.fstat(fd)
        if not self._enter(lock, found):
            gc.collect()  # it may belong to a run that was interrupted and dropped
            if not self._enter(lock, found):
                raise DestinationLocked(f"another run of this process holds {name}")

    def _enter(self, lock: DestinationLock, found: os.stat_result) -> bool:
        with self._guard:
            return self._held.setdefault((found.st_dev, found.st_ino), lock) is lock

    def remove(self, lock: DestinationLock) -> None:
        """Strike a lock out, if it is there."""
        with self._guard:
            self._held = _Held({inode: other for inode, other in self._held.items() if other is not lock})

    def forget_all(self) -> None:
        """Start anew in a forked child, where an open file would keep the parent's lock (fault K11)."""
        held, self._held, self._guard = self._held, _Held(), threading.Lock()
        for lock in held.values():
            lock.forget()


_REGISTRY = _Registry()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_REGISTRY.forget_all)


def _lock_file(fd: int) -> None:
    if sys.platform == "win32":
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock_file(fd: int) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_UN)


def _read(fd: int) -> _Holder | None:
    """Return what the file says, if it can be understood."""
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        facts = json.loads(os.read(fd, _LIMIT))
        holder = _Holder(*(facts[name] for name in _Holder._fields))
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    texts = isinstance(holder.host, str) and isinstance(holder.command, str) and isinstance(holder.birth, str)
    numbers = isinstance(holder.pid, int) and isinstance(holder.started, int | float)
    return holder if texts and numbers and holder.pid > 0 and 0 <= holder.started < _LATEST else None


def _write(fd: int, holder: _Holder) -> None:
    os.lseek(fd, 0, os.SEEK_SET)
    os.ftruncate(fd, 0)
    os.write(fd, json.dumps(holder._asdict()).encode())


def _is_holding(holder: _Holder, fd: int, has_lock: bool) -> bool:
    """Say whether the process named is to be believed although the kernel did not keep us out."""
    if holder.host != socket.gethostname():
        return not has_lock
    if holder.pid == os.getpid():
        return False
    birth = _birth(holder.pid, fd)
    if birth and holder.birth:
        return birth == holder.birth
    return not has_lock and _is_running(holder.pid)


def _birth(pid: int, fd: int) -> str:
    """Return what no other process has, for this file and no copy of it; "" for none that runs."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return ""
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):  # proc(5): state, and start time in ticks
        return ""
    return f"{boot}/{fields[19].decode('ascii', 'replace')}/{os.fstat(fd).st_ino}"


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":  # signal 0 is a real one there
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
