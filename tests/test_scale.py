"""What is done at once for many lines comes to the same as what is done for each."""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import scale
from bulkfetch.config import FetchConfig
from bulkfetch.errors import LineError
from bulkfetch.journal import Journal, PendingRow
from bulkfetch.journal.names import Names, hash_keys, hash_paths
from bulkfetch.journal.opening import open_scratch
from bulkfetch.journal.sieve import Sieve
from bulkfetch.models import Entry, Outcome, Status, Task
from bulkfetch.naming import collision_key, layouts, plan_destination, plan_path
from bulkfetch.nesting import BareFolders
from bulkfetch.planner import Planner
from bulkfetch.store import STATE, LocalStore

ODD = (
    *("", ".", "..", "a", "a.txt", "con", "NUL.txt", "aux.d", "com1", ".git", ".bulkfetch", "bulkfe~1"),
    *("~", "-rf", "x.", "x ", "a%2Fb", "%2e%2e", "caf%C3%A9", "%FF", "a|b", "n" * 192, "n" * 300, "é"),
)
HOSTS = ("h", "con", "h:80", "h:443", "h:8080", "u@h", "[::1]", "[::1]:8080", "a.example.com", "-h")
SEGMENTS = st.one_of(
    st.sampled_from(ODD),
    st.text("aAbclnp019._~@+=,- %:;*?#&\\|é\u202e", max_size=12),
)
HASHES = st.integers(-(1 << 63), (1 << 63) - 1)
URLS = st.builds(
    lambda scheme, host, folders, end: f"{scheme}://{'/'.join([host, *folders])}{end}",
    st.sampled_from(["http", "https"]),
    st.sampled_from(HOSTS),
    st.lists(SEGMENTS, max_size=5),
    st.sampled_from(["", "/", "?a=b/c.txt", "#x/y", "?key=s/e"]),
)


def named(plan, *arguments):
    try:
        return plan(*arguments)
    except LineError as exc:
        return type(exc), str(exc)


@pytest.mark.parametrize("layout", ["flat", "tree"])
@given(url=URLS)
def test_a_plain_url_gets_the_name_a_closer_look_gives(layout, url):
    entry = Entry((url,))
    assert named(plan_path, entry, layout) == named(layouts._plan_slowly, entry, layout, 0)


@pytest.mark.parametrize("layout", ["flat", "tree"])
@given(url=URLS)
def test_a_destination_comes_with_its_collision_key(layout, url):
    destination = named(plan_destination, Entry((url,)), layout, 0)
    path = named(plan_path, Entry((url,)), layout)
    assert destination == (path if isinstance(path, tuple) else (path, collision_key(path)))


@pytest.mark.parametrize("layout", ["flat", "tree"])
def test_a_folder_too_long_to_be_remembered_is_refused_as_ever(layout):
    for length in (950, 1000, 1001, 3900, 3990, 4100):
        entry = Entry((f"https://h/{'%FF/' * (length // 4)}{'n' * 190}.txt",))
        assert named(plan_path, entry, layout) == named(layouts._plan_slowly, entry, layout, 0)


@given(st.lists(st.binary(min_size=16, max_size=16)))
def test_keys_are_known_by_their_first_64_bits(keys):
    assert hash_keys(keys) == [int.from_bytes(key[:8], "big", signed=True) for key in keys]


@given(st.lists(st.text()))
def test_destinations_are_known_by_64_bits_of_a_digest(paths):
    digests = [blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).digest() for path in paths]
    assert hash_paths(paths) == [int.from_bytes(digest, "big", signed=True) for digest in digests]


@settings(max_examples=30)  # each makes 16 MiB
@given(st.sets(HASHES), st.sets(HASHES))
def test_a_sieve_lets_pass_what_was_added(added, others):
    sieve = Sieve()
    assert sieve.passing(added | others) == []
    sieve.add(added)
    bits = {number % (1 << 27) for number in added}
    wanted = {number for number in added | others if number % (1 << 27) in bits}
    assert set(sieve.passing(added | others)) == wanted


@settings(max_examples=30)  # each makes a file
@given(st.lists(st.lists(st.integers(0, 40), unique=True), max_size=12))
def test_rows_are_found_by_key_and_destination_wherever_their_names_are(batches):
    numbers = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(open_scratch(Path(folder))) as database:
        names = Names(database, waiting=5)
        for batch in batches:
            known = {key_of(n): numbers[n] for n in batch if n in numbers}
            assert names.find([key_of(n) for n in batch]) == known
            assert sorted(names.find_paths([f"{n}.txt" for n in batch])) == sorted(known.values())
            added = names.find_or_add([key_of(n) for n in batch])
            for n in batch:
                numbers.setdefault(n, len(numbers) + 1)
                sql = "INSERT OR IGNORE INTO entries (id, key, state, run) VALUES (?, ?, '', 1)"
                database.write(sql, (added[key_of(n)], key_of(n)))
            names.claim({f"{n}.txt": added[key_of(n)] for n in batch})
            assert added == {key_of(n): numbers[n] for n in batch}
            names.write()


def key_of(number):
    return blake2b(str(number).encode(), digest_size=16).digest()


NAMES = st.sampled_from(["a", "A", "b.txt", "b.TXT", "c%2Fd", "f", "g"])
ENTRIES = st.builds(
    lambda host, folder, name, path: Entry((f"http://{host}/{folder}{name}",), path=path),
    st.sampled_from("hk"),
    st.sampled_from(["", "x/", "X/", "y/z/"]),
    NAMES,
    st.sampled_from([None, None, None, "a", "h/x/a", "../a"]),
)


def plan(planner, journal, entries):
    """Plan a batch and record what needs no fetching, as a run does."""
    batch = planner.plan(entries)
    journal.settle([each for each in batch if isinstance(each, Outcome) and each.reason != "listed before"])
    journal.commit()
    return batch


def planned(entries, sizes, layout, found):
    """Plan `entries` in batches of these sizes, with these files there; return what is to be seen of it."""
    with tempfile.TemporaryDirectory() as folder:
        for name in found:
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).touch()
        store = LocalStore(folder)
        store.prepare()
        with contextlib.closing(store), contextlib.closing(Journal.open_scratch(store.state_dir)) as journal:
            journal.begin_run()
            config = FetchConfig(dest=folder, layout=layout, existing="overwrite")
            planner = Planner(config, journal, store)
            rows = iter(entries)
            batches = [plan(planner, journal, list(itertools.islice(rows, size))) for size in sizes]
            return [
                (each.key, each.path, each.renamed, each.replace)
                if isinstance(each, Task)
                else (each.key, each.status, each.reason, each.failure)
                for batch in batches
                for each in batch
            ]


@settings(max_examples=20)  # each makes files
@given(st.lists(ENTRIES, max_size=12), st.sampled_from(["flat", "tree"]), st.sets(NAMES), st.booleans())
def test_a_plan_is_the_same_however_it_is_cut_into_batches(entries, layout, names, is_deep):
    found = [f"h/x/{name}" if is_deep else name for name in names]
    whole = planned(entries, [len(entries)], layout, found)
    assert whole == planned(entries, [1] * len(entries), layout, found)
    assert whole == planned(entries, [3] * len(entries), layout, found)


def test_nothing_stands_in_a_bare_folder(tmp_path):
    dest = tmp_path / "dest"
    for folder in ("empty", "full", "deep/er"):
        (dest / folder).mkdir(parents=True)
    (dest / "full" / "A.txt").write_text("")
    (dest / "file").write_text("")
    (dest / "full" / STATE).mkdir()
    folders = ["", "empty", "full", "deep", "deep/er", "gone", "gone/er", "file"]
    if sys.platform != "win32":
        (dest / "link").symlink_to("full")
        (dest / "dangling").symlink_to("gone")
        folders += ["link", "dangling"]
    store = LocalStore(dest)
    paths = [f"{folder}/{name}".lstrip("/") for folder in folders for name in ("a.txt", "A.txt")]
    bare = {folder for folder in folders if store.is_bare(folder)}
    assert {"empty", "deep/er", "gone", "gone/er"} <= bare
    assert bare.isdisjoint({"", "full", "deep", "link"})
    assert [path for path in paths if path.rpartition("/")[0] in bare and store.find(path)] == []


def test_a_destination_with_nothing_but_our_state_is_bare(tmp_path):
    store = LocalStore(tmp_path)
    store.prepare()
    assert store.is_bare("")
    (tmp_path / "other").write_text("")
    assert not store.is_bare("")
    store.close()


def test_a_folder_is_looked_at_once_and_for_several_files_only():
    looked = []

    def is_bare(folder):
        looked.append(folder)
        return folder != "full"

    folders = BareFolders(is_bare, most=3)
    folders.look(["a", "b", "d/a", "full/a", "full/b"])
    folders.look(["c", "d", "d/b"])
    assert looked == ["", "full"]
    assert ("" in folders, "full" in folders, "d" in folders) == (True, False, False)
    folders.look([f"{name}/{i}" for name in "xyz" for i in range(2)])
    assert "" not in folders  # forgotten: then each file is looked for
    assert "z" in folders


def test_the_benchmark_of_lines_measures_both_kinds_of_run(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["scale", "300", "--layout", "tree", "--scratch", str(tmp_path)])
    scale.main()
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(",")[0] for row in rows] == ["plan", "again"]
    assert all(row.endswith("MB") for row in rows), rows  # no problem told
    assert list(tmp_path.iterdir()) == []


def test_a_row_holds_bytes_and_nulls_though_neither_is_bound(tmp_path):
    entry, key = Entry(("https://example.org/a",)), b"\x01" * 16
    with contextlib.closing(Journal.open(tmp_path)) as journal:
        journal.begin_run()
        journal.add_pending([PendingRow(key, "a", "a", entry)])
        journal.settle([Outcome(entry, Status.FETCHED, "a", entry.urls[0], size=1, attempts=1, key=key)])
        journal.commit()
        columns = "key", "etag", "last_modified", "digest", "message", "entry", "final_url", "fresh_until"
        kinds = f"SELECT {', '.join(f'typeof({name})' for name in columns)} FROM entries"
        assert journal._database.fetch(kinds) == [("blob", *["null"] * 7)]
        assert journal.find([key])[key].etag is None
