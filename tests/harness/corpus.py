"""Files of mixed sizes on a scripted server, and what a destination should hold of them."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from faultserver import Server, pattern

from bulkfetch.errors import BulkfetchError
from bulkfetch.journal import Journal

STATE = ".bulkfetch"
LAST_MODIFIED = 1_700_000_000
MEBIBYTE = 1024 * 1024
HUGE = 258 * MEBIBYTE  # a part is synced every 256


@dataclass(frozen=True, slots=True)
class Corpus:
    """Bodies by name, served below one prefix of a server."""

    server: Server
    prefix: str
    bodies: dict[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of all bodies."""
        return sum(map(len, self.bodies.values()))

    def urls(self) -> list[str]:
        """Return the URL of every body, in the order of the manifest."""
        return [self.server.url(f"{self.prefix}{name}") for name in self.bodies]

    def sent(self) -> int:
        """Return the body bytes the server has sent, over all runs."""
        return sum(request.sent for request in self.server.hits(f"{self.prefix}*"))

    def asked(self) -> list[str]:
        """Return the name of every body asked for, in the order of the requests."""
        return [r.path.removeprefix(self.prefix) for r in self.server.hits(f"{self.prefix}*")]

    def unrecorded(self, dest: Path) -> list[str]:
        """Return the names whose digest is not in the journal as it should be."""
        known = finished(dest)
        return [
            name for name, body in self.bodies.items() if known.get(name) != hashlib.sha256(body).hexdigest()
        ]

    def wrong(self, dest: Path, *, complete: bool) -> list[str]:
        """Return what is wrong with the final names of a destination; `complete`: none may be missing."""
        there = final_files(dest)
        problems = [f"{name}: not in the manifest" for name in there if name not in self.bodies]
        for name, body in self.bodies.items():
            if name in there:
                problems += _compare(name, there[name].read_bytes(), body)
            elif complete:
                problems.append(f"{name}: missing")
        return problems


def serve_mixed(
    server: Server,
    prefix: str,
    chance: random.Random,
    *,
    small: int = 24,
    large: int = 3,
    huge: int = 0,
    salt: str = "",
) -> Corpus:
    """Serve bodies of up to 64 KiB, paced ones of 1 to 4 MiB and huge ones, in mixed order."""
    sizes = [0, 1, *(chance.randrange(2, 65536) for _ in range(small - 2))]
    sizes += [chance.randrange(MEBIBYTE, 4 * MEBIBYTE) for _ in range(large)] + [HUGE] * huge
    chance.shuffle(sizes)
    bodies = {}
    for number, size in enumerate(sizes):
        name = f"f{number:03}.bin"
        repeated = 6 if size == HUGE else 1
        bodies[name] = body = pattern(size // repeated, f"{prefix}{salt}{number}") * repeated
        options = {"body": body, "etag": f'"{number}{salt}"', "last_modified": LAST_MODIFIED}
        if size == HUGE:
            options["at"] = {HUGE - MEBIBYTE: 0.5}
        elif size >= MEBIBYTE:
            options["trickle"] = (65536, 0.004)
        server.add(f"{prefix}{name}", **options)
    return Corpus(server, prefix, bodies)


def finished(dest: Path) -> dict[str, str]:
    """Return the SHA-256 of every file the journal calls finished, by name."""
    with contextlib.closing(Journal.open_readonly(dest / STATE)) as journal:
        return {row.path: row.digest.removeprefix("sha256:") for row in journal.finished()}


def write_list(path: Path, urls: Iterable[str]) -> Path:
    """Write a manifest of bare URLs."""
    path.write_text("".join(f"{url}\n" for url in urls), encoding="utf-8")
    return path


def final_files(dest: Path) -> dict[str, Path]:
    """Return every file of a destination outside the state folder, by its relative name."""
    found = (p for p in dest.rglob("*") if p.is_file() and STATE not in p.relative_to(dest).parts)
    return {p.relative_to(dest).as_posix(): p for p in found}


def parts(dest: Path) -> list[Path]:
    """Return the part files of a destination."""
    folder = dest / STATE / "parts"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def part_sizes(dest: Path) -> list[int]:
    """Return the sizes of the part files of a destination at work."""
    sizes = []
    for part in parts(dest):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(part.stat().st_size)
    return sizes


def journal_problem(dest: Path) -> str:
    """Return what is wrong with the journal, or "" when it is whole or was never made; changes nothing."""
    state = dest / STATE
    with tempfile.TemporaryDirectory() as folder:
        for name in ("journal.sqlite3", "journal.sqlite3-wal"):
            if (state / name).exists():
                shutil.copy2(state / name, folder)
        copy = Path(folder, "journal.sqlite3")
        if not copy.exists():
            return ""
        try:
            with contextlib.closing(sqlite3.connect(copy)) as database:
                verdict = database.execute("PRAGMA integrity_check").fetchone()[0]
            with contextlib.closing(Journal.open(Path(folder))) as journal:
                journal.counts()
                return "" if verdict == "ok" else str(verdict) + "".join(journal.notices)
        except (sqlite3.Error, BulkfetchError) as exc:
            return f"{type(exc).__name__}: {exc}"


def _compare(name: str, got: bytes, wanted: bytes) -> list[str]:
    if got == wanted:
        return []
    same = next(
        (i for i, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted))
    )
    return [f"{name}: {len(got)} bytes of {len(wanted)}, the first wrong one at {same}"]
