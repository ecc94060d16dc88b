"""`python -m benchmarks`: what to measure in, a table and JSON out."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.layers import format_profile, to_profile
from benchmarks.machine import describe_contenders, describe_machine
from benchmarks.nginx import KINDS, Nginx, is_installed, missing_for
from benchmarks.report import BASE, format_facts, format_workload, to_record
from benchmarks.run import Result, Stage, choose_contenders, find_lame, measure_floor, run_rounds
from benchmarks.scratch import NoRoom, Scratch, open_scratch
from benchmarks.workloads import WORKLOADS, Workload

EXIT_WRONG, EXIT_USAGE, EXIT_SIGINT = 1, 2, 130
FULL_ROUNDS, QUICK_ROUNDS = 5, 3
UNPROFILED = ("pipe", "resume")  # modes whose run cannot happen inside a program of ours


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Run bulkfetch and every other fetcher found here against one nginx, in turn.",
        epilog="\n".join(["workloads:", *(f"  {row.name:10} {row.about}" for row in WORKLOADS.values())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("workloads", nargs="*", metavar="WORKLOAD", help="default: a quick set that takes about two minutes")
    add("--scale", type=float, metavar="X", help="multiply counts or sizes (default 1, with --quick small)")
    add("--rounds", type=int, metavar="N", help=f"default {FULL_ROUNDS}, with --quick {QUICK_ROUNDS}")
    add("--contenders", metavar="A,B", help=f"default: all of {','.join(CONTENDERS)} that are present")
    add(
        "--json",
        metavar="FILE",
        help="write everything measured; -: to standard output, the tables to stderr",
    )
    add("--profile", action="store_true", help="show what each layer of bulkfetch costs instead")
    add("--quick", action="store_true", help="small counts and sizes, few rounds")
    add("--limit", type=float, default=900.0, metavar="S", help="longest time of one run (default 900)")
    add("--scratch", metavar="DIR", help="where files live meanwhile (default: memory if there is room)")
    options = parser.parse_args(arguments)
    options.quick = options.quick or not options.workloads
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else FULL_ROUNDS)
    options.chosen = _choose_workloads(parser, options)
    options.names = options.contenders.split(",") if options.contenders else list(CONTENDERS)
    if unknown := set(options.names) - set(CONTENDERS):
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    return options


def _choose_workloads(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[Workload]:
    if unknown := set(options.workloads) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    names = options.workloads or [row.name for row in WORKLOADS.values() if row.in_quick]
    rows = (WORKLOADS[name] for name in names)
    return [row.scaled(options.scale or (row.quick if options.quick else 1.0)) for row in rows]


class Comparison:
    """One call of the command: measures, shows, and keeps what is to be written."""

    def __init__(self, options: argparse.Namespace, scratch: Scratch) -> None:
        self._options = options
        self._scratch = scratch
        self._tables = sys.stderr if options.json == "-" else sys.stdout
        self.record: dict[str, Any] = {
            "machine": describe_machine(scratch)
            | {"least_peak_mb": round(measure_floor(scratch.folder) / 1e6)},
            "contenders": describe_contenders(options.names),
            "scale": options.scale,
            "rounds": options.rounds,
            "workloads": [],
        }

    def run(self) -> None:
        """Measure every workload."""
        self._show(format_facts(self.record["machine"]) + "\n" + format_facts(self.record["contenders"]))
        chosen = self._options.chosen
        missing = {kind: missing_for(kind) for kind in KINDS}
        wanted = {"plain", *(row.server for row in chosen)}
        origins = max(row.origins for row in chosen)
        kinds = [kind for kind in KINDS if kind in wanted and not missing[kind]]
        with contextlib.closing(Nginx(self._scratch.folder / "nginx", kinds, origins)) as server:
            names = self._find_able(server)
            for workload in chosen:
                if lack := missing[workload.server]:
                    self._keep(to_record(workload, [], lack))
                else:
                    self._measure(workload, server, names)

    def _find_able(self, server: Nginx) -> list[str]:
        versions = self.record["contenders"]
        present = [name for name in self._options.names if versions[name] != "absent"]
        lame = find_lame(present, self._scratch.folder, server, self._options.limit)
        for name, reason in lame.items():
            versions[name] = f"does not run here: {reason}"
            self._show(f"  {name} does not run here: {reason}")
        return [name for name in present if name not in lame]

    def _measure(self, workload: Workload, server: Nginx, names: list[str]) -> None:
        results: list[Result] = []
        stage = Stage(workload, self._scratch.folder, server, self._options.limit)
        try:
            if self._options.profile:
                self._profile(stage)
            else:
                run_rounds(stage, choose_contenders(workload, names), self._options.rounds, results)
        finally:
            stage.close()
            if not self._options.profile:
                self._keep(to_record(workload, results))

    def _profile(self, stage: Stage) -> None:
        if stage.workload.mode in UNPROFILED:
            self._keep(to_record(stage.workload, [], f"mode {stage.workload.mode} has no profile"))
            return
        record = to_record(stage.workload, [])
        record["profile"] = to_profile(stage.profile(False), stage.profile(True), stage.workload.files)
        self.record["workloads"].append(record)
        self._show(format_profile(stage.workload.name, record["profile"]))

    def _keep(self, record: dict[str, Any]) -> None:
        self.record["workloads"].append(record)
        self._show(format_workload(record))

    def _show(self, text: str) -> None:
        print(f"{text}\n", file=self._tables, flush=True)

    def write(self) -> None:
        """Write the record where it was asked for."""
        text = json.dumps(self.record, indent=1) + "\n"
        if self._options.json == "-":
            sys.stdout.write(text)
        elif self._options.json:
            Path(self._options.json).write_text(text, encoding="utf-8")

    def is_right(self) -> bool:
        """Say whether bulkfetch, where it was asked for, ran and left the right files everywhere."""
        if BASE in self._options.names and "does not run" in self.record["contenders"][BASE]:
            return False
        rows = self.record["workloads"]
        problems = [row["profile"]["problem"] for row in rows if "profile" in row]
        ours = [one for row in rows for one in row["results"] if one["contender"].startswith(BASE)]
        return not any(problems) and not any(one["problem"] for one in ours)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parse_arguments(arguments)
    if not is_installed():
        print("benchmarks: nginx is not installed", file=sys.stderr)
        return EXIT_USAGE
    _catch_signals()
    need = max(row.space for row in options.chosen)
    try:
        with open_scratch(need, options.scratch) as scratch:
            print(
                f"needs {need / 1e6:,.0f} MB in {scratch.kind}, {scratch.free / 1e6:,.0f} MB are free",
                file=sys.stderr,
            )
            return _run(options, scratch)
    except NoRoom as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return EXIT_USAGE


def _catch_signals() -> None:
    """Let the first signal end the run; a second one must not cut the cleaning up short."""
    caught = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    caught = [number for number in caught if signal.getsignal(number) is not signal.SIG_IGN]

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in caught:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in caught:
        signal.signal(number, interrupt)


def _run(options: argparse.Namespace, scratch: Scratch) -> int:
    comparison = Comparison(options, scratch)
    try:
        comparison.run()
    except KeyboardInterrupt:
        comparison.write()  # what was measured so far
        return EXIT_SIGINT
    comparison.write()
    return 0 if comparison.is_right() else EXIT_WRONG


if __name__ == "__main__":
    sys.exit(main())
