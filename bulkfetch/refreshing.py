"""Links that expire: whoever made one is asked for another (`refresh_url`)."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bulkfetch.errors import LineError
from bulkfetch.safetext import clean
from bulkfetch.urls import parse_url

if TYPE_CHECKING:
    import subprocess

SECONDS = 60.0  # that an answer may take
_STEP = 0.1  # seconds between looks at the stop
_LARGEST = 64 * 1024  # bytes


class RefreshFailed(Exception):
    """There is no new URL; the text says why."""


class UrlCommand:
    """A command that reads an expired URL from standard input and prints the new one.

    Not as an argument: every user of the machine may read the arguments of a program. No shell reads it.
    """

    __slots__ = ("_command",)

    def __init__(self, command: str) -> None:
        self._command = command

    def __str__(self) -> str:
        return f"cmd:{clean(self._command.split()[0])} …"  # arguments may be secrets

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command, out of reach of the terminal's signals."""
        import subprocess  # few runs need it, and it costs every start some milliseconds

        # Windows programs split their command line themselves.
        arguments = self._command if os.name == "nt" else shlex.split(self._command)
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        try:
            return subprocess.Popen(
                arguments, stderr=subprocess.DEVNULL, start_new_session=os.name == "posix", **pipes
            )
        except (OSError, ValueError) as exc:
            raise RefreshFailed(f"{self} cannot be run: {getattr(exc, 'strerror', None) or exc}") from exc

    def read(self, process: subprocess.Popen[bytes], url: str) -> str:
        """Give `url` to the command that was started, and return what it prints first."""
        assert process.stdin is not None  # both are pipes
        assert process.stdout is not None
        with contextlib.suppress(OSError):  # it does not want to know
            process.stdin.write(f"{url}\n".encode())
        with contextlib.suppress(OSError):
            process.stdin.close()
        out = process.stdout.read(_LARGEST)
        process.stdout.close()
        if process.wait():
            raise RefreshFailed(f"{self} ended with status {process.returncode}")
        lines = out.decode("utf-8", "replace").split()
        return lines[0] if lines else ""


Renewer = UrlCommand | Callable[[str], str]


def ask_new_url(source: Renewer, url: str, check: Callable[[], None], seconds: float = SECONDS) -> str:
    """Return the canonical URL that takes the place of `url`.

    Args:
        source: a `UrlCommand`, or a function of the program's; it runs in a thread of its own.
        url: the one that has expired.
        check: raises when the attempt is to end.
        seconds: how long the answer may take.

    Raises:
        RefreshFailed: there is none that may be asked for.
    """
    if isinstance(source, UrlCommand):
        process = source.start()
        given = _wait(lambda: source.read(process, url), check, seconds, lambda: end(process))
    else:
        given = _wait(lambda: source(url), check, seconds, lambda: None)
    try:
        text = given.strip() if isinstance(given, str) else ""
        new = parse_url(text) if text else ""
    except LineError as exc:
        raise RefreshFailed(f"what it gave cannot be asked for: {exc}") from exc
    if not new:
        raise RefreshFailed("it gave no URL")
    if "@" in new.split("/", 3)[2]:
        raise RefreshFailed("it gave a URL with a login")
    if url.startswith("https:") and not new.startswith("https:"):
        raise RefreshFailed("it gave an http URL for an https one")
    return new


def end(process: subprocess.Popen[bytes]) -> None:
    """End the command and what it has started."""
    if process.poll() is None:
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()


def _wait(
    ask: Callable[[], Any], check: Callable[[], None], seconds: float, cancel: Callable[[], None]
) -> Any:
    """Return what `ask` returns in another thread; whatever happens, nothing it started is left."""
    answers: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except Exception as exc:  # noqa: BLE001 - the program's own function, told where it is waited for
            answers.put((None, exc))

    threading.Thread(target=run, name="bulkfetch-refresh", daemon=True).start()
    limit = time.monotonic() + seconds
    try:
        while True:
            with contextlib.suppress(queue.Empty):
                answer, error = answers.get(timeout=_STEP)
                break
            check()
            if time.monotonic() >= limit:
                raise RefreshFailed(f"no answer within {seconds:g} s")
    finally:
        cancel()
    if isinstance(error, RefreshFailed):
        raise error
    if error is not None:
        raise RefreshFailed(f"it failed with {type(error).__name__}") from error
    return answer
