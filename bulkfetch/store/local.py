"""Files on a local file system: parts under the state folder, then one atomic step into the final name."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from bulkfetch.errors import DestinationTaken, DiskFailed, PathRefused, from_os_error
from bulkfetch.safetext import clean

STATE = ".bulkfetch"
_READ = 1024 * 1024
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
_REPLACE_TRIES = 5  # Windows: a scanner may hold the file for a moment (fault F16)


class Part:
    """An unfinished file; one worker owns it."""

    __slots__ = ("_fd", "name", "offset", "path", "token")

    def __init__(self, fd: int, path: str, token: str, offset: int, name: str) -> None:
        self._fd = fd
        self.path = path
        self.token = token
        self.offset = offset  # where the next byte goes
        self.name = name  # the destination, for messages

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`, all of it (fault F03); raises `DiskFailed`."""
        try:
            written = os.write(self._fd, data)
            if written < len(data):
                rest = memoryview(data)[written:]
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        except OSError as exc:
            raise from_os_error(exc, self.name) from exc
        self.offset += len(data)

    def read_back(self) -> Iterator[bytes]:
        """Yield the bytes kept so far, then stand at their end again."""
        try:
            os.lseek(self._fd, 0, os.SEEK_SET)
            left = self.offset
            while left > 0:
                data = os.read(self._fd, min(_READ, left))
                if not data:
                    raise DiskFailed(f"the part of {self.name} is shorter than it was")
                left -= len(data)
                yield data
            os.lseek(self._fd, self.offset, os.SEEK_SET)
        except OSError as exc:
            raise from_os_error(exc, self.name) from exc

    def restart(self) -> None:
        """Throw away what is there."""
        try:
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.ftruncate(self._fd, 0)
        except OSError as exc:
            raise from_os_error(exc, self.name) from exc
        self.offset = 0

    def sync(self) -> None:
        """Make the bytes durable; after a failure they must not be trusted (fault F06)."""
        try:
            _full_sync(self._fd)
        except OSError as exc:
            raise from_os_error(exc, self.name) from exc

    def finish(self, mtime: float | None, *, durable: bool) -> int:
        """Set the modification time, close, and return that time in nanoseconds.

        Raises:
            DiskFailed: also for an error that only closing shows (fault F02).
        """
        try:
            if mtime is not None:
                self._set_mtime(mtime)
            mtime_ns = os.fstat(self._fd).st_mtime_ns
            if durable:
                _full_sync(self._fd)
            fd, self._fd = self._fd, -1
            os.close(fd)
        except OSError as exc:
            self.close()
            raise from_os_error(exc, self.name) from exc
        return mtime_ns

    def close(self) -> None:
        """Close and keep the bytes."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)

    def _set_mtime(self, mtime: float) -> None:
        where: int | str = self._fd if os.utime in os.supports_fd else self.path
        with contextlib.suppress(OSError, OverflowError, ValueError):  # never fails a file (fault F18)
            os.utime(where, (mtime, mtime))


class LocalStore:
    """A destination folder; its methods may be called from any worker."""

    def __init__(self, dest: str | Path, *, fsync: bool = False) -> None:
        self._root = os.path.realpath(dest)
        self._parts = str(Path(self._root, STATE, "parts"))
        self._fsync = fsync
        self._umask_mode = 0o666
        self._folders: set[str] = {""}  # parents known to be real folders inside the root

    @property
    def state_dir(self) -> Path:
        """The folder of journal, lock and parts."""
        return Path(self._root, STATE)

    def prepare(self) -> None:
        """Make the state folders; raises `DiskFailed`."""
        try:
            Path(self._parts).mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise from_os_error(exc, self._parts) from exc

    def new_part(self, key: bytes, name: str) -> Part:
        """Create an empty part that no one else can have."""
        token = secrets.token_hex(4)
        path = self._part_path(key, token)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY
        try:
            fd = os.open(path, flags, self._umask_mode)
        except FileNotFoundError:
            self.prepare()
            fd = self._open(path, flags, name)
        except OSError as exc:
            raise from_os_error(exc, name) from exc
        return Part(fd, path, token, 0, name)

    def adopt_part(self, key: bytes, token: str, offset: int, name: str) -> Part | None:
        """Open the part another attempt left, cut to `offset`; None when it cannot be trusted.

        It must be a regular file with one link (fault F08) and hold at least one wanted byte.
        """
        path = self._part_path(key, token)
        try:
            fd = os.open(path, os.O_RDWR | _NOFOLLOW | _BINARY)
        except OSError:
            return None
        try:
            found = os.fstat(fd)
            keep = min(offset, found.st_size)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or keep <= 0:
                os.close(fd)
                return None
            if found.st_size > keep:  # bytes past the trusted offset may be anything (fault R21)
                os.ftruncate(fd, keep)
            os.lseek(fd, keep, os.SEEK_SET)
        except OSError as exc:
            os.close(fd)
            raise from_os_error(exc, name) from exc
        return Part(fd, path, token, keep, name)

    def commit(self, part: Part, path: str, *, replace: bool) -> None:
        """Give a finished part its final name, in one step.

        Raises:
            DestinationTaken: a file is there that may not be replaced.
            PathRefused: the name is a folder or a device, or its folder leads outside.
        """
        self._make_parents(path)
        final = f"{self._root}/{path}"
        try:
            self._check_final(final, path, replace)
            self._rename(part.path, final, replace)
            if self._fsync:
                self._sync_folder(path)
        except OSError as exc:
            if exc.errno == errno.EEXIST:
                raise _taken(path) from exc
            raise from_os_error(exc, clean(path)) from exc

    def discard(self, part: Part) -> None:
        """Remove a part this run owns."""
        part.close()
        self.discard_file(part.path)

    def discard_file(self, path: str) -> None:
        """Remove a part file; one that is gone is fine."""
        with contextlib.suppress(OSError):
            os.unlink(path)

    def find(self, path: str) -> os.stat_result | None:
        """Return what is at a destination, links not followed; None when nothing is."""
        try:
            return os.lstat(f"{self._root}/{path}")
        except OSError:
            return None

    def read(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a finished file; raises `DiskFailed`."""
        try:
            fd = os.open(f"{self._root}/{path}", os.O_RDONLY | _NOFOLLOW | _BINARY)
            try:
                while data := os.read(fd, _READ):
                    yield data
            finally:
                os.close(fd)
        except OSError as exc:
            raise DiskFailed(f"cannot read {clean(path)}: {exc.strerror or exc}") from exc

    def sweep(self, wanted: set[str]) -> int:
        """Remove the parts whose token is not `wanted`: a killed run left them; returns how many."""
        removed = 0
        with contextlib.suppress(OSError), os.scandir(self._parts) as rows:
            for row in rows:
                token = row.name.removesuffix(".part").rpartition("-")[2]
                if row.name.endswith(".part") and token not in wanted:
                    self.discard_file(row.path)
                    removed += 1
        return removed

    def free_bytes(self) -> int | None:
        """Return the free space of the destination's file system, where the system tells."""
        try:
            return shutil.disk_usage(self._root).free
        except OSError:
            return None

    def sync(self) -> None:
        """Make everything written so far durable, where the system offers one call for it."""
        if hasattr(os, "sync"):
            os.sync()

    def _part_path(self, key: bytes, token: str) -> str:
        return f"{self._parts}/{key.hex()}-{token}.part"

    def _open(self, path: str, flags: int, name: str) -> int:
        try:
            return os.open(path, flags, self._umask_mode)
        except OSError as exc:
            raise from_os_error(exc, name) from exc

    def _make_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent in self._folders:
            return
        full = f"{self._root}/{parent}"
        try:
            os.makedirs(full, exist_ok=True)
            real = os.path.realpath(full)
        except (FileExistsError, NotADirectoryError) as exc:
            raise PathRefused(f"{clean(path)}: a file stands where a folder is needed") from exc
        except OSError as exc:
            raise from_os_error(exc, clean(path)) from exc
        if os.path.commonpath([real, self._root]) != self._root:  # fault F09
            raise PathRefused(f"{clean(path)}: its folder is a link that leads outside the destination")
        self._folders.add(parent)

    def _check_final(self, final: str, path: str, replace: bool) -> None:
        try:
            found = os.lstat(final)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode):
            raise PathRefused(f"{clean(path)}: a folder has this name")
        if not replace:
            raise _taken(path)
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
            raise PathRefused(f"{clean(path)}: the name belongs to a device or a pipe")

    def _rename(self, source: str, final: str, replace: bool) -> None:
        for left in reversed(range(_REPLACE_TRIES)):
            try:
                # On Windows rename refuses an existing name by itself.
                (os.replace if replace or os.name != "nt" else os.rename)(source, final)
                return
            except PermissionError:
                if os.name != "nt" or not left:
                    raise
                time.sleep(0.05)

    def _sync_folder(self, path: str) -> None:
        if os.name == "nt":  # folders cannot be synced there
            return
        fd = os.open(f"{self._root}/{path}".rpartition("/")[0], os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _taken(path: str) -> DestinationTaken:
    return DestinationTaken(f"{clean(path)}: a file appeared there that this run may not replace")


def _full_sync(fd: int) -> None:
    """Sync to the medium; plain fsync on macOS stops at the drive's cache."""
    try:
        import fcntl
    except ImportError:
        os.fsync(fd)
        return
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(fd)
    else:
        fcntl.fcntl(fd, full)
