"""Power loss: recorded runs replayed without what had not been synced, then run again on another boot.

    python -m tests.harness.power --cuts 500 [--seed N] [--huge]

After each cut the same command must end well, with exactly the right bytes under every name; and where the
run had `--fsync`, no outcome may have been in the journal whose file a cut could still take.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

from faultserver import Server

from bulkfetch import naming
from harness.corpus import Corpus, parts, serve_mixed
from harness.disk import Tape
from harness.process import run

CUTS_PER_TAPE = 12


@dataclass(slots=True)
class Report:
    """Totals over all tapes."""

    cuts: int = 0
    tapes: int = 0
    files: int = 0
    promises: int = 0  # of durability, in every commit
    refetched: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """Return the report as text."""
        return [
            f"power cuts {self.cuts} in {self.tapes} recorded runs, {self.seconds:.0f} s",
            f"final files looked at {self.files}, wrong {len(self.wrong)}; fetched again {self.refetched}",
            f"promises of durability looked at {self.promises}",
            *self.wrong,
        ]


def write_manifest(path: Path, corpus: Corpus) -> Path:
    """Write the URLs of a corpus with the digest of each body."""
    rows = []
    for url, body in zip(corpus.urls(), corpus.bodies.values(), strict=True):
        rows.append(json.dumps({"url": url, "sha256": hashlib.sha256(body).hexdigest()}))
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def write_bare(path: Path, corpus: Corpus) -> Path:
    """Write the URLs of a corpus and nothing else."""
    path.write_text("\n".join(json.dumps({"url": url}) for url in corpus.urls()), encoding="utf-8")
    return path


def record(
    server: Server,
    folder: Path,
    number: int,
    chance: random.Random,
    *,
    update: bool,
    fsync: bool,
    huge: bool,
) -> tuple[Tape, Corpus, Path]:
    """Record a run: into an empty destination, or as an `update` of one that an earlier boot finished."""
    dest, before, log = (folder / f"{number}-{name}" for name in ("dest", "before", "log"))
    for path in (dest, log):
        path.mkdir()
    manifest = folder / f"{number}.jsonl"
    prefix = f"/{number}/"
    if update:
        seed = chance.random()
        old = serve_mixed(server, prefix, random.Random(seed), small=12, large=2, salt="old")
        first = _run(dest, write_bare(manifest, old), "--boot", "boot-0")
        if first.returncode:
            raise AssertionError(first.stderr)
        corpus = serve_mixed(server, prefix, random.Random(seed), small=12, large=2)
        write_manifest(manifest, corpus)
    else:
        corpus = serve_mixed(server, prefix, chance, small=12, large=2, huge=int(huge))
        write_bare(manifest, corpus)
    shutil.copytree(dest, before)
    options = ("-j", "4", *(["--fsync"] if fsync else []))
    done = _run(dest, manifest, "--record", str(log), "--boot", "boot-1", options=options)
    if done.returncode or corpus.wrong(dest, complete=True):
        raise AssertionError(f"the recorded run itself went wrong: {done.stderr}")
    keys = {
        naming.identity(url, name).hex(): name for url, name in zip(corpus.urls(), corpus.bodies, strict=True)
    }
    return Tape(log, dest, before, corpus.bodies, keys), corpus, manifest


def _run(dest: Path, manifest: Path, *ways: str, options: Sequence[str] = ()) -> CompletedProcess[str]:
    return run("get", manifest, "-d", dest, *options, ways=ways)


def told_early(tape: Tape, *, fsync: bool) -> tuple[int, list[str]]:
    """Return how many promises of durability commits held, and those that a cut could still have broken.

    Promises are the synced bytes of every part and, under `--fsync`, every finished outcome.
    """
    looked, broken = 0, []
    for op, disk in tape.moments():
        if op["op"] != "commit":
            continue
        finished, synced = _promises(tape.folder / str(op["number"]))
        if fsync:
            finished &= {_below(tape, move.target) for move in disk.moves}
            broken += [f"{path}: told early" for path in finished - {_below(tape, p) for p in disk.durable()}]
            looked += len(finished)
        for path, inode in disk.files.items():
            token = Path(path).stem.rpartition("-")[2]
            looked += token in synced
            if synced.get(token, 0) > inode.synced:
                broken.append(f"{Path(path).name}: {synced[token]} bytes told, {inode.synced} synced")
    return looked, broken


def _below(tape: Tape, path: str) -> str:
    return Path(path).relative_to(tape.dest).as_posix()


def _promises(snapshot: Path) -> tuple[set[str], dict[str, int]]:
    """Return the finished names in a journal, and the synced bytes of parts by token."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(snapshot, Path(folder, "copy")))
        with contextlib.closing(sqlite3.connect(copy / "journal.sqlite3")) as database:
            rows = database.execute("SELECT path FROM entries WHERE state = 'fetched'").fetchall()
            synced = database.execute("SELECT token, durable FROM parts WHERE durable > 0").fetchall()
    return {path for (path,) in rows}, dict(synced)


def cut_many(
    cuts: int, seed: int, folder: Path, *, per_tape: int = CUTS_PER_TAPE, huge: bool = False
) -> Report:
    """Cut the power `cuts` times, over fresh and updated destinations, with and without `--fsync`.

    With `huge`, some runs have a body so large that its part is synced on the way.
    """
    chance, report = random.Random(seed), Report()
    started = time.monotonic()
    while report.cuts < cuts:
        update, fsync = report.tapes % 2 == 1, report.tapes % 4 >= 2
        with Server() as server:
            report.tapes += 1
            kind = {"update": update, "fsync": fsync, "huge": huge and report.tapes % 4 == 1}
            tape, corpus, manifest = record(server, folder, report.tapes, chance, **kind)
            looked, broken = told_early(tape, fsync=fsync)
            report.promises += looked
            report.wrong += broken
            count = len(tape.ops())
            for _ in range(min(per_tape, cuts - report.cuts)):
                report.cuts += 1
                after = chance.randint(1, count)
                dest = folder / f"{report.tapes}-cut-{report.cuts}"
                tape.cut(after, dest, chance)
                _recover(corpus, dest, manifest, f"{dest.name} after {after} of {count}", report)
                if not report.wrong:
                    shutil.rmtree(dest)
    report.seconds = time.monotonic() - started
    return report


def _recover(corpus: Corpus, dest: Path, manifest: Path, name: str, report: Report) -> None:
    asked = len(corpus.asked())
    done = _run(dest, manifest, "--boot", "boot-2")
    report.files += len(corpus.bodies)
    report.refetched += len(set(corpus.asked()[asked:]))
    problems = corpus.wrong(dest, complete=True)
    if done.returncode or "damaged" in done.stderr:
        problems.append(f"exit status {done.returncode}: {done.stderr}")
    if missing := corpus.unrecorded(dest):
        problems.append(f"not in the journal as they are: {missing}")
    if left := parts(dest):
        problems.append(f"parts left: {[part.name for part in left]}")
    report.wrong += [f"{name}: {problem}" for problem in problems]


def main() -> int:
    """Run from the command line; exit status 1 when anything was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--huge", action="store_true", help="with a body whose part is synced on the way")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bulkfetch-power-") as folder:
        report = cut_many(options.cuts, options.seed, Path(folder), huge=options.huge)
    print("\n".join(report.lines()))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
