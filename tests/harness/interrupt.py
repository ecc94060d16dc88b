"""KeyboardInterrupt at every so many lines of the product, in the thread that iterates.

    python -m harness.interrupt ROUNDS URLS...

For each of so many places: a run into a fresh folder is interrupted there; after that no worker is left,
the destination is free, and a second run finishes it. Prints one line per problem, then a count.
"""

from __future__ import annotations

import linecache
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import bulkfetch

ROOT = str(Path(bulkfetch.__file__).parent)
WITHIN = 30.0  # seconds the workers have to go


class Interrupter:
    """Raises KeyboardInterrupt when the n-th line of the product is reached; 0 is never."""

    def __init__(self, number: int) -> None:
        self.lines = 0
        self.place = ""
        self._number = number

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Trace calls; only those into the product are looked at line by line."""
        return self._look if frame.f_code.co_filename.startswith(ROOT) else None

    def _look(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines >= self._number > 0 and not _is_spared(frame):
                self.place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._look


def _is_spared(frame: FrameType) -> bool:
    """Say whether no real interrupt can fall here, or none that does harm.

    The end of a `with` block is one step for a signal, though not for a trace function; and what starts
    and ends workers may leave one of them idle.
    """
    code = frame.f_code
    line = linecache.getline(code.co_filename, frame.f_lineno)
    return line.lstrip().startswith("with ") or code.co_filename.endswith(str(Path("engine", "threads.py")))


def run(urls: list[str], dest: str, number: int) -> Interrupter:
    """Fetch `urls`, interrupted at line `number`."""
    interrupter = Interrupter(number)
    sys.settrace(interrupter)
    try:
        for _ in bulkfetch.fetch(urls, dest, jobs=4):
            pass
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return interrupter


def problems(urls: list[str], dest: str, before: set[threading.Thread]) -> list[str]:
    """Return what is wrong after an interruption; the threads `before` it do not count."""
    found = []
    end = time.monotonic() + WITHIN
    while time.monotonic() < end and _threads() - before:
        time.sleep(0.01)
    if left := _threads() - before:
        found.append(f"threads left: {[thread.name for thread in left]}")
    try:
        told = {str(outcome.status) for outcome in bulkfetch.fetch(urls, dest)}
    except bulkfetch.BulkfetchError as exc:
        return [*found, f"cannot go on: {exc}"]
    if told - {"fetched", "unchanged", "skipped"}:
        found.append(f"went on to {told}")
    if len([path for path in Path(dest).iterdir() if path.is_file()]) != len(urls):
        found.append("files are missing")
    return found


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("bulkfetch-")}


def main() -> None:
    """Interrupt runs at places all over."""
    rounds, *urls = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        total = run(urls, f"{folder}/whole", 0).lines
        chance = random.Random(1)
        numbers = sorted({*range(1, 40, 3), *(chance.randrange(1, total) for _ in range(int(rounds)))})
        for number in numbers:
            dest = f"{folder}/{number}"
            before = _threads()
            place = run(urls, dest, number).place
            for problem in problems(urls, dest, before):
                print(f"line {number} of {total}, {place}: {problem}", flush=True)
        print(f"interrupted {len(numbers)} times", flush=True)


if __name__ == "__main__":
    main()
