"""Name look-ups that always end."""

from __future__ import annotations

import socket
import threading

import pytest

from bulkfetch import dns
from bulkfetch.dns import resolve
from bulkfetch.errors import DnsFailed, Stopped

ROWS = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


def nothing():
    pass


@pytest.fixture
def resolver(monkeypatch):
    """Replace the system's resolver; `answer` may return rows or raise."""

    def install(answer):
        monkeypatch.setattr(socket, "getaddrinfo", answer)

    return install


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_an_address_needs_no_look_up(monkeypatch, host):
    monkeypatch.setattr(threading, "Thread", None)
    addresses = resolve(host, 8080, 5.0, nothing)
    assert [address[1][:2] for address in addresses] == [(host, 8080)]


def test_a_name_of_this_machine():
    assert {address[1][1] for address in resolve("localhost", 8080, 5.0, nothing)} == {8080}


def test_all_addresses_are_returned_in_order(resolver):
    rows = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 80, 0, 0)), *ROWS]
    resolver(lambda *_: rows)
    assert resolve("example.org", 80, 5.0, nothing) == [
        (socket.AF_INET6, ("2001:db8::1", 80, 0, 0)),
        (socket.AF_INET, ("192.0.2.1", 80)),
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (socket.gaierror(-2, "Name not known"), "Name not known"),
        (OSError("odd"), "odd"),
        (UnicodeError("label too long"), "label too long"),
        (ValueError("embedded null"), "embedded null"),
    ],
    ids=["unknown", "odd", "not a name", "no text"],
)
def test_a_failed_look_up_says_why(resolver, error, text):
    def fail(*_):
        raise error

    resolver(fail)
    with pytest.raises(DnsFailed) as caught:
        resolve("example.org", 80, 5.0, nothing)
    assert str(caught.value) == f"no address for example.org: {text}"
    assert caught.value.__cause__ is error


def test_an_address_this_machine_cannot_use_is_a_failed_look_up(resolver):
    def fail(*_):
        raise socket.gaierror(-9, "Address family not supported")

    resolver(fail)
    with pytest.raises(DnsFailed):
        resolve("::1", 80, 5.0, nothing)


@pytest.fixture
def silent_resolver(resolver):
    """A resolver that does not answer before the end of the test."""
    over = threading.Event()

    def answer(*_):
        over.wait(30.0)
        return ROWS

    resolver(answer)
    before = set(threading.enumerate())
    yield
    over.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)


def test_c05_no_answer_ends_within_the_bound(monkeypatch, silent_resolver):
    monkeypatch.setattr(dns, "_STEP", 0.001)
    looks = []
    with pytest.raises(DnsFailed, match=r"no answer .* example\.org within 0\.02 s"):
        resolve("example.org", 80, 0.02, lambda: looks.append(1))
    assert 10 <= len(looks) <= 25


def test_c13_a_look_up_gives_way_to_a_cut(monkeypatch, silent_resolver):
    monkeypatch.setattr(dns, "_STEP", 0.001)

    def check():
        raise Stopped("the run was stopped")

    with pytest.raises(Stopped):
        resolve("example.org", 80, 30.0, check)
