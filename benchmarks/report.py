"""Medians and ratios, as a table and as values for JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.run import Result, Round
from benchmarks.workloads import Workload

BASE = "bulkfetch"  # what the ratios compare with
HEADINGS = (
    "contender", "seconds", "min-max", "ratio", "files/s", "MB/s", "CPU s", "CPU us/file", "peak MB",
    "requests", "conns", "sent MB", "result",
)  # fmt: skip


def to_record(workload: Workload, results: Sequence[Result], skipped: str = "") -> dict[str, Any]:
    """Return everything that was measured at a workload."""
    ran = [result for result in results if result.rounds]
    base = next((median_of(result.rounds) for result in ran if result.contender == BASE), None)
    return {
        "name": workload.name,
        "about": workload.about,
        "files": workload.files,
        "bytes": workload.size,
        "connections": workload.connections,
        "origins": workload.origins,
        "skipped": skipped,
        "results": [_result_record(result, base) for result in ran],
    }


def _result_record(result: Result, base: dict[str, float] | None) -> dict[str, Any]:
    median = median_of(result.rounds)
    right = not any(one.problem for one in result.rounds)
    base = base if right else None  # to be fast at leaving wrong files is no result
    return {
        "contender": result.contender,
        "command": result.command,
        "right": right,
        "problem": next((problem for one in result.rounds if (problem := _problem(one))), ""),
        "median": median,
        "ratio": _ratio(median, base, "seconds"),  # more than 1: slower than bulkfetch
        "cpu_ratio": _ratio(median, base, "cpu"),
        "rounds": [asdict(one) for one in result.rounds],
    }


def median_of(rounds: Sequence[Round]) -> dict[str, float]:
    """Return the median of each measured number."""
    columns: dict[str, list[float]] = {
        "seconds": [one.cost.seconds for one in rounds],
        "cpu": [one.cost.cpu for one in rounds],
        "peak": [one.cost.peak for one in rounds],
        "requests": [one.traffic.requests for one in rounds],
        "connections": [one.traffic.connections for one in rounds],
        "sent": [one.traffic.sent for one in rounds],
        "found": [one.found for one in rounds],
    }
    return {name: statistics.median(values) for name, values in columns.items()}


def _ratio(median: dict[str, float], base: dict[str, float] | None, name: str) -> float | None:
    return round(median[name] / base[name], 3) if base and base[name] else None


def _problem(one: Round) -> str:
    return f"WRONG FILES: {one.problem}" if one.problem else one.cost.problem


def format_workload(record: dict[str, Any]) -> str:
    """Return the table of a workload."""
    title = (
        f"{record['name']}: {record['about']}; {record['files']:,} files, {record['bytes'] / 1e6:,.1f} MB, "
        f"{record['connections']} connections"
    )
    if record["origins"] > 1:
        title += f", {record['origins']:,} origins"
    if record["skipped"]:
        return f"{title}\n  left out: {record['skipped']}"
    rows = [_cells(record, result) for result in sorted(record["results"], key=_seconds)]
    return "\n".join((title, *_aligned([HEADINGS, *rows])))


def _seconds(result: dict[str, Any]) -> tuple[bool, float]:
    return not result["right"], result["median"]["seconds"]


def _cells(record: dict[str, Any], result: dict[str, Any]) -> tuple[str, ...]:
    median, times = result["median"], [one["cost"]["seconds"] for one in result["rounds"]]
    seconds = max(median["seconds"], 1e-9)
    ratio = result["ratio"]
    return (
        result["contender"],
        f"{median['seconds']:.2f}",
        f"{min(times):.2f}-{max(times):.2f}",
        "" if ratio is None else f"{ratio:.2f}",
        f"{record['files'] / seconds:,.0f}",
        f"{record['bytes'] / seconds / 1e6:,.0f}",
        f"{median['cpu']:.2f}",
        f"{median['cpu'] / record['files'] * 1e6:,.0f}",
        f"{median['peak'] / 1e6:.0f}",
        f"{median['requests']:,.0f}",
        f"{median['connections']:,.0f}",
        f"{median['sent'] / 1e6:,.1f}",
        result["problem"] or "right",
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  " + "  ".join(
            cell.ljust(width) if number in (0, last) else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]  # fmt: skip


def format_facts(facts: dict[str, Any]) -> str:
    """Return facts as one indented line each."""
    width = max(map(len, facts))
    return "\n".join(f"  {name.ljust(width)}  {value}" for name, value in facts.items())
