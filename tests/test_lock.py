"""One run at a time in a destination, with real processes that hold it, die and fork."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkfetch.errors import DestinationLocked, UsageError
from bulkfetch.lock import FILE, DestinationLock

posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX locks and processes")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PRELUDE = """
import os, sys
from pathlib import Path
from bulkfetch.lock import DestinationLock

def wait(word):
    print(word, flush=True)
    sys.stdin.readline()

folder = Path(sys.argv[1])
"""
HOLD = """
with DestinationLock(folder, "get", now=lambda: 1_700_000_000.0):
    wait("held")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dest" / ".bulkfetch"


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a script and waits for its first line."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str = HOLD) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PRELUDE + script, str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def go_on(process: subprocess.Popen[str]) -> str:
    """Let a script go on, and return what it prints until its end."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    output = process.stdout.read()
    assert process.wait(60) == 0
    return output


def refused(folder: Path) -> str:
    """Return why the destination cannot be had."""
    with pytest.raises(DestinationLocked) as caught:
        DestinationLock(folder).acquire()
    return str(caught.value)


def text_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / FILE).read_bytes())
    return facts


def write_text(folder: Path, **changes: Any) -> None:
    facts = {"pid": 1, "host": "elsewhere", "started": 1_700_000_000.0, "command": "get", "birth": ""}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps({**facts, **changes}))


# -- one process -------------------------------------------------------------------------------------


def test_the_holder_is_named_in_the_file_and_gone_after_release(folder):
    lock = DestinationLock(folder, "get", now=lambda: 5.0)
    with lock:
        assert (text_of(folder)["pid"], text_of(folder)["started"]) == (os.getpid(), 5.0)
        assert text_of(folder)["command"] == "get"
    assert (folder / FILE).read_bytes() == b""
    assert lock.taken_over == ""
    with lock:
        assert lock.taken_over == ""


def test_a_second_lock_of_this_process_is_refused(folder, tmp_path):
    with DestinationLock(folder) as lock:
        assert refused(folder) == f"another run of this process holds {folder.parent}"
        with pytest.raises(DestinationLocked, match=r"holds .* already"):
            lock.acquire()
        assert refused(folder / ".." / ".bulkfetch")
    with DestinationLock(folder):
        pass


@posix_only
def test_another_name_of_the_folder_is_the_same_folder(folder, tmp_path):
    folder.mkdir(parents=True)
    (tmp_path / "alias").symlink_to(folder.parent)
    with DestinationLock(folder):
        assert "another run of this process" in refused(tmp_path / "alias" / ".bulkfetch")


def test_other_destinations_are_not_concerned(folder, tmp_path):
    with DestinationLock(folder), DestinationLock(tmp_path / "other" / ".bulkfetch"):
        assert refused(folder)


def test_an_exception_lets_go(folder):
    with pytest.raises(KeyError), DestinationLock(folder):
        raise KeyError
    with DestinationLock(folder) as lock:
        lock.release()
        lock.release()


def test_a_destination_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "dest").touch()
    with pytest.raises(UsageError, match=r"cannot lock .*dest: "):
        DestinationLock(tmp_path / "dest" / ".bulkfetch").acquire()


@posix_only
def test_a_link_is_not_followed(folder, tmp_path):
    (tmp_path / "victim").write_text("precious")
    folder.mkdir(parents=True)
    (folder / FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(UsageError):
        DestinationLock(folder).acquire()
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize(
    "text",
    [
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"{}",
        b"[" * 4000,
        b'{"pid": "1", "host": 2, "started": "x", "command": 1, "birth": 0}',
        b'{"pid": 1, "host": "a", "started": NaN, "command": "", "birth": ""}',
        b'{"pid": 1, "host": "a", "started": 1e300, "command": "", "birth": ""}',
        b'{"pid": -1, "host": "a", "started": 1, "command": "", "birth": ""}',
    ],
)
def test_a_file_of_any_text_can_be_taken(folder, text):
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(text)
    with DestinationLock(folder) as lock:
        assert lock.taken_over == ""
        assert text_of(folder)["pid"] == os.getpid()


# -- other processes (faults K01, K02) ---------------------------------------------------------------


def test_another_run_is_refused_and_told_who_holds_the_destination(folder, start):
    holder = start()
    message = refused(folder)
    assert message.startswith(f"another run holds {folder.parent}: process {holder.pid} (get) on ")
    assert message.endswith(" since 2023-11-14 22:13:20 UTC")
    go_on(holder)
    with DestinationLock(folder) as lock:
        assert lock.taken_over == ""


@posix_only
def test_a_run_that_has_not_written_its_name_yet_keeps_others_out(folder, start):
    start()
    (folder / FILE).write_bytes(b"")
    with pytest.raises(DestinationLocked):
        DestinationLock(folder).acquire()


def test_the_lock_of_a_killed_process_is_taken_over(folder, start):
    holder = start()
    holder.kill()
    holder.wait()
    with DestinationLock(folder) as lock:
        assert f"{folder.parent} was held by process {holder.pid} (get)" in lock.taken_over


@linux_only
def test_a_killed_process_nobody_has_waited_for_is_gone_too(folder, start):
    holder = start()
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with DestinationLock(folder) as lock:
        assert str(holder.pid) in lock.taken_over


def test_a_later_process_of_that_number_is_another_one(folder):
    with DestinationLock(folder):
        ours = text_of(folder)
    write_text(folder, **{**ours, "pid": os.getppid(), "birth": "another boot/1/1"})
    with DestinationLock(folder) as lock:
        assert f"process {os.getppid()}" in lock.taken_over


def test_text_from_the_file_cannot_act_on_a_terminal(folder):
    write_text(folder, host="a\x1b[2Jb", command="\x1b]0;x")
    with DestinationLock(folder) as lock:
        assert "\\x1b" in lock.taken_over
        assert "\x1b" not in lock.taken_over


@posix_only
@pytest.mark.parametrize("end", ["os._exit(0)", "lock.release(); os._exit(0)"], ids=["ends", "releases"])
def test_a_forked_child_does_not_let_go(folder, start, end):
    holder = start(
        f"""
with DestinationLock(folder) as lock:
    child = os.fork()
    if not child:
        {end}
    os.waitpid(child, 0)
    wait("forked")
"""
    )
    assert f"process {holder.pid}" in refused(folder)
    go_on(holder)


@posix_only
def test_a_forked_child_does_not_keep_the_lock(folder, start):
    holder = start(
        """
with DestinationLock(folder):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    wait("forked")
"""
    )
    holder.kill()  # the child still waits for its line
    holder.wait()
    with DestinationLock(folder) as lock:
        assert str(holder.pid) in lock.taken_over


@posix_only
def test_a_forked_child_is_another_run(folder, start):
    holder = start(
        """
from bulkfetch.errors import DestinationLocked
with DestinationLock(folder):
    child = os.fork()
    if not child:
        try:
            DestinationLock(folder).acquire()
        except DestinationLocked as exc:
            print(exc, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
with DestinationLock(folder):
    wait("again")
"""
    )
    assert go_on(holder) == "again\n"


# -- locks that do not lock (fault K03) --------------------------------------------------------------


@pytest.fixture
def without_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `flock` succeed and lock nothing, as on some network file systems."""
    monkeypatch.setattr("fcntl.flock", lambda fd, operation: None)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `flock` say that the file system has none."""

    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)


@linux_only
@pytest.mark.parametrize("locks", ["without_effect", "missing"])
def test_a_process_seen_to_live_is_believed(folder, start, request, locks):
    holder = start()
    request.getfixturevalue(locks)
    assert f"process {holder.pid} (get)" in refused(folder)
    assert text_of(folder)["pid"] == holder.pid
    holder.kill()
    holder.wait()
    with DestinationLock(folder) as lock:
        assert str(holder.pid) in lock.taken_over


@linux_only
@pytest.mark.parametrize("locks", ["without_effect", "missing"])
def test_a_copied_folder_is_not_held(folder, tmp_path, start, request, locks):
    start()
    shutil.copytree(folder, tmp_path / "copy" / ".bulkfetch")
    request.getfixturevalue(locks)
    with DestinationLock(tmp_path / "copy" / ".bulkfetch") as lock:
        assert lock.taken_over


@posix_only
def test_without_locks_another_machine_is_believed_until_its_file_is_deleted(folder, missing):
    write_text(folder)
    reason = refused(folder)
    assert "process 1 (get) on elsewhere since 2023-11-14 22:13:20 UTC" in reason
    assert reason.endswith(f"; if that run is gone, delete {folder / FILE}")
    (folder / FILE).unlink()
    with DestinationLock(folder):
        pass


@posix_only
def test_with_locks_another_machine_has_let_go(folder):
    write_text(folder)
    with DestinationLock(folder) as lock:
        assert "process 1 (get) on elsewhere" in lock.taken_over


@posix_only
def test_without_locks_or_births_a_number_in_use_is_believed(folder, missing):
    with DestinationLock(folder):
        ours = text_of(folder)
    write_text(folder, **{**ours, "pid": os.getppid(), "birth": ""})
    assert f"process {os.getppid()}" in refused(folder)
    write_text(folder, **{**ours, "pid": 2**22 + 1, "birth": ""})  # past the highest number of Linux
    with DestinationLock(folder) as lock:
        assert lock.taken_over


@posix_only
def test_a_lock_that_fails_otherwise_is_told(folder, monkeypatch):
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", flock)
        with pytest.raises(UsageError, match="cannot lock"):
            DestinationLock(folder).acquire()
    with DestinationLock(folder):
        pass
