"""Power loss: recorded runs replayed without what had not been synced, then run again on another boot.

    python -m tests.harness.power --cuts 500 [--seed N]

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
    early: int = 0  # outcomes journalled before their file was durable, under --fsync
    checked: int = 0  # outcomes looked at for that
    refetched: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """Return the report as text."""
        return [
            f"power cuts {self.cuts} in {self.tapes} recorded runs, {self.seconds:.0f} s",
            f"final files looked at {self.files}, wrong {len(self.wrong)}; fetched again {self.refetched}",
            f"outcomes under --fsync {self.checked}, told before their file was durable {self.early}",
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
    server: Server, folder: Path, number: int, chance: random.Random, *, update: bool, fsync: bool
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
        corpus = serve_mixed(server, prefix, chance, small=12, large=2)
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


def told_early(tape: Tape) -> tuple[int, int]:
    """Return how many finished outcomes a commit held, and how many of them a cut could still have taken."""
    looked = early = 0
    for op, disk in tape.moments():
        if op["op"] == "commit":
            finished = _finished(tape.folder / str(op["number"]))
            finished &= {Path(m.target).relative_to(tape.dest).as_posix() for m in disk.moves}
            durable = {Path(path).relative_to(tape.dest).as_posix() for path in disk.durable()}
            looked += len(finished)
            early += len(finished - durable)
    return looked, early


def _finished(snapshot: Path) -> set[str]:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(snapshot, Path(folder, "copy")))
        with contextlib.closing(sqlite3.connect(copy / "journal.sqlite3")) as database:
            rows = database.execute("SELECT path FROM entries WHERE state = 'fetched'").fetchall()
    return {path for (path,) in rows}


def cut_many(cuts: int, seed: int, folder: Path, *, per_tape: int = CUTS_PER_TAPE) -> Report:
    """Cut the power `cuts` times, over fresh and updated destinations, with and without `--fsync`."""
    chance, report = random.Random(seed), Report()
    started = time.monotonic()
    while report.cuts < cuts:
        update, fsync = report.tapes % 2 == 1, report.tapes % 4 >= 2
        with Server() as server:
            report.tapes += 1
            tape, corpus, manifest = record(server, folder, report.tapes, chance, update=update, fsync=fsync)
            if fsync:
                looked, early = told_early(tape)
                report.checked, report.early = report.checked + looked, report.early + early
                if early:
                    report.wrong.append(f"{early} outcomes told before their file was durable")
            count = len(tape.ops())
            for _ in range(min(per_tape, cuts - report.cuts)):
                report.cuts += 1
                after = chance.randint(1, count)
                dest = folder / f"{report.tapes}-cut-{report.cuts}"
                tape.cut(after, dest, chance)
                _recover(corpus, dest, manifest, f"{dest.name} after {after} of {count}", report)
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bulkfetch-power-") as folder:
        report = cut_many(options.cuts, options.seed, Path(folder))
    print("\n".join(report.lines()))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
