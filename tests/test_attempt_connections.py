"""Sections C, T and P of the fault catalogue, as far as one attempt shows them."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from attempting import CUT, DATA, SIZE, WHICH, Attempts, assert_failed, open_handles
from faultserver import CLOSE, RESET, STALL, Filled, Forever

from bulkfetch.models import NO_PART

ETAG = '"v1"'
SOON = 10.0  # seconds; generous for a loaded machine, far below any wait under test
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's own behaviour")


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
def resolver(monkeypatch):
    """Return a function that gives `name.test` addresses of servers, or a function to call."""
    real = socket.getaddrinfo

    def install(answer):
        def look_up(host, port, *args):
            if host != "name.test":
                return real(host, port, *args)
            found = answer() if callable(answer) else answer
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return install


@contextmanager
def under(seconds):
    """Fail when the block takes longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


# -- connections that were used before ------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_c01_a_stale_connection_is_told_apart(make_server, make, tls):
    server = make_server(tls=tls)
    attempts = make(ca_bundle=server.ca_file if tls else None)
    server.add("/a", body=DATA, close_after=1)
    assert attempts.fetch(server.url("/a"), "one").done
    attempt = attempts.fetch(server.url("/a"), "two")
    assert_failed(attempt, "reset", "unanswered", retryable=True)
    assert attempt.reused
    assert attempts.fetch(server.url("/a"), "two").done
    assert server.connections == 2


@pytest.mark.parametrize("ending", [CLOSE, RESET])
def test_c01_a_reset_counts_the_same(server, attempts, ending):
    server.add("/a", body=b"a")
    server.add("/b", raw=[ending])
    assert attempts.fetch(server.url("/a"), "one").done
    attempt = attempts.fetch(server.url("/b"), "two")
    assert_failed(attempt, "reset", retryable=True)
    assert attempt.reused


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("ending", [CLOSE, RESET])
def test_c01_a_new_connection_that_ends_unanswered_is_a_failure(make_server, make, ending, tls):
    server = make_server(tls=tls)
    attempts = make(ca_bundle=server.ca_file if tls else None)
    server.add("/a", raw=[ending])
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "reset", retryable=True)
    assert not attempt.reused


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_c01_nor_is_one_that_was_made_anew_a_used_one(make_server, make, tls):
    server = make_server(tls=tls)
    attempts = make(ca_bundle=server.ca_file if tls else None)
    server.add("/a", body=DATA, keep_alive=False)
    server.add("/b", raw=[CLOSE])
    assert attempts.fetch(server.url("/a"), "one").done
    attempt = attempts.fetch(server.url("/b"), "two")
    assert_failed(attempt, "reset")
    assert not attempt.reused


def test_c01_one_byte_of_an_answer_is_an_answer(server, attempts):
    server.add("/a", body=b"a")
    server.add("/b", raw=[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", RESET])
    assert attempts.fetch(server.url("/a"), "one").done
    attempt = attempts.fetch(server.url("/b"), "two")
    assert_failed(attempt, "reset")
    assert not attempt.reused


def test_c01_the_connection_of_a_second_hop_may_be_stale_too(server, attempts):
    server.add("/a", redirect="/b")
    server.add("/b", body=DATA, close_after=1)
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "reset")
    assert attempt.reused


def test_c01_a_connection_the_server_closed_while_idle_is_noticed(server, attempts):
    server.add("/a", body=DATA, after=[0.01, CLOSE])
    assert attempts.fetch(server.url("/a"), "one").done
    server.wait_until(lambda: server.open_connections == 0)
    assert attempts.fetch(server.url("/a"), "two").done


# -- slow servers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"chunked": 100}, {"no_length": True}], ids=["length", "chunked", "close"]
)
def test_c02_a_trickling_body_is_too_slow(server, make, options):
    attempts = make(min_speed=100_000.0, watchdog={"window": 1.0})
    server.add("/a", body=DATA, etag=ETAG, trickle=(10, 0.01), **options)
    with under(SOON):
        attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "slow", "under --min-speed", retryable=True)
    assert attempt.part.offset == attempt.received > 0


def test_c02_a_fast_body_is_not(server, make):
    attempts = make(min_speed=100.0, watchdog={"window": 0.6})
    server.add("/a", body=DATA, trickle=(1_000, 0.01))
    assert attempts.fetch(server.url("/a")).done


def test_c02_our_own_rate_limit_is_not_the_servers_fault(server, tmp_path):
    options = {"min_speed": 200_000.0, "watchdog": {"window": 0.6}}
    options["limit_rate"] = 40_000.0
    with Attempts(tmp_path / "out", **options) as attempts:
        server.add("/a", body=DATA[:48_000])
        attempt = attempts.fetch(server.url("/a"))
        assert attempt.done, attempt.failure
        assert attempt.seconds > 1.0


@pytest.mark.parametrize("used_before", [False, True], ids=["new connection", "used connection"])
def test_c03_a_trickling_head_meets_its_bound(server, make, used_before):
    attempts = make(idle_timeout=1.0)
    server.add("/a", body=DATA, trickle_head=(1, 0.02))
    server.add("/b", body=b"b")
    if used_before:
        assert attempts.fetch(server.url("/b"), "b").done
    with under(SOON):
        attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "timeout", "the answer's head took too long", retryable=True)
    assert not attempt.reused


def test_c03_a_silent_head(server, make):
    attempts = make(idle_timeout=0.2)
    server.add("/a", raw=[STALL])
    with under(SOON):
        assert_failed(attempts.fetch(server.url("/a")), "timeout", retryable=True)


def test_the_entrys_deadline_counts_everything(server, attempts):
    server.add("/a", body=DATA, etag=ETAG, trickle=(1000, 0.05))
    with under(SOON):
        attempt = attempts.fetch(server.url("/a"), deadline=time.monotonic() + 1.0)
    assert_failed(attempt, "deadline", retryable=False)
    assert attempt.part.offset > 0


# -- getting connected ----------------------------------------------------------------------------


def test_c05_a_silent_resolver_costs_the_connect_budget_at_most(make, resolver):
    attempts = make(connect_timeout=0.3)
    over = threading.Event()
    resolver(lambda: over.wait(60.0) and [])
    try:
        with under(SOON):
            attempt = attempts.fetch("http://name.test/a")
        assert_failed(attempt, "dns", "within 0.3 s", retryable=True)
    finally:
        over.set()
        end_look_ups()


def end_look_ups():
    """Wait for look-ups that were left behind."""
    for thread in threading.enumerate():
        if thread.name.startswith("bulkfetch-dns"):
            thread.join(30)


def test_a_name_without_an_address(attempts, resolver):
    def fail():
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolver(fail)
    assert_failed(attempts.fetch("http://name.test/a"), "dns", "no address for name.test: Name or service")


@linux_only
def test_c06_all_addresses_share_one_budget(make_server, make, resolver):
    attempts = make(connect_timeout=0.4)
    hole = make_server(accept="blackhole")
    resolver([(hole.host, hole.port)] * 4)
    with under(SOON):
        attempt = attempts.fetch(f"http://name.test:{hole.port}/a")
    assert_failed(attempt, "connect", f"no connection to name.test:{hole.port} within 0.4 s", retryable=True)


@linux_only
def test_c06_a_silent_address_leaves_time_for_the_next(make_server, make, resolver):
    attempts = make(connect_timeout=10.0)
    hole, good = make_server(accept="blackhole"), make_server()
    good.add("/a", body=DATA)
    resolver([(hole.host, hole.port), *[(good.host, good.port)] * 39])  # each has its share
    attempt = attempts.fetch(f"http://name.test:{good.port}/a")
    assert attempt.done, attempt.failure


def test_a_refusing_address_is_followed_by_the_next(make_server, attempts, resolver):
    dead, good = make_server(accept="refuse"), make_server()
    good.add("/a", body=DATA)
    resolver([(dead.host, dead.port), (good.host, good.port)])
    assert attempts.fetch(f"http://name.test:{good.port}/a").done


@pytest.mark.parametrize("mode", ["silent"])
def test_c07_a_silent_tls_listener_is_named(make_server, make, mode):
    server = make_server(tls=True, accept=mode)
    attempts = make(connect_timeout=0.3, ca_bundle=server.ca_file)
    with under(SOON):
        attempt = attempts.fetch(server.url("/a"))
    kind = "timeout" if WHICH == "fast" else "connect"
    assert_failed(attempt, kind, "the TLS handshake with 127.0.0.1 took too long", retryable=True)


def test_c07_a_trickling_handshake_meets_its_bound(make):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def trickle():
            sock, _ = listener.accept()
            with sock:
                for byte in b"\x16\x03\x03\x3f\x00" + bytes(500):
                    if over.wait(0.05):
                        return
                    sock.send(bytes([byte]))

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            attempts = make(connect_timeout=0.3)
            with under(SOON):
                attempt = attempts.fetch(f"https://127.0.0.1:{listener.getsockname()[1]}/a")
            assert attempt.failure.kind in ("timeout", "connect")
            assert "the TLS handshake" in attempt.failure.message
            assert attempt.failure.retryable
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    ("mode", "kinds"), [("refuse", ["connect"]), ("reset", ["connect", "reset"]), ("close", ["reset"])]
)
def test_c12_nobody_takes_the_connection(make_server, attempts, mode, kinds):
    server = make_server(accept=mode)
    attempt = attempts.fetch(server.url("/a"))
    assert attempt.failure.kind in kinds  # a reset may meet the connecting or the request
    assert attempt.failure.retryable
    assert not attempt.reused


@pytest.mark.parametrize("code", [errno.EADDRNOTAVAIL, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EMFILE])
def test_c12_x06_what_the_system_says_is_told(server, attempts, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(socket.socket, "connect", fail)
    assert_failed(attempts.fetch(server.url("/a")), "connect", os.strerror(code), retryable=True)


# -- connections are kept for the next request ----------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"chunked": 10}, {"body": b""}, {"body": bytes(60_000)}], ids=str)
@pytest.mark.parametrize("status", [404, 503, 302])
def test_c11_small_unwanted_bodies_are_drained(server, attempts, status, options):
    server.add("/a", **{"status": status, "body": b"not here", **options})
    for _ in range(20):
        assert attempts.fetch(server.url("/a")).failure is not None
    assert server.connections == 1


def test_c11_redirects_within_an_origin_use_one_connection(server, attempts):
    server.add("/a", redirect="/b", body=b"over there")
    server.add("/b", body=DATA)
    for number in range(5):
        assert attempts.fetch(server.url("/a"), f"{number}").done
    assert server.connections == 1


def test_files_of_one_origin_use_one_connection(server, attempts):
    for number, body in enumerate((b"", b"a", DATA)):
        server.add(f"/{number}", body=body)
        server.add(f"/chunked/{number}", body=body, chunked=1000)
        for path in (f"/{number}", f"/chunked/{number}"):
            assert attempts.fetch(server.url(path), path[1:]).done
    assert server.connections == 1


def test_t12_a_large_error_body_costs_the_connection_not_the_time(server, attempts):
    server.add("/a", status=503, body=Filled(1 << 30), retry_after=7)
    with under(SOON):
        attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "throttled", retryable=True)
    assert attempt.failure.retry_after == 7.0
    server.wait_until(lambda: server.open_connections == 0)
    assert server.hits("/a")[0].sent < 64 << 20


@pytest.mark.parametrize("options", [{"length": 1000}, {"chunked": 10}], ids=["length", "chunked"])
@pytest.mark.parametrize("status", [404, 302])
def test_t12_a_trickling_unwanted_body_is_not_waited_for(server, attempts, status, options):
    server.add(
        "/a", status=status, body=b"x" * 1000, extra_headers=[("Location", "/b")], trickle=(1, 0.1), **options
    )
    server.add("/b", body=DATA)
    with under(SOON):
        attempt = attempts.fetch(server.url("/a"))
    if status == 404:
        assert_failed(attempt, "not-found")
    else:
        assert attempt.done, attempt.failure


def test_t12_an_endless_unwanted_body_is_not_read(server, attempts):
    server.add("/a", status=500, body=Forever(b"x" * 1000), chunked=True)
    with under(SOON):
        assert_failed(attempts.fetch(server.url("/a")), "server", retryable=True)
    server.wait_until(lambda: server.open_connections == 0)


# -- stopping -------------------------------------------------------------------------------------


def stop_soon(attempts, server, condition):
    """Start an attempt, stop the run once `condition` holds, return the attempt and the seconds that took."""
    ended = []
    worker = threading.Thread(target=lambda: ended.append(attempts.run(attempts.next_task)))
    worker.start()
    server.wait_until(condition)
    stopped = time.monotonic()
    attempts.stop.set()
    worker.join(30)
    assert not worker.is_alive()
    return ended[0], time.monotonic() - stopped


PHASES = {
    "connect": {"server": {"accept": "blackhole"}},
    "handshake": {"server": {"accept": "silent", "tls": True}},
    "head": {"route": {"raw": [STALL]}},
    "trickling head": {"route": {"body": DATA, "trickle_head": (1, 0.05)}},
    "body": {"route": {"body": DATA, "cut": CUT, "cut_how": "stall"}},
    "chunks": {"route": {"body": DATA, "cut": CUT, "cut_how": "stall", "chunked": SIZE}},
    "unwanted body": {"route": {"status": 404, "body": DATA[:1000], "cut": 10, "cut_how": "stall"}},
    "c14_body without a length": {"route": {"body": DATA, "cut": CUT, "cut_how": "stall", "no_length": True}},
    "tls body": {"server": {"tls": True}, "route": {"body": DATA, "cut": CUT, "cut_how": "stall"}},
    "c14_tls body without a length": {
        "server": {"tls": True}, "route": {"body": DATA, "cut": CUT, "cut_how": "stall", "no_length": True},
    },
}  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
def test_c13_p01_a_stop_ends_any_phase_at_once(make_server, make, phase):
    if phase == "connect" and not sys.platform.startswith("linux"):
        pytest.skip("connecting hangs on Linux alone")
    server = make_server(**PHASES[phase].get("server", {}))
    attempts = make(ca_bundle=server.ca_file if server.tls else None, connect_timeout=20.0, idle_timeout=20.0,
                    watchdog={"tick": 0.2})  # fmt: skip
    route = PHASES[phase].get("route")
    if route:
        server.add("/a", etag=ETAG, **route)
    attempts.next_task = attempts.task(server.url("/a"))
    sent = route and route.get("cut", 0)
    has_come = {
        "connect": lambda: True,
        "handshake": lambda: server.open_connections == 1,
    }.get(phase, lambda: bool(server.hits("/a")) and server.hits("/a")[0].sent >= sent)
    attempt, seconds = stop_soon(attempts, server, has_come)
    assert seconds < SOON
    assert_failed(attempt, "not-found" if phase == "unwanted body" else "stopped")
    assert attempts.left() == set()
    if "body" in phase and phase != "unwanted body":
        assert attempt.part.offset == CUT == attempts.parts()[0].stat().st_size
    else:
        assert len(attempts.parts()) == (phase == "chunks")


def test_p01_a_stop_ends_a_look_up(make, resolver, server):
    attempts = make(connect_timeout=20.0)
    over, asked = threading.Event(), threading.Event()
    resolver(lambda: asked.set() or (over.wait(60.0) and []))
    attempts.next_task = attempts.task("http://name.test/a")
    try:
        attempt, seconds = stop_soon(attempts, server, asked.is_set)
        assert_failed(attempt, "stopped")
        assert seconds < SOON
    finally:
        over.set()
        end_look_ups()


def test_p01_a_stop_ends_the_wait_for_the_rate_limit(server, tmp_path):
    with Attempts(tmp_path / "out", limit_rate=1000.0) as attempts:
        server.add("/a", body=Filled(1 << 30), etag=ETAG)
        attempts.next_task = attempts.task(server.url("/a"))
        attempt, seconds = stop_soon(attempts, server, lambda: bool(server.hits("/a")))
        assert_failed(attempt, "stopped")
        assert seconds < SOON


def test_a_stopped_run_makes_no_request(server, attempts):
    attempts.stop.set()
    assert_failed(attempts.fetch(server.url("/a")), "stopped")
    assert server.requests == []


def test_c14_a_close_delimited_body_that_is_shut_is_not_its_end(server, attempts):
    server.add("/a", body=DATA, no_length=True, cut=CUT, cut_how="stall")
    attempts.next_task = attempts.task(server.url("/a"))
    attempt, _ = stop_soon(
        attempts, server, lambda: bool(server.hits("/a")) and server.hits("/a")[0].sent >= CUT
    )
    assert_failed(attempt, "stopped")
    assert attempts.left() == set()
    assert attempts.parts() == []


# -- nothing from the environment -----------------------------------------------------------------


def test_c15_proxy_variables_are_ignored(make_server, attempts, monkeypatch):
    proxy, server = make_server(), make_server()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.origin)
    server.add("/a", body=DATA)
    assert attempts.fetch(server.url("/a")).done
    assert proxy.requests == []


# -- retry information ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [(408, "server"), (425, "server"), (429, "throttled"), (500, "server"), (502, "server"),
     (503, "throttled"), (504, "server"), (522, "server"), (524, "server")],
)  # fmt: skip
def test_t01_statuses_that_may_pass(server, attempts, status, kind):
    server.add("/a", body=DATA, status=status, times=1)
    first = attempts.fetch(server.url("/a"))
    assert_failed(first, kind, retryable=True)
    assert first.failure.status_code == status
    assert attempts.go_on(server.url("/a"), first.part).done


@pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 410, 451])
def test_t10_statuses_that_do_not(server, attempts, status):
    server.add("/a", status=status)
    attempt = attempts.fetch(server.url("/a"))
    assert attempt.failure.retryable is False
    assert attempt.failure.status_code == status


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("2", 2.0), ("0", 0.0), ("9999", 9999.0), ("abc", None), ("-5", None), ("1.5", None),
     ("Sun, 13 Sep 2020 12:26:40 GMT", 5.0), ("Sun, 13 Sep 2020 12:26:30 GMT", 0.0)],
)  # fmt: skip
def test_t02_t05_how_long_the_server_asks_to_wait(server, attempts, value, seconds):
    server.add("/a", status=429, retry_after=value, date="Sun, 13 Sep 2020 12:26:35 GMT")
    assert attempts.fetch(server.url("/a")).failure.retry_after == seconds


# -- nothing is left behind -----------------------------------------------------------------------

FAILURES = {
    "ok": {"body": DATA},
    "not found": {"status": 404},
    "large error": {"status": 500, "body": Filled(1 << 20)},
    "short body": {"body": DATA, "cut": CUT},
    "reset": {"body": DATA, "cut": CUT, "cut_how": "reset"},
    "silence": {"body": DATA, "cut": CUT, "cut_how": "stall"},
    "surplus": {"body": DATA, "length": CUT},
    "no length": {"body": DATA, "no_length": True},
    "chunked": {"body": DATA, "chunked": 1000},
    "cut chunk": {"body": DATA, "chunked": SIZE, "cut": CUT},
    "bad length": {"body": DATA, "length": "abc"},
    "bad head": {"raw": [b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"]},
    "not http": {"raw": [b"SSH-2.0\r\n"]},
    "unanswered": {"raw": [CLOSE]},
    "redirect out": {"redirect": "http://127.0.0.1:1/"},
    "bad redirect": {"redirect": "http://[::1"},
    "loop": {"redirect": "/a"},
    "refused": {"body": DATA, "extra_headers": [("Content-Encoding", "bogus")]},
}


@linux_only
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", FAILURES)
def test_no_handle_and_no_thread_is_left(make_server, make, name, tls):
    server = make_server(tls=tls)
    attempts = make(idle_timeout=0.05, ca_bundle=server.ca_file if tls else None)
    server.add("/a", etag=ETAG, **FAILURES[name])
    first = attempts.fetch(server.url("/a"))

    def held():
        attempts.transport.close()
        names = {thread.name for thread in threading.enumerate()}
        return open_handles() | {name for name in names if not name.startswith("faultserver")}

    attempts.transport.close()
    server.wait_until(lambda: server.open_connections == 0)
    before = held()
    part = first.part
    for number in range(3):
        attempt = attempts.go_on(
            server.url("/a"), part, deadline=None, replace=number > 0 or bool(first.done)
        )
        part = attempt.part
    server.wait_until(lambda: held() <= before)  # the server may be late to see that we have left


@linux_only
@pytest.mark.parametrize("case", ["refused", "silent tls", "bad certificate"])
def test_no_handle_is_left_by_a_connection_that_fails(make_server, make, case):
    options = {"refused": {"accept": "refuse"}, "silent tls": {"tls": True, "accept": "silent"}}
    server = make_server(**options.get(case, {"tls": True, "cert": "expired"}))
    attempts = make(connect_timeout=0.1, ca_bundle=server.ca_file if server.tls else None)
    attempts.fetch(server.url("/a"))
    server.wait_until(lambda: server.open_connections == 0)
    before = open_handles()
    for _ in range(3):
        assert attempts.fetch(server.url("/a")).failure is not None
    server.wait_until(lambda: open_handles() <= before)


@linux_only
def test_a_part_that_was_adopted_before_a_redirect_is_closed(make_server, attempts):
    one, two = make_server(), make_server(host="127.0.0.2")
    one.add("/a", body=DATA, etag=ETAG, cut=CUT)
    part = attempts.fetch(one.url("/a")).part
    one.add("/a", redirect=two.url("/b"))
    attempt = attempts.go_on(one.url("/a"), part)
    assert attempt.redirect == two.url("/b")
    assert attempt.part == part
    assert not [line for line in open_handles() if f"{attempts.dest}/" in line and line.endswith(".part")]


def test_p12_a_bug_fails_one_entry(server, attempts):
    def broken(_event):
        raise RuntimeError("a bug")

    server.add("/a", body=Filled(2 << 20))
    attempts.context = attempts.new_context(broken)
    attempt = attempts.fetch(server.url("/a"))
    assert_failed(attempt, "internal", "RuntimeError: a bug", retryable=False)
    assert attempts.parts() == []
    assert attempt.part == NO_PART
    server.add("/b", body=DATA)
    assert attempts.fetch(server.url("/b"), "b").done
