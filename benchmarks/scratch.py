"""Where files live while a benchmark runs: memory where there is room, a temporary folder otherwise."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEMORY = Path("/dev/shm")  # the one tmpfs that is everywhere on Linux
SPARE = 1.2  # room asked for, as a multiple of what is needed


class NoRoom(Exception):
    """Nowhere is enough space."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder that exists until the run ends."""

    folder: Path
    kind: str  # memory | disk
    free: int  # bytes, before the run


@contextlib.contextmanager
def open_scratch(need: int, wanted: str | None = None) -> Iterator[Scratch]:
    """Make a folder with room for `need` bytes and remove it at the end.

    Raises:
        NoRoom: there is none.
    """
    parent, kind, free = _choose(need, wanted)
    folder = Path(tempfile.mkdtemp(prefix="bulkfetch-bench-", dir=parent))
    try:
        yield Scratch(folder, kind, free)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _choose(need: int, wanted: str | None) -> tuple[Path, str, int]:
    places = (
        [(Path(wanted), "disk")] if wanted else [(MEMORY, "memory"), (Path(tempfile.gettempdir()), "disk")]
    )
    best = 0
    for parent, kind in places:
        if not (parent.is_dir() and os.access(parent, os.W_OK)):
            continue
        free = shutil.disk_usage(parent).free
        if kind == "memory":
            free = min(free, _free_memory())
        if free >= need * SPARE:
            return parent, kind, free
        best = max(best, free)
    raise NoRoom(f"needs {need * SPARE / 1e9:.1f} GB, {best / 1e9:.1f} GB are free; try a smaller --scale")


def _free_memory() -> int:
    """Return the bytes that a tmpfs can take without pushing anything out."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
