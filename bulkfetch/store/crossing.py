"""The last step of a file whose folder is another mount than the folder of parts (fault F11)."""

from __future__ import annotations

import contextlib
import os

from bulkfetch.store.folders import Folder
from bulkfetch.store.part import Part

_CHUNK = 1024 * 1024
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


def copy_across(part: Part, folder: Folder, target: str, *, durable: bool) -> None:
    """Copy a finished part beside its target, give the copy the name, remove the part; raises `OSError`."""
    source = part.folder.prefix + part.file
    beside = f"{folder.prefix}.bulkfetch-{part.token}.part"
    try:
        _copy(part, source, folder, beside, durable)
        os.replace(beside, target, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=folder.fd)
        raise
    part.remove()


def _copy(part: Part, source: str, folder: Folder, beside: str, durable: bool) -> None:
    with contextlib.ExitStack() as closing:
        old = os.open(source, os.O_RDONLY | _BINARY, dir_fd=part.folder.fd)
        closing.callback(os.close, old)
        found = os.fstat(old)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
        new = os.open(beside, flags, found.st_mode & 0o777, dir_fd=folder.fd)
        closing.callback(os.close, new)
        while data := os.read(old, _CHUNK):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(new, rest) :]
        if durable:
            os.fsync(new)
    os.utime(beside, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=folder.fd)
