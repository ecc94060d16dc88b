"""bulkfetch as a process: the installed command, or the same watched by `child.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from harness import TESTS

LIMIT = 120.0  # seconds any run may take
_STARTED: list[subprocess.Popen[str]] = []


def start(*arguments: object, ways: Sequence[str] | None = None, **options: object) -> subprocess.Popen[str]:
    """Start `bulkfetch ARGUMENTS`; with `ways`, options of `child.py`, under its watch."""
    module = ["bulkfetch"] if ways is None else ["harness.child", *ways, "--"]
    paths = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(TESTS))))
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment["PYTHONPATH"] = paths
    settings = {**pipes, "text": True, "env": environment, **options}
    command = [sys.executable, "-m", *module, *map(str, arguments)]
    child: subprocess.Popen[str] = subprocess.Popen(command, **settings)  # type: ignore[call-overload]
    _STARTED.append(child)
    return child


def end_all() -> None:
    """Kill what was started and still runs, and close its pipes."""
    while _STARTED:
        child = _STARTED.pop()
        if child.poll() is None:
            child.kill()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
        child.wait(10)


def run(
    *arguments: object, ways: Sequence[str] | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run `bulkfetch ARGUMENTS` to its end, in the manner of `start`."""
    child = start(*arguments, ways=ways, **options)
    stdout, stderr = child.communicate(timeout=LIMIT)
    return subprocess.CompletedProcess(child.args, child.returncode, stdout, stderr)
