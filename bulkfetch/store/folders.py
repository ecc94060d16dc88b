"""Handles of the destination's folders: what was opened once is not looked up through a link again."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import weakref
from pathlib import Path
from typing import NamedTuple

from bulkfetch.errors import PathRefused
from bulkfetch.safetext import clean

HAS_HANDLES = {os.open, os.rename, os.mkdir, os.stat, os.unlink} <= os.supports_dir_fd
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NO_FOLDER = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)  # a link or a file; EMLINK: a link, on FreeBSD
_MOST_KEPT = 64  # handles kept open


class Folder(NamedTuple):
    """Where a name goes: after `prefix`, relative to `fd`; used in a `with` statement."""

    fd: int | None  # None where the system has no handles: then `prefix` is the whole path
    prefix: str = ""
    identity: tuple[int, int] = (0, 0)  # device and number
    is_lent: bool = False  # closed after use

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.is_lent and self.fd is not None:
            os.close(self.fd)


class Folders:
    """The folders below one root, made as needed; may be used from any thread.

    A sub-folder that is a link is followed only when it leads to a place inside the root (fault F09).
    """

    def __init__(self, root: str, *, durable: bool, handles: bool = HAS_HANDLES) -> None:
        self._root = root
        self._durable = durable  # a new folder is synced into the one above
        self._handles = handles
        self._kept: dict[str, Folder] = {}  # by path below the root; "" is the root
        self._lock = threading.Lock()  # guards _kept and _open
        self._open: list[int] = []  # closed at the end alone: a worker may be using any of them
        weakref.finalize(self, _close_all, self._open)

    def below(self, path: str, *, trusted: bool = False) -> Folder:
        """Return a folder by its path below the root, "" for the root itself; it stands where that says.

        Args:
            path: segments joined by "/".
            trusted: skip the look whether it still stands there: for the root and our own folders.

        Raises:
            PathRefused: a link leads outside, or a file stands where a folder is needed.
            OSError: the system refused.
        """
        folder = self._kept.get(path)
        if folder is not None and (trusted or not path or self._is_there(path, folder)):
            return folder
        if self._handles:
            return self._keep(path, self._open_below(path, path))
        folder = self._folder_by_path(path)
        if trusted or not path:
            self._kept[path] = folder
        return folder

    def forget(self) -> None:
        """Look everything up anew: a folder has gone."""
        with self._lock:
            self._kept.clear()

    def close(self) -> None:
        """Let go of every folder; the end of the object does so too."""
        with self._lock:
            self._kept.clear()
            _close_all(self._open)

    def _keep(self, path: str, fd: int) -> Folder:
        """Keep a new handle if there is room, else lend it for one use."""
        found = os.fstat(fd)
        identity = (found.st_dev, found.st_ino)
        with self._lock:
            if len(self._open) >= _MOST_KEPT:
                return Folder(fd, "", identity, is_lent=True)
            self._open.append(fd)
            folder = self._kept[path] = Folder(fd, "", identity)
        return folder

    def _is_there(self, path: str, folder: Folder) -> bool:
        """Say whether the path still leads to the folder we hold."""
        with contextlib.suppress(OSError), self.below("") as root:
            found = os.stat(path, dir_fd=root.fd)
            if (found.st_dev, found.st_ino) == folder.identity:
                return True
        with self._lock:
            self._kept.pop(path, None)
        return False

    def _open_below(self, relative: str, path: str) -> int:
        """Open a folder one segment after another, making what is missing."""
        fd = os.open(self._root, _FOLDER)
        try:
            for segment in filter(None, relative.split("/")):
                if segment in (".", ".."):  # no such path is planned (fault K07)
                    raise PathRefused(f"{clean(path)}: a path may not climb")
                child = self._open_child(segment, fd)
                os.close(fd)
                fd = child
        except PathRefused:
            os.close(fd)
            raise
        except OSError as exc:
            os.close(fd)
            if exc.errno not in _NO_FOLDER:
                raise
            real = self._real_path(path)
            if real == relative:
                raise PathRefused(f"{clean(path)}: a file stands where a folder is needed") from exc
            return self._open_below(real, path)
        return fd

    def _open_child(self, name: str, above: int) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=above)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=above)
                if self._durable:
                    os.fsync(above)
            return os.open(name, _FOLDER, dir_fd=above)

    def _real_path(self, path: str) -> str:
        """Return where links lead, relative to the root; raises `PathRefused` when that is outside."""
        real = os.path.realpath(f"{self._root}/{path}")
        if os.path.commonpath([real, self._root]) != self._root:
            raise PathRefused(f"{clean(path)}: a link leads outside the destination")
        return os.path.relpath(real, self._root).replace(os.sep, "/")

    def _folder_by_path(self, path: str) -> Folder:
        full = f"{self._root}/{path}" if path else self._root
        try:
            Path(full).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as exc:
            raise PathRefused(f"{clean(path)}: a file stands where a folder is needed") from exc
        self._real_path(path)
        return Folder(None, f"{full}/")


def _close_all(handles: list[int]) -> None:
    while handles:
        with contextlib.suppress(OSError):
            os.close(handles.pop())
