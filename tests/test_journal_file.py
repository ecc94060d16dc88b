"""The journal's file: damaged, newer, full disk, read-only, killed while writing, read while written."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkfetch.errors import BulkfetchError, DiskFailed, DiskFull, UsageError
from bulkfetch.journal import FILE, Journal, schema
from bulkfetch.journal.database import Database
from bulkfetch.models import Entry, Outcome, PartInfo, Status

NOW = 1_700_000_000.0
ASIDE = f"{FILE}.damaged-20231114-221320"


def key_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def outcomes(numbers: range, length: int = 0) -> list[Outcome]:
    tail = "x" * length
    return [
        Outcome(
            Entry((url,)),
            Status.FETCHED,
            f"{n}.csv",
            url,
            size=n,
            digest="sha256:" + "ab" * 32,
            key=key_of(n),
        )
        for n in numbers
        for url in [f"https://example.org/{n}{tail}"]
    ]


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dest" / ".bulkfetch"


@pytest.fixture
def opened() -> Iterator[Callable[..., Journal]]:
    """Return a function that opens a journal, to be closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_it(folder: Path, how: Callable[..., Journal] = Journal.open, **settings: Any) -> Journal:
            return stack.enter_context(contextlib.closing(how(folder, **settings)))

        yield open_it


def fill(folder: Path, count: int = 300, length: int = 0) -> None:
    with contextlib.closing(Journal.open(folder)) as journal:
        journal.begin_run()
        journal.settle(outcomes(range(count), length))
        journal.save_part(key_of(1), PartInfo(3, '"a"', 9, "ab"))
        journal.finish_run(clean=True, summary={})


def garble(file: Path, change: Callable[[bytes], bytes]) -> None:
    file.write_bytes(change(file.read_bytes()))


def edit(folder: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


# -- damage (faults F04, K06) ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"this is no database, whatever its name says" * 50,
        lambda whole: b"\0" * len(whole),
        lambda whole: whole[:100],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"\xff" * 100 + whole[100:],
        lambda whole: whole[:100] + b"\xff" * 4096 + whole[4196:],
        lambda whole: whole[:20480] + bytes(b ^ 0xFF for b in whole[20480:40960]) + whole[40960:],
    ],
    ids=["garbage", "zeros", "head only", "cut in half", "bad header", "bad schema", "bad pages"],
)
def test_a_damaged_journal_is_kept_aside_and_a_new_one_begins(folder, opened, damage):
    fill(folder)
    garble(folder / FILE, damage)
    damaged = (folder / FILE).read_bytes()
    journal = opened(folder, now=lambda: NOW)
    (notice,) = journal.notices
    assert "damaged" in notice
    assert ASIDE in notice
    assert (folder / ASIDE).read_bytes() == damaged
    assert journal.counts() == {}
    assert journal.begin_run() == 1
    journal.settle(outcomes(range(3)))
    journal.commit()
    gc.collect()  # an old connection still open would now take the new log with it
    assert opened(folder, Journal.open_readonly).counts() == {"fetched": 3}


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TABLE entries", "CREATE TABLE entries (id INTEGER PRIMARY KEY, key BLOB UNIQUE)"],
        ["DROP TABLE parts", "CREATE VIEW parts AS SELECT 1"],
        ["PRAGMA application_id = 7"],
    ],
    ids=["columns", "view", "another program's"],
)
def test_a_journal_of_another_shape_is_kept_aside(folder, opened, statements):
    fill(folder)
    edit(folder, *statements)
    assert "damaged" in opened(folder).notices[0]


def test_a_missing_table_is_made_again(folder, opened):
    fill(folder)
    edit(folder, "DROP TABLE parts", "DROP TABLE names")
    journal = opened(folder)
    assert (journal.notices, journal.all_tokens(), journal.counts()) == ([], set(), {"fetched": 300})


def test_an_empty_file_is_a_new_journal(folder, opened):
    folder.mkdir(parents=True)
    (folder / FILE).touch()
    journal = opened(folder)
    assert (journal.notices, journal.counts()) == ([], {})


def test_a_log_does_not_outlive_its_damaged_journal(folder, opened):
    fill(folder)
    watcher = opened(folder, Journal.open_readonly)  # keeps SQLite from deleting the log
    assert watcher.counts()
    garble(folder / FILE, lambda whole: b"\xff" * len(whole))
    journal = opened(folder, now=lambda: NOW)
    assert (folder / f"{ASIDE}-wal").exists()
    journal.begin_run()
    journal.settle(outcomes(range(3)))
    journal.commit()
    watcher.close()
    assert opened(folder, Journal.open_readonly).counts() == {"fetched": 3}


def test_a_torn_log_loses_only_its_tail(folder, opened):
    fill(folder, 10)
    with contextlib.closing(sqlite3.connect(folder / FILE)) as writer:
        writer.execute("UPDATE entries SET size = 100")
        writer.commit()
        kept = (folder / f"{FILE}-wal").stat().st_size
        writer.execute("UPDATE entries SET size = 200")
        writer.commit()
        log = (folder / f"{FILE}-wal").read_bytes()
        base = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(base)
    (folder / f"{FILE}-wal").write_bytes(log[: kept + 1000])
    journal = opened(folder)
    assert journal.notices == []
    assert {row.size for row in journal.finished()} == {100}


def test_two_damaged_journals_of_one_second_are_both_kept(folder, opened):
    for text in (b"first" * 99, b"second" * 99):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_bytes(text)
        with contextlib.closing(Journal.open(folder, now=lambda: NOW)):
            pass
    assert (folder / ASIDE).read_bytes() == b"first" * 99
    assert (folder / f"{ASIDE}-1").read_bytes() == b"second" * 99


def test_damage_found_in_use_is_told_and_found_again_when_opened_next(folder, opened):
    fill(folder, 2500, length=8000)  # a large journal is not checked after a clean run
    garble(folder / FILE, lambda whole: whole[: len(whole) // 2] + b"\xff" * (len(whole) // 2))
    journal = opened(folder)
    assert journal.notices == []
    journal.begin_run()
    with pytest.raises(DiskFailed, match=r"is damaged .* next run") as caught:
        list(journal.finished())
    assert caught.value.fatal
    with contextlib.suppress(BulkfetchError):
        journal.finish_run(clean=True, summary={})
    journal.close()
    assert "damaged" in opened(folder).notices[0]


def test_a_newer_journal_is_refused_and_left_alone(folder, opened):
    fill(folder)
    edit(folder, f"PRAGMA user_version = {schema.VERSION + 1}")
    before = (folder / FILE).read_bytes()
    for how in (Journal.open, Journal.open_readonly):
        with pytest.raises(UsageError, match=rf"{FILE} was written by a newer .* move that file away"):
            how(folder)
    assert (folder / FILE).read_bytes() == before


def test_a_folder_of_that_name_is_told(folder):
    (folder / FILE).mkdir(parents=True)
    with pytest.raises(UsageError, match=f"cannot open the journal .*{FILE}"):
        Journal.open(folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("sound")
    fill(folder, 120)
    return (folder / FILE).read_bytes()


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8)
)
def test_flipped_bytes_never_crash(sound, tmp_path, flips):
    garbled = bytearray(sound)
    for place, bits in flips:
        garbled[int(place * len(garbled))] ^= bits
    shutil.rmtree(tmp_path / "dest", ignore_errors=True)
    folder = tmp_path / "dest" / ".bulkfetch"
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(garbled)
    with contextlib.suppress(BulkfetchError), contextlib.closing(Journal.open(folder)) as journal:
        journal.begin_run()
        list(journal.finished())
        list(journal.failures())
        journal.find([key_of(n) for n in range(120)])
        journal.settle(outcomes(range(150)))
        journal.finish_run(clean=True, summary={})


def test_a_journal_whose_schema_is_no_text_is_kept_aside(sound, tmp_path):
    """SQLite quotes the damage in its message, which Python then cannot decode."""
    garbled = sound.replace(b"CREATE TABLE runs", b"CR\xe9ATE TABLE runs")
    assert garbled != sound
    folder = tmp_path / "dest" / ".bulkfetch"
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(garbled)
    with contextlib.closing(Journal.open(folder)) as journal:
        (notice,) = journal.notices
        assert notice.startswith("the journal was damaged (its schema is garbled); it is kept as ")
        assert list(journal.finished()) == []


# -- refusals of the system --------------------------------------------------------------------------


def test_a_destination_that_is_a_file_is_told(tmp_path):
    (tmp_path / "dest").touch()
    with pytest.raises(UsageError, match=r"cannot write to .*dest: "):
        Journal.open(tmp_path / "dest" / ".bulkfetch")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Return a function that mounts a small file system, or mounts it anew with other options."""
    place = tmp_path / "mounted"
    place.mkdir()
    if not shutil.which("mount"):
        pytest.skip("this system has no mount")

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and not options.startswith("remount"):
            pytest.skip("only root can mount")
        assert done.returncode == 0, done.stderr
        return place

    yield mount
    subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


def write_until_it_fails(journal: Journal) -> tuple[BulkfetchError, int]:
    """Return the error and how many entries had been committed before it."""
    committed = 0
    try:
        for start in range(0, 100_000, 100):
            journal.settle(outcomes(range(start, start + 100), length=200))
            journal.commit()
            committed = start + 100
    except BulkfetchError as exc:
        return exc, committed
    pytest.fail("everything could be written")


def test_a_full_disk_keeps_what_was_committed(mounted, opened):
    folder = mounted("size=1m") / ".bulkfetch"
    journal = opened(folder)
    journal.begin_run()
    error, committed = write_until_it_fails(journal)
    assert isinstance(error, DiskFull)
    assert f"cannot write {folder / FILE}: no space left" in str(error)
    assert committed > 0
    with contextlib.suppress(DiskFull):  # the room of what was taken back may do for this
        journal.finish_run(clean=True, summary={})
    journal.close()
    mounted("remount,size=16m")
    again = opened(folder)
    assert again.notices == []
    assert again.counts() == {"fetched": committed}
    assert again.interrupted is not None


def test_a_journal_that_another_program_holds_stops_the_run_like_a_full_disk(tmp_path):
    path = tmp_path / FILE
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
        contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection,
    ):
        other.execute("CREATE TABLE held (id)")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            DiskFailed, match=r"another program holds the journal .*journal\.sqlite3"
        ) as failed:
            Database(connection, path).write("INSERT INTO held VALUES (1)")
    assert failed.value.fatal


def test_no_room_for_a_new_journal(mounted):
    place = mounted("size=16k")
    (place / "filler").write_bytes(b"x" * 12000)
    with pytest.raises(DiskFull):
        Journal.open(place / ".bulkfetch")


def test_a_read_only_destination_can_be_read(mounted, opened):
    folder = mounted("size=8m") / ".bulkfetch"
    fill(folder)
    mounted("remount,ro")
    reader = opened(folder, Journal.open_readonly)
    assert (reader.counts(), reader.notices) == ({"fetched": 300}, [])
    for place in (folder, folder.parent / "new" / ".bulkfetch"):
        with pytest.raises(UsageError, match=rf"cannot write to {place.parent}: "):
            Journal.open(place)


def test_a_read_only_log_is_read_where_it_can_be(mounted, opened):
    folder = mounted("size=8m") / ".bulkfetch"
    fill(folder, 5)
    told = run_killed(folder, 10)
    mounted("remount,ro")
    with contextlib.closing(Journal.open_readonly(folder)) as reader:
        assert reader.counts()["fetched"] >= told - 5
    mounted("remount,rw")
    (folder / f"{FILE}-shm").unlink()
    mounted("remount,ro")
    reader = opened(folder, Journal.open_readonly)
    assert reader.counts() == {"fetched": 5}
    assert "the last rows may be missing" in reader.notices[0]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits there")
def test_a_file_size_limit_ends_the_run(folder):
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
journal = Journal.open(Path({str(folder)!r}))
journal.begin_run()
try:
    write(journal, 100_000)
except DiskFailed as exc:
    print(exc.fatal)
journal.close()
"""
    assert run_script(script).splitlines()[-1] == "True"


@pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("cc"), reason="needs a compiler and LD_PRELOAD"
)
def test_a_file_system_without_locks_will_do(tmp_path, folder):
    source, library = tmp_path / "nolocks.c", tmp_path / "nolocks.so"
    source.write_text(
        """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <fcntl.h>
        #include <stdarg.h>
        static int call(const char *name, int fd, int command, void *value) {
            if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) {
                errno = ENOSYS;
                return -1;
            }
            int (*real)(int, int, ...) = dlsym(RTLD_NEXT, name);
            return real(fd, command, value);
        }
        #define WRAP(name) int name(int fd, int command, ...) { va_list rest; va_start(rest, command); \\
            void *value = va_arg(rest, void *); va_end(rest); return call(#name, fd, command, value); }
        WRAP(fcntl)
        WRAP(fcntl64)
        """
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, capture_output=True)
    script = f"""
journal = Journal.open(Path({str(folder)!r}))
journal.begin_run()
write(journal, 10)
reader = Journal.open_readonly(Path({str(folder)!r}))
print(reader.counts())
reader.close()
journal.close()
"""
    assert run_script(script, LD_PRELOAD=str(library)).splitlines()[-1] == "{'fetched': 10}"


# -- other processes ---------------------------------------------------------------------------------

PRELUDE = """
import sys
from pathlib import Path
from bulkfetch.errors import DiskFailed
from bulkfetch.journal import Journal
from bulkfetch.models import Entry, Outcome, Status

def write(journal, count, start=0, step=10):
    for first in range(start, count, step):
        keys = [n.to_bytes(16, "big") for n in range(first, first + step)]
        facts = Entry(("https://example.org/",)), Status.FETCHED, "a.csv", "https://example.org/"
        journal.settle([Outcome(*facts, size=1, key=key) for key in keys])
        journal.commit()
        print(first + step, flush=True)
"""


def run_script(script: str, **environment: str) -> str:
    command = [sys.executable, "-c", PRELUDE + script]
    settings = {"env": {**os.environ, **environment}, "capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run(command, check=False, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start_writer(folder: Path, start: int = 0, most: int = 10**9) -> subprocess.Popen[str]:
    script = f"""
journal = Journal.open(Path({str(folder)!r}))
journal.begin_run()
write(journal, {most}, {start})
"""
    return subprocess.Popen([sys.executable, "-c", PRELUDE + script], stdout=subprocess.PIPE, text=True)


def run_killed(folder: Path, start: int = 0, lines: int = 3) -> int:
    """Start a writer, kill it at a moment of its own, and return how far it said it had got."""
    with start_writer(folder, start) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            writer.stdout.readline()
        writer.kill()
        rest = writer.stdout.read().split("\n")
        told = [int(line) for line in rest[:-1]]
    if os.name == "posix":
        assert writer.returncode == -signal.SIGKILL
    return told[-1] if told else start + lines * 10


def test_what_was_committed_survives_kill_9(folder, opened):
    told = 0
    for round_ in range(10):
        told = run_killed(folder, told, 1 + round_ * 7)
        with contextlib.closing(Journal.open(folder)) as journal:
            assert journal.notices == []
            count = journal.counts()["fetched"]
            assert count >= told
            assert journal.interrupted is not None
            told = count
    assert len(opened(folder).find([key_of(n) for n in range(told)])) == told


def test_a_run_can_be_watched(folder):
    with start_writer(folder, most=6000) as writer:
        assert writer.stdout is not None
        told, seen, looks = int(writer.stdout.readline()), 0, 0
        while writer.poll() is None:
            with contextlib.closing(Journal.open_readonly(folder)) as reader:
                count = reader.counts()["fetched"]
                assert count >= max(told, seen)
                assert sum(1 for _ in reader.finished()) >= count
                assert reader.last_run()["finished"] is None
            seen, looks = count, looks + 1
    assert writer.returncode == 0
    assert looks > 0


def test_a_slow_reader_does_not_hold_up_the_writer(folder, opened):
    journal = opened(folder)
    journal.begin_run()
    journal.settle(outcomes(range(2000)))
    journal.commit()
    rows = opened(folder, Journal.open_readonly).finished()
    next(rows)
    journal.settle(outcomes(range(2000, 4000)))
    journal.finish_run(clean=True, summary={})
    assert 2000 <= 1 + sum(1 for _ in rows) <= 4000
