"""The journal's facts: what planning finds again, what outcomes leave, what is believed after a crash."""

from __future__ import annotations

import contextlib
import os
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkfetch.display.closing import KINDS
from bulkfetch.errors import BulkfetchError, DiskFailed, UsageError
from bulkfetch.journal import (
    FILE,
    Interruption,
    Journal,
    PathOwner,
    PendingRow,
    boot_id,
    copy_journal,
    schema,
)
from bulkfetch.journal.database import Database
from bulkfetch.journal.names import Names
from bulkfetch.journal.records import transient_kinds
from bulkfetch.manifest import as_entries
from bulkfetch.models import Entry, Failure, Outcome, PartInfo, Status
from bulkfetch.naming import collision_key, identity

ETAG, MODIFIED, MTIME = '"v1"', "Tue, 15 Nov 1994 12:45:26 GMT", 1_700_000_000_123_456_789
DIGEST = "sha256:" + "ab" * 32
REST = (ETAG, 1000, "0a1b2c3d")  # validator, total, token
PART = PartInfo(900, *REST)


@pytest.fixture(autouse=True)
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the syncs of the file system instead of waiting for those of the whole machine."""
    calls: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"), raising=False)
    return calls


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dest" / ".bulkfetch"


@pytest.fixture
def boot(folder: Path) -> Iterator[Callable[..., Journal]]:
    """Return a function that opens the journal under a boot, closing the one open before."""
    with contextlib.ExitStack() as opened:

        def reopen(name: str = "A", now: float = 1000.0) -> Journal:
            opened.close()
            return opened.enter_context(
                contextlib.closing(Journal.open(folder, now=lambda: now, boot=lambda: name))
            )

        yield reopen


@pytest.fixture
def journal(boot: Callable[..., Journal]) -> Journal:
    opened = boot()
    opened.begin_run()
    return opened


def make_entry(number: int = 0, **changes: Any) -> Entry:
    facts = {"urls": (f"https://example.org/{number}.csv",), "source": "list.txt", "line": number + 1}
    return Entry(**{**facts, **changes})


def path_of(number: int) -> str:
    return f"{number}.csv"


def key_of(number: int) -> bytes:
    return identity(f"https://example.org/{number}.csv", path_of(number))


def pending(number: int = 0, **changes: Any) -> PendingRow:
    path = changes.pop("path", path_of(number))
    return PendingRow(key_of(number), path, collision_key(path), make_entry(number, **changes))


def fetched(number: int = 0, **changes: Any) -> Outcome:
    entry = changes.pop("entry", make_entry(number))
    facts = {
        "path": path_of(number), "url": entry.urls[0], "final_url": entry.urls[0], "size": 20, "received": 20,
        "digest": DIGEST, "etag": ETAG, "last_modified": MODIFIED, "mtime_ns": MTIME, "attempts": 1,
        "seconds": 0.5, "key": key_of(number),
    }  # fmt: skip
    return Outcome(entry, changes.pop("status", Status.FETCHED), **{**facts, **changes})


def failed(number: int = 0, kind: str = "server", **changes: Any) -> Outcome:
    entry = changes.pop("entry", make_entry(number))
    failure = Failure(kind, "the server had an error of its own", 500)
    facts = {"path": path_of(number), "url": entry.urls[0], "attempts": 6, "key": key_of(number)}
    return Outcome(entry, Status.FAILED, **{**facts, "failure": failure, **changes})


def edit(folder: Path, sql: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        connection.execute(sql, values)
        connection.commit()


# -- planning ----------------------------------------------------------------------------------------


def test_a_new_journal_knows_nothing(journal):
    assert journal.find([key_of(0)]) == {}
    assert journal.find_paths([collision_key("0.csv")]) == {}
    assert journal.find_parts([key_of(0)]) == {}
    assert journal.all_tokens() == set()
    assert journal.notices == []
    assert journal.interrupted is None


def test_pending_entries_are_found_by_key_and_by_path(journal):
    journal.add_pending([pending(0), pending(1, path="Sub/One.CSV")])
    row = journal.find([key_of(1), key_of(7)])[key_of(1)]
    assert (row.path, row.state, row.run, row.size, row.digest) == ("Sub/One.CSV", "pending", 1, None, "")
    owner = PathOwner(key_of(1), 1, "Sub/One.CSV", Status.PENDING, None, 0, "https://example.org/1.csv")
    assert journal.find_paths(["sub/one.csv", "sub/two.csv"]) == {"sub/one.csv": owner}


def test_facts_survive_closing(boot, journal):
    journal.add_pending([pending()])
    journal.settle([fetched()])
    journal.commit()
    row = boot().find([key_of(0)])[key_of(0)]
    assert row == (key_of(0), "0.csv", "fetched", 20, MTIME, DIGEST, 1, ETAG, MODIFIED, False, True)


def test_a_journal_from_before_parts_had_gaps_is_gone_on_with(boot, folder, journal):
    journal.add_pending([pending()])
    journal.settle([fetched()])
    end_clean(journal)
    edit(folder, "ALTER TABLE parts DROP COLUMN missing")
    again = boot()
    assert again.notices == []
    assert again.find([key_of(0)])[key_of(0)].state == "fetched"
    assert again.find_parts([key_of(0)]) == {}


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 700])
def test_batches_of_any_size_are_whole(journal, count):
    numbers = range(count)
    keys = [key_of(n) for n in numbers]
    journal.add_pending([pending(n) for n in numbers])
    journal.settle([fetched(n, size=n) if n % 2 else failed(n) for n in numbers])
    found = journal.find(keys)
    assert {key: row.size for key, row in found.items()} == {key_of(n): n if n % 2 else None for n in numbers}
    assert journal.counts() == {
        state: count for state, count in (("fetched", count // 2), ("failed", (count + 1) // 2)) if count
    }
    assert len(journal.find_paths([path_of(n) for n in numbers])) == count


def test_batches_fit_an_sqlite_with_few_variables(tmp_path):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
    connection.execute("CREATE TABLE parts (key BLOB PRIMARY KEY, token)")
    many = schema.Many("INSERT OR REPLACE INTO parts (key, token) VALUES ", "(?, ?)", "")
    with contextlib.closing(Database(connection, tmp_path / FILE)) as database:
        database.write_many(many, [(bytes([n % 256, n // 256]), n) for n in range(1500)])
        assert database.fetch("SELECT count(*), sum(token) FROM parts") == [(1500, sum(range(1500)))]


def test_nothing_in_a_batch_is_nothing_written(journal):
    journal.add_pending([])
    journal.touch_run([])
    journal.settle([])
    assert journal.find([]) == {}
    assert journal.find_paths([]) == {}
    assert journal.counts() == {}


def test_touched_entries_belong_to_this_run(boot, journal):
    journal.add_pending([pending(0), pending(1)])
    journal.settle([fetched(0), fetched(1)])
    again = boot()
    again.begin_run()
    again.touch_run([key_of(0)])
    found = again.find([key_of(0), key_of(1)])
    assert [found[key_of(n)].run for n in (0, 1)] == [2, 1]
    assert found[key_of(0)].state is Status.FETCHED


def test_an_entry_planned_again_keeps_the_facts_of_its_file(boot, journal):
    journal.settle([fetched()])
    again = boot()
    again.begin_run()
    again.add_pending([pending()])
    row = again.find([key_of(0)])[key_of(0)]
    assert (row.state, row.run, row.size, row.digest, row.mtime_ns) == ("pending", 2, 20, DIGEST, MTIME)


def test_a_failure_leaves_the_facts_of_the_file_that_is_there(journal):
    journal.add_pending([pending()])
    journal.settle([fetched()])
    journal.settle([failed()])
    row = journal.find([key_of(0)])[key_of(0)]
    assert (row.state, row.size, row.digest, row.etag) == ("failed", 20, DIGEST, ETAG)


def test_success_ends_a_failure(journal):
    journal.settle([failed()])
    journal.settle([fetched()])
    assert journal.failure_counts() == {}
    assert list(journal.failures()) == []


def test_an_outcome_needs_no_plan_before_it_and_none_without_a_key_is_kept(journal):
    journal.settle([fetched(0), failed(1, key=b"")])
    assert journal.counts() == {"fetched": 1}


def test_a_released_destination_goes_to_the_next_owner(journal):
    journal.add_pending([pending(0, path="a.csv")])
    journal.release_path(key_of(0))
    assert journal.find_paths(["a.csv"]) == {}
    journal.add_pending([pending(1, path="A.csv")])
    assert journal.find_paths(["a.csv"])["a.csv"].key == key_of(1)
    assert journal.find([key_of(0)])[key_of(0)].path == "a.csv"


# -- names -------------------------------------------------------------------------------------------


def test_names_are_found_whether_they_wait_or_are_written(boot, journal):
    count = 40_000  # more than wait in memory
    for start in range(0, count, 1000):
        journal.settle([fetched(n, size=n) for n in range(start, start + 1000)])
        journal.commit()
    some = range(0, count, 3331)
    for reopen in (lambda: journal, boot):
        known = reopen()
        assert {row.size for row in known.find([key_of(n) for n in some]).values()} == set(some)
        assert known.find([key_of(count)]) == {}
    again = boot()
    again.begin_run()
    again.add_pending([pending(5, path="moved.csv"), pending(count)])
    again.touch_run([key_of(7)])
    again.commit()
    last = boot()
    assert last.find_paths(["moved.csv"])["moved.csv"].key == key_of(5)
    assert last.find_paths([f"{count}.csv"])[f"{count}.csv"].key == key_of(count)
    assert {key: row.run for key, row in last.find([key_of(7), key_of(8)]).items()} == {
        key_of(7): 2,
        key_of(8): 1,
    }
    assert sum(last.counts().values()) == count + 1


PLAN = st.tuples(st.just("plan"), st.integers(0, 7), st.integers(0, 4))
OPERATIONS = st.lists(st.one_of(PLAN, st.just(("write",)), st.just(("reopen",))), max_size=40)


def test_a_row_with_the_number_of_one_that_is_gone_is_found_after_a_crash(tmp_path):
    with contextlib.closing(Journal.open(tmp_path)) as journal:
        journal.begin_run()
        journal.add_pending([pending(0), pending(1)])
        journal.finish_run(clean=True, summary={})
        journal.take_over(key_of(0), key_of(1))
    for _ in range(2):
        with contextlib.closing(Journal.open(tmp_path)) as journal:
            journal.add_pending([pending(2)])
    with contextlib.closing(Journal.open(tmp_path)) as journal:
        assert set(journal.find([key_of(n) for n in range(3)])) == {key_of(0), key_of(2)}
        assert sum(journal.counts().values()) == 2


@settings(max_examples=60)
@given(OPERATIONS)
def test_names_agree_with_a_plain_dict(operations):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in schema.TABLES:
        connection.execute(statement)
    rows: dict[bytes, int] = {}
    owners: dict[str, bytes] = {}
    with contextlib.closing(Database(connection, Path(FILE))) as database:
        names = Names(database, waiting=3)
        for operation, *numbers in operations:
            if operation == "plan":
                key, path = key_of(numbers[0]), path_of(numbers[1])
                database.write("UPDATE entries SET owns = 0 WHERE path = ?", (path,))
                row = names.find_or_add([key, key])[key]
                assert rows.setdefault(key, row) == row
                database.write_many(schema.ADD_PENDING, [(row, key, 1, path, "", "", 1, 1, "pending")])
                names.claim({path: row})
                owners = {other: owner for other, owner in owners.items() if owner != key} | {path: key}
            elif operation == "write":
                names.write()
            else:
                names = Names(database, waiting=3)
            assert names.find([key_of(n) for n in range(8)]) == rows
            for path in map(path_of, range(5)):
                found = database.fetch_many(schema.FIND_OWNERS, names.find_paths([path]))
                assert [v[0] for v in found if v[1] == path] == ([owners[path]] if path in owners else [])


# -- parts -------------------------------------------------------------------------------------------


def test_parts_are_found_until_they_are_dropped(journal):
    journal.save_part(key_of(0), PART, url="https://me:hunter2@example.org/")
    journal.save_part(key_of(1), PartInfo(5, None, None, "ff"))
    assert journal.find_parts([key_of(0), key_of(1), key_of(2)]) == {
        key_of(0): PART,
        key_of(1): PartInfo(5, None, None, "ff"),
    }
    assert journal.all_tokens() == {PART.token, "ff"}
    journal.drop_part(key_of(0))
    journal.settle([fetched(1)])
    assert journal.all_tokens() == set()


GAPPED = PartInfo(100, '"v1"', 1000, "3f9a", ((100, 200), (300, 1000)))


def test_the_gaps_of_a_part_are_kept(boot, journal):
    journal.save_part(key_of(0), GAPPED)
    journal.save_part(key_of(1), PartInfo(0, '"v"', 9, "ab", ((0, 3), (5, 9))))
    journal.commit()
    assert journal.find_parts([key_of(0)]) == {key_of(0): GAPPED}
    again = boot()
    assert again.find_parts([key_of(0)]) == {key_of(0): GAPPED}
    assert again.all_tokens() == {"3f9a", "ab"}


def test_gaps_from_before_a_boot_do_not_count(boot):
    first = boot("A")
    first.save_part(key_of(0), GAPPED, durable=50)
    first.commit()
    assert boot("B").find_parts([key_of(0)]) == {key_of(0): PartInfo(50, '"v1"', 1000, "3f9a")}


@pytest.mark.parametrize(
    "text",
    ["", "x", "100-", "100-199,", "100-199,150-300", "300-999,100-199", "100-199,200-300", "0-199,300-999",
     "100-1000", "100-99", "-1-5", "100-" + "9" * 30, "100-199;DROP"],
)  # fmt: skip
def test_gaps_that_cannot_be_ours_leave_what_comes_before_them(boot, folder, journal, text):
    journal.save_part(key_of(0), GAPPED)
    journal.close()
    edit(folder, f"UPDATE parts SET missing = '{text}'")
    assert boot().find_parts([key_of(0)]) == {key_of(0): PartInfo(100, '"v1"', 1000, "3f9a")}


def test_a_failed_entry_keeps_its_part(journal):
    journal.save_part(key_of(0), PART)
    journal.settle([failed(0)])
    assert journal.find_parts([key_of(0)]) == {key_of(0): PART}


@pytest.mark.parametrize(
    ("before", "after", "offset"),
    [("A", "A", 900), ("A", "B", 400), ("", "", 400), ("A", "", 400)],
    ids=["same boot", "rebooted", "boots cannot be told", "no longer told"],
)
def test_bytes_from_before_a_boot_count_as_far_as_they_were_synced(boot, before, after, offset):
    first = boot(before)
    first.save_part(key_of(0), PART, durable=400)
    first.commit()
    assert boot(after).find_parts([key_of(0)]) == {key_of(0): PartInfo(offset, *REST)}


# -- runs --------------------------------------------------------------------------------------------


def test_a_run_is_told_with_its_summary(boot, journal):
    assert journal.last_run()["finished"] is None
    journal.finish_run(clean=True, summary={"fetched": 3})
    told = boot().last_run()
    assert (told["id"], told["started"], told["finished"], told["clean"]) == (1, 1000.0, 1000.0, True)
    assert told["summary"] == {"fetched": 3}


def test_only_a_clean_end_syncs_the_file_system(journal, syncs):
    journal.finish_run(clean=False, summary={})
    assert syncs == []
    journal.begin_run()
    journal.finish_run(clean=True, summary={})
    assert syncs == ["sync"]


def end_clean(journal: Journal) -> None:
    journal.finish_run(clean=True, summary={})


def end_early(journal: Journal) -> None:
    journal.finish_run(clean=False, summary={})


def end_killed(journal: Journal) -> None:
    journal.commit()


@pytest.mark.parametrize(
    ("boots", "end", "durable", "needs_check"),
    [
        ("AA", end_killed, False, False),
        ("AB", end_killed, False, True),
        ("AB", end_early, False, True),
        ("AB", end_clean, False, False),
        ("AB", end_killed, True, False),
        (("", ""), end_killed, False, True),
        (("", ""), end_clean, False, False),
    ],
    ids=["same boot", "killed", "early", "clean", "fsync", "boots unknown", "boots unknown, clean"],
)
def test_files_are_doubted_when_the_machine_went_down(boot, boots, end, durable, needs_check):
    first = boot(boots[0])
    first.begin_run(durable=durable)
    first.settle([fetched()])
    end(first)
    second = boot(boots[1])
    second.begin_run()
    assert second.find([key_of(0)])[key_of(0)].needs_check is needs_check


def test_a_clean_end_vouches_for_earlier_runs_of_the_same_boot(boot):
    first = boot("A")
    first.begin_run()
    first.settle([fetched()])
    first.commit()
    second = boot("A")
    second.begin_run()
    end_clean(second)
    assert not boot("B").find([key_of(0)])[key_of(0)].needs_check


def test_seeing_a_file_again_in_a_crashed_run_does_not_raise_doubts(boot):
    first = boot("A")
    first.begin_run()
    first.settle([fetched()])
    end_clean(first)
    second = boot("A")
    second.begin_run()
    second.touch_run([key_of(0)])
    end_killed(second)
    assert not boot("B").find([key_of(0)])[key_of(0)].needs_check


@pytest.mark.parametrize(("later", "needs_check"), [(1400.0, False), (1200.0, True)])
def test_without_a_sync_call_time_vouches(boot, monkeypatch, later, needs_check):
    monkeypatch.delattr(os, "sync")
    first = boot("A")
    first.begin_run()
    first.settle([fetched()])
    end_clean(first)
    boot("A", later).begin_run()
    assert boot("B").find([key_of(0)])[key_of(0)].needs_check is needs_check


def test_interrupted_tells_of_runs_since_the_last_clean_one(boot):
    for name, now, end in [("A", 10.0, end_clean), ("A", 20.0, end_early), ("A", 30.0, end_killed)]:
        run = boot(name, now)
        run.begin_run()
        end(run)
    assert boot("A").interrupted == Interruption(20.0, True, float("inf"))
    last = boot("B", 50.0)
    last.begin_run()
    assert last.interrupted == Interruption(20.0, False, float("inf"))
    end_clean(last)
    assert boot("B").interrupted is None


def test_a_run_that_ended_early_bounds_the_doubt(boot):
    run = boot("A", 20.0)
    run.begin_run()
    end_early(run)
    assert boot("A").interrupted == Interruption(20.0, True, 20.0)


def test_old_runs_are_forgotten(boot, folder, journal):
    end_clean(journal)
    edit(
        folder,
        "INSERT INTO runs (id, started, boot, clean, durable, version) VALUES (2000, 5.0, 'A', 1, 1, '')",
    )
    boot().begin_run()
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        assert connection.execute("SELECT id FROM runs").fetchall() == [(2000,), (2001,)]


def test_boot_id_stays_the_same_while_the_machine_is_up():
    assert boot_id() == boot_id()
    if Path("/proc/sys/kernel/random/boot_id").exists():
        assert len(boot_id()) == 36


# -- reading -----------------------------------------------------------------------------------------


def test_counts_by_state_and_kind(journal):
    journal.add_pending([pending(0)])
    journal.settle([fetched(1), failed(2), failed(3), failed(4, "timeout")])
    journal.settle([fetched(5, status=Status.SKIPPED, reason="a file is already there")])
    assert journal.counts() == {"pending": 1, "fetched": 1, "failed": 3, "skipped": 1}
    assert journal.failure_counts() == {"server": 2, "timeout": 1}


def test_finished_entries_come_in_order_and_all(journal):
    journal.add_pending([pending(n) for n in range(1700)])
    journal.settle([fetched(n) if n % 3 else failed(n) for n in range(1700)])
    journal.settle([fetched(0, status=Status.UNCHANGED)])
    assert [row.path for row in journal.finished()] == [path_of(n) for n in range(1700) if n % 3 or n == 0]


def test_a_failure_reads_back_as_its_entry(journal):
    entry = make_entry(
        urls=("https://example.org/0.csv", "https://mirror.example/0.csv"), path="sub/0.csv", size=7,
        digests=(("sha256", "ab" * 32), ("md5", "cd" * 16)), extra={"label": "é\n", "rank": 3, "ok": None},
    )  # fmt: skip
    journal.settle([failed(entry=entry, path="sub/0.csv")])
    (record,) = journal.failures()
    assert record["failure"] == {"kind": "server", "status": 500, "message": failed().failure.message}
    assert record["attempts"] == 6
    assert list(record)[:3] == ["label", "rank", "ok"]
    (again,) = as_entries([record], source="list.txt")
    assert again == entry


@pytest.mark.parametrize(
    ("filters", "kinds"),
    [
        ({}, ["server", "tls", "host-down"]),
        ({"kinds": ["tls", "dns"]}, ["tls"]),
        ({"transient": True}, ["server", "host-down"]),
        ({"transient": True, "kinds": ["tls", "server"]}, ["server"]),
    ],
)
def test_failures_can_be_chosen_by_kind(journal, filters, kinds):
    journal.settle([failed(n, kind) for n, kind in enumerate(["server", "tls", "host-down"])])
    assert [record["failure"]["kind"] for record in journal.failures(**filters)] == kinds


def test_transient_kinds_are_those_the_summary_promises_more_of():
    assert transient_kinds() == {kind for kind, (_, again) in KINDS.items() if again}


def test_secrets_do_not_reach_the_file(journal, folder):
    entry = make_entry(
        urls=("https://me:hunter2@example.org/0?token=hunter2", "https://mirror.example/?sig=hunter2"),
        headers=(("Authorization", "hunter2"),),
        extra={"see": ["https://x.example/?token=hunter2\\"], "header.X-Key": "hunter2", "n": 1},
    )
    shown = "https://example.org/0?token=***"
    failure = Failure("server", "asked https://example.org/?sig=hunter2 in vain")
    journal.add_pending([PendingRow(key_of(0), "0.csv", "0.csv", entry)])
    journal.save_part(key_of(0), PART, url=entry.urls[0])
    journal.settle([failed(entry=entry, url=shown, failure=failure)])
    journal.commit()
    (record,) = journal.failures()
    assert record["url"] == shown
    assert record["urls"] == ["https://mirror.example/?sig=***"]
    assert record["see"] == ["https://x.example/?token=***"]
    assert record["redacted"] is True
    assert "header.X-Key" not in record
    assert [file.name for file in folder.iterdir() if b"hunter2" in file.read_bytes()] == []


def test_columns_json_cannot_hold_become_text(journal):
    loop: list[Any] = []
    loop.append(loop)
    journal.settle([failed(0, entry=make_entry(extra={"at": Path("x"), 5: 1, "far": float("inf")}))])
    journal.settle([failed(1, entry=make_entry(1, size=4, extra={"loop": loop}))])
    first, second = journal.failures()
    assert (first["at"], first["5"], first["far"]) == ("x", 1, float("inf"))
    assert (second["size"], "loop" in second) == (4, False)


ODD = st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF, categories=None), max_size=40)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(text=ODD, size=st.integers(0, 2**70), seconds=st.floats(), extra=st.dictionaries(ODD, ODD, max_size=3))
def test_any_outcome_can_be_stored_and_read_back(journal, text, size, seconds, extra):
    entry = make_entry(urls=(f"https://example.org/{text}",), source=text, extra=extra)
    failure = Failure("server", text, 500)
    outcome = failed(
        entry=entry, url=entry.urls[0], failure=failure, final_url=text, received=size, seconds=seconds
    )
    journal.add_pending([PendingRow(key_of(0), "0.csv", "0.csv", entry)])
    journal.settle(
        [outcome, fetched(1, size=size, etag=text, last_modified=text, digest=text, seconds=seconds)]
    )
    (record,) = journal.failures()
    assert record["url"].startswith("https://example.org/")
    if size < 2**63:
        assert journal.find([key_of(1)])[key_of(1)].size == size
    (row,) = journal.finished()
    assert row.etag in (text, text.encode("utf-8", "backslashreplace").decode(), None)  # lone surrogates
    assert row.digest == ""
    journal.commit()


def test_a_copy_can_be_planned_against(journal, folder, tmp_path):
    journal.settle([fetched()])
    journal.commit()
    copy_journal(folder, tmp_path)
    copy_journal(tmp_path / "nothing", tmp_path / "nowhere")
    with contextlib.closing(Journal.open(tmp_path)) as copy:
        assert copy.find([key_of(0)])[key_of(0)].size == 20
        copy.settle([failed()])
    assert journal.counts() == {"fetched": 1}


def test_values_pickle(journal):
    journal.add_pending([pending()])
    row, owner = journal.find([key_of(0)])[key_of(0)], journal.find_paths(["0.csv"])["0.csv"]
    for value in (row, owner, pending(), Interruption(1.0, True, 2.0)):
        assert pickle.loads(pickle.dumps(value)) == value


# -- an edited journal (fault K07) -------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "path = '../0.csv'",
        "path = '/etc/passwd'",
        "path = '.bulkfetch/lock'",
        "path = 'a/../../b'",
        "path = CAST(x'2e2e2ff1' AS TEXT)",
        "path = NULL",
        "path = ''",
        "path = x'00'",
        "state = 'done'",
        "state = x'00'",
        "run = 'x'",
        "key = x'00'",
        "key = 'text'",
    ],
)
def test_a_row_that_cannot_be_ours_is_not_there(boot, folder, journal, change):
    journal.add_pending([pending()])
    journal.settle([fetched()])
    journal.close()
    edit(folder, f"UPDATE entries SET {change}")
    edited = boot()
    assert edited.find([key_of(0), b"\0"]) == {}
    assert edited.find_paths(["0.csv"]) == {}
    assert list(edited.finished()) == []
    edited.begin_run()
    edited.add_pending([pending()])
    assert edited.find([key_of(0)])[key_of(0)].state is Status.PENDING


@pytest.mark.parametrize(
    ("change", "fact", "value"),
    [
        ("size = -1", "size", None),
        ("size = 'x'", "size", None),
        ("size = 1.5", "size", None),
        ("mtime_ns = 'x'", "mtime_ns", 0),
        ("digest = 'sha256:../..'", "digest", ""),
        ("digest = 'crc:00000000'", "digest", ""),
        ("digest = 5", "digest", ""),
        ("etag = 'a' || char(13, 10) || 'Host: evil'", "etag", None),
        ("etag = x'0d0a'", "etag", None),
        ("last_modified = ''", "last_modified", None),
        ("last_modified = CAST(x'ff' AS TEXT)", "last_modified", None),
        ("written = 'x'", "needs_check", False),
    ],
)
def test_a_fact_that_cannot_be_ours_is_left_out(boot, folder, journal, change, fact, value):
    journal.settle([fetched()])
    journal.close()
    edit(folder, f"UPDATE entries SET {change}")
    assert getattr(boot().find([key_of(0)])[key_of(0)], fact) == value


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("token = '../../x'", None),
        ("token = x'00'", None),
        ("total = -5", None),
        ("total = 100", None),
        ('"offset" = 4.5', PartInfo(0, *REST)),
        ('"offset" = -1', PartInfo(0, *REST)),
        ("validator = 'a' || char(10)", PartInfo(900, None, 1000, PART.token)),
    ],
)
def test_a_part_that_cannot_be_ours_is_not_used(boot, folder, journal, change, part):
    journal.save_part(key_of(0), PART)
    journal.close()
    edit(folder, f"UPDATE parts SET {change}")
    edited = boot()
    assert edited.find_parts([key_of(0)]) == ({} if part is None else {key_of(0): part})
    assert edited.all_tokens() <= {PART.token}


@pytest.mark.parametrize(
    "change",
    [
        "url = NULL",
        "url = x'00'",
        "path = '../x'",
        "kind = 5, status_code = 'x', message = x'00', attempts = -1",
        "entry = '{'",
        "entry = '[1]'",
        'entry = \'{"urls":7,"size":true,"digests":[["sha256",5],[7],"x"],"extra":[]}\'',
        "entry = x'00'",
    ],
)
def test_an_edited_failure_is_left_out_or_harmless(boot, folder, journal, change):
    journal.settle([failed(entry=make_entry(size=3))])
    journal.close()
    edit(folder, f"UPDATE entries SET {change}")
    records = list(boot().failures())
    assert len(records) == (0 if change.startswith("url") else 1)
    for record in records:
        assert record["url"] == "https://example.org/0.csv"
        assert record.get("path") in (None, "0.csv")
        assert isinstance(record["failure"]["message"], str)


def test_edited_runs_are_survived(boot, folder, journal):
    journal.settle([failed()])
    journal.close()
    edit(folder, "UPDATE runs SET started = 'x', finished = 'y', boot = x'00', clean = 'z', summary = '['")
    edited = boot()
    assert edited.interrupted is None
    assert edited.last_run()["summary"] == {}
    assert edited.begin_run() == 2


# -- misuse ------------------------------------------------------------------------------------------


def test_a_journal_opened_for_reading_refuses_to_write(journal, folder):
    with contextlib.closing(Journal.open_readonly(folder)) as reader, pytest.raises(DiskFailed):
        reader.begin_run()


def test_a_closed_journal_says_so(journal):
    journal.close()
    journal.close()
    with pytest.raises(BulkfetchError, match="cannot use the journal"):
        journal.counts()


def test_reading_needs_a_journal(folder):
    with pytest.raises(UsageError, match="no run of bulkfetch wrote there"):
        Journal.open_readonly(folder)
    assert not folder.exists()
