"""The last step of a file whose folder is another mount than the folder of parts (fault F11)."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from bulkfetch.errors import PathRefused
from bulkfetch.store.folders import Folder, Folders
from bulkfetch.store.part import Part

_CHUNK = 1024 * 1024
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
_MARK = ".copy"  # beside the parts: a file that says where a copy is being written
_LONGEST = 64 * 1024  # bytes of a path


def copy_across(part: Part, folder: Folder, target: str, parent: str, *, durable: bool) -> None:
    """Copy a finished part beside its target, give the copy the name, remove the part; raises `OSError`.

    The copy is announced in the folder of parts first, for `sweep_copies` to find after a kill.
    """
    token = secrets.token_hex(4)  # its own: a copy of the same part may have been cut off before
    beside = folder.prefix + _name(token)
    with _announced(part.folder, token, parent), _reading(part) as old:
        found = os.fstat(old)
        new = os.open(beside, _NEW, found.st_mode & 0o777, dir_fd=folder.fd)
        try:
            _fill(new, old, durable)
            os.utime(beside, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=folder.fd)
            os.replace(beside, target, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=folder.fd)
            raise
    part.remove()


def sweep_copies(parts: Path, root: Path, folders: Folders) -> None:
    """Remove the copies that a killed run had announced in the folder `parts`, and nothing else."""
    for mark in parts.glob(f"*{_MARK}"):
        with contextlib.suppress(OSError, ValueError, PathRefused):
            parent = os.fsdecode(mark.read_bytes()[:_LONGEST])
            if Path(f"{root}/{parent}").is_dir():  # looking there must not make it
                with folders.below(parent) as folder:
                    os.unlink(folder.prefix + _name(mark.name.removesuffix(_MARK)), dir_fd=folder.fd)
        with contextlib.suppress(OSError):
            mark.unlink()


def _name(token: str) -> str:
    return f".bulkfetch-{token}.part"


@contextlib.contextmanager
def _announced(parts: Folder, token: str, parent: str) -> Iterator[None]:
    mark = parts.prefix + token + _MARK
    fd = os.open(mark, _NEW, 0o600, dir_fd=parts.fd)
    try:
        try:
            os.write(fd, os.fsencode(parent))
        finally:
            os.close(fd)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(mark, dir_fd=parts.fd)


@contextlib.contextmanager
def _reading(part: Part) -> Iterator[int]:
    fd = os.open(part.folder.prefix + part.file, os.O_RDONLY | _BINARY, dir_fd=part.folder.fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _fill(new: int, old: int, durable: bool) -> None:
    """Copy one open file into another, and close that; an error of closing is an error."""
    try:
        while data := os.read(old, _CHUNK):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(new, rest) :]
        if durable:
            os.fsync(new)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(new)
        raise
    os.close(new)
