"""Small bodies that come with their head: stored in one go, and to the same end as the long way."""

from __future__ import annotations

import gzip
import hashlib
import os

import pytest
from attempting import DATE, QUICK, Attempts
from faultserver import pattern

from bulkfetch.exchange import Exchange
from bulkfetch.store import LocalStore

DATA = pattern(10_000)
SHA256, MD5 = (hash_(DATA).hexdigest() for hash_ in (hashlib.sha256, hashlib.md5))


class LongWay:
    """Replies of an exchange of which nothing is known to be here yet."""

    def __init__(self, exchange):
        self._exchange = exchange

    def open(self, *args, **named):
        return LongReply(self._exchange.open(*args, **named))

    def close(self):
        self._exchange.close()


class LongReply:
    def __init__(self, reply):
        self._reply = reply

    def __getattr__(self, name):
        return getattr(self._reply, name)

    def peek_whole(self):
        return None


class NoParts(LocalStore):
    """A store that can only do it in one go."""

    def new_part(self, key, name):
        raise AssertionError("the long way was taken")


@pytest.fixture
def attempts(tmp_path):
    """Return a function that makes what one worker has, over connections of our own."""
    made = []

    def make(name, *, store=LocalStore, is_long=False, **options):
        one = Attempts(tmp_path / name, **{**QUICK, **options})
        one.transport.close()
        one.transport = Exchange(one.config, one.policies)
        if is_long:
            one.transport = LongWay(one.transport)
        one.store.close()
        one.store = store(one.dest, fsync=one.config.fsync)
        one.store.prepare()
        one.context = one.new_context()
        made.append(one)
        return one

    yield make
    for one in made:
        one.__exit__()


CASES = {
    "plain": ({}, {}, {}),
    "dated": ({"last_modified": DATE, "etag": '"v1"'}, {}, {}),
    "from the future": ({"last_modified": 4e9}, {}, {}),
    "declared": ({}, {"size": len(DATA), "digests": (("sha256", SHA256), ("md5", MD5))}, {}),
    "no digest": ({}, {}, {"digest": "none"}),
    "another digest": ({}, {"digests": (("md5", MD5),)}, {"digest": "md5"}),
    "other size declared": ({}, {"size": 9_999}, {}),
    "other digest declared": ({}, {"digests": (("sha256", "0" * 64),)}, {}),
    "too large": ({}, {}, {"max_size": 9_999}),
    "just not too large": ({}, {}, {"max_size": 10_000}),
    "limited rate": ({}, {}, {"limit_rate": 10_000_000}),
    "made durable": ({}, {}, {"fsync": True}),
    "a page": ({"content_type": "text/html"}, {}, {}),
    "empty": ({"body": b""}, {}, {}),
    "one byte": ({"body": b"x"}, {}, {}),
    "packed": ({"body": gzip.compress(DATA), "extra_headers": [("Content-Encoding", "gzip")]}, {}, {}),
    "more than declared": ({"length": 9_990}, {}, {}),
    "cut": ({"cut": 5_000, "etag": '"v1"'}, {}, {}),
    "in chunks": ({"chunked": True}, {}, {}),
    "not found": ({"status": 404}, {}, {}),
    "a slice": ({"extra_headers": [("Content-Range", "bytes 0-9999/20000")]}, {}, {}),
}


def told(attempt, attempts):
    """Return what must not depend on the way."""
    done = attempt.done and attempt.done._replace(mtime_ns=0)
    failure = attempt.failure
    stored = {path: attempts.file(path) for path in attempts.left()}
    return done, failure, attempt.received, stored, len(attempts.parts()), attempt.part.offset


@pytest.mark.parametrize("case", CASES)
def test_both_ways_come_to_the_same_end(server, attempts, case):
    answer, declared, options = CASES[case]
    server.add("/f", **{"body": DATA, **answer})
    ends = []
    for is_long in (False, True):
        one = attempts(f"long {is_long}", is_long=is_long, **options)
        ends.append(told(one.fetch(server.url("/f"), "a/b/f.bin", **declared), one))
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    "case", ["plain", "dated", "declared", "no digest", "just not too large", "one byte"]
)
def test_usual_answers_take_the_short_way(server, attempts, case):
    answer, declared, options = CASES[case]
    server.add("/f", **{"body": DATA, **answer})
    one = attempts("short", store=NoParts, **options)
    attempt = one.fetch(server.url("/f"), "a/b/f.bin", **declared)
    assert attempt.failure is None, attempt.failure
    assert (one.dest / "a/b/f.bin").stat().st_mtime_ns == attempt.done.mtime_ns
    assert one.parts() == []


@pytest.mark.parametrize("is_long", [False, True])
def test_a_file_that_appeared_meanwhile_stays(server, attempts, is_long):
    server.add("/f", body=DATA, etag='"v1"')
    one = attempts("taken", is_long=is_long)
    (one.dest / "f.bin").write_bytes(b"mine")
    attempt = one.fetch(server.url("/f"), "f.bin")
    assert attempt.failure.kind == "exists"
    assert one.file("f.bin") == b"mine"


@pytest.mark.skipif(os.name == "nt", reason="files are not stored in one go there")
def test_a_file_that_appeared_at_the_last_step_was_replaced(tmp_path, monkeypatch):
    real = os.link

    def link(*args, **options):
        (tmp_path / "f.bin").write_bytes(b"mine")
        real(*args, **options)

    monkeypatch.setattr(os, "link", link)
    store = LocalStore(tmp_path)
    store.prepare()
    assert store.put(bytes(16), memoryview(DATA), "f.bin", mtime=None) is None
    assert (tmp_path / "f.bin").read_bytes() == b"mine"
    assert not any((tmp_path / ".bulkfetch/parts").iterdir())
    store.close()


@pytest.mark.parametrize("taken", ["a file", "a folder", "a link"])
def test_a_store_leaves_nothing_where_it_cannot_do_it_in_one_go(tmp_path, taken):
    target = tmp_path / "f.bin"
    if taken == "a file":
        target.write_bytes(b"mine")
    elif taken == "a folder":
        target.mkdir()
    else:
        target.symlink_to("nowhere")
    store = LocalStore(tmp_path)
    store.prepare()
    assert store.put(b"k" * 16, memoryview(DATA), "f.bin", mtime=None) is None
    assert list((tmp_path / ".bulkfetch/parts").iterdir()) == []
    assert store.put(b"k" * 16, memoryview(DATA), "g.bin", mtime=DATE) == int(DATE) * 10**9
    assert (tmp_path / "g.bin").read_bytes() == DATA
    store.close()
