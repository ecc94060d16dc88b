"""The rounds of one workload: every contender in turn, from an empty folder, with its files checked."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS, ROOT, Contender, Order
from benchmarks.lists import Lists
from benchmarks.measure import Bench, Cost
from benchmarks.nginx import Nginx, Traffic
from benchmarks.payloads import Files, find_problem, measure_tree, write_files
from benchmarks.workloads import Workload

OUT = "out"
FLOOR_SECONDS = 30.0
PROBE = Files("probe", 1, 10_000)
KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")  # no proxies, no configuration, no home of the user's


@dataclass(frozen=True, slots=True)
class Round:
    """One run of one contender."""

    cost: Cost
    traffic: Traffic
    problem: str = ""  # what is wrong with the files
    found: int = 0  # bytes that were there before it began


@dataclass(slots=True)
class Result:
    """All runs of one contender at one workload."""

    contender: str
    command: list[str]
    rounds: list[Round] = field(default_factory=list)


class Stage:
    """One workload's files, lists and working folder."""

    def __init__(self, workload: Workload, scratch: Path, server: Nginx, limit: float) -> None:
        self.workload = workload
        self._server = server
        self._folder = scratch / "work"
        self._folder.mkdir()
        (scratch / "home").mkdir(exist_ok=True)
        self._out = self._folder / OUT
        self._ca_file = server.ca_file if workload.server == "tls" else ""
        self._bench = Bench(self._folder, _environment(scratch / "home", self._ca_file), limit)
        self._lists = Lists(self._folder, workload.groups, server.bases(workload.server), OUT)
        for files in workload.groups:
            write_files(files, server.root)

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for files in self.workload.groups:
            shutil.rmtree(self._server.root / files.folder, ignore_errors=True)

    def command(self, contender: Contender, mode: str | None = None) -> list[str]:
        """Return the command line of a contender, its lists written."""
        workload = self.workload
        order = Order(
            self._lists, OUT, workload.connections, mode or workload.mode, self._ca_file, workload.size
        )
        return contender.command(order)

    def run(self, contender: Contender) -> Round:
        """Run a contender once, from an empty folder."""
        command = self.command(contender)
        stdin = self._lists.write(contender.stdin) if self.workload.mode == "pipe" else ""
        self._begin(contender)
        found = measure_tree(self._out)
        self._server.traffic()
        cost = self._bench.run(command, stdin)
        traffic = self._server.traffic()
        problem = find_problem(self._out, self.workload.groups)
        shutil.rmtree(self._out, ignore_errors=True)
        return Round(cost, traffic, problem, found)

    def profile(self, traced: bool) -> tuple[dict[str, Any], str]:
        """Run bulkfetch inside a program that measures itself; return its record and what went wrong."""
        self._begin(CONTENDERS["bulkfetch"])
        kind = "jsonl" if self.workload.mode == "digest" else "txt"
        how = "traced" if traced else "plain"
        command = [sys.executable, "-m", "benchmarks.profiled", "profile", how, self._lists.write(kind), OUT]
        cost = self._bench.run([*command, str(self.workload.connections), self._ca_file])
        problem = cost.problem or find_problem(self._out, self.workload.groups)
        return {} if cost.problem else json.loads((self._folder / "profile").read_text()), problem

    def _begin(self, contender: Contender) -> None:
        """Empty the output folder and bring about there what an earlier run would have left."""
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir()
        self._prepare(contender)

    def _prepare(self, contender: Contender) -> None:
        if self.workload.mode == "again":
            self._bench.run(self.command(contender, "first"))
        elif self.workload.mode == "resume":
            half = self.workload.size // 2
            self._bench.run_until(self.command(contender, "first"), lambda: measure_tree(self._out) >= half)
            self._server.settle()


def measure_floor(scratch: Path) -> int:
    """Return the least peak memory that can be told of any command here, in bytes."""
    return Bench(scratch, _environment(scratch, ""), FLOOR_SECONDS).run(["nginx", "-v"]).peak


def find_lame(names: Sequence[str], scratch: Path, server: Nginx, limit: float) -> dict[str, str]:
    """Fetch one file with each contender; return those that do not get it, and why. Also warms caches."""
    lame = {}
    stages = {mode: Workload("probe", "", (PROBE,), mode=mode) for mode in ("get", "segments")}
    for mode, workload in stages.items():
        stage = Stage(workload, scratch, server, limit)
        for name in names:
            modes = CONTENDERS[name].modes.split()
            if mode == ("get" if "get" in modes else modes[0]):
                tried = stage.run(CONTENDERS[name])
                if tried.problem:
                    lame[name] = tried.cost.problem or tried.problem
        stage.close()
    return lame


def choose_contenders(workload: Workload, names: Sequence[str]) -> list[str]:
    """Return which contenders can do a workload."""
    fit = [name for name in workload.contenders or names if name not in workload.unfit]
    asked = [name for name in names if name in fit]
    return [name for name in asked if workload.mode in CONTENDERS[name].modes.split()]


def run_rounds(stage: Stage, names: Sequence[str], rounds: int, results: list[Result]) -> None:
    """Fill `results`, one for each contender, round by round, so that what an interrupt leaves is usable."""
    results += [Result(name, show_command(stage.command(CONTENDERS[name]))) for name in names]
    for number in range(rounds):
        start = number % len(results)
        for result in results[start:] + results[:start]:  # no contender always comes after the same one
            print(f"{stage.workload.name} {number + 1}/{rounds}: {result.contender}", file=sys.stderr)
            result.rounds.append(stage.run(CONTENDERS[result.contender]))


def show_command(command: Sequence[str]) -> list[str]:
    """Return a command line without the paths of this machine."""
    names = {sys.executable: "python"}
    return [names.get(word, word.replace(f"{ROOT}/", "")) for word in command]


def _environment(home: Path, ca_file: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    kept |= {"HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    return kept | ({"SSL_CERT_FILE": ca_file} if ca_file else {})
