"""`python -m benchmarks.adaptive`: `auto` beside fixed numbers of connections, at several latencies.

Every run fetches the same small files from one nginx that waits before each answer (its echo module), with
`--jobs` and `--per-host` both set to what is in the head of the column. Runs take turns; medians count.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.nginx import Nginx, is_installed, missing_for
from benchmarks.scratch import open_scratch

FIXED = ("1", "4", "16", "64")
MODES = (*FIXED, "auto")
CAP = 16  # connections that `auto` allows itself; what is fixed above is not its measure
LATENCIES = {0: 10_000, 1: 4000, 10: 2000, 50: 1000, 200: 400}  # milliseconds -> files
SIZE = 10_000  # bytes of a file


class Run(NamedTuple):
    """What one run took."""

    seconds: float
    cpu: float


def fetch(listed: Path, dest: Path, mode: str) -> Run:
    """Fetch everything that is listed, once."""
    command = [
        sys.executable,
        "-m",
        "bulkfetch",
        "get",
        str(listed),
        "-d",
        str(dest),
        "-q",
        "--config",
        "none",
    ]
    before, begun = os.times(), time.monotonic()
    done = subprocess.run([*command, "-j", mode, "--per-host", mode], check=False)
    seconds, after = time.monotonic() - begun, os.times()
    missing = len(listed.read_text().split()) - sum(path.is_file() for path in dest.iterdir())
    shutil.rmtree(dest)
    if done.returncode or missing:
        raise SystemExit(f"benchmarks: -j {mode}: exit status {done.returncode}, {missing} files missing")
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return Run(seconds, used)


def measure(folder: Path, latency: int, files: int, rounds: int) -> dict[str, Run]:
    """Return the median run of each mode."""
    kind = "delayed" if latency else "plain"
    with contextlib.closing(Nginx(folder / f"nginx-{latency}", [kind], delay=latency / 1000)) as server:
        (server.root / "body").write_bytes(os.urandom(SIZE))
        listed = folder / f"list-{latency}"
        base = server.bases(kind)[0]
        listed.write_text("".join(f"{base}/body?{number}\n" for number in range(files)))
        runs: dict[str, list[Run]] = {mode: [] for mode in MODES}
        for _ in range(rounds):
            for mode in MODES:
                runs[mode].append(fetch(listed, folder / "dest", mode))
    return {
        mode: Run(statistics.median(run.seconds for run in all_), statistics.median(run.cpu for run in all_))
        for mode, all_ in runs.items()
    }


def describe(latency: int, files: int, runs: dict[str, Run]) -> str:
    """Return one line of the table."""
    best = min(runs[mode].seconds for mode in FIXED if int(mode) <= CAP)
    cells = [
        f"{latency} ms",
        str(files),
        *(f"{runs[mode].seconds:.2f} ({runs[mode].cpu:.1f})" for mode in MODES),
    ]
    cells.append(f"{runs['auto'].seconds / best:.2f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptive", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--latency", type=int, choices=LATENCIES, action="append", help="repeatable; default: all"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of files")
    options = parser.parse_args()
    if not is_installed() or missing_for("delayed"):
        raise SystemExit("benchmarks: nginx with its echo module is needed")
    print(f"seconds (CPU seconds), load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    heads = ["latency", "files", *MODES, f"auto / best up to {CAP}"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    with open_scratch(200_000_000) as scratch:
        for latency in options.latency or LATENCIES:
            files = round(LATENCIES[latency] * options.scale)
            runs = measure(scratch.folder, latency, files, options.rounds)
            print(describe(latency, files, runs), flush=True)


if __name__ == "__main__":
    main()
