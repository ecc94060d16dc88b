"""The search for secrets over a whole test session: what the program leaves, says and shows to `ps`.

Every secret that the tests use begins with one of `MARKS`, which nothing else contains. After each test
of a file that has such secrets they are looked for, plain and in base64: in the state below every
destination (but for the bodies of parts), in the files that commands wrote elsewhere, in what they said,
and in their command lines and those of their children while they ran. What the test itself put there does
not count: files that were there before the command, its arguments, and the list of failures, which is made
to be fetched again.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import secrets
import subprocess
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

NEW = "m4rked-"  # of secrets made by `new_secret`
MARKS = (
    NEW, "4uth-", "b0dy-", "hunter2", "l04-from-", "l04-in-", "l0gin-", "l3aked", "libr4ry-", "p0licy-",
    "pr0xy-", "r3direct-", "r3fresh-", "s3cret", "sch3me", "tr4ced-",
)  # fmt: skip
STATE, PARTS = ".bulkfetch", "parts"
_OWN_FILES = ("-d", "--dest", "--failed")
_EVERY = 0.05  # seconds between two looks at the command lines


def new_secret(name: str) -> str:
    """Return a secret that the search will know."""
    return f"{NEW}{name}-{secrets.token_hex(8)}"


def shapes_of(mark: str) -> set[bytes]:
    """Return what a mark looks like: as it is, and in the middle of base64 whatever is around it."""
    shapes = {mark.encode()}
    for before in range(3):
        raw = b"\0" * before + mark.encode()
        first, last = -(-before * 8 // 6), len(raw) * 8 // 6  # characters that the mark alone decides
        shapes |= {encode(raw)[first:last] for encode in (b64encode, urlsafe_b64encode)}
    return shapes


_SHAPES = {shape: mark for mark in MARKS for shape in shapes_of(mark)}
_ANY = re.compile(b"|".join(map(re.escape, _SHAPES)))


def marks_in(data: bytes) -> set[str]:
    """Return the marks that stand in `data`."""
    return {_SHAPES[match[0]] for match in _ANY.finditer(data)}


@functools.cache
def has_secrets(path: Path) -> bool:
    """Say whether a test file has secrets: no other file's tests can leak any."""
    text = path.read_bytes()
    return new_secret.__name__.encode() in text or bool(marks_in(text))


class Watch:
    """What one test did with the program, and where secrets are looked for once it is over.

    Args:
        folder: the test's own; None: it has none.
        file: where the test stands, if it may be one that has no secrets.
    """

    def __init__(self, folder: Path | None, file: Path | None = None) -> None:
        self._looks = file is None or has_secrets(file)
        self._folder = folder if self._looks else None
        self._given: set[Path] | None = None  # files that no command wrote; None: no command ran
        self._dests: list[Path] = []
        self._said: list[tuple[str, bytes]] = []
        self._own: dict[int, set[str]] = {}  # marks in the arguments that the test gave a process
        self._threads: list[tuple[threading.Thread, threading.Event]] = []

    def begin(self, args: Iterable[object]) -> None:
        """Take note of a command that is about to run."""
        words = [str(arg) for arg in args]
        paths = {word: [] for word in _OWN_FILES}
        for word, value in itertools.pairwise(words):
            if word in paths:
                paths[word].append(Path(value).absolute())
        self._dests += paths["-d"] + paths["--dest"]
        if self._given is None:
            self._given = set(self._folder.rglob("*")) if self._folder else set()
        self._given.update(paths["--failed"])

    def say(self, where: str, text: str | bytes | None) -> None:
        """Take note of what a command said."""
        if text:
            self._said.append((where, text.encode() if isinstance(text, str) else text))

    def follow(self, process: subprocess.Popen[Any], args: Iterable[object]) -> None:
        """Look at the command lines of a process and its children until it ends."""
        if not self._looks or not Path("/proc/self/task").exists():
            return
        self._own[process.pid] = marks_in(" ".join(map(str, args)).encode())
        end = threading.Event()
        thread = threading.Thread(target=self._look, args=(process.pid, end), daemon=True)
        thread.start()
        self._threads.append((thread, end))

    def found(self) -> list[str]:
        """Return where a secret stands."""
        for thread, end in self._threads:
            end.set()
            thread.join()
        told = dict.fromkeys(self._said)
        files = [(str(path), str(path).encode() + path.read_bytes()) for path in self._files()]
        return [f"{where}: {mark}" for where, data in (*told, *files) for mark in sorted(marks_in(data))]

    def _files(self) -> Iterator[Path]:
        """Yield the files to search."""
        if self._folder is None or not self._folder.exists():
            return
        for path in self._folder.rglob("*"):
            parts = path.relative_to(self._folder).parts
            if not path.is_file() or path.is_symlink() or (self._given is not None and path in self._given):
                continue
            if STATE in parts:
                if PARTS not in parts[parts.index(STATE) :]:
                    yield path
            elif self._given is not None and not any(path.is_relative_to(dest) for dest in self._dests):
                yield path

    def look_once(self, pid: int) -> None:
        """Look at the command lines of a process and its children now."""
        for number, line in command_lines(pid):
            for mark in marks_in(line) - self._own.get(number, set()):
                self.say(f"ps shows {line!r}", mark)

    def _look(self, pid: int, end: threading.Event) -> None:
        while not end.wait(_EVERY):
            self.look_once(pid)


def command_lines(pid: int) -> Sequence[tuple[int, bytes]]:
    """Return the command lines of a process and everything it has started, as `ps` shows them."""
    found, waiting = [], [pid]
    while waiting:
        number = waiting.pop()
        with contextlib.suppress(OSError):  # it has ended
            found.append((number, Path(f"/proc/{number}/cmdline").read_bytes()))
            for children in Path(f"/proc/{number}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
    return found
