"""The same faults given to bulkfetch and its peers: what each leaves on disk, and what it says.

    python -m benchmarks.faults            # a Markdown table

Every tool is asked for one file of 100,000 bytes, with the options its users would give it. "whole" and the
like is what stands under the final name afterwards; ok and failed is what the exit status says.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from faultserver import Server

BODY = bytes(range(250)) * 400
OLD = bytes(reversed(range(250))) * 400
NEW = bytes(250) * 400
NAME = "file.bin"
CUT = 60_000
BOUND = 40.0  # seconds a tool may take


class Case(NamedTuple):
    """One fault: how the server behaves, what is there before, and how the tool is ended."""

    title: str
    options: dict[str, Any]
    before: bytes | None = None  # stands under the final name
    interrupted: bool = False  # a first run is killed in the middle, then the tool runs again
    kill: signal.Signals | None = None  # sent once 60,000 bytes are there; there is no second run
    small_disk: bool = False


HALF = {"body": BODY, "at": {CUT: 60.0}, "times": 1, "etag": '"v1"'}
CASES = (
    Case("body cut, clean close, every time", {"body": BODY, "cut": CUT, "etag": '"v1"'}),
    Case(
        "body cut, connection reset, every time",
        {"body": BODY, "cut": CUT, "cut_how": "reset", "etag": '"v1"'},
    ),
    Case("chunked body without its end", {"body": BODY, "chunked": 10_000, "cut": CUT}),
    Case("404 for a file that is there already", {"status": 404}, before=OLD),
    Case("killed in the middle (SIGKILL)", HALF, kill=signal.SIGKILL),
    Case("interrupted (SIGINT)", HALF, kill=signal.SIGINT),
    Case("resume: server ignores the range", {**HALF, "on_range": {"ranges": "ignore"}}, interrupted=True),
    Case(
        "resume: the file has changed, If-Range ignored",
        {"body": NEW, "etag": '"v2"', "ranges": "ignore-if-range", "first": [{**HALF, "times": None}]},
        interrupted=True,
    ),
    Case("resume: 206 shorter than asked", {**HALF, "on_range": {"ranges": "short:10000"}}, interrupted=True),
    Case("disk full", {"body": BODY, "etag": '"v1"'}, small_disk=True),
    Case("503 twice, then fine", {"body": BODY, "statuses": [503, 503, 200]}),
    Case("429 with Retry-After: 2, then fine", {"body": BODY, "statuses": [429, 200], "retry_after": "2"}),
)

TOOLS: dict[str, Callable[[str, Path], list[str]]] = {
    "bulkfetch": lambda url, out: [sys.executable, "-m", "bulkfetch", "get", url, "-d", str(out), "--retries", "2",
                                   "--existing", "overwrite", "--progress", "none", "--proxy", "none"],
    "curl -Z": lambda url, out: ["curl", "-Z", "-sS", "-f", "-L", "--retry", "2", "-C", "-", "--output-dir", str(out),
                                 "-o", NAME, url],
    "wget": lambda url, out: ["wget", "-q", "-c", "--tries=3", "--waitretry=2", "--retry-on-http-error=503,429",
                              "-P", str(out), url],
    "aria2c": lambda url, out: ["aria2c", "-q", "-c", "--max-tries=3", "--retry-wait=2", "--allow-overwrite=true",
                                "-d", str(out), url],
    "parfive": lambda url, out: ["parfive", "--overwrite", "--directory", str(out), url],
}  # fmt: skip


def main() -> None:
    """Print the table."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    tools = {name: make for name, make in TOOLS.items() if shutil.which(make("", Path())[0])}
    print("| fault |", " | ".join(tools), "|")
    print("|---" * (len(tools) + 1) + "|")
    for case in CASES:
        print(f"| {case.title} |", " | ".join(_try(case, make) for make in tools.values()), "|", flush=True)


def _try(case: Case, make: Callable[[str, Path], list[str]]) -> str:
    with Server() as server, _folder(case.small_disk) as out:
        if out is None:
            return "not tried"
        server.add(f"/{NAME}", **case.options)
        if case.before is not None:
            (out / NAME).write_bytes(case.before)
        command = make(server.url(f"/{NAME}"), out)
        if case.kill or case.interrupted:
            said = _run_and_kill(command, server, case.kill or signal.SIGKILL)
        if not case.kill:
            said = _run(command)
        return f"{_left(out / NAME)}, {said}"


def _run(command: list[str]) -> str:
    try:
        code = subprocess.run(
            command, capture_output=True, timeout=BOUND, stdin=subprocess.DEVNULL
        ).returncode
    except subprocess.TimeoutExpired:
        return f"still running after {BOUND:.0f} s"
    return "ok" if code == 0 else "failed"


def _run_and_kill(command: list[str], server: Server, number: signal.Signals) -> str:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    server.wait_for_hits(f"/{NAME}", seconds=15)
    time.sleep(1.0)
    began = time.monotonic()
    os.killpg(process.pid, number)
    try:
        code = process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "still running after 15 s"
    waited = time.monotonic() - began
    return f"ended in {waited:.1f} s" + (", said ok" if code == 0 else "")


def _left(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return "nothing"
    known = {BODY: "whole", NEW: "whole", OLD: "old file kept"}
    if data in known:
        return known[data]
    if len(data) == len(BODY):
        return "**old and new mixed**"
    return f"**{len(data):,} bytes**"


@contextmanager
def _folder(small: bool) -> Iterator[Path | None]:
    """Yield an empty folder; a small one is a file system of 96 KiB, which needs root."""
    with tempfile.TemporaryDirectory(prefix="bulkfetch-faults-") as folder:
        if not small:
            yield Path(folder)
            return
        size = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", folder]
        if subprocess.run(size, capture_output=True).returncode:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


if __name__ == "__main__":
    main()
