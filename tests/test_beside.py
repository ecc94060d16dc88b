"""Digests beside the receiving: the same values, one thread at most, none left behind."""

from __future__ import annotations

import hashlib
import threading

import pytest
from attempting import Attempts, assert_failed, sha256
from faultserver import pattern
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkfetch.checksums import Digests
from bulkfetch.transfer.beside import Beside, Cores

NAME = "bulkfetch-digest"
BODY = pattern(9_000_000)
ETAG = '"v1"'


def own_threads():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


class Recorder(Digests):
    """Notes which thread each chunk is hashed in."""

    def __init__(self):
        super().__init__(["sha256"])
        self.threads = []

    def update(self, chunk):
        self.threads.append(threading.current_thread().name)
        super().update(chunk)


@pytest.mark.parametrize(
    ("cores", "bodies", "suffice"),
    [(1, 1, False), (2, 1, True), (2, 2, False), (3, 2, False), (4, 2, True), (64, 33, False)],
)
def test_each_body_may_keep_two_cores_busy(cores, bodies, suffice):
    counted = Cores(cores)
    for _ in range(bodies + 1):
        counted.enter()
    counted.leave()
    assert counted.suffice is suffice


def test_cores_are_counted_where_nobody_says_how_many():
    assert Cores().suffice


@settings(max_examples=50)
@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=30))
def test_the_digest_is_that_of_all_chunks_in_order_as_bodies_come_and_go(chunks):
    cores = Cores(2)
    beside = Beside(Digests(["sha256"]), cores)
    shared = bytearray(300)  # used again at once, as a connection does
    for chunk, is_crowded in chunks:
        if is_crowded:
            cores.enter()
        shared[: len(chunk)] = chunk
        beside.update(memoryview(shared)[: len(chunk)])
        if is_crowded:
            cores.leave()
    whole = b"".join(chunk for chunk, _ in chunks)
    assert beside.end().hexdigest("sha256") == hashlib.sha256(whole).hexdigest()


def test_chunks_are_hashed_beside_while_cores_suffice():
    cores, digests = Cores(2), Recorder()
    beside = Beside(digests, cores)
    here = threading.current_thread().name
    beside.update(b"a")
    cores.enter()
    beside.update(b"b")
    cores.leave()
    beside.update(b"c")
    assert len(own_threads()) == 1
    beside.end()
    assert digests.threads == [NAME, here, NAME]
    assert own_threads() == []


def test_one_core_starts_no_thread():
    digests = Recorder()
    beside = Beside(digests, Cores(1))
    beside.update(b"a")
    assert own_threads() == []
    assert beside.end() is digests


def test_a_body_that_ends_makes_room_for_another():
    cores = Cores(2)
    first, _second = Beside(Digests([]), cores), Beside(Digests([]), cores)
    assert not cores.suffice
    first.end()
    assert cores.suffice


def test_an_error_of_the_thread_comes_back():
    class Broken(Digests):
        def update(self, chunk):
            raise MemoryError("no more")

    beside = Beside(Broken(["sha256"]), Cores(2))
    for _ in range(20):  # more than may wait: nothing is stuck behind a broken thread
        beside.update(b"a")
    with pytest.raises(MemoryError, match="no more"):
        beside.end()
    assert own_threads() == []


def test_without_more_threads_digests_are_computed_in_place(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    digests = Recorder()
    beside = Beside(digests, Cores(2))
    beside.update(b"a")
    assert beside.end() is digests
    assert digests.threads == [threading.current_thread().name]


# -- one attempt -----------------------------------------------------------------------------------


@pytest.fixture
def attempts(tmp_path):
    with Attempts(tmp_path / "out") as made:
        yield made


@pytest.mark.parametrize("framing", [{}, {"chunked": True}, {"no_length": True}], ids=["", "chunked", "open"])
def test_large_bodies_have_their_digest(server, attempts, framing):
    server.add("/a", body=BODY, **framing)
    attempt = attempts.fetch(server.url("/a"), digests=sha256(BODY))
    assert attempt.done.digest == sha256(BODY)[0][1]
    assert own_threads() == []


def test_a_large_body_with_another_digest_fails(server, attempts):
    server.add("/a", body=BODY)
    assert_failed(attempts.fetch(server.url("/a"), digests=sha256(BODY[:-1] + b"?")), "digest")
    assert own_threads() == []


def test_a_cut_large_body_leaves_no_thread_and_goes_on(server, attempts):
    server.add("/a", body=BODY, etag=ETAG, cut=8_000_000, times=1)
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "truncated")
    assert own_threads() == []
    assert attempts.context.cores.suffice
    server.add("/a", body=BODY, etag=ETAG)
    attempt = attempts.go_on(server.url("/a"), attempt.part)
    assert attempt.done.digest == sha256(BODY)[0][1]
    assert attempts.file() == BODY
