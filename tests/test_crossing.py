"""Files whose folder is another mount than the folder of parts (fault F11), and what a kill leaves there."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator

import pytest
from faultserver import pattern
from harness.process import end_all, run

from bulkfetch.store import STATE, LocalStore

DATA = pattern(10_000)  # one write
LONG_WAY = ("--limit-rate", "1G")  # else the part is first tried in one go (LocalStore.put)
CROSSING = ("--fail", "link|replace:*/parts/*.part:EXDEV")
KEY = b"k" * 16


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    end_all()


def below(folder):
    """Return every file below a destination, the journal and the lock left out."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith((f"{STATE}/journal", f"{STATE}/lock")))


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize(
    "point",
    ["part-opened:2", "part-written:2", "part-closed:2", "before-rename:2", "after-rename:1"],
)
@pytest.mark.parametrize("path", ["file.bin", "sub/file.bin"])
def test_a_kill_while_a_file_is_copied_to_its_mount_leaves_a_stray_part(server, tmp_path, path, point):
    server.add(f"/{path}", body=DATA, etag='"1"')
    command = ("get", server.url(f"/{path}"), "-d", tmp_path, "--layout", "{path}", *LONG_WAY)
    done = run(*command, ways=(*CROSSING, "--kill", point))
    assert done.returncode == -signal.SIGKILL, done.stderr
    copies = [name for name in below(tmp_path) if "/.bulkfetch-" in f"/{name}"]
    assert len(copies) == (point != "after-rename:1")
    done = run(*command, ways=CROSSING)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / path).read_bytes() == DATA
    assert [name for name in below(tmp_path) if not name.startswith(f"{STATE}/")] == [path]
    done = run(*command)  # a part that was renamed but not recorded goes once the record is right
    assert done.returncode == 0, done.stderr
    assert below(tmp_path) == [path]


@pytest.fixture
def store(tmp_path):
    made = LocalStore(tmp_path)
    made.prepare()
    yield made
    made.close()


@pytest.fixture
def mark(tmp_path):
    """Return a function that leaves what a run killed in a copy to a folder would."""

    def leave(content: bytes, token: str = "0123abcd"):
        path = tmp_path / STATE / "parts" / f"{token}.copy"
        path.write_bytes(content)
        return path

    return leave


def test_a_sweep_removes_the_one_copy_that_was_named(store, tmp_path, mark):
    (tmp_path / "sub").mkdir()
    names = (".bulkfetch-0123abcd.part", ".bulkfetch-99999999.part", "0123abcd.part", "file.bin")
    for name in names:
        (tmp_path / "sub" / name).write_bytes(b"x")
        (tmp_path / name).write_bytes(b"x")
    marked = mark(b"sub")
    store.sweep(set())
    assert not marked.exists()
    assert below(tmp_path) == sorted([*names, *(f"sub/{name}" for name in names[1:])])


@pytest.mark.parametrize(
    "content",
    [b"../outside", b"link", b"gone", b"sub/\0", b"\xff\xfe", b"", b"x" * 100_000],
    ids=["climbs", "link", "gone", "NUL", "not UTF-8", "root", "huge"],
)
def test_a_sweep_stays_inside_the_destination(store, tmp_path, mark, content):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    victim = outside / ".bulkfetch-0123abcd.part"
    victim.write_bytes(b"x")
    (tmp_path / "link").symlink_to(outside)
    marked = mark(content.replace(b"outside", outside.name.encode()))
    store.sweep(set())
    assert victim.exists()
    assert not marked.exists()
    assert not (tmp_path / "gone").exists()


def test_a_file_of_that_name_that_is_not_ours_stays(store, tmp_path, monkeypatch):
    def replace(*_args, **_options):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr("secrets.token_hex", lambda _size: "0123abcd")
    part = store.new_part(KEY, "file.bin")
    part.write(b"data")
    part.finish(None, durable=False)
    victim = tmp_path / ".bulkfetch-0123abcd.part"
    victim.write_bytes(b"theirs")
    with pytest.raises(Exception, match="appeared there"):
        store.commit(part, "file.bin", replace=False)
    assert victim.read_bytes() == b"theirs"
    store.sweep(set())
    assert victim.read_bytes() == b"theirs"


@pytest.mark.skipif(os.name == "nt", reason="files are not stored in one go there")
@pytest.mark.parametrize("reason", [errno.EXDEV, errno.EPERM], ids=["another mount", "no links there"])
def test_every_small_file_of_another_mount_was_written_twice(store, monkeypatch, reason):
    tried = []

    def link(source, *_args, **_options):
        tried.append(source)
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "link", link)
    for number in range(5):
        assert store.put(bytes(16), memoryview(b"x"), f"mount/{number}", mtime=None) is None
    assert len(tried) == 1
    monkeypatch.undo()
    assert store.put(bytes(16), memoryview(b"x"), "here/a", mtime=None) is not None
