"""SIGKILL at random moments and at every named point; after each, what is left is judged.

    python -m tests.harness.kill --kills 500 [--seed N]

A destination is filled by a chain of runs, all but the last of which are killed. After each kill: every
final name holds exactly the right bytes, the journal opens, and the next run asks for no file that was
there already. After the last run everything is there and no part is left.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faultserver import Server

from harness.child import POINTS
from harness.corpus import Corpus, final_files, journal_problem, parts, serve_mixed, write_list
from harness.process import start

ONCE = ("before-sync", "after-sync")  # points passed at the end of a run alone
RANDOM = "random"  # a moment chosen from outside
JOBS = 4
PER_WORKER = 1_400_000  # bytes a kill may cost each worker: 1 MiB between journal rows, and what a turn takes
CUT_OFF = (
    256 * 1024
)  # bytes on the way when the first answer of a divided file ends where another range begins
LARGE = 3  # bodies of a corpus that are large enough to be divided
LIMIT = 120.0  # seconds any run may take
EVERY = (*POINTS, *[RANDOM] * (len(POINTS) // 2))
MOST_IN_A_ROW = 6  # kills before a run is let through


@dataclass(slots=True)
class Report:
    """Totals over all destinations."""

    kills: Counter[str] = field(default_factory=Counter)  # by point
    runs: int = 0
    files: int = 0  # final names looked at
    wrong: list[str] = field(default_factory=list)
    size: int = 0  # the ideal: every body once
    sent: int = 0
    dearest: float = 0.0  # most bytes beyond the ideal that a kill cost, averaged over one destination
    seconds: float = 0.0

    @property
    def killed(self) -> int:
        """Kills that hit."""
        return sum(self.kills.values())

    @property
    def excess(self) -> int:
        """Body bytes sent beyond the ideal."""
        return self.sent - self.size

    def lines(self) -> list[str]:
        """Return the report as text."""
        points = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        each = self.excess / max(self.killed, 1)
        return [
            f"kills {self.killed} in {self.runs} runs, {self.seconds:.0f} s: {points}",
            f"final files looked at {self.files}, wrong {len(self.wrong)}",
            f"bytes over the ideal {self.excess} of {self.size}: {each:.0f} a kill,"
            f" at most {self.dearest:.0f} on average over one destination; the bound is {JOBS * PER_WORKER}",
            *self.wrong,
        ]


class Chain:
    """One destination and the runs that fill it."""

    def __init__(
        self, server: Server, folder: Path, number: int, chance: random.Random, report: Report
    ) -> None:
        self._corpus: Corpus = serve_mixed(server, f"/{number}/", chance)
        self._dest = folder / str(number)
        self._manifest = write_list(folder / f"{number}.txt", self._corpus.urls())
        self._chance = chance
        self._report = report
        self._segments = chance.choice((1, JOBS))
        self._took = 0.8  # seconds of a run from its first request; only to choose moments from

    def run(self, kinds: list[str]) -> None:
        """Kill a run in each of these ways, one after another, then let one through."""
        hits = 0
        for kind in kinds:
            if not self._run(kind):  # the run came to its end: nothing is left to kill
                break
            hits += 1
        self._run(None)
        over = self._corpus.sent() - self._corpus.size
        self._report.size += self._corpus.size
        self._report.sent += self._corpus.sent()
        self._report.dearest = max(self._report.dearest, over / max(hits, 1))
        divided = LARGE * CUT_OFF * (self._segments > 1)
        if over > hits * JOBS * PER_WORKER + divided:
            self._blame(f"{over} bytes over the ideal after {hits} kills")
        if missing := self._corpus.unrecorded(self._dest):
            self._blame(f"not in the journal as they are: {missing}")
        if left := parts(self._dest):
            self._blame(f"parts left: {[part.name for part in left]}")

    def _run(self, kind: str | None) -> bool:
        """Make one run and judge what it leaves; returns whether it was killed."""
        there = set(final_files(self._dest))
        asked = len(self._corpus.asked())
        child = self._start(kind)
        if kind == RANDOM:
            self._kill_after(child, asked, self._chance.uniform(0.0, self._took))
        _, stderr = child.communicate(timeout=LIMIT)
        was_killed = child.returncode == -signal.SIGKILL
        self._report.runs += 1
        self._report.kills += Counter({str(kind): int(was_killed)})
        if not was_killed and child.returncode:
            self._blame(f"exit status {child.returncode}: {stderr}")
        if "damaged" in stderr or "Traceback" in stderr:
            self._blame(stderr)
        if again := there & set(self._corpus.asked()[asked:]):
            self._blame(f"fetched again although there: {sorted(again)}")
        self._judge(complete=not was_killed)
        return was_killed

    def _start(self, kind: str | None) -> subprocess.Popen[str]:
        jobs = ("-j", str(JOBS), "--per-host", str(JOBS), "--segments", str(self._segments))
        way = None
        if kind is not None and kind != RANDOM:
            number = 1 if kind in ONCE else self._chance.choice((1, 1, 2, 3, 5, 8))
            way = ("--kill", f"{kind}:{number}")
        return start("get", self._manifest, "-d", self._dest, *jobs, ways=way)

    def _kill_after(self, child: subprocess.Popen[str], asked: int, seconds: float) -> None:
        """Kill some time after the first request, or right away where none comes."""
        begun = time.monotonic()
        while len(self._corpus.asked()) == asked and child.poll() is None and time.monotonic() < begun + 2.0:
            time.sleep(0.002)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()

    def _judge(self, *, complete: bool) -> None:
        self._report.files += len(final_files(self._dest))
        for problem in self._corpus.wrong(self._dest, complete=complete):
            self._blame(problem)
        if problem := journal_problem(self._dest):
            self._blame(f"the journal: {problem}")

    def _blame(self, text: str) -> None:
        self._report.wrong.append(f"{self._dest.name}: {text}")


def kill_many(
    kills: int, seed: int, folder: Path, kinds: Sequence[str] = EVERY, *, in_a_row: int | None = None
) -> Report:
    """Kill `kills` runs, in turn in each of the ways; `in_a_row` before a run is let through."""
    chance, report = random.Random(seed), Report()
    started = time.monotonic()
    ways = deque(chance.sample(kinds, len(kinds)))
    number = 0
    while report.killed < kills:
        number += 1
        length = in_a_row or chance.randint(1, MOST_IN_A_ROW)
        chain = [ways[i % len(ways)] for i in range(min(length, kills - report.killed))]
        ways.rotate(-len(chain))
        with Server() as server:
            Chain(server, folder, number, chance, report).run(sorted(chain, key=ONCE.__contains__))
        if not report.wrong:
            shutil.rmtree(folder / str(number))
    report.seconds = time.monotonic() - started
    return report


def main() -> int:
    """Run from the command line; exit status 1 when anything was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bulkfetch-kill-") as folder:
        report = kill_many(options.kills, options.seed, Path(folder))
    print("\n".join(report.lines()))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
