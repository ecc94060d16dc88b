"""Files on a local file system: parts under the state folder, then one atomic step into the final name."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from bulkfetch.config import FetchConfig
from bulkfetch.errors import DestinationTaken, DiskFailed, DiskUnusable, PathRefused, from_os_error
from bulkfetch.openfiles import may_keep_folders
from bulkfetch.safetext import clean
from bulkfetch.store.crossing import copy_across, sweep_copies
from bulkfetch.store.folders import HAS_HANDLES, Folder, Folders
from bulkfetch.store.part import Part

STATE = ".bulkfetch"
_PARTS = f"{STATE}/parts"
_READ = 1024 * 1024
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY
_OLD = os.O_RDWR | _NOFOLLOW | _BINARY
_FINISHED = os.O_RDONLY | _NOFOLLOW | _BINARY | getattr(os, "O_NONBLOCK", 0)  # a pipe would block (fault F10)
_MODE = 0o666  # less what the umask takes; never executable (fault F14)
_LOST = frozenset({errno.EACCES, errno.EPERM, errno.ENOENT, errno.ESTALE})  # perhaps not of one file alone
_PUTS = os.name == "posix" and os.utime in os.supports_fd  # whether a file may be stored in one go
_MOST_APART = 10_000  # folders
_REPLACE_TRIES = 5  # Windows: a scanner may hold the file for a moment (fault F16)
_REPLACE_PAUSE = 0.05  # seconds


class LocalStore:
    """A destination folder; its methods may be called from any worker.

    Args:
        dest: the folder.
        fsync: make each file durable as it is committed.
        handles: work relative to folder handles, where the system has them.
        windows: rename as Windows needs it.
    """

    def __init__(
        self,
        dest: str | Path,
        *,
        fsync: bool = False,
        handles: bool = HAS_HANDLES,
        windows: bool = os.name == "nt",
    ) -> None:
        self._root = os.path.realpath(dest)
        self._fsync = fsync
        self._windows = windows
        self._folders = Folders(self._root, durable=fsync, handles=handles)
        self._parts: Folder | None = None
        self._keeps_seconds = False  # the file system of the parts does: no need to look at each file
        self._apart: set[str] = set()  # folders that no part can be linked into (fault F11, no links on FAT)
        # Random where they begin: asking the system for each costs a hand-over between threads.
        self._tokens = itertools.count(int.from_bytes(b"\1" + os.urandom(4), "big"))  # of 8 digits at least

    @property
    def state_dir(self) -> Path:
        """The folder of journal, lock and parts."""
        return Path(self._root, STATE)

    def prepare(self) -> None:
        """Make the state folders; raises `DiskFailed`, also when nothing could be written (fault F13)."""
        try:
            os.makedirs(self._root, exist_ok=True)
            if not os.access(self._root, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            self._folders.below("")
            with contextlib.suppress(FileExistsError):
                os.mkdir(f"{self._root}/{STATE}", 0o700)  # the journal names what was asked for
            self._parts = self._folders.below(_PARTS, trusted=True)
            if not os.access(f"{self._root}/{_PARTS}", os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as exc:
            raise from_os_error(exc, self._root) from exc
        except PathRefused as exc:
            raise DiskFailed(f"{self._root} cannot be used: {exc}") from exc

    def close(self) -> None:
        """Let go of the folders; the end of the object does so too."""
        self._parts = None
        self._folders.close()

    # -- parts -----------------------------------------------------------------------------------

    def new_part(self, key: bytes, name: str) -> Part:
        """Create an empty part that no one else can have; raises `DiskFailed`."""
        token = self._new_token()
        file = _part_file(key, token)
        try:
            folder = self._parts_folder()
            try:
                fd = os.open(folder.prefix + file, _NEW, _MODE, dir_fd=folder.fd)
            except FileNotFoundError:
                folder = self._parts_folder_again()
                fd = os.open(folder.prefix + file, _NEW, _MODE, dir_fd=folder.fd)
        except OSError as exc:
            raise self._failure(exc, name) from exc
        return Part(fd, folder, file, token, 0, clean(name))

    def adopt_part(self, key: bytes, token: str, offset: int, name: str) -> Part | None:
        """Open the part another attempt left, cut to `offset`; None when it cannot be trusted.

        It must hold at least one wanted byte.
        """
        part, size = self._open_part(key, token, name)
        if part is None:
            return None
        keep = min(offset, size)
        if keep <= 0:
            part.close()
            return None
        try:
            if size > keep:  # bytes past the trusted offset may be anything (fault R21)
                part.cut(keep)
            part.seek(keep)
        except DiskFailed:
            part.close()
            raise
        return part

    def share_part(self, key: bytes, token: str, name: str) -> tuple[Part | None, int]:
        """Open a part that others write to as well, and return its size; None when it cannot be trusted."""
        part, size = self._open_part(key, token, name)
        if part is not None:
            part.is_shared = True
        return part, size

    def _open_part(self, key: bytes, token: str, name: str) -> tuple[Part | None, int]:
        """Open a part that is there, at its first byte: a regular file with one link (fault F08)."""
        folder, file = self._parts_folder(), _part_file(key, token)
        try:
            fd = os.open(folder.prefix + file, _OLD, dir_fd=folder.fd)
            found = os.fstat(fd)
        except OSError:
            return None, 0
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            os.close(fd)
            return None, 0
        return Part(fd, folder, file, token, 0, clean(name)), found.st_size

    def discard(self, part: Part) -> None:
        """Remove a part this run owns."""
        part.remove()

    def sweep(self, wanted: set[str]) -> int:
        """Remove the parts whose token is not `wanted`: a killed run left them; returns how many."""
        sweep_copies(self.state_dir / "parts", Path(self._root), self._folders)
        removed = 0
        with contextlib.suppress(OSError), os.scandir(f"{self._root}/{_PARTS}") as rows:
            for row in rows:
                token = row.name.removesuffix(".part").rpartition("-")[2]
                if row.name.endswith(".part") and token not in wanted:
                    with contextlib.suppress(OSError):
                        os.unlink(row.path)
                        removed += 1
        return removed

    def can_put(self, path: str) -> bool:
        """Say whether `put` is worth trying."""
        return _PUTS and path.rpartition("/")[0] not in self._apart

    def put(self, key: bytes, data: memoryview, path: str, *, mtime: float | None) -> int | None:
        """Store a small file in one go and return its modification time in nanoseconds.

        None, and nothing is left, where its name is not simply free or the file system has no links: that
        takes the long way from `new_part` to `commit`, which says why.

        Raises:
            DiskFailed: the bytes could not be written.
        """
        if not self.can_put(path):
            return None
        parent, _, name = path.rpartition("/")
        parts = self._parts or self._parts_folder()
        source = parts.prefix + _part_file(key, self._new_token())
        try:
            mtime_ns = self._fill(os.open(source, _NEW, _MODE, dir_fd=parts.fd), data, mtime)
        except FileNotFoundError:  # the folder of parts has gone
            return None
        except OSError as exc:
            _remove(parts, source)
            raise self._failure(exc, path) from exc
        try:
            with self._folders.below(parent) as folder:
                if mtime_ns is not None:  # a link, unlike a rename, refuses a name that is taken
                    os.link(source, folder.prefix + name, src_dir_fd=parts.fd, dst_dir_fd=folder.fd)
                    return mtime_ns
        except (FileExistsError, PathRefused):
            return None
        except OSError:
            if len(self._apart) < _MOST_APART:
                self._apart.add(parent)  # what is stored there would be written twice each time
        finally:
            _remove(parts, source)
        return None

    # -- finished files --------------------------------------------------------------------------

    def commit(self, part: Part, path: str, *, replace: bool) -> None:
        """Give a finished part its final name, in one step.

        Raises:
            DestinationTaken: a file is there that may not be replaced.
            PathRefused: the name is a folder or a device, or its folder leads outside.
            DiskFailed: the system refused.
        """
        parent, _, name = path.rpartition("/")
        try:
            with self._folders.below(parent) as folder:
                target = folder.prefix + name
                self._check_final(part, folder, target, path, replace)
                self._rename(part, folder, target, parent, replace)
                if self._fsync:
                    _sync_folder(folder)
        except OSError as exc:
            if exc.errno == errno.EEXIST:
                raise _taken(path) from exc
            raise self._failure(exc, path) from exc

    def find(self, path: str) -> os.stat_result | None:
        """Return what is at a destination, links not followed; None when nothing is."""
        try:
            return os.lstat(f"{self._root}/{path}")
        except OSError:
            return None

    def is_bare(self, folder: str) -> bool:
        """Say whether a folder is not there, or holds nothing but our own state."""
        try:
            with os.scandir(f"{self._root}/{folder}") as rows:
                return all(not folder and row.name == STATE for row in rows)
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def read(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a finished file; raises `DiskFailed`."""
        try:
            fd = os.open(f"{self._root}/{path}", _FINISHED)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise DiskFailed(f"{clean(path)} is not a file")
                while data := os.read(fd, _READ):
                    yield data
            finally:
                os.close(fd)
        except OSError as exc:
            raise DiskFailed(f"cannot read {clean(path)}: {exc.strerror or exc}") from exc

    # -- the file system -------------------------------------------------------------------------

    def free_bytes(self) -> int | None:
        """Return the free space of the destination's file system, where the system tells."""
        try:
            import shutil  # and with it every kind of archive

            return shutil.disk_usage(self._root).free
        except OSError:
            return None

    def sync(self) -> None:
        """Make everything written so far durable, where the system offers one call for it."""
        if hasattr(os, "sync"):
            os.sync()

    def _fill(self, fd: int, data: memoryview, mtime: float | None) -> int | None:
        """Write and close a file and return its modification time; None if not all was taken (fault F03)."""
        try:
            if os.write(fd, data) < len(data):
                return None
            dated = None if mtime is None else self._date(fd, mtime)
            return os.fstat(fd).st_mtime_ns if dated is None else dated
        finally:
            os.close(fd)  # what was put off may fail here (fault F02)

    def _date(self, fd: int, mtime: float) -> int | None:
        """Set a modification time in whole seconds and return it as kept; None where it is not."""
        try:
            os.utime(fd, (mtime, mtime))
        except OSError:
            return None  # never fails a file (fault F18)
        wanted = int(mtime) * 1_000_000_000
        if self._keeps_seconds:
            return wanted
        found = os.fstat(fd).st_mtime_ns
        self._keeps_seconds = found == wanted and mtime % 2 == 1  # FAT keeps every other one
        return found

    def _failure(self, exc: OSError, path: str) -> DiskFailed:
        """Say what an error means for the file `path`, or for the whole run."""
        if exc.errno in _LOST and not os.access(self._root, os.W_OK | os.X_OK):
            return DiskUnusable(f"{clean(self._root)} can no longer be written: {exc.strerror}")
        return from_os_error(exc, clean(path))

    def _new_token(self) -> str:
        return hex(next(self._tokens))[-8:]  # a format takes three times as long

    def _parts_folder(self) -> Folder:
        if self._parts is None:
            self.prepare()
        assert self._parts is not None  # prepared
        return self._parts

    def _parts_folder_again(self) -> Folder:
        """Make the folder of parts anew when someone removed it; a destination that has gone stays gone."""
        if not os.path.isdir(self.state_dir):  # and the journal with it: nothing could be recorded
            raise DiskUnusable(f"{clean(self._root)} was removed while the run went on")
        self._folders.forget()
        self.prepare()
        return self._parts_folder()

    def _check_final(self, part: Part, folder: Folder, target: str, path: str, replace: bool) -> None:
        try:
            found = os.stat(target, dir_fd=folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode):
            raise PathRefused(f"{clean(path)}: a folder has this name")
        if not replace:
            raise _taken(path)
        if stat.S_ISREG(found.st_mode):
            self._keep_tight(part, found.st_mode)
        elif not stat.S_ISLNK(found.st_mode):
            raise PathRefused(f"{clean(path)}: the name belongs to a device or a pipe")

    def _keep_tight(self, part: Part, mode: int) -> None:
        """Give a part no more permissions than the file it replaces (fault F14)."""
        if part.mode & ~mode:
            os.chmod(part.folder.prefix + part.file, part.mode & mode, dir_fd=part.folder.fd)

    def _rename(self, part: Part, folder: Folder, target: str, parent: str, replace: bool) -> None:
        source = part.folder.prefix + part.file
        # On Windows rename refuses an existing name by itself.
        rename = os.rename if self._windows and not replace else os.replace
        for left in reversed(range(_REPLACE_TRIES)):
            try:
                rename(source, target, src_dir_fd=part.folder.fd, dst_dir_fd=folder.fd)
                return
            except PermissionError as exc:
                if not self._windows:
                    raise
                if not left:
                    raise DiskFailed(f"{part.name} is held open by another program") from exc
                time.sleep(_REPLACE_PAUSE)
            except OSError as exc:
                if exc.errno != errno.EXDEV:
                    raise
                copy_across(part, folder, target, parent, durable=self._fsync)
                return


def open_store(config: FetchConfig) -> LocalStore:
    """Return the store of a run, with folder handles where the system has them and lets us keep some."""
    return LocalStore(config.dest, fsync=config.fsync, handles=HAS_HANDLES and may_keep_folders())


def _remove(folder: Folder, name: str) -> None:
    try:  # noqa: SIM105 - as in `_fill`
        os.unlink(name, dir_fd=folder.fd)
    except OSError:
        pass


def _part_file(key: bytes, token: str) -> str:
    return f"{key.hex()}-{token}.part"  # short, whatever the destination is called (fault F12)


def _taken(path: str) -> DestinationTaken:
    return DestinationTaken(f"{clean(path)}: a file appeared there that this run may not replace")


def _sync_folder(folder: Folder) -> None:
    if folder.fd is not None:
        os.fsync(folder.fd)
    elif os.name != "nt":  # folders cannot be synced there
        fd = os.open(folder.prefix, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
