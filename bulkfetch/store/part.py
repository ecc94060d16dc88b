"""An unfinished file."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

from bulkfetch.errors import DiskFailed, DiskFull, from_os_error
from bulkfetch.store.folders import Folder

_READ = 1024 * 1024
_GIVEN_UP = 128 * 1024  # bytes
_DROPPED_FROM = 1024**3  # bytes of a part from which those on disk do not stay in memory too


class Part:
    """An unfinished file; each worker that writes to it has a handle of its own."""

    __slots__ = ("_fd", "file", "folder", "is_shared", "is_spoiled", "mode", "name", "offset", "token")

    def __init__(self, fd: int, folder: Folder, file: str, token: str, offset: int, name: str) -> None:
        self._fd = fd
        self.folder = folder
        self.file = file  # its own name in `folder`
        self.token = token
        self.offset = offset  # where the next byte goes
        self.name = name  # the destination, for messages
        self.mode = 0o600  # permissions, known once finished
        self.is_shared = False  # others write further on
        self.is_spoiled = False  # its bytes must not be trusted (fault F06)

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`, all of it (fault F03); raises `DiskFailed`."""
        try:
            written = os.write(self._fd, data)
            if written < len(data):
                self._write_rest(memoryview(data)[written:])
        except OSError as exc:
            raise self._explain(exc) from exc
        self.offset += len(data)

    def pour(self, source: Callable[[int], int]) -> int:
        """Append what `source` moves into a descriptor and return how much; raises `DiskFailed`."""
        try:
            count = source(self._fd)
        except OSError as exc:
            raise self._explain(exc) from exc
        self.offset += count
        return count

    def _explain(self, exc: OSError) -> DiskFailed:
        failure = from_os_error(exc, self.name)
        if isinstance(failure, DiskFull):
            self._make_room()
        return failure

    def _make_room(self) -> None:
        """Give up what was half written and some more: the journal needs a little to record the rest."""
        if self.is_shared:
            return
        keep = max(self.offset - _GIVEN_UP, self.offset // 2)
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, keep)
            self.offset = keep

    def _write_rest(self, rest: memoryview) -> None:
        while rest:
            written = os.write(self._fd, rest)
            if not written:
                raise OSError(errno.EIO, "the system takes no more bytes")
            rest = rest[written:]

    def seek(self, offset: int) -> None:
        """Let the next byte go to `offset`."""
        try:
            self.offset = os.lseek(self._fd, offset, os.SEEK_SET)
        except OSError as exc:
            raise from_os_error(exc, self.name) from exc

    def read_at(self, start: int, size: int) -> bytes:
        """Return `size` bytes that are there; the next one still goes where it did."""
        try:
            os.lseek(self._fd, start, os.SEEK_SET)
            data = os.read(self._fd, size)
            os.lseek(self._fd, self.offset, os.SEEK_SET)
        except OSError as exc:
            raise from_os_error(exc, self.name) from exc
        if len(data) < size:
            raise DiskFailed(f"the part of {self.name} is shorter than it was")
        return data

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
        self.seek(0)
        self.cut(0)

    def cut(self, size: int) -> None:
        """Throw away what comes after `size` bytes."""
        try:
            os.ftruncate(self._fd, size)
        except OSError as exc:
            raise from_os_error(exc, self.name) from exc

    def sync(self) -> None:
        """Make the bytes durable; after a failure none of them is trusted (fault F06)."""
        try:
            _full_sync(self._fd)
        except OSError as exc:
            self.is_spoiled = True
            raise from_os_error(exc, self.name) from exc
        if self.offset >= _DROPPED_FROM:
            self._drop()

    def _drop(self) -> None:
        """Leave the memory to the files that other programs work with; only synced pages can be dropped."""
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._fd, 0, self.offset, os.POSIX_FADV_DONTNEED)

    def finish(self, mtime: float | None, *, durable: bool) -> int:
        """Set the modification time, close, and return that time in nanoseconds.

        Raises:
            DiskFailed: also for an error that only syncing or closing shows (faults F02, F06).
        """
        try:
            if mtime is not None:
                self._set_mtime(mtime)
            found = os.fstat(self._fd)
            self.mode = found.st_mode & 0o777
            if durable:
                _full_sync(self._fd)
            fd, self._fd = self._fd, -1
            os.close(fd)
        except OSError as exc:
            self.is_spoiled = True
            self.close()
            raise from_os_error(exc, self.name) from exc
        return found.st_mtime_ns

    def close(self) -> None:
        """Close and keep the bytes."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                os.close(fd)
            except OSError:
                self.is_spoiled = True

    def remove(self) -> None:
        """Close and remove; one that is gone is fine."""
        self.close()
        with contextlib.suppress(OSError):
            os.unlink(self.folder.prefix + self.file, dir_fd=self.folder.fd)

    def _set_mtime(self, mtime: float) -> None:
        by_handle = os.utime in os.supports_fd
        where: int | str = self._fd if by_handle else self.folder.prefix + self.file
        with contextlib.suppress(OSError, OverflowError, ValueError):  # never fails a file (fault F18)
            os.utime(where, (mtime, mtime))


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
