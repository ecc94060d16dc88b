"""`--respect-cache`: what is fresh is not asked for; what is not is replaced where it has changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from faultserver import http_date, pattern
from harness.process import run as run_child

import bulkfetch

OLD, NEW = b"the old bytes", b"the new bytes, which are more"
LONG_AGO = 1_600_000_000
TRANSPORTS = ("fast", "requests")


def cached(control: str) -> dict[str, Any]:
    return {"extra_headers": [("Cache-Control", control)]}


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def get(command, dest):
    """Run `get --respect-cache`; returns the run and what became of each path."""

    def run(*arguments: object, flag: bool = True) -> tuple[Any, dict[str, dict[str, Any]]]:
        flags = ["--respect-cache"] if flag else []
        done = command("get", *arguments, "-d", dest, "--print", "json", "--backoff", "0.01", *flags)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        return done, {record["path"]: record for record in records}

    return run


def asked(server: Any, path: str = "/a.bin") -> list[tuple[str | None, str | None]]:
    """Return the conditions of every request."""
    return [
        (hit.headers.get("If-None-Match"), hit.headers.get("If-Modified-Since")) for hit in server.hits(path)
    ]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_fresh_is_not_asked_for_again(server, get, transport):
    server.add("/a.bin", body=OLD, etag='"1"', **cached("max-age=3600"))
    get(server.url("/a.bin"), "--transport", transport, flag=False)
    done, told = get(server.url("/a.bin"), "--transport", transport)
    assert done.returncode == 0, done.stderr
    assert told["a.bin"]["status"] == "skipped"
    assert told["a.bin"]["reason"] == "already fetched"
    assert len(server.requests) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_stale_and_unchanged_is_renewed_by_the_304(server, get, dest, transport):
    server.add("/a.bin", body=OLD, etag='"1"', last_modified=LONG_AGO, **cached("max-age=0"))
    get(server.url("/a.bin"), "--transport", transport)
    before = (dest / "a.bin").stat()
    server.add("/a.bin", body=OLD, etag='"1"', last_modified=LONG_AGO, **cached("max-age=3600"))
    done, told = get(server.url("/a.bin"), "--transport", transport)
    assert done.returncode == 0, done.stderr
    assert asked(server) == [(None, None), ('"1"', http_date(LONG_AGO))]
    assert [hit.status for hit in server.hits("/a.bin")] == [200, 304]
    assert (told["a.bin"]["status"], told["a.bin"]["reason"]) == ("unchanged", "not modified")
    assert "1 unchanged" in done.stderr
    after = (dest / "a.bin").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    _, told = get(server.url("/a.bin"), "--transport", transport)
    assert told["a.bin"]["status"] == "skipped"
    assert len(server.requests) == 2


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_stale_and_changed_is_replaced(server, get, dest, transport):
    server.add("/a.bin", body=OLD, etag='"1"', **cached("max-age=0"))
    get(server.url("/a.bin"), "--transport", transport)
    server.add("/a.bin", body=NEW, etag='"2"', **cached("max-age=0"))
    done, told = get(server.url("/a.bin"), "--transport", transport)
    assert done.returncode == 0, done.stderr
    assert asked(server)[1][0] == '"1"'
    assert (told["a.bin"]["status"], told["a.bin"]["etag"]) == ("fetched", '"2"')
    assert (dest / "a.bin").read_bytes() == NEW
    assert list((dest / ".bulkfetch" / "parts").iterdir()) == []


# -- fresh or not ------------------------------------------------------------------------------------


HOUR = 3600


ANSWERS: list[tuple[list[tuple[str, Any]], bool]] = [  # numbers are seconds from now; is it fresh?
    ([], False),
    ([("Cache-Control", "max-age=0")], False),
    ([("Cache-Control", "public, max-age=3600")], True),
    ([("Cache-Control", "max-age=3600, must-revalidate")], True),
    ([("Cache-Control", "must-revalidate")], False),
    ([("Cache-Control", "max-age=3600, no-cache")], False),
    ([("Cache-Control", "no-store")], False),
    ([("Cache-Control", "s-maxage=3600")], False),
    ([("Cache-Control", "max-age=3600"), ("Cache-Control", "no-cache")], False),
    ([("Cache-Control", "max-age=3600"), ("Age", "3600")], False),
    ([("Cache-Control", "max-age=3600"), ("Age", "10")], True),
    ([("Cache-Control", "max-age=nonsense")], False),
    ([("Expires", -HOUR)], False),
    ([("Expires", HOUR)], True),
    ([("Expires", "0")], False),
    ([("Expires", "Sun, 06 Nov 2044 08:49:37 +0200")], False),
    ([("Expires", "06 Nov 2044 08:49:37 GMT")], False),
    ([("Expires", "Sunday, 06-Nov-44 08:49:37 GMT")], True),
    ([("Expires", "Sun Nov  6 08:49:37 2044")], True),
    ([("Cache-Control", "max-age=3600"), ("Vary", "*")], False),
    ([("vary", "Accept, *"), ("Expires", HOUR)], False),
    ([("Cache-Control", "max-age=3600"), ("Vary", "Accept-Encoding")], True),
    ([("Expires", HOUR), ("Cache-Control", "max-age=0")], False),
    ([("Expires", -HOUR), ("Cache-Control", "max-age=3600")], True),
]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_only_what_its_answer_calls_fresh_is_not_asked_for(server, get, transport):
    now = time.time()
    for number, (fields, _) in enumerate(ANSWERS):
        sent = [(name, http_date(now + text) if isinstance(text, int) else text) for name, text in fields]
        server.add(f"/{number}", body=OLD, etag='"1"', extra_headers=sent)
    urls = [server.url(f"/{number}") for number in range(len(ANSWERS))]
    get(*urls, "--transport", transport)
    _, told = get(*urls, "--transport", transport)
    found = [(fields, told[str(number)]["status"]) for number, (fields, _) in enumerate(ANSWERS)]
    assert found == [(fields, "skipped" if is_fresh else "unchanged") for fields, is_fresh in ANSWERS]
    assert len(server.requests) == len(ANSWERS) + sum(not is_fresh for _, is_fresh in ANSWERS)


def test_an_answer_that_was_old_when_it_came_is_not_fresh(server, get):
    server.add("/a.bin", body=OLD, date=time.time() - 2 * HOUR, **cached("max-age=3600"))
    get(server.url("/a.bin"))
    assert get(server.url("/a.bin"))[1]["a.bin"]["status"] == "unchanged"


def test_without_the_option_nothing_is_asked_again(server, get):
    server.add("/a.bin", body=OLD, etag='"1"', **cached("no-store"))
    get(server.url("/a.bin"), flag=False)
    _, told = get(server.url("/a.bin"), flag=False)
    assert told["a.bin"]["reason"] == "already fetched"
    assert len(server.requests) == 1


# -- what is asked, and what becomes of the answer ---------------------------------------------------


@pytest.mark.parametrize(
    ("validators", "condition"),
    [
        ({"etag": 'W/"1"'}, ('W/"1"', None)),
        ({"last_modified": LONG_AGO}, (None, http_date(LONG_AGO))),
        ({"etag": '"1"', "last_modified": LONG_AGO}, ('"1"', http_date(LONG_AGO))),
    ],
    ids=["weak tag", "date", "both"],
)
def test_every_validator_there_is_goes_into_the_condition(server, get, validators, condition):
    server.add("/a.bin", body=OLD, **validators)
    get(server.url("/a.bin"))
    _, told = get(server.url("/a.bin"))
    assert asked(server)[1] == condition
    assert server.requests[1].status == 304
    assert told["a.bin"]["status"] == "unchanged"
    assert told["a.bin"]["etag"] == validators.get("etag")


def test_without_a_validator_the_same_bytes_are_no_change(server, get, dest):
    server.add("/a.bin", body=OLD)
    get(server.url("/a.bin"))
    before = (dest / "a.bin").stat()
    server.add("/a.bin", body=OLD, etag='"now"', **cached("max-age=3600"))
    _, told = get(server.url("/a.bin"))
    assert asked(server) == [(None, None)] * 2
    assert (told["a.bin"]["status"], told["a.bin"]["reason"]) == ("unchanged", "the same bytes came")
    assert (told["a.bin"]["etag"], told["a.bin"]["received"]) == ('"now"', len(OLD))
    assert (dest / "a.bin").stat().st_ino == before.st_ino
    assert list((dest / ".bulkfetch" / "parts").iterdir()) == []
    get(server.url("/a.bin"))
    assert len(server.requests) == 2


def test_without_a_validator_other_bytes_replace_the_file(server, get, dest):
    server.add("/a.bin", body=OLD)
    get(server.url("/a.bin"))
    server.add("/a.bin", body=NEW)
    assert get(server.url("/a.bin"))[1]["a.bin"]["status"] == "fetched"
    assert (dest / "a.bin").read_bytes() == NEW


def test_an_unasked_304_is_a_failure_and_no_file(server, get, dest):
    server.add("/a.bin", status=304)
    done, told = get(server.url("/a.bin"))
    assert done.returncode == 1
    assert told["a.bin"]["failure"]["kind"] == "protocol"
    assert not (dest / "a.bin").exists()


def test_an_unasked_304_does_not_make_a_file_without_validators_current(server, get, dest):
    server.add("/a.bin", body=OLD)
    get(server.url("/a.bin"))
    server.add("/a.bin", status=304, etag='"2"')
    assert get(server.url("/a.bin"))[1]["a.bin"]["failure"]["kind"] == "protocol"
    assert (dest / "a.bin").read_bytes() == OLD


def test_a_304_of_another_version_makes_nothing_fresh(server, get):
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    server.add("/a.bin", status=304, etag='"2"', **cached("max-age=3600"))
    assert get(server.url("/a.bin"))[1]["a.bin"]["etag"] == '"1"'
    get(server.url("/a.bin"))
    assert asked(server)[1:] == [('"1"', None)] * 2


@pytest.mark.parametrize("fault", [{"status": 500}, {"accept": "close"}, {"status": 404}], ids=str)
def test_a_failure_keeps_the_old_file_and_the_next_run_asks_again(server, get, dest, fault):
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    if "status" in fault:
        server.add("/a.bin", **fault)
    else:
        server.drop_connections()
        server.accept_as(fault["accept"])
    done, told = get(server.url("/a.bin"), "--retries", 0)
    assert done.returncode == 1
    assert told["a.bin"]["status"] == "failed"
    assert (dest / "a.bin").read_bytes() == OLD
    server.accept_as("serve")
    server.add("/a.bin", body=OLD, etag='"1"')
    _, told = get(server.url("/a.bin"))
    assert told["a.bin"]["reason"] == "not modified"
    assert server.requests[-1].status == 304


def test_a_replacement_that_broke_off_is_resumed_and_still_conditional(server, get, dest):
    new = pattern(200_000)
    server.add("/a.bin", body=OLD, etag='"1"', last_modified=LONG_AGO)
    get(server.url("/a.bin"))
    server.add("/a.bin", body=new, etag='"2"', cut=150_000)
    assert get(server.url("/a.bin"), "--retries", 0)[1]["a.bin"]["status"] == "failed"
    assert (dest / "a.bin").read_bytes() == OLD
    server.add("/a.bin", body=new, etag='"2"')
    assert get(server.url("/a.bin"))[1]["a.bin"]["status"] == "fetched"
    last = server.requests[-1]
    assert (last.range, last.headers["If-Range"]) == ("bytes=150000-", '"2"')
    assert asked(server)[-1] == ('"1"', None)
    assert (dest / "a.bin").read_bytes() == new


def test_an_old_version_that_is_back_leaves_no_part(server, get, dest):
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    server.add("/a.bin", body=pattern(200_000), etag='"2"', cut=150_000)
    get(server.url("/a.bin"), "--retries", 0)
    server.add("/a.bin", body=OLD, etag='"1"')
    assert get(server.url("/a.bin"))[1]["a.bin"]["reason"] == "not modified"
    assert list((dest / ".bulkfetch" / "parts").iterdir()) == []


def test_an_empty_answer_does_not_replace_the_file(server, get, dest):
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    server.add("/a.bin", body=b"", etag='"2"')
    assert get(server.url("/a.bin"))[1]["a.bin"]["failure"]["kind"] == "content"
    assert (dest / "a.bin").read_bytes() == OLD


def test_a_large_file_that_changed_comes_in_segments(server, get, dest):
    old, new = pattern(3 << 20), pattern(5 << 20, 1)
    server.add("/a.bin", body=old, etag='"1"')
    get(server.url("/a.bin"), "--segments", 4)
    assert get(server.url("/a.bin"), "--segments", 4)[1]["a.bin"]["reason"] == "not modified"
    server.add("/a.bin", body=new, etag='"2"', **cached("max-age=3600"))
    before = len(server.requests)
    assert get(server.url("/a.bin"), "--segments", 4)[1]["a.bin"]["status"] == "fetched"
    assert (dest / "a.bin").read_bytes() == new
    later = server.requests[before:]
    assert len(later) > 1
    assert [hit.headers.get("If-None-Match") for hit in later] == ['"1"', *[None] * (len(later) - 1)]
    get(server.url("/a.bin"))
    assert len(server.requests) == before + len(later)


def test_the_same_bytes_in_segments_are_no_change(server, get, dest):
    body = pattern(5 << 20)
    server.add("/a.bin", body=body, etag='"1"')
    get(server.url("/a.bin"))
    inode = (dest / "a.bin").stat().st_ino
    server.add("/a.bin", body=body, etag='"2"')
    assert get(server.url("/a.bin"), "--segments", 4)[1]["a.bin"]["reason"] == "the same bytes came"
    assert (dest / "a.bin").stat().st_ino == inode


# -- redirects and mirrors ---------------------------------------------------------------------------


@pytest.mark.parametrize("is_far", [False, True], ids=["within the origin", "to another origin"])
def test_a_condition_goes_to_the_url_that_gave_the_file_alone(server, make_server, get, is_far):
    target = make_server() if is_far else server
    target.add("/real.bin", body=OLD, etag='"1"', **cached("max-age=3600"))
    server.add("/a.bin", redirect=target.url("/real.bin"))
    get(server.url("/a.bin"))
    _, told = get(server.url("/a.bin"))
    assert told["a.bin"]["reason"] == "not modified"  # and asked: nothing says how long the redirect holds
    assert asked(server) == [(None, None)] * 2
    assert asked(target, "/real.bin") == [(None, None), ('"1"', None)]


def test_a_failure_on_the_way_does_not_lose_whose_answer_the_file_is(server, get):
    server.add("/real.bin", body=OLD, etag='"1"')
    server.add("/a.bin", redirect=server.url("/real.bin"))
    get(server.url("/a.bin"))
    server.add("/a.bin", status=500)
    assert get(server.url("/a.bin"), "--retries", 0)[1]["a.bin"]["status"] == "failed"
    server.add("/a.bin", redirect=server.url("/real.bin"))
    assert get(server.url("/a.bin"))[1]["a.bin"]["reason"] == "not modified"
    assert asked(server, "/real.bin") == [(None, None), ('"1"', None)]


def test_a_redirect_that_leads_elsewhere_now_gets_no_condition(server, get, dest):
    server.add("/1.bin", body=OLD, etag='"same"')
    server.add("/2.bin", body=NEW, etag='"same"')
    server.add("/latest.bin", redirect=server.url("/1.bin"))
    get(server.url("/latest.bin"))
    server.add("/latest.bin", redirect=server.url("/2.bin"))
    assert get(server.url("/latest.bin"))[1]["latest.bin"]["status"] == "fetched"
    assert (dest / "latest.bin").read_bytes() == NEW


def test_a_file_from_a_mirror_is_asked_about_at_the_mirror(server, make_server, get, tmp_path):
    mirror = make_server()
    server.add("/a.bin", status=404)
    mirror.add("/a.bin", body=OLD, etag='"1"')
    rows = tmp_path / "a.jsonl"
    rows.write_text(json.dumps({"url": [server.url("/a.bin"), mirror.url("/a.bin")]}))
    get(rows)
    assert get(rows)[1]["a.bin"]["reason"] == "not modified"
    assert asked(server) == [(None, None)] * 2
    assert asked(mirror) == [(None, None), ('"1"', None)]


# -- what is never asked about -----------------------------------------------------------------------


def test_a_declared_digest_that_matches_is_not_asked_for(server, get, tmp_path):
    server.add("/a.bin", body=OLD, etag='"1"', **cached("no-cache"))
    rows = tmp_path / "a.jsonl"
    rows.write_text(json.dumps({"url": server.url("/a.bin"), "sha256": hashlib.sha256(OLD).hexdigest()}))
    get(rows)
    assert get(rows)[1]["a.bin"]["status"] == "skipped"
    assert len(server.requests) == 1


def test_a_post_is_not_sent_again(server, get, tmp_path):
    server.add("/a.bin", body=OLD, **cached("no-cache"))
    rows = tmp_path / "a.jsonl"
    rows.write_text(json.dumps({"url": server.url("/a.bin"), "json": {"a": 1}}))
    get(rows)
    assert get(rows)[1]["a.bin"]["status"] == "skipped"
    assert len(server.requests) == 1


# -- the user's changes ------------------------------------------------------------------------------

MINE = [b"mine, and longer than it was", b"the 0ld bytes"]


@pytest.mark.parametrize("mine", MINE, ids=["other size", "same size"])
@pytest.mark.parametrize(
    ("policy", "status", "is_kept"),
    [
        ("skip", "skipped", True),
        ("verify", "skipped", True),
        ("fail", "failed", True),
        ("overwrite", "fetched", False),
    ],
)
def test_a_file_the_user_changed_is_left_to_existing(server, get, dest, mine, policy, status, is_kept):
    server.add("/a.bin", body=OLD, etag='"1"', **cached("max-age=0"))
    get(server.url("/a.bin"))
    server.add("/a.bin", body=NEW, etag='"2"')
    (dest / "a.bin").write_bytes(mine)
    for _ in range(2):  # also after the first time was recorded
        _, told = get(server.url("/a.bin"), "--existing", policy)
        assert [record["status"] for record in told.values()] == [status]
        assert (dest / "a.bin").read_bytes() == (mine if is_kept else NEW)
        if not is_kept:
            break


def test_a_file_whose_time_alone_changed_is_hashed_and_asked_about(server, get, dest):
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    os.utime(dest / "a.bin", (LONG_AGO, LONG_AGO))
    assert get(server.url("/a.bin"))[1]["a.bin"]["reason"] == "not modified"
    server.add("/a.bin", body=NEW, etag='"2"')
    os.utime(dest / "a.bin", (LONG_AGO + 5, LONG_AGO + 5))
    assert get(server.url("/a.bin"))[1]["a.bin"]["status"] == "fetched"


@pytest.mark.parametrize(("policy", "left"), [("skip", b"mine"), ("overwrite", NEW)])
def test_a_file_changed_while_its_replacement_comes_is_not_overwritten(server, get, dest, policy, left):
    def body(_request: object) -> bytes:
        (dest / "a.bin").write_bytes(b"mine")
        return NEW

    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    server.add("/a.bin", body=body, etag='"2"')
    _, told = get(server.url("/a.bin"), "--existing", policy)
    assert told["a.bin"].get("failure", {}).get("kind") == (None if left == NEW else "exists")
    assert (dest / "a.bin").read_bytes() == left


def test_a_file_removed_while_it_is_asked_about_is_fetched(server, get, dest):
    def answer(request: Any) -> list[bytes]:
        if "If-None-Match" in request.headers:
            (dest / "a.bin").unlink()
            return [b"HTTP/1.1 304 Not Modified\r\n\r\n"]
        return [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(OLD), OLD]

    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    server.add("/a.bin", raw=answer)
    done, told = get(server.url("/a.bin"))
    assert told["a.bin"]["status"] == "fetched", done.stderr
    assert (dest / "a.bin").read_bytes() == OLD


def test_a_file_that_was_removed_is_fetched_although_its_answer_is_fresh(server, get, dest):
    server.add("/a.bin", body=OLD, etag='"1"', **cached("max-age=3600"))
    get(server.url("/a.bin"))
    (dest / "a.bin").unlink()
    assert get(server.url("/a.bin"))[1]["a.bin"]["status"] == "fetched"
    assert asked(server) == [(None, None)] * 2


# -- killed ------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("point", "new", "there", "reason"),
    [
        ("before-rename:1", NEW, OLD, ""),
        ("after-rename:1", NEW, NEW, "found complete"),
        ("after-rename:1", OLD.swapcase(), OLD.swapcase(), ""),
    ],
    ids=["before", "after", "after, of the same size"],
)
def test_a_kill_during_the_replacement_leaves_a_whole_file(server, get, dest, point, new, there, reason):
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    server.add("/a.bin", body=new, etag='"2"')
    arguments = ("get", server.url("/a.bin"), "-d", dest, "--respect-cache")
    killed = run_child(*arguments, ways=("--kill", point))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (dest / "a.bin").read_bytes() == there
    _, told = get(server.url("/a.bin"))
    assert (told["a.bin"]["status"], told["a.bin"].get("reason", "")) == (
        "unchanged" if reason else "fetched",
        reason,
    )
    assert (dest / "a.bin").read_bytes() == new
    assert get(server.url("/a.bin"))[1]["a.bin"]["status"] == "unchanged"


# -- the journal, the plan, the library --------------------------------------------------------------


def edit(dest: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(dest / ".bulkfetch" / "journal.sqlite3")) as database:
        database.execute(statement)
        database.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE entries DROP COLUMN fresh_until",
        "UPDATE entries SET fresh_until = 'tomorrow'",
        "UPDATE entries SET fresh_until = -5",
    ],
    ids=["an older version's", "edited", "nonsense"],
)
def test_a_journal_that_tells_no_freshness_is_gone_on_with(server, get, dest, statement):
    server.add("/a.bin", body=OLD, etag='"1"', **cached("max-age=3600"))
    get(server.url("/a.bin"))
    edit(dest, statement)
    assert get(server.url("/a.bin"))[1]["a.bin"]["reason"] == "not modified"
    assert get(server.url("/a.bin"))[1]["a.bin"]["status"] == "skipped"


def test_an_edited_validator_is_not_sent(server, get, dest):
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    edit(dest, "UPDATE entries SET etag = '\"1\"' || char(13, 10) || 'X: y'")
    assert get(server.url("/a.bin"))[1]["a.bin"]["reason"] == "the same bytes came"
    assert asked(server)[1] == (None, None)


def test_plan_says_what_would_be_asked_and_asks_nothing(server, get, command, dest):
    server.add("/fresh.bin", body=OLD, etag='"1"', **cached("max-age=3600"))
    server.add("/stale.bin", body=OLD, etag='"1"', **cached("max-age=0"))
    urls = server.url("/fresh.bin"), server.url("/stale.bin")
    get(*urls)
    shown = command("plan", *urls, "-d", dest, "--respect-cache").stdout
    assert "1  stale: would ask whether it changed" in shown
    assert "1  already fetched" in shown
    assert "2  already fetched" in command("plan", *urls, "-d", dest).stdout
    told = command("plan", "--explain", urls[1], "-d", dest, "--respect-cache").stdout
    assert "whether the file that is there has changed" in told
    assert "replaces" not in told
    assert len(server.requests) == 2


def test_plan_does_not_promise_to_ask_about_a_file_that_was_edited(server, get, command, dest):
    server.add("/a.bin", body=OLD, etag='"1"')
    url = server.url("/a.bin")
    get(url)
    (dest / "a.bin").write_bytes(OLD.swapcase())
    shown = command("plan", url, "-d", dest, "--respect-cache").stdout
    assert "1  changed on disk: to hash, and asked about if as recorded\n" in shown
    assert "stale" not in shown
    told = command("plan", "--explain", url, "-d", dest, "--respect-cache").stdout
    assert "if it is as recorded, the server is asked" in told
    assert "left to --existing" in told
    assert get(url)[1]["a.bin"]["status"] == "skipped"
    assert len(server.requests) == 1


def test_explain_says_that_nothing_had_changed(server, get, command, dest):
    server.add("/a.bin", body=OLD, etag='"1"')
    get(server.url("/a.bin"))
    get(server.url("/a.bin"))
    assert "unchanged, not modified (1 attempt" in command("explain", dest, server.url("/a.bin")).stdout


def test_the_library_asks_as_the_command_does(server, dest):
    server.add("/a.bin", body=OLD, etag='"1"')
    for status in ("fetched", "unchanged"):
        (outcome,) = bulkfetch.fetch([server.url("/a.bin")], dest, respect_cache=True)
        assert outcome.status == status
    assert outcome.digest == f"sha256:{hashlib.sha256(OLD).hexdigest()}"
    server.add("/a.bin", body=NEW, etag='"1"')
    (outcome,) = bulkfetch.fetch([server.url("/a.bin")], dest, respect_cache=False)
    assert outcome.status == "skipped"
