"""Section F of the fault catalogue, as far as one attempt shows it: a failing disk, and files in the way."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attempting import CUT, DATA, DATE, NAME, OTHER, SIZE, Attempts, assert_failed, sha256
from faultserver import http_date

from bulkfetch.models import NO_PART, Check, PartInfo

ETAG = '"v1"'
posix_only = pytest.mark.skipif(os.name == "nt", reason="links, pipes and permissions as POSIX has them")


@pytest.fixture
def make(tmp_path):
    """Return a function that makes `Attempts(**options)`; all are closed at the end."""
    made = []

    def make(**options):
        made.append(Attempts(tmp_path / "out", **options))
        return made[-1]

    yield make
    for attempts in made:
        attempts.__exit__()


@pytest.fixture
def attempts(make):
    return make()


@pytest.fixture
def url(server):
    """A whole file with a validator."""
    server.add("/a", body=DATA, etag=ETAG)
    return server.url("/a")


def is_part(fd):
    """Say whether a handle is an open part."""
    return any(os.path.samestat(os.fstat(fd), path.stat()) for path in is_part.attempts.parts())


@pytest.fixture
def fail(monkeypatch, attempts):
    """Return a function that makes calls of `os` fail for parts, from the nth on."""
    is_part.attempts = attempts

    def fail(name, code, start=1):
        real, count = getattr(os, name), iter(range(1, 1_000_000))

        def call(fd, *args, **kwargs):
            if not is_part(fd) or next(count) < start:
                return real(fd, *args, **kwargs)
            if name == "close":
                real(fd)
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, name, call)

    yield fail
    monkeypatch.undo()


# -- a disk that fails ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_f01_f05_a_full_disk_ends_the_run_and_keeps_what_was_written(server, attempts, fail, code):
    server.add("/a", body=DATA, etag=ETAG, at={CUT: 0.05})
    fail("write", code, start=2)
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "disk-full", os.strerror(code), retryable=False)
    assert attempt.failure.fatal
    assert 0 < attempt.part.offset < SIZE
    assert attempts.left() == set()
    (path,) = attempts.parts()
    assert path.read_bytes() == DATA[: attempt.part.offset]


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
def test_f05_a_broken_disk_ends_the_run(url, attempts, fail, code):
    fail("write", code)
    attempt = attempts.fetch(url)
    assert_failed(attempt, "disk", os.strerror(code), retryable=False)
    assert attempt.failure.fatal
    assert attempts.parts() == []


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from attempting import Attempts
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
with Attempts(Path(sys.argv[3])) as attempts:
    attempt = attempts.fetch(sys.argv[2])
    print(attempt.failure.kind, attempt.failure.fatal, attempt.failure.retryable, attempt.part.offset)
"""


@posix_only
def test_f05_a_real_limit_of_the_system(server, url, tmp_path):
    dest = tmp_path / "limited"
    command = [sys.executable, "-c", LIMITED, str(Path(__file__).parent), url, str(dest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    kind, fatal, retryable, offset = done.stdout.split()
    assert (kind, fatal, retryable) == ("disk-full", "True", "False"), done.stderr
    assert int(offset) <= 50_000
    assert not (dest / NAME).exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize(("name", "fsync"), [("close", False), ("fsync", True)])
def test_f02_f06_f17_an_error_that_comes_last_means_nothing_can_be_trusted(
    server, make, monkeypatch, name, fsync, code
):
    attempts = make(fsync=fsync)
    server.add("/a", body=DATA, etag=ETAG)
    attempts.dest.joinpath(NAME).write_bytes(b"old")
    is_part.attempts, real = attempts, getattr(os, name)

    def call(fd):
        broken = is_part(fd)
        if name == "close" or not broken:
            real(fd)
        if broken:
            raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, call)
        attempt = attempts.fetch(server.url("/a"), replace=True)
    assert_failed(attempt, "disk" if code == errno.EIO else "disk-full", os.strerror(code), retryable=False)
    assert attempt.failure.fatal
    assert attempts.file() == b"old"
    assert attempts.parts() == []
    assert attempt.part == NO_PART


def test_f03_short_writes(url, attempts, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:777]))
    assert attempts.fetch(url).done
    assert attempts.file() == DATA


@pytest.mark.parametrize(
    "answer",
    [
        {"cut": CUT},
        {"cut": CUT, "cut_how": "reset"},
        {"status": 500},
        {"body": OTHER, "length": "abc"},
        {"body": OTHER},
    ],
    ids=["cut", "reset", "500", "bad length", "wrong digest"],
)
def test_f07_the_old_file_stays_until_a_good_one_replaces_it(server, attempts, answer):
    attempts.dest.joinpath(NAME).write_bytes(b"old")
    server.add("/a", **{"body": DATA, "etag": ETAG, **answer})
    attempt = attempts.fetch(server.url("/a"), replace=True, digests=sha256(DATA))
    assert attempt.failure is not None
    assert attempts.file() == b"old"
    server.add("/a", body=DATA, etag=ETAG)
    assert attempts.go_on(server.url("/a"), attempt.part, replace=True, digests=sha256(DATA)).done
    assert attempts.file() == DATA


# -- what is in the way ---------------------------------------------------------------------------


def test_a_file_that_appeared_is_not_overwritten(url, attempts):
    attempts.dest.joinpath(NAME).write_bytes(b"theirs")
    assert_failed(attempts.fetch(url), "exists", retryable=False)
    assert attempts.file() == b"theirs"


@posix_only
@pytest.mark.parametrize("replace", [False, True])
def test_f08_a_link_at_the_target(url, attempts, tmp_path, replace):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (attempts.dest / NAME).symlink_to(victim)
    attempt = attempts.fetch(url, replace=replace)
    assert victim.read_bytes() == b"precious"
    assert (attempt.done is not None) is replace
    assert (attempts.dest / NAME).is_symlink() is not replace


@posix_only
def test_f09_a_folder_that_leads_outside(url, attempts, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (attempts.dest / "sub").symlink_to(outside)
    assert_failed(attempts.fetch(url, "sub/x"), "path", "leads outside", retryable=False)
    assert list(outside.iterdir()) == []


def test_f10_a_folder_has_the_name(url, attempts):
    (attempts.dest / NAME).mkdir()
    assert_failed(attempts.fetch(url, replace=True), "path", "a folder has this name", retryable=False)


@posix_only
@pytest.mark.parametrize("check", [None, Check(None, sha256(DATA), "verified")], ids=["fetch", "verify"])
def test_f10_a_pipe_has_the_name(url, attempts, check):
    os.mkfifo(attempts.dest / NAME)
    attempt = attempts.fetch(url, replace=True, check=check)
    assert_failed(attempt, "path", "device or a pipe", retryable=False)


def test_f12_the_longest_name(url, attempts):
    name = "a" * 251 + ".bin"
    assert attempts.fetch(url, name).done
    assert attempts.file(name) == DATA


@posix_only
def test_f13_a_destination_removed_during_a_body_ends_the_run(server, attempts):
    def remove(_event):
        if attempts.dest.exists():
            shutil.rmtree(attempts.dest)

    attempts.context = attempts.new_context(remove)
    server.add("/a", body=DATA * 20, etag=ETAG)
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "disk", "can no longer be written", retryable=False)
    assert attempt.failure.fatal
    assert not attempts.dest.exists()


@posix_only
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_f14_permissions(url, attempts, mask, mode):
    before = os.umask(mask)
    try:
        assert attempts.fetch(url).done
    finally:
        os.umask(before)
    assert (attempts.dest / NAME).stat().st_mode & 0o7777 == mode


@posix_only
def test_f14_a_private_file_stays_private(url, attempts):
    (attempts.dest / NAME).write_bytes(b"old")
    (attempts.dest / NAME).chmod(0o600)
    assert attempts.fetch(url, replace=True).done
    assert (attempts.dest / NAME).stat().st_mode & 0o7777 == 0o600


def test_f16_a_file_held_open_keeps_the_verified_part_and_says_so(server, make, monkeypatch):
    attempts = make(store={"windows": True})
    server.add("/a", body=DATA, etag=ETAG)
    attempts.dest.joinpath(NAME).write_bytes(b"old")

    def refuse(*_args, **_where):
        raise PermissionError(errno.EACCES, "Access is denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        attempt = attempts.fetch(server.url("/a"), replace=True)
    assert_failed(attempt, "disk", "held open by another program; the file is kept for the next run")
    assert not attempt.failure.fatal
    assert attempts.file() == b"old"
    assert attempt.part == PartInfo(SIZE, ETAG, SIZE, attempt.part.token)
    assert attempts.go_on(server.url("/a"), attempt.part, replace=True).received == 0
    assert attempts.file() == DATA


# -- times ----------------------------------------------------------------------------------------


def test_the_servers_time_is_kept(server, attempts):
    server.add("/a", body=DATA, last_modified=DATE)
    attempt = attempts.fetch(server.url("/a"))
    found = (attempts.dest / NAME).stat()
    assert found.st_mtime == DATE
    assert attempt.done.mtime_ns == found.st_mtime_ns
    assert attempt.done.last_modified == http_date(DATE)


@pytest.mark.parametrize(
    "value",
    ["abc", "", "Mon, 01 Jan 0001 00:00:00 GMT", "Mon, 01 Jan 1601 00:00:00 GMT",
     "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "0"],
)  # fmt: skip
def test_f18_a_senseless_time_leaves_the_present_one(server, attempts, value):
    server.add("/a", body=DATA, last_modified=value)
    assert attempts.fetch(server.url("/a")).done
    assert abs((attempts.dest / NAME).stat().st_mtime - time.time()) < 60


# -- a file that is there already -----------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [Check(SIZE, (), "because"), Check(None, sha256(DATA), "because"), Check(SIZE, sha256(DATA), "because")],
    ids=["size", "digest", "both"],
)
def test_a_file_that_is_the_wanted_one_is_kept_without_a_request(server, attempts, url, check):
    path = attempts.dest / NAME
    path.write_bytes(DATA)
    attempt = attempts.fetch(url, check=check, replace=True)
    assert attempt.done.kept == "because"
    assert attempt.done.digest == hashlib.sha256(DATA).hexdigest()
    assert (attempt.done.size, attempt.done.mtime_ns) == (SIZE, path.stat().st_mtime_ns)
    assert server.requests == []


@pytest.mark.parametrize(
    ("content", "check"),
    [
        (DATA[:-1], Check(SIZE, (), "x")),
        (OTHER, Check(SIZE, sha256(DATA), "x")),
        (None, Check(SIZE, (), "x")),
    ],
    ids=["size", "digest", "gone"],
)
def test_a_file_that_is_not_is_fetched(attempts, url, content, check):
    if content is not None:
        (attempts.dest / NAME).write_bytes(content)
    attempt = attempts.fetch(url, check=check, replace=True)
    assert attempt.done.kept == ""
    assert attempts.file() == DATA


@posix_only
def test_a_link_to_the_wanted_file_is_not_the_wanted_file(attempts, url, tmp_path):
    (tmp_path / "elsewhere").write_bytes(DATA)
    (attempts.dest / NAME).symlink_to(tmp_path / "elsewhere")
    attempt = attempts.fetch(url, check=Check(SIZE, sha256(DATA), "x"), replace=True)
    assert attempt.done.kept == ""
    assert not (attempts.dest / NAME).is_symlink()


def test_a_stop_ends_the_verification(attempts, url, monkeypatch):
    (attempts.dest / NAME).write_bytes(DATA)
    real = os.read

    def read(fd, size):
        attempts.stop.set()
        attempts.watchdog.look(0.0)
        return real(fd, size)

    monkeypatch.setattr(os, "read", read)
    attempt = attempts.fetch(url, check=Check(SIZE, sha256(DATA), "x"), replace=True)
    monkeypatch.undo()
    assert_failed(attempt, "stopped")
    assert attempts.file() == DATA


@pytest.mark.parametrize("digest", ["sha256", "md5", "blake2b", "none"])
def test_the_digest_that_is_recorded(make, url, digest):
    attempts = make(digest=digest)
    attempt = attempts.fetch(url)
    wanted = "" if digest == "none" else hashlib.new(digest, DATA).hexdigest()
    assert (attempt.done.digest, attempt.done.algorithm) == (wanted, digest)
