"""A disk that forgets what was not synced: the states a destination may be in after the power went.

Names and contents are forgotten independently, in any order, which is more than file systems with a
journal do. Of SQLite's file the documented promise is taken: after power loss it holds everything up to some
commit, which is not older than the last checkpoint.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.corpus import LAST_MODIFIED

JOURNAL = ("journal.sqlite3", "journal.sqlite3-wal", "journal.sqlite3-shm")


@dataclass(slots=True)
class Inode:
    """A file whatever its name: how long it is, and how much of that is on the disk."""

    length: int = 0
    synced: int = 0


@dataclass(slots=True)
class Move:
    """A rename."""

    inode: Inode
    source: str
    target: str
    is_synced: bool = False


@dataclass(slots=True)
class Disk:
    """What a recorded run had done, and what of it was durable, at one moment."""

    files: dict[str, Inode] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    commit: int = 0  # the last one
    synced_commit: int = 0

    def apply(self, op: Mapping[str, Any]) -> None:
        """Take one operation of the log."""
        match op["op"]:
            case "write":
                inode = self._at(op["path"])
                inode.length = max(inode.length, op["end"])
            case "cut":
                inode = self._at(op["path"])
                inode.length, inode.synced = op["end"], min(inode.synced, op["end"])
            case "unlink":
                self.files.pop(op["path"], None)
            case "rename":
                inode = self._at(op["path"])
                del self.files[op["path"]]
                self.files[op["target"]] = inode
                self.moves.append(Move(inode, op["path"], op["target"]))
            case "fsync":
                self._sync(op["path"])
            case "sync":
                self._sync_all()
            case "commit":
                self.commit = op["number"]
            case "checkpoint":
                self.synced_commit = self.commit

    def durable(self) -> set[str]:
        """Return the final names that a power cut cannot take or spoil."""
        return {m.target for m in self.moves if m.is_synced and m.inode.synced == m.inode.length}

    def _at(self, path: str) -> Inode:
        return self.files.setdefault(path, Inode())

    def _sync(self, path: str) -> None:
        if path in self.files:
            self.files[path].synced = self.files[path].length
        for move in self.moves:
            move.is_synced = move.is_synced or str(Path(move.target).parent) == path

    def _sync_all(self) -> None:
        for inode in self.files.values():
            inode.synced = inode.length
        for move in self.moves:
            move.is_synced = True
        self.synced_commit = self.commit


@dataclass(frozen=True, slots=True)
class Tape:
    """A recorded run of a destination; `before` is a copy of what it began with."""

    folder: Path  # of the record
    dest: Path
    before: Path
    bodies: Mapping[str, bytes]  # by final name
    keys: Mapping[str, str]  # final name by the first part of a part file's name

    def ops(self) -> list[dict[str, Any]]:
        """Return the operations in order."""
        lines = (self.folder / "log").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def moments(self) -> Iterator[tuple[dict[str, Any], Disk]]:
        """Yield each operation with the disk as it is right after."""
        disk = Disk()
        for op in self.ops():
            disk.apply(op)
            yield op, disk

    def disk_after(self, count: int) -> Disk:
        """Return the disk after the first `count` operations."""
        disk = Disk()
        for op in self.ops()[:count]:
            disk.apply(op)
        return disk

    def cut(self, count: int, target: Path, chance: random.Random) -> None:
        """Make in `target` what a power cut after `count` operations may leave of the destination."""
        disk = self.disk_after(count)
        shutil.copytree(self.before, target)
        state = target / ".bulkfetch"
        (state / "parts").mkdir(parents=True, exist_ok=True)
        newest = disk.commit if chance.random() < 0.5 else disk.synced_commit
        self._restore_journal(state, chance.randint(disk.synced_commit, newest))
        for move in disk.moves:
            if move.is_synced or chance.random() < 0.6:
                self._put(self._below(move.target, target), move.inode, self._name(move.target), chance)
        for path, inode in disk.files.items():
            if path.endswith(".part") and chance.random() < 0.8:
                self._put(
                    self._below(path, target), inode, self.keys[Path(path).name.partition("-")[0]], chance
                )

    def _restore_journal(self, state: Path, commit: int) -> None:
        if not commit:
            return  # as it was before the run
        for name in JOURNAL:
            (state / name).unlink(missing_ok=True)
            if (self.folder / str(commit) / name).exists():
                shutil.copy2(self.folder / str(commit) / name, state)

    def _put(self, path: Path, inode: Inode, name: str, chance: random.Random) -> None:
        whole = self.bodies[name][: inode.length]
        left = chance.randint(inode.synced, inode.length)
        torn = (whole, whole[:left], whole[:left] + bytes(inode.length - left))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.choice(torn))
        os.utime(path, (LAST_MODIFIED, LAST_MODIFIED))

    def _below(self, path: str, target: Path) -> Path:
        return target / Path(path).relative_to(self.dest)

    def _name(self, path: str) -> str:
        return Path(path).relative_to(self.dest).as_posix()
