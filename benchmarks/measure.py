"""One command: run it and say what it cost, or kill it half way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")
POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took."""

    seconds: float
    cpu: float  # user and system seconds of all its processes
    peak: int  # resident bytes of its largest process
    problem: str = ""  # how it ended, if not with 0


class Bench:
    """Starts commands in one working folder, with an environment that holds nothing of the user's."""

    def __init__(self, folder: Path, environment: Mapping[str, str], limit: float) -> None:
        self.folder = folder
        self._environment = dict(environment)
        self._limit = limit  # seconds a run may take

    def run(self, command: Sequence[str], stdin: str = "") -> Cost:
        """Run a command to its end; `stdin` names a file that comes through a pipe."""
        result = self.folder / "result"
        result.unlink(missing_ok=True)
        launch = [sys.executable, "-I", "-S", str(LAUNCHER), result.name, *command]
        with self._piped(stdin) as source, self._started(launch, source) as process:
            try:
                process.wait(self._limit)
            except subprocess.TimeoutExpired:
                return Cost(self._limit, 0.0, 0, f"still ran after {self._limit:g} s")
        if not result.exists():
            return Cost(0.0, 0.0, 0, f"cannot be started: {self._last_words()}")
        status, seconds, cpu, peak = result.read_text(encoding="ascii").split()
        problem = "" if status == "0" else f"exit {status}: {self._last_words()}"
        return Cost(float(seconds), float(cpu), int(peak), problem.removesuffix(": "))

    def run_until(self, command: Sequence[str], is_enough: Callable[[], bool]) -> None:
        """Start a command and kill it, as by `kill -9`, once `is_enough`."""
        end = time.monotonic() + self._limit
        with self._started(command, subprocess.DEVNULL) as process:
            while process.poll() is None and not is_enough() and time.monotonic() < end:
                time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def _started(self, command: Sequence[str], stdin: int) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,  # its children end with it, whatever ends us
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @contextlib.contextmanager
    def _piped(self, name: str) -> Iterator[int]:
        if not name:
            yield subprocess.DEVNULL
            return
        with subprocess.Popen(["cat", str(self.folder / name)], stdout=subprocess.PIPE) as cat:
            assert cat.stdout is not None
            try:
                yield cat.stdout.fileno()
            finally:
                cat.kill()

    def _last_words(self) -> str:
        lines = (self.folder / "stderr").read_text(encoding="utf-8", errors="replace").split("\n")
        told = [line.strip() for line in lines if line.strip()]
        return "".join(char for char in told[-1][:100] if char.isprintable()) if told else ""
