"""The files that are served, their bytes, and whether a folder holds exactly them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BLOCK = 1 << 20
PAGE = 4096  # what a file takes at least, on tmpfs and on most disks
SAMPLE = 32  # files of a group that are compared byte for byte
STATE = ".bulkfetch"  # bulkfetch's own folder is no output
_FILLER = random.Random(20).randbytes(BLOCK)


@dataclass(frozen=True, slots=True)
class Files:
    """`count` files of `size` bytes, each with bytes of its own; not stored: nginx answers with the path."""

    folder: str
    count: int
    size: int
    stored: bool = True

    def name(self, index: int) -> str:
        """Return the file name of one."""
        return f"{self.folder}-{index:07d}.bin"

    def path(self, index: int) -> str:
        """Return the path of one on the server."""
        return f"/{self.folder}/{self.name(index)}"

    def blocks(self, index: int) -> Iterator[bytes]:
        """Yield the bytes of one in order."""
        if not self.stored:
            yield self.path(index).encode()
            return
        for number, start in enumerate(range(0, self.size, BLOCK)):
            stamp = b"%08d%08d" % (index, number)
            yield (stamp + _FILLER[len(stamp) :])[: self.size - start]

    def digest(self, index: int) -> str:
        """Return the SHA-256 of one."""
        digest = hashlib.sha256()
        for block in self.blocks(index):
            digest.update(block)
        return digest.hexdigest()

    @property
    def length(self) -> int:
        """Bytes of each file."""
        return self.size if self.stored else len(self.path(0))

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return self.count * self.length

    @property
    def space(self) -> int:
        """Bytes all files take on a disk."""
        return self.count * -(-self.length // PAGE) * PAGE


def write_files(files: Files, root: Path) -> None:
    """Make the files below the server's root."""
    if not files.stored:
        return
    (root / files.folder).mkdir(parents=True)
    for index in range(files.count):
        with (root / files.folder / files.name(index)).open("wb") as stream:
            stream.writelines(files.blocks(index))


def find_problem(out: Path, groups: Sequence[Files]) -> str:
    """Return what is wrong with a folder that should hold exactly `groups`; "" for nothing."""
    count, total = measure_folder(out)
    wanted = sum(files.count for files in groups)
    if count != wanted:
        return f"{count} files, not {wanted}"
    if total != (size := sum(files.total for files in groups)):
        return f"{total} bytes, not {size}"
    for files in groups:
        for index in sorted({*range(0, files.count, max(1, files.count // SAMPLE)), files.count - 1}):
            if not _has_bytes(out / files.name(index), files.blocks(index)):
                return f"{files.name(index)} is missing or has other bytes"
    return ""


def measure_folder(out: Path) -> tuple[int, int]:
    """Return how many finished files there are and how many bytes they hold."""
    count = total = 0
    for entry in os.scandir(out) if out.is_dir() else ():
        if entry.name != STATE:
            count += 1
            total += entry.stat().st_size
    return count, total


def measure_tree(out: Path) -> int:
    """Return the bytes of all files, those of unfinished ones included."""
    total = 0
    for folder, _, names in os.walk(out):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                total += Path(folder, name).stat().st_size
    return total


def _has_bytes(path: Path, blocks: Iterator[bytes]) -> bool:
    try:
        with path.open("rb") as stream:
            return all(stream.read(len(block)) == block for block in blocks) and not stream.read(1)
    except OSError:
        return False
