"""What a line costs from the manifest to the decision: a plan of new lines, and a run that finds all done.

    python -m benchmarks.scale [LINES] [--layout flat|tree] [--only plan|again] [--scratch DIR]

Prints lines per second of processor time, seconds and peak memory.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
from pathlib import Path

from benchmarks.contenders import ROOT
from benchmarks.measure import Bench
from benchmarks.scratch import open_scratch
from bulkfetch.config import FetchConfig
from bulkfetch.journal import Journal
from bulkfetch.manifest import read_manifest
from bulkfetch.models import BadLine, Outcome, Status, Task
from bulkfetch.planner import Planner
from bulkfetch.store import LocalStore

HOSTS, PER_FOLDER = 50, 1000
BATCH = 1024
DIGEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of an empty file
BYTES_A_LINE = {"plan": 600, "again": 2000}  # the list and the journal; besides, an inode
LIMIT = 3600.0  # seconds a run may take


def write_list(path: Path, lines: int) -> None:
    """Write a list of that many URLs, each with a name of its own, spread over hosts and folders."""
    with path.open("w", encoding="ascii") as stream:
        for i in range(lines):
            stream.write(f"https://h{i % HOSTS}.example.com/set-{i // PER_FOLDER}/file-{i:08d}.jpg\n")


def finish_all(manifest: Path, dest: Path, layout: str) -> None:
    """Leave what a run leaves that has fetched every entry."""
    config = FetchConfig(dest=dest, layout=layout)
    store = LocalStore(dest)
    store.prepare()
    with contextlib.closing(Journal.open(store.state_dir)) as journal:
        journal.begin_run()
        planner = Planner(config, journal, store)
        entries = (entry for entry in read_manifest(manifest) if not isinstance(entry, BadLine))
        while batch := list(itertools.islice(entries, BATCH)):
            journal.settle([_finish(task, dest) for task in planner.plan(batch) if isinstance(task, Task)])
            journal.commit()
        journal.finish_run(clean=True, summary={})


def _finish(task: Task, dest: Path) -> Outcome:
    path = f"{dest}/{task.path}"
    try:
        stream = open(path, "wb")  # noqa: PTH123, SIM115 - a million times
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path))  # noqa: PTH103, PTH120
        stream = open(path, "wb")  # noqa: PTH123, SIM115
    with stream:
        found = os.fstat(stream.fileno())
    return Outcome(
        task.entry, Status.FETCHED, task.path, task.url, "", 0, 0, DIGEST, f"sha256:{DIGEST}",
        mtime_ns=found.st_mtime_ns, attempts=1, key=task.key,
    )  # fmt: skip


def main() -> None:
    """Measure and print a row for each kind of run."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("lines", nargs="?", type=int, default=1_000_000, metavar="LINES")
    parser.add_argument("--layout", default="flat", metavar="flat|tree")
    parser.add_argument("--only", choices=list(BYTES_A_LINE))
    parser.add_argument("--scratch", metavar="DIR", help="where files live meanwhile")
    options = parser.parse_args()
    kinds = [options.only] if options.only else list(BYTES_A_LINE)
    need = options.lines * max(BYTES_A_LINE[kind] for kind in kinds)
    with open_scratch(need, options.scratch) as scratch:
        write_list(scratch.folder / "list.txt", options.lines)
        environment = {"PATH": os.environ["PATH"], "HOME": str(scratch.folder), "PYTHONPATH": str(ROOT)}
        bench = Bench(scratch.folder, environment, LIMIT)
        for kind in kinds:
            if kind == "again":
                finish_all(scratch.folder / "list.txt", scratch.folder / "out", options.layout)
            command = ["plan"] if kind == "plan" else ["get", "--quiet"]
            layout = ["--layout", options.layout]
            cost = bench.run([sys.executable, "-m", "bulkfetch", *command, "list.txt", "-d", "out", *layout])
            speed = options.lines / cost.cpu if cost.cpu else 0.0
            row = [f"{speed:,.0f} lines/s of CPU", f"{cost.cpu:.1f} s CPU", f"{cost.seconds:.1f} s"]
            row += [f"{cost.peak / 1e6:.0f} MB", *filter(None, [cost.problem])]
            print(f"{kind}, {options.lines:,} lines:", *row, sep="  ")


if __name__ == "__main__":
    main()
