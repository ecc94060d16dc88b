"""A file and a folder of one name: the later line is refused, in every batch and run."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.config import FetchConfig
from bulkfetch.journal import Journal
from bulkfetch.models import Entry, Status
from bulkfetch.naming import collision_key
from bulkfetch.nesting import NeededFolders, folders_above
from bulkfetch.planner import Planner
from bulkfetch.store import LocalStore

PATHS = st.lists(st.sampled_from(["a", "A", "b", "c"]), min_size=1, max_size=3).map("/".join)


def plan_all(dest, batches, *, layout="flat"):
    """Plan entries in batches; returns the paths that may be fetched, and what is said of the others."""
    store = LocalStore(dest)
    store.prepare()
    with contextlib.closing(store), contextlib.closing(Journal.open(store.state_dir)) as journal:
        journal.begin_run()
        planner = Planner(FetchConfig(dest=dest, layout=layout), journal, store)
        planned = [one for batch in batches for one in planner.plan(batch)]
    failed = [one for one in planned if getattr(one, "status", None) is Status.FAILED]
    return [one.path for one in planned if one not in failed], [one.failure.message for one in failed]


def entries(*paths):
    return [Entry((f"http://h.example/{number}-{path}",), path) for number, path in enumerate(paths)]


@pytest.mark.parametrize("size", [1, 2, 9], ids=["batches", "two batches", "one batch"])
@pytest.mark.parametrize(
    ("paths", "kept", "told"),
    [
        (["same", "same/below"], ["same"], "an earlier line has a file where this needs the folder same"),
        (["same/below", "same"], ["same/below"], "same: earlier lines need a folder of this name"),
        (["x", "a/b/c/d", "A/B"], ["x", "a/b/c/d"], "A/B: earlier lines need a folder"),
        (["x", "A", "a/b/c"], ["x", "A"], "needs the folder a"),
    ],
)
def test_of_a_file_and_a_folder_the_first_line_was_the_one_to_fail(tmp_path, size, paths, kept, told):
    listed = entries(*paths)
    batches = [listed[start : start + size] for start in range(0, len(listed), size)]
    for _ in range(2):  # the next run refuses the same
        planned, messages = plan_all(tmp_path, batches)
        assert planned == kept
        assert len(messages) == 1
        assert told in messages[0]


def test_a_folder_that_an_earlier_run_wanted_as_a_file_in_vain_is_given(tmp_path):
    plan_all(tmp_path, [entries("same")])
    assert plan_all(tmp_path, [entries("other", "same/below")]) == (["other", "same/below"], [])


def test_a_name_from_a_url_gives_way_to_a_folder(tmp_path):
    urls = ["http://h.example/a/b", "http://h.example/a"]
    planned, messages = plan_all(tmp_path, [[Entry((url,)) for url in urls]], layout="tree")
    assert messages == []
    assert planned[0] == "h.example/a/b"
    assert planned[1].startswith("h.example/a~")


@given(st.lists(PATHS, max_size=12), st.integers(1, 5))
def test_what_is_kept_can_stand_side_by_side_and_the_first_always_is(tmp_path_factory, paths, size):
    listed = entries(*paths)
    batches = [listed[start : start + size] for start in range(0, len(listed), size)]
    planned, messages = plan_all(tmp_path_factory.mktemp("dest"), batches)
    keys = {collision_key(path) for path in planned}
    assert len(keys) == len(planned) == len(paths) - len(messages)
    assert not keys & {folder for key in keys for folder in folders_above(key)}
    assert planned[:1] == paths[:1]


def test_the_folders_in_memory_are_bounded():
    folders = NeededFolders(most=3)
    for number in range(10):
        folders.need(f"{number}/a/b")
    assert sum(f"{number}" in folders or f"{number}/a" in folders for number in range(10)) == 2


def test_a_run_fetches_the_first_of_both(server, tmp_path, run_bulkfetch):
    server.add("/*", body=b"x", head_delay=0.02)
    rows = [{"url": server.url(f"/{name}"), "path": name} for name in ("same", "same/below")]
    listed = "".join(json.dumps(row) + "\n" for row in rows)
    done = run_bulkfetch("get", "-", "-f", "jsonl", "-d", tmp_path, stdin=listed)
    assert done.returncode == 1
    assert (tmp_path / "same").read_bytes() == b"x"
