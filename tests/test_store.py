"""The local store on a real file system: names, links, permissions, and what the system refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

import pytest
from attempting import open_handles

from bulkfetch.errors import DestinationTaken, DiskFailed, DiskFull, DiskUnusable, PathRefused
from bulkfetch.store import STATE, LocalStore
from bulkfetch.store import folders as store_folders

KEY = bytes(range(16))
NAME = "file.bin"
posix_only = pytest.mark.skipif(os.name == "nt", reason="links, pipes and permissions as POSIX has them")
handles_or_paths = pytest.mark.parametrize(
    "handles",
    [pytest.param(True, marks=pytest.mark.skipif(not store_folders.HAS_HANDLES, reason="no handles")), False],
    ids=["handles", "paths"],
)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def outside(tmp_path):
    """A folder beside the destination."""
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


@pytest.fixture
def make(root):
    """Return a function that makes a prepared `LocalStore(**options)`; all is closed at the end."""
    made, parts = [], []

    def make(**options):
        store = LocalStore(root, **options)
        create = store.new_part
        store.new_part = lambda *args: parts.append(create(*args)) or parts[-1]
        store.prepare()
        made.append(store)
        return store

    yield make
    for one in (*parts, *made):
        one.close()


@pytest.fixture
def store(make):
    return make()


@pytest.fixture
def both(make, handles):
    """A store that works with folder handles, and one that works with paths."""
    return make(handles=handles)


def write(store, data=b"data", path=NAME, *, replace=False, mtime=None, durable=False):
    """Bring one file into its place."""
    part = store.new_part(KEY, path)
    part.write(data)
    part.finish(mtime, durable=durable)
    store.commit(part, path, replace=replace)
    return part


def parts_of(root):
    return sorted(path.name for path in (root / STATE / "parts").iterdir())


# -- files ----------------------------------------------------------------------------------------


@handles_or_paths
@pytest.mark.parametrize("path", ["a", "b/c", "d/e/f/g.bin"])
def test_a_part_becomes_a_file(both, root, path):
    write(both, b"data", path)
    assert (root / path).read_bytes() == b"data"
    assert b"".join(both.read(path)) == b"data"
    assert both.find(path).st_size == 4
    assert parts_of(root) == []


@handles_or_paths
def test_many_folders(both, root, monkeypatch):
    monkeypatch.setattr(store_folders, "_MOST_KEPT", 4)
    for number in range(20):
        write(both, b"one", f"{number}/a")
        write(both, b"two", f"{number}/b")
    assert len(list(root.glob("[0-9]*/*"))) == 40


def test_nothing_is_found_where_nothing_is(store):
    assert store.find("a") is None
    assert store.find("a/b") is None


@handles_or_paths
@pytest.mark.parametrize("path", [NAME, "sub/file.bin"])
def test_a_file_that_is_there_stays_unless_it_may_be_replaced(both, root, path):
    write(both, b"old", path)
    with pytest.raises(DestinationTaken):
        write(both, b"new", path)
    assert (root / path).read_bytes() == b"old"
    write(both, b"new", path, replace=True)
    assert (root / path).read_bytes() == b"new"


def test_f12_a_name_of_255_bytes(store, root):
    name = "\u00e9" * 127 + "a"
    write(store, b"data", name)
    assert (root / name).read_bytes() == b"data"


def test_f12_part_names_are_short(store, root):
    part = store.new_part(b"k" * 32, "a" * 255)
    assert len(parts_of(root)[0]) < 100
    store.discard(part)


def test_f15_only_the_part_itself_is_removed(store, root):
    foreign = root / STATE / "parts" / "foreign.part"
    foreign.write_bytes(b"")
    part = store.new_part(KEY, NAME)
    store.discard(part)
    store.discard(part)
    assert parts_of(root) == ["foreign.part"]


def test_a_sweep_removes_the_parts_nobody_wants(store, root):
    kept, lost = store.new_part(KEY, NAME), store.new_part(KEY, NAME)
    (root / STATE / "parts" / "notes.txt").write_bytes(b"")
    assert store.sweep({kept.token}) == 1
    assert parts_of(root) == sorted([kept.file, "notes.txt"])
    for part in (kept, lost):
        part.close()
    assert LocalStore(root / "nowhere").sweep(set()) == 0


def test_free_space_is_told(store, root):
    assert store.free_bytes() > 0
    assert LocalStore(root / "nowhere").free_bytes() is None
    store.sync()


# -- links, folders, pipes ------------------------------------------------------------------------


@posix_only
@handles_or_paths
@pytest.mark.parametrize("target", ["victim", "missing"])
def test_f08_a_link_at_the_target_is_replaced_not_followed(both, root, outside, target):
    (outside / "victim").write_bytes(b"precious")
    (root / NAME).symlink_to(outside / target)
    with pytest.raises(DestinationTaken):
        write(both)
    write(both, b"new", replace=True)
    assert not (root / NAME).is_symlink()
    assert (root / NAME).read_bytes() == b"new"
    assert (outside / "victim").read_bytes() == b"precious"
    assert not (outside / "missing").exists()


@posix_only
@handles_or_paths
def test_f08_a_link_at_the_part_is_not_followed(both, root, outside, monkeypatch):
    monkeypatch.setattr(both, "_tokens", iter([0x10BADC0DE]))
    (outside / "victim").write_bytes(b"precious")
    (root / STATE / "parts" / f"{KEY.hex()}-0badc0de.part").symlink_to(outside / "victim")
    with pytest.raises(DiskFailed):
        both.new_part(KEY, NAME)
    assert both.adopt_part(KEY, "0badc0de", 5, NAME) is None
    assert (outside / "victim").read_bytes() == b"precious"


@posix_only
@handles_or_paths
@pytest.mark.parametrize("path", ["sub/file.bin", "sub/deeper/file.bin", "a/sub/file.bin"])
def test_f09_a_folder_that_leads_outside_is_refused(both, root, outside, path):
    link = root / path[: path.index("sub") + 3]
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(PathRefused, match="leads outside"):
        write(both, path=path)
    assert list(outside.rglob("*")) in ([], [outside / "deeper"])
    assert not list(outside.rglob("*.bin"))


@posix_only
@handles_or_paths
def test_f09_a_folder_that_leads_elsewhere_inside_is_used(both, root):
    (root / "real" / "deep").mkdir(parents=True)
    (root / "sub").symlink_to("real")
    for number in range(2):
        write(both, b"data", f"sub/deep/{number}")
        assert (root / "real" / "deep" / f"{number}").read_bytes() == b"data"


@posix_only
@handles_or_paths
def test_f09_a_folder_is_looked_at_again_before_each_rename(both, root, outside):
    write(both, path="sub/one")
    (root / "sub").rename(root / "moved")
    (root / "sub").symlink_to(outside)
    with pytest.raises(PathRefused, match="leads outside"):
        write(both, path="sub/two")
    assert list(outside.iterdir()) == []
    assert [path.name for path in (root / "moved").iterdir()] == ["one"]


@handles_or_paths
def test_f09_files_do_not_follow_a_folder_that_was_moved(both, root):
    write(both, path="sub/one")
    (root / "sub").rename(root / "moved")
    write(both, path="sub/two")
    assert [path.name for path in (root / "moved").iterdir()] == ["one"]
    assert [path.name for path in (root / "sub").iterdir()] == ["two"]


@posix_only
def test_f09_a_state_folder_that_leads_outside_is_refused(root, outside):
    root.mkdir()
    (root / STATE).symlink_to(outside)
    with pytest.raises(DiskFailed, match="leads outside"):
        LocalStore(root).prepare()
    assert list(outside.iterdir()) == []


@handles_or_paths
@pytest.mark.parametrize("path", ["../escaped", "a/../../escaped"])
def test_k07_a_path_that_climbs_is_refused(both, root, path):
    with pytest.raises((PathRefused, DiskFailed)):
        write(both, path=path)
    assert not (root.parent / "escaped").exists()


@handles_or_paths
@pytest.mark.parametrize("replace", [False, True])
def test_f10_a_folder_has_the_name(both, root, replace):
    (root / NAME).mkdir()
    with pytest.raises(PathRefused, match="a folder has this name"):
        write(both, replace=replace)


@posix_only
@handles_or_paths
def test_f10_a_pipe_has_the_name(both, root):
    os.mkfifo(root / NAME)
    with pytest.raises(PathRefused, match="device or a pipe"):
        write(both, replace=True)
    with pytest.raises(DestinationTaken):
        write(both)
    with pytest.raises(DiskFailed, match="not a file"):
        list(both.read(NAME))
    assert stat.S_ISFIFO((root / NAME).lstat().st_mode)


@handles_or_paths
@pytest.mark.parametrize("path", ["taken/file.bin", "taken/deeper/file.bin"])
def test_n15_a_file_stands_where_a_folder_is_needed(both, root, path):
    (root / "taken").write_bytes(b"old")
    with pytest.raises(PathRefused, match="a file stands where a folder is needed"):
        write(both, path=path)
    assert (root / "taken").read_bytes() == b"old"


@posix_only
def test_a_finished_file_is_not_read_through_a_link(store, root, outside):
    (outside / "secret").write_bytes(b"secret")
    (root / NAME).symlink_to(outside / "secret")
    with pytest.raises(DiskFailed):
        list(store.read(NAME))


# -- what goes away -------------------------------------------------------------------------------


@handles_or_paths
def test_f13_folders_that_were_removed_are_made_again(both, root):
    write(both, path="sub/one")
    (root / "sub" / "one").unlink()
    (root / "sub").rmdir()
    (root / STATE / "parts").rmdir()
    write(both, path="sub/two")
    assert (root / "sub" / "two").read_bytes() == b"data"


@posix_only
@handles_or_paths
def test_f13_a_destination_that_was_removed_stays_gone(both, root):
    part = both.new_part(KEY, NAME)
    part.write(b"data")
    part.finish(None, durable=False)
    (root / STATE / "parts" / part.file).unlink()
    for folder in (root / STATE / "parts", root / STATE, root):
        folder.rmdir()
    with pytest.raises(DiskUnusable, match="can no longer be written"):
        both.commit(part, NAME, replace=False)
    with pytest.raises(DiskUnusable, match="was removed"):
        both.new_part(KEY, NAME)
    assert not root.exists()


@pytest.mark.parametrize("refused", ["", f"{STATE}/parts"], ids=["root", "parts"])
def test_f13_a_folder_that_cannot_be_written_is_found_at_once(root, monkeypatch, refused):
    real = os.access
    denied = os.path.realpath(root / refused)
    monkeypatch.setattr(os, "access", lambda path, mode: path != denied and real(path, mode))
    with pytest.raises(DiskFailed, match="Permission denied"):
        LocalStore(root).prepare()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_f13_a_read_only_folder(root):
    root.mkdir(mode=0o500)
    with pytest.raises(DiskFailed, match="Permission denied"):
        LocalStore(root).prepare()


def test_a_file_in_place_of_the_destination(root):
    root.write_bytes(b"")
    with pytest.raises(DiskFailed):
        LocalStore(root).prepare()


# -- permissions and times ------------------------------------------------------------------------


@contextlib.contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@posix_only
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o000, 0o666), (0o027, 0o640)])
def test_f14_a_new_file_has_what_the_umask_leaves(store, root, mask, mode):
    with umask(mask):
        write(store)
    assert stat.S_IMODE((root / NAME).stat().st_mode) == mode


@posix_only
@pytest.mark.parametrize(
    ("old", "new"),
    [(0o600, 0o600), (0o640, 0o640), (0o444, 0o444), (0o755, 0o644), (0o666, 0o644), (0o4711, 0o600)],
)
@handles_or_paths
def test_f14_a_tighter_mode_is_kept_and_nothing_is_executable(both, root, old, new):
    write(both)
    (root / NAME).chmod(old)
    with umask(0o022):
        write(both, b"new", replace=True)
    assert (root / NAME).read_bytes() == b"new"
    assert stat.S_IMODE((root / NAME).stat().st_mode) == new


def test_the_modification_time_is_set_and_told(store, root):
    part = store.new_part(KEY, NAME)
    assert part.finish(1_600_000_000.0, durable=False) == 1_600_000_000_000_000_000
    store.commit(part, NAME, replace=False)
    assert (root / NAME).stat().st_mtime == 1_600_000_000.0


@pytest.mark.parametrize("mtime", [1e300, float("nan"), float("inf"), -1e300])
def test_f18_a_time_the_system_cannot_set_fails_nothing(store, root, mtime):
    write(store, mtime=mtime)
    assert (root / NAME).read_bytes() == b"data"


# -- what the system refuses ----------------------------------------------------------------------

REFUSALS = [
    (errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EFBIG, DiskFull),
    (errno.EROFS, DiskUnusable), (errno.EIO, DiskUnusable), (errno.EMFILE, DiskUnusable),
    (errno.EACCES, DiskFailed), (errno.EPERM, DiskFailed),
]  # fmt: skip
each_refusal = pytest.mark.parametrize(
    ("code", "kind"), REFUSALS, ids=[errno.errorcode[code] for code, _ in REFUSALS]
)


@pytest.fixture
def refuse(monkeypatch):
    """Return a function that makes one call of `os` fail, once or always."""

    def refuse(name, code, *, only=lambda *_: True):
        real = getattr(os, name)

        def call(*args, **kwargs):
            if not only(*args):
                return real(*args, **kwargs)
            if name == "close":
                real(*args)  # the handle is gone all the same
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, name, call)

    return refuse


@each_refusal
@pytest.mark.parametrize("name", ["open", "write"])
def test_f01_f05_what_a_refused_write_means(store, refuse, code, kind, name):
    refuse(name, code)
    with pytest.raises(kind) as caught:
        store.new_part(KEY, NAME).write(b"data")
    assert type(caught.value) is kind
    assert os.strerror(code) in str(caught.value)
    assert caught.value.fatal is (kind is not DiskFailed)


@each_refusal
@pytest.mark.parametrize("name", ["replace", "stat"])
def test_f05_what_a_refused_rename_means(store, refuse, code, kind, name):
    part = store.new_part(KEY, NAME)
    part.finish(None, durable=False)
    refuse(name, code)
    with pytest.raises(kind):
        store.commit(part, NAME, replace=False)


@pytest.mark.parametrize(("name", "durable"), [("close", False), ("close", True), ("fsync", True)])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.ESTALE])
def test_f02_f06_f17_an_error_that_comes_late_spoils_the_part(store, refuse, name, durable, code):
    part = store.new_part(KEY, NAME)
    part.write(b"data")
    refuse(name, code)
    with pytest.raises(DiskFailed, match=os.strerror(code)):
        part.finish(None, durable=durable)
    assert part.is_spoiled


def test_f02_closing_a_part_that_is_kept_can_fail_too(store, refuse):
    part = store.new_part(KEY, NAME)
    part.write(b"data")
    refuse("close", errno.EIO)
    part.close()
    assert part.is_spoiled


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_f03_short_writes_are_continued(store, root, monkeypatch, most):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:most]))
    data = os.urandom(5000)
    part = store.new_part(KEY, NAME)
    part.write(data)
    part.write(memoryview(data))
    assert part.offset == 10_000
    part.finish(None, durable=False)
    store.commit(part, NAME, replace=False)
    assert (root / NAME).read_bytes() == data + data


def test_f03_a_system_that_takes_nothing_is_no_endless_loop(store, monkeypatch):
    monkeypatch.setattr(os, "write", lambda *_: 0)
    with pytest.raises(DiskFailed):
        store.new_part(KEY, NAME).write(b"data")


def test_a_part_that_shrinks_while_it_is_read_back(store, root):
    part = store.new_part(KEY, NAME)
    part.write(b"data")
    os.truncate(root / STATE / "parts" / part.file, 2)
    with pytest.raises(DiskFailed, match="shorter"):
        list(part.read_back())
    part.close()


# -- other mounts, other systems ------------------------------------------------------------------


@pytest.fixture
def crossing(monkeypatch):
    """Make the folder of parts another mount than the rest."""
    real = os.replace

    def replace(source, target, **where):
        if where["src_dir_fd"] != where["dst_dir_fd"] or f"{STATE}/parts" in source:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target, **where)

    monkeypatch.setattr(os, "replace", replace)


@handles_or_paths
@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("path", [NAME, "sub/file.bin"])
def test_f11_a_target_on_another_mount(make, root, crossing, handles, durable, path):
    store = make(handles=handles, fsync=durable)
    with umask(0o027):
        write(store, b"old", path)
        write(store, b"data" * 1_000_000, path, replace=True, mtime=1_600_000_000.0, durable=durable)
    assert (root / path).read_bytes() == b"data" * 1_000_000
    assert (root / path).stat().st_mtime == 1_600_000_000.0
    assert os.name == "nt" or stat.S_IMODE((root / path).stat().st_mode) == 0o640
    assert parts_of(root) == []
    assert {entry.name for entry in (root / path).parent.iterdir()} - {STATE} == {"file.bin"}


def test_f11_a_full_mount_keeps_the_old_file(store, root, crossing, monkeypatch):
    write(store, b"old")
    part = store.new_part(KEY, NAME)
    part.write(b"new")
    part.finish(None, durable=False)
    real = os.write

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFull):
        store.commit(part, NAME, replace=True)
    monkeypatch.setattr(os, "write", real)
    assert (root / NAME).read_bytes() == b"old"
    assert sorted(path.name for path in root.iterdir()) == [STATE, NAME]
    assert parts_of(root) == [part.file]


@pytest.mark.parametrize(("failures", "kept"), [(1, True), (4, True), (99, False)])
def test_f16_a_file_held_open_on_windows_is_tried_again(make, root, monkeypatch, failures, kept):
    store = make(windows=True)
    write(store, b"old")
    real, calls = os.replace, []

    def replace(*args, **where):
        calls.append(args)
        if len(calls) <= failures:
            raise PermissionError(errno.EACCES, "Access is denied")
        real(*args, **where)

    monkeypatch.setattr(os, "replace", replace)
    if kept:
        write(store, b"new", replace=True)
        assert (root / NAME).read_bytes() == b"new"
    else:
        with pytest.raises(DiskFailed, match="held open by another program"):
            write(store, b"new", replace=True)
        assert (root / NAME).read_bytes() == b"old"
        assert len(calls) == 5
        assert len(parts_of(root)) == 1


def test_f16_elsewhere_a_refusal_is_final(store, monkeypatch):
    calls = []

    def replace(*args, **_where):
        calls.append(args)
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(DiskFailed, match="Permission denied"):
        write(store)
    assert len(calls) == 1


# -- power loss -----------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """The calls that decide what survives a loss of power, in order."""
    made = []
    names = {}
    for name in ("fsync", "close", "replace", "mkdir", "open"):
        real = getattr(os, name)

        def call(*args, _name=name, _real=real, **kwargs):
            result = _real(*args, **kwargs)
            if _name == "open":
                names[result] = Path(args[0]).name
            elif _name in ("fsync", "close"):
                made.append((_name, kind_of(names.get(args[0], "?"))))
            elif _name == "mkdir":
                made.append((_name, args[0]))
            else:
                made.append((_name, args[1]))
            return result

        monkeypatch.setattr(os, name, call)
    return made


def kind_of(name):
    return "part" if name.endswith(".part") else name


@posix_only
@pytest.mark.skipif(sys.platform == "darwin", reason="another call there")
def test_f19_the_order_that_survives_a_loss_of_power(calls, root):
    root.mkdir()
    store = LocalStore(root, fsync=True)
    store.prepare()
    del calls[:]
    write(store, path=NAME, durable=True)
    assert calls == [("fsync", "part"), ("close", "part"), ("replace", NAME), ("fsync", "out")]
    del calls[:]
    write(store, path="sub/deep/x", durable=True)
    kept = [call for call in calls if call[0] != "close"]
    assert kept == [
        ("fsync", "part"), ("mkdir", "sub"), ("fsync", "out"), ("mkdir", "deep"), ("fsync", "sub"),
        ("replace", "x"), ("fsync", "deep"),
    ]  # fmt: skip
    store.close()


@posix_only
def test_f19_without_fsync_nothing_is_synced(calls, root):
    root.mkdir()
    store = LocalStore(root)
    store.prepare()
    del calls[:]
    write(store)
    assert calls == [("close", "part"), ("replace", NAME)]
    store.close()


# -- handles --------------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts in /proc")
def test_no_handle_is_left(root):
    before = open_handles()
    store = LocalStore(root)
    store.prepare()
    for number in range(100):
        write(store, path=f"{number}/{number}/x")
    assert len(open_handles()) <= len(before) + 64
    store.close()
    assert open_handles() <= before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts in /proc")
def test_a_store_that_is_dropped_lets_go(root):
    before = open_handles()
    store = LocalStore(root)
    store.prepare()
    write(store, path="a/b")
    assert open_handles() != before
    del store
    assert open_handles() <= before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts in /proc")
def test_a_closed_store_can_be_used_again(root):
    before = open_handles()
    store = LocalStore(root)
    store.close()
    write(store, path="a/b")
    assert (root / "a" / "b").read_bytes() == b"data"
    store.close()
    assert open_handles() <= before


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no advice to give")
@pytest.mark.parametrize(("offset", "drops"), [(1024**3 - 1, False), (1024**3, True), (5 * 1024**3, True)])
def test_a_very_large_part_on_disk_does_not_stay_in_memory(store, monkeypatch, offset, drops):
    part = store.new_part(KEY, NAME)
    part.write(b"x")
    part.offset = offset
    advice, order = [], []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), fsync(fd)))
    monkeypatch.setattr(os, "posix_fadvise", lambda _, *given: (order.append("drop"), advice.append(given)))
    part.sync()
    assert advice == ([(0, offset, os.POSIX_FADV_DONTNEED)] if drops else [])
    assert order == ["sync", "drop"][: 1 + drops]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no advice to give")
def test_a_system_that_takes_no_advice_spoils_nothing(store, monkeypatch):
    def refuse(*_args):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    part = store.new_part(KEY, NAME)
    part.offset = 1024**3
    part.sync()
    assert not part.is_spoiled
