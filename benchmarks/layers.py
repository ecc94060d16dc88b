"""CPU time of every thread by layer: which module spends what.

Counted by `sys.setprofile`, the one hook that is the same in every thread and every version of Python
(from 3.12 on cProfile mixes the stacks of threads up). The hook's own time is left out: the clock is read
when it is entered and when it is left, and what still counts of it per event is measured and taken off.
Traced Python code is slower all the same, so the rows are shares; microseconds are shares of a plain run.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

Hook = Callable[[FrameType, str, Any], None]
OTHER = "other Python code"
CALIBRATION_CALLS = 50_000
LEAST_SHARE = 0.002  # rows below it are in the JSON only

# Row -> modules. C functions of a module that is not here count for whoever calls them.
_C_MODULES = {
    "(C) sockets": "_socket socket select",
    "(C) TLS": "_ssl ssl",
    "(C) file calls": "posix nt _io",
    "(C) digests": "_hashlib _sha2 _sha256 _sha1 _md5 _blake2",
    "(C) sqlite3": "sqlite3 _sqlite3",
    "(C) locks, queues": "_thread _queue time",
}
_PYTHON_MODULES = {
    "requests": "requests",
    "urllib3": "urllib3",
    "http.client": "http email",
    "http.cookiejar": "http.cookiejar",
    "sqlite3": "sqlite3",
    "tqdm": "tqdm",
    "threading, queue": "threading queue concurrent",
    "socket, ssl": "socket ssl selectors",
    "pathlib, os": "pathlib os posixpath ntpath genericpath stat",
    "logging": "logging",
    "urllib.parse": "urllib",
    "json": "json",
}
C_ROWS = {module: row for row, modules in _C_MODULES.items() for module in modules.split()}
PYTHON_ROWS = {module: row for row, modules in _PYTHON_MODULES.items() for module in modules.split()}


class Tracer:
    """Adds up CPU nanoseconds and events by row, over all threads started after `install`."""

    def __init__(self) -> None:
        self._rows: dict[CodeType, str] = {}
        self._counts: list[tuple[Counter[str], Counter[str], Counter[str]]] = []  # of each thread

    def install(self) -> None:
        """Begin, in this thread and in those that start from now on."""
        threading.setprofile(self._begin)
        sys.setprofile(self._make_hook())

    def remove(self) -> None:
        """End, in this thread."""
        threading.setprofile(None)
        sys.setprofile(None)

    def rows(self) -> dict[str, tuple[int, int, int]]:
        """Return (CPU nanoseconds, events, calls) of each row."""
        spent: Counter[str] = Counter()
        events: Counter[str] = Counter()
        calls: Counter[str] = Counter()
        for of_thread in self._counts:
            for total, part in zip((spent, events, calls), of_thread, strict=True):
                total.update(part)
        return {row: (spent[row], events[row], calls[row]) for row in spent}

    def _begin(self, frame: FrameType, event: str, argument: Any) -> None:
        hook = self._make_hook()  # each thread has a stack of its own
        sys.setprofile(hook)
        hook(frame, event, argument)

    def _make_hook(self) -> Hook:
        spent: Counter[str] = Counter()
        events: Counter[str] = Counter()
        calls: Counter[str] = Counter()
        self._counts.append((spent, events, calls))
        clock, rows, find = time.thread_time_ns, self._rows, self._find_row
        stack: list[str] = []
        current = OTHER
        last = clock()

        def hook(frame: FrameType, event: str, argument: Any) -> None:
            nonlocal current, last
            spent[current] += clock() - last
            events[current] += 1
            if event == "call":
                stack.append(current)
                current = rows.get(frame.f_code) or find(frame)
                calls[current] += 1
            elif event == "c_call":
                stack.append(current)
                current = C_ROWS.get(_module_of(argument), current)
                calls[current] += 1
            else:
                current = stack.pop() if stack else OTHER
            last = clock()

        return hook

    def _find_row(self, frame: FrameType) -> str:
        module = str(frame.f_globals.get("__name__", ""))
        top = module.partition(".")[0]
        row = module if top == "bulkfetch" else PYTHON_ROWS.get(module) or PYTHON_ROWS.get(top, OTHER)
        self._rows[frame.f_code] = row
        return row


def _module_of(function: Any) -> str:
    module = getattr(function, "__module__", None)
    if module is None:
        owner = getattr(function, "__self__", None)
        module = type(owner).__module__
    return str(module)


def measure_residue() -> float:
    """Return the nanoseconds of the hook that are counted with each event."""
    plain = _time_calls()
    tracer = Tracer()
    tracer.install()
    _time_calls()
    tracer.remove()
    rows = tracer.rows().values()
    return max(0.0, (sum(row[0] for row in rows) - plain) / sum(row[1] for row in rows))


def _time_calls() -> int:
    def nothing() -> None:
        return

    began = time.thread_time_ns()
    for _ in range(CALIBRATION_CALLS):
        nothing()
    return time.thread_time_ns() - began


def to_profile(
    plain: tuple[dict[str, Any], str], traced: tuple[dict[str, Any], str], files: int
) -> dict[str, Any]:
    """Return each row's share of the CPU time of a plain run, and its calls, per file, the dearest first."""
    (plain_record, plain_problem), (traced_record, traced_problem) = plain, traced
    residue, rows = traced_record.get("residue", 0.0), traced_record.get("rows", {})
    own = {row: max(0.0, spent - residue * events) for row, (spent, events, _) in rows.items()}
    whole = sum(own.values()) or 1.0
    cpu = plain_record.get("cpu", 0.0) / files * 1e6
    return {
        "problem": plain_problem or traced_problem,
        "cpu_us_per_file": cpu,
        "slowdown": whole / 1e3 / files / cpu if cpu else None,
        "rows": [
            {
                "row": row,
                "share": part / whole,
                "us_per_file": part / whole * cpu,
                "calls_per_file": rows[row][2] / files,
            }
            for row, part in sorted(own.items(), key=lambda pair: -pair[1])
        ],
    }


def format_profile(name: str, profile: dict[str, Any]) -> str:
    """Return the table of a profile."""
    if profile["problem"]:
        return f"{name}: the profile failed: {profile['problem']}"
    lines = [
        f"{name}: CPU time of one file, {profile['cpu_us_per_file']:.0f} us, by layer "
        f"(traced it was {profile['slowdown']:.1f} times that)",
        f"  {'layer':32} {'us/file':>8} {'share':>6} {'calls/file':>10}",
    ]
    for row in profile["rows"]:
        if row["share"] >= LEAST_SHARE:
            numbers = f"{row['us_per_file']:8.1f} {row['share']:6.1%} {row['calls_per_file']:10.1f}"
            lines.append(f"  {row['row']:32} {numbers}")
    return "\n".join(lines)
