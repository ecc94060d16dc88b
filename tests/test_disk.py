"""Disks that are full, read-only, broken or gone: one clear sentence, and nothing lost."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faultserver import pattern
from harness.corpus import STATE, final_files, finished, part_sizes, parts
from harness.process import end_all, run, start

import bulkfetch

if sys.platform != "win32":
    import resource

BIG = pattern(3_000_000)
SMALL = [pattern(20_000, number) for number in range(12)]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX limits and permissions")


class Disks:
    """Small file systems in memory, for those who may mount."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mounted: list[Path] = []

    def mount(self, size: str, at: Path | None = None) -> Path:
        """Mount one and return where."""
        path = at or self._folder / f"disk{len(self._mounted)}"
        path.mkdir(parents=True, exist_ok=True)
        if not _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", path):
            pytest.skip("mounting is not permitted here")
        self._mounted.append(path)
        return path

    def change(self, path: Path, option: str) -> None:
        """Mount again, otherwise."""
        assert _mount("-o", f"remount,{option}", path)

    def close(self) -> None:
        """Unmount all, innermost first."""
        for path in reversed(self._mounted):
            subprocess.run(["umount", "-l", path], check=True)


def _mount(*arguments: object) -> bool:
    if not shutil.which("mount"):
        return False
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    mounted = Disks(tmp_path)
    yield mounted
    mounted.close()


@pytest.fixture
def urls(server: Any) -> list[str]:
    """Twelve small files, then a large one."""
    for number, body in enumerate(SMALL):
        server.add(f"/{number}.bin", body=body, etag='"1"')
    server.add("/big.bin", body=BIG, etag='"1"')
    return [server.url(f"/{number}.bin") for number in range(12)] + [server.url("/big.bin")]


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    end_all()


def assert_whole(dest: Path) -> None:
    """Everything is there, right, recorded, and nothing else is."""
    there = {name: path.read_bytes() for name, path in final_files(dest).items()}
    assert there == {"big.bin": BIG, **{f"{n}.bin": body for n, body in enumerate(SMALL)}}
    assert finished(dest).keys() == there.keys()
    assert parts(dest) == []


def assert_stopped(done: subprocess.CompletedProcess[str], says: str) -> None:
    """The run ended early, with one sentence that says why."""
    assert done.returncode == 5, done.stderr
    assert len([line for line in done.stderr.splitlines() if says in line]) == 1, done.stderr
    assert "Traceback" not in done.stderr


def limited(name: str, soft: int) -> Callable[[], None]:
    """Return what a child does before it starts: lower one of its limits."""
    return lambda: resource.setrlimit(getattr(resource, name), (soft, soft))


# -- full --------------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_ends_the_run_and_loses_nothing(disks, server, urls):
    disk = disks.mount("2m")
    dest = disk / "out"
    assert_stopped(run("get", *urls, "-d", dest, "-j", "1"), "No space left on device")
    assert len(final_files(dest)) == 12
    again = run("get", *urls, "-d", dest)  # it cannot go on yet, with a part or with the journal
    assert again.returncode == 5, again.stderr
    assert "space left" in again.stderr
    disks.change(disk, "size=16m")
    (part,) = parts(dest)
    kept = part.stat().st_size
    assert kept > 0
    asked = len(server.requests)
    assert run("get", *urls, "-d", dest).returncode == 0
    assert [request.range for request in server.requests[asked:]] == [f"bytes={kept}-"]
    assert_whole(dest)


def test_a_disk_that_is_full_at_the_start_is_told_and_can_be_tried_again(disks, urls):
    disk = disks.mount("256k")
    filling = os.open(disk / "filling", os.O_WRONLY | os.O_CREAT)
    while room := os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize:
        os.write(filling, bytes(room))
    os.close(filling)
    assert_stopped(run("get", *urls, "-d", disk / "out"), "No space left on device")
    (disk / "filling").unlink()
    disks.change(disk, "size=16m")
    assert run("get", *urls, "-d", disk / "out").returncode == 0
    assert_whole(disk / "out")


def test_a_disk_with_room_for_files_but_not_for_the_journal(disks, urls):
    disk = disks.mount("16m")
    (disk / "filling").write_bytes(bytes(16 * 1024 * 1024 - 250_000))
    assert_stopped(run("get", *urls, "-d", disk / "out"), "o space left")  # who is hit first is chance
    there = final_files(disk / "out")
    assert all(path.read_bytes() == SMALL[int(path.stem)] for path in there.values())
    (disk / "filling").unlink()
    assert run("get", *urls, "-d", disk / "out").returncode == 0
    assert_whole(disk / "out")


def test_a_journal_that_fills_the_disk_ends_the_run_with_a_summary(disks, server):
    disk = disks.mount("512k")
    server.add("/a", body=b"a")
    listed = disk.parent / "long.txt"
    listed.write_text("".join(f"{server.url('/a')}?{n:03000d}\n" for n in range(1500)))
    done = run("get", listed, "-d", disk / "out", "--layout", "{index}")
    assert_stopped(done, "o space left")  # who is hit first is chance
    *_, first, last = done.stderr.splitlines()
    assert first.split()[:2] == ["fetched", f"{len(finished(disk / 'out'))}"]
    assert last.startswith("stopped: cannot write ")
    assert last.endswith("run the same command again to go on")
    disks.change(disk, "size=32m")
    assert run("get", listed, "-d", disk / "out", "--layout", "{index}").returncode == 0
    assert len(final_files(disk / "out")) == 1500


@pytest.mark.parametrize("room", [32, 40, 48, 56, 64])
def test_a_journal_with_hardly_any_room_left_is_told_wherever_it_fails(disks, urls, room):
    disk = disks.mount("2m")
    assert run("get", urls[0], "-d", disk / "out").returncode == 0
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
    (disk / "filling").write_bytes(bytes(free - room * 1024))
    done = run("get", *urls[:2], "-d", disk / "out")
    if done.returncode:
        assert_stopped(done, "space left")
    else:
        assert finished(disk / "out").keys() == {"0.bin", "1.bin"}


def test_a_body_that_cannot_fit_is_not_begun(disks, server, urls):
    disk = disks.mount("20m")
    huge = pattern(24 * 1024 * 1024)
    server.add("/huge.bin", body=huge, etag='"1"')
    done = run("get", server.url("/huge.bin"), *urls, "-d", disk)
    assert done.returncode == 1
    assert f"no room for huge.bin: {len(huge)} bytes are to come" in done.stderr
    assert_whole(disk)
    disks.change(disk, "size=40m")
    assert run("get", server.url("/huge.bin"), *urls, "-d", disk).returncode == 0
    assert (disk / "huge.bin").read_bytes() == huge


def test_room_is_reckoned_without_the_bytes_that_are_there_already(disks, server):
    disk = disks.mount("24m")
    body = pattern(16 * 1024 * 1024)
    server.add("/huge.bin", body=body, etag='"1"', cut=12 * 1024 * 1024, times=1)
    done = run("get", server.url("/huge.bin"), "-d", disk, "--backoff", "0.01")
    assert done.returncode == 0, done.stderr
    assert (disk / "huge.bin").read_bytes() == body


# -- refused by the system ---------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [10_000, 1_000_000])
def test_a_limit_on_file_sizes_ends_the_run_and_loses_nothing(tmp_path, urls, limit):
    done = run("get", *urls, "-d", tmp_path, preexec_fn=limited("RLIMIT_FSIZE", limit))
    assert_stopped(done, "cannot write")
    assert run("get", *urls, "-d", tmp_path).returncode == 0
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("write:*.part:ENOSPC:8", "No space left on device"),
        ("write:*.part:EDQUOT:8", "Disk quota exceeded"),
        ("write:*.part:EFBIG:8", "File too large"),
        ("write:*.part:EIO:8:1", "Input/output error"),
        ("open:*.part:EROFS:8", "Read-only file system"),
        ("open:*.part:ENFILE:8", "Too many open files in system"),
        ("close:*.part:ENOSPC:8:1", "No space left on device"),
        ("close:*.part:EIO:8:1", "Input/output error"),
        ("close:*.part:EDQUOT:8:1", "Disk quota exceeded"),
        ("link|replace:*.part:ENOSPC:8", "No space left on device"),
    ],
)
def test_an_error_of_the_whole_disk_ends_the_run_and_the_same_command_goes_on(tmp_path, urls, fault, says):
    command = ("get", *urls, "-d", tmp_path, "-j", "2")
    assert_stopped(run(*command, ways=("--fail", fault)), says)
    there = final_files(tmp_path)
    assert 1 <= len(there) < 13
    assert all(path.read_bytes() == SMALL[int(path.stem)] for path in there.values())
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert_whole(tmp_path)


@pytest.mark.parametrize("fault", ["fsync:*.part:EIO:3:1", "fsync:*/out:EIO:3:1"])
def test_a_sync_that_fails_once_is_not_tried_again_and_trusted(server, tmp_path, urls, fault):
    dest = tmp_path / "out"
    assert_stopped(
        run("get", *urls, "-d", dest, "--fsync", "-j", "1", ways=("--fail", fault)), "Input/output"
    )
    assert parts(dest) == []
    asked = len(server.requests)
    assert run("get", *urls, "-d", dest, "--fsync").returncode == 0
    assert [request.range for request in server.requests[asked:] if request.range] == []
    assert_whole(dest)


def test_an_error_of_one_file_costs_that_file(tmp_path, urls):
    done = run("get", *urls, "-d", tmp_path, ways=("--fail", "write:*.part:ESTALE:4:1"))
    assert done.returncode == 1
    assert "Stale file handle" in done.stderr
    assert len(final_files(tmp_path)) == 12
    assert run("get", *urls, "-d", tmp_path).returncode == 0
    assert_whole(tmp_path)


# -- permissions -------------------------------------------------------------------------------------


def obey_permissions() -> None:
    """Give up root's right to overlook permissions, for what is started next."""
    if os.geteuid() == 0:
        drop_bounding, overrule = 24, 1  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
        ctypes.CDLL(None).prctl(drop_bounding, overrule, 0, 0, 0)


@pytest.mark.skipif(
    sys.platform != "linux" and getattr(os, "geteuid", int)() == 0, reason="root writes anywhere"
)
def test_a_destination_that_may_not_be_written_is_told_before_the_first_request(server, tmp_path, urls):
    dest = tmp_path / "out"
    dest.mkdir(0o555)
    done = run("get", *urls, "-d", dest, preexec_fn=obey_permissions)
    assert done.returncode == 2
    assert done.stderr.strip() == f"bulkfetch: cannot write {dest}: Permission denied"
    assert server.requests == []


@pytest.mark.skipif(
    sys.platform != "linux" and getattr(os, "geteuid", int)() == 0, reason="root writes anywhere"
)
def test_permission_lost_under_the_run_ends_it_and_the_bytes_are_kept(server, tmp_path, urls):
    dest = tmp_path / "out"
    server.add("/slow.bin", body=BIG, etag='"1"', at={2_000_000: 60.0}, times=1)
    child = start("get", server.url("/slow.bin"), *urls, "-d", dest, "-j", "2", preexec_fn=obey_permissions)
    server.wait_until(lambda: len(final_files(dest)) == 13 and 2_000_000 in part_sizes(dest))
    dest.chmod(0o555)
    try:
        server.drop_connections()
        _, stderr = child.communicate(timeout=30)
        assert child.returncode == 5, stderr
        assert "can no longer be written: Permission denied" in stderr
    finally:
        dest.chmod(0o755)
    assert run("get", server.url("/slow.bin"), *urls, "-d", dest).returncode == 0
    assert (dest / "slow.bin").read_bytes() == BIG
    assert server.hits("/slow.bin")[-1].range == "bytes=3000000-"


def test_a_read_only_file_system_is_told_before_the_first_request(disks, server, urls):
    disk = disks.mount("1m")
    disks.change(disk, "ro")
    for dest in (disk, disk / "new"):
        done = run("get", *urls, "-d", dest)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
    assert server.requests == []


# -- places ------------------------------------------------------------------------------------------


def test_a_destination_removed_under_the_run_ends_it(server, tmp_path, urls):
    dest = tmp_path / "out"
    server.add("/slow.bin", body=BIG, at={1_000: 60.0}, times=1)
    child = start("get", server.url("/slow.bin"), *urls, "-d", dest, "-j", "2")
    server.wait_until(lambda: len(final_files(dest)) == 13)
    shutil.rmtree(dest)
    server.drop_connections()
    _, stderr = child.communicate(timeout=30)
    assert child.returncode == 5, stderr
    assert str(dest) in stderr
    assert "Traceback" not in stderr
    assert not dest.exists()
    assert run("get", *urls, "-d", dest).returncode == 0
    assert_whole(dest)


@pytest.mark.parametrize("removed", ["sub", f"{STATE}/parts"])
def test_a_folder_removed_under_the_run_is_made_again(server, tmp_path, removed):
    server.add("/sub/a.bin", body=b"a")
    server.add("/sub/b.bin", body=b"b")
    entries = [{"url": server.url(f"/sub/{name}"), "path": f"sub/{name}"} for name in ("a.bin", "b.bin")]
    with bulkfetch.Fetcher(bulkfetch.FetchConfig(dest=tmp_path)) as fetcher:
        for entry in entries:
            assert [outcome.status for outcome in fetcher.run([entry])] == ["fetched"]
            shutil.rmtree(tmp_path / removed)
        list(fetcher.run(entries))
    assert {name: path.read_bytes() for name, path in final_files(tmp_path).items()} == {
        "sub/a.bin": b"a",
        "sub/b.bin": b"b",
    }


@pytest.mark.parametrize("inner", ["sub", f"{STATE}/parts", STATE])
def test_a_destination_and_its_state_may_lie_on_different_file_systems(disks, server, tmp_path, inner):
    dest = tmp_path / "out"
    disks.mount("8m", at=dest / inner)
    server.add("/a.bin", body=BIG, etag='"1"', cut=1_000_000, times=1)
    rows = [{"url": server.url("/a.bin"), "path": name} for name in ("sub/a.bin", "b.bin")]
    told = list(bulkfetch.fetch(rows, dest, backoff=0.01))
    assert [outcome.status for outcome in told] == ["fetched", "fetched"]
    assert {name: path.read_bytes() for name, path in final_files(dest).items()} == {
        "sub/a.bin": BIG,
        "b.bin": BIG,
    }
    assert parts(dest) == []


def test_a_full_inner_file_system_ends_the_run_and_keeps_the_part(disks, server, tmp_path):
    dest = tmp_path / "out"
    inner = disks.mount("1m", at=dest / "sub")
    server.add("/a.bin", body=BIG, etag='"1"')
    rows = tmp_path / "rows.csv"
    rows.write_text(f"url,path\n{server.url('/a.bin')},sub/a.bin\n")
    assert_stopped(run("get", rows, "-d", dest), "No space left on device")
    assert list(inner.iterdir()) == []
    disks.change(inner, "size=8m")
    assert run("get", rows, "-d", dest).returncode == 0
    assert (inner / "a.bin").read_bytes() == BIG
    assert server.requests[-1].range == "bytes=3000000-"


def test_names_that_meet_where_case_does_not_count_are_kept_apart(server, tmp_path):
    """Chosen so everywhere: the folder may be carried to a system that takes Readme for README."""
    for name in ("/1/Readme.txt", "/2/README.TXT", "/3/readme.txt"):
        server.add(name, body=name.encode())
    urls = [server.url(f"/{name}") for name in ("1/Readme.txt", "2/README.TXT", "3/readme.txt")]
    for _ in range(2):
        list(bulkfetch.fetch(urls, tmp_path))
    names = [name.casefold() for name in final_files(tmp_path)]
    assert len(set(names)) == 3
    assert sorted(path.read_bytes() for path in final_files(tmp_path).values()) == [
        b"/1/Readme.txt",
        b"/2/README.TXT",
        b"/3/readme.txt",
    ]


@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_what_is_no_file_is_refused_before_the_request(server, tmp_path, what):
    server.add("/a.bin", body=b"content")
    (tmp_path / "a.bin").mkdir() if what == "folder" else os.mkfifo(tmp_path / "a.bin")
    (outcome,) = bulkfetch.fetch([server.url("/a.bin")], tmp_path, existing="overwrite")
    assert outcome.failure.kind == "path"
    assert server.requests == []


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(server, tmp_path):
    server.add("/a.bin", body=b"content")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    dest = tmp_path / "out"
    dest.mkdir()
    (dest / "a.bin").symlink_to(victim)
    (outcome,) = bulkfetch.fetch([server.url("/a.bin")], dest, existing="overwrite")
    assert outcome.status == "fetched"
    assert victim.read_bytes() == b"precious"
    assert not (dest / "a.bin").is_symlink()


def test_a_linked_folder_that_leads_outside_is_refused(server, tmp_path):
    server.add("/a.bin", body=b"content")
    outside, dest = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    dest.mkdir()
    (dest / "sub").symlink_to(outside)
    (outcome,) = bulkfetch.fetch([{"url": server.url("/a.bin"), "path": "sub/a.bin"}], dest)
    assert outcome.failure.kind == "path"
    assert list(outside.iterdir()) == []


def test_the_longest_name_that_a_folder_takes(server, tmp_path):
    name = "n" * 251 + ".bin"
    server.add("/a.bin", body=b"content")
    (outcome,) = bulkfetch.fetch([{"url": server.url("/a.bin"), "path": name}], tmp_path)
    assert outcome.status == "fetched"
    assert (tmp_path / name).read_bytes() == b"content"


def test_the_mode_of_new_and_of_replaced_files(server, tmp_path):
    server.add("/a.bin", body=b"content")
    server.add("/b.bin", body=b"content")
    (tmp_path / "b.bin").write_bytes(b"old")
    (tmp_path / "b.bin").chmod(0o600)
    before = os.umask(0o027)
    try:
        list(bulkfetch.fetch([server.url("/a.bin"), server.url("/b.bin")], tmp_path, existing="overwrite"))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.bin", "b.bin")]
    assert modes == [0o640, 0o600]


# -- open files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [20, 32, 64])
@pytest.mark.parametrize("layout", ["flat", "tree"])
def test_few_open_files_mean_fewer_workers_and_no_failure(server, tmp_path, limit, layout):
    names = [f"/{folder}/{number}" for folder in range(30) for number in range(2)]
    for name in names:
        server.add(name, body=name.encode())
    urls = [server.url(name) for name in names]
    done = run("get", *urls, "-d", tmp_path, "--layout", layout, preexec_fn=limited("RLIMIT_NOFILE", limit))
    assert done.returncode == 0, done.stderr
    assert "workers, not 16: no more files may be open" in done.stderr
    assert len(final_files(tmp_path)) == 60
    assert server.peak_connections <= max(1, (limit - 20) // 4)


def test_few_open_files_and_many_hosts(make_server, tmp_path):
    servers = [make_server(host=f"127.0.0.{number}") for number in range(2, 32)]
    for server in servers:
        server.add("/*", body=b"content")
    urls = [server.url(f"/{server.host}-{number}") for number in range(4) for server in servers]
    done = run("get", *urls, "-d", tmp_path, preexec_fn=limited("RLIMIT_NOFILE", 40))
    assert done.returncode == 0, done.stderr
    assert len(final_files(tmp_path)) == 120
