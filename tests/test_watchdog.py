"""Bounds on blocking sockets, looked at with chosen times."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from bulkfetch.errors import DeadlinePassed, Stopped, TimedOut, TooSlow
from bulkfetch.watchdog import GRACE, SPEED_WINDOW, Lease, Watchdog

FOREVER = float("inf")
SPEED = 1024.0


@pytest.fixture
def pair():
    """Two ends of a connection."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def stop():
    return threading.Event()


@pytest.fixture
def watchdog(stop):
    """A watchdog that looks only when it is told to."""
    watching = Watchdog(stop, SPEED)
    watching.close()
    return watching


@pytest.fixture
def lease(watchdog):
    """The lease of an attempt that has begun."""
    begun = watchdog.lease()
    begun.begin(FOREVER)
    return begun


def is_shut(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


# -- phases ---------------------------------------------------------------------------------------


def test_c03_a_phase_ends_at_its_bound(watchdog, lease, pair):
    lease.attach(pair[0])
    lease.enter("the answer's head", 10.0)
    watchdog.look(time.monotonic() + 9.0)
    assert not lease.is_cut
    assert not is_shut(pair[0])
    watchdog.look(time.monotonic() + 11.0)
    assert lease.is_cut
    assert is_shut(pair[0])
    with pytest.raises(TimedOut, match="the answer's head took too long"):
        lease.check()


def test_the_phase_that_took_too_long_is_named(watchdog, lease):
    lease.enter("connecting to example.org", 1.0)
    watchdog.look(time.monotonic() + 2.0)
    lease.what = "body"
    with pytest.raises(TimedOut, match="connecting to"):
        lease.check()


def test_the_next_phase_has_its_own_bound(watchdog, lease):
    lease.enter("connecting", 1.0)
    lease.enter("the answer's head", 60.0)
    watchdog.look(time.monotonic() + 30.0)
    assert not lease.is_cut


def test_an_entrys_deadline_ends_any_phase(watchdog, pair):
    lease = watchdog.lease()
    now = time.monotonic()
    lease.begin(now + 5.0)
    lease.attach(pair[0])
    lease.stream()
    watchdog.look(now + 4.0)
    assert not lease.is_cut
    watchdog.look(now + 6.0)
    assert is_shut(pair[0])
    with pytest.raises(DeadlinePassed):
        lease.check()


def test_a_cut_attempt_cannot_go_on(lease, pair):
    lease.cut(lambda: TimedOut("too late"), lease.number)
    with pytest.raises(TimedOut, match="too late"):
        lease.attach(pair[0])
    with pytest.raises(TimedOut, match="too late"):
        lease.enter("body", 5.0)


def test_a_cut_meant_for_an_earlier_attempt_does_not_meet_the_next(lease, pair):
    number = lease.number
    lease.begin(FOREVER)
    lease.attach(pair[0])
    lease.cut(lambda: TimedOut("too late"), number)
    assert not lease.is_cut
    assert not is_shut(pair[0])


def test_the_first_reason_counts(lease):
    lease.cut(lambda: TimedOut("first"), lease.number)
    lease.cut(lambda: Stopped("second"), lease.number)
    with pytest.raises(TimedOut, match="first"):
        lease.check()


# -- speed ----------------------------------------------------------------------------------------


def stream(watchdog, lease, per_second, seconds, start, step=0.2):
    """Let a body come at `per_second` while the watchdog looks every `step`; return when it was cut."""
    for tick in range(1, int(seconds / step) + 1):
        lease.received = int(per_second * tick * step)
        watchdog.look(start + tick * step)
        if lease.is_cut:
            return tick * step
    return None


@pytest.mark.parametrize(
    ("per_second", "is_slow"), [(0, True), (3, True), (SPEED / 2, True), (SPEED * 1.1, False), (10**8, False)]
)
def test_c02_a_body_slower_than_min_speed_is_ended(watchdog, lease, per_second, is_slow):
    lease.stream()
    cut = stream(watchdog, lease, per_second, 2 * SPEED_WINDOW, time.monotonic())
    assert (cut is not None) is is_slow
    assert cut is None or SPEED_WINDOW <= cut <= SPEED_WINDOW + 1.0


def test_c02_a_fast_beginning_does_not_excuse_what_follows(watchdog, lease):
    lease.stream()
    start = time.monotonic()
    assert stream(watchdog, lease, 10**6, 60.0, start) is None
    got = lease.received
    for tick in range(1, 400):
        lease.received = got + tick
        watchdog.look(start + 60.0 + tick * 0.2)
        if lease.is_cut:
            break
    assert SPEED_WINDOW <= tick * 0.2 <= SPEED_WINDOW + 5.0
    with pytest.raises(TooSlow, match=r"5 bytes/s over 3\d s is under --min-speed"):
        lease.check()


def test_a_pause_shorter_than_the_window_is_allowed(watchdog, lease):
    lease.stream()
    start = time.monotonic()
    assert stream(watchdog, lease, 10**6, 60.0, start) is None
    lease.received += 30 * 1024  # then nothing for 25 s
    for tick in range(125):
        watchdog.look(start + 60.0 + tick * 0.2)
    assert not lease.is_cut


def test_speed_counts_only_while_a_body_streams(watchdog, lease):
    lease.enter("the answer's head", 300.0)
    assert stream(watchdog, lease, 0, 3 * SPEED_WINDOW, time.monotonic()) is None


def test_the_wait_for_a_second_head_is_not_its_bodys_speed(watchdog, lease):
    """A redirect's body streams for a moment, then the next head may take long."""
    start = time.monotonic()
    lease.stream()
    watchdog.look(start)
    lease.leave()
    lease.enter("the answer's head", 300.0)
    watchdog.look(start + 100.0)
    lease.stream()
    watchdog.look(start + 101.0)
    assert not lease.is_cut


def test_waiting_for_our_own_rate_limit_is_not_the_servers_slowness(watchdog, lease):
    start = time.monotonic()
    lease.stream()
    for tick in range(1, 1000):
        lease.pause(lambda: watchdog.look(start + tick * 0.2))  # noqa: B023 - called at once
        assert lease.streaming
        lease.paused = tick * 0.19
        watchdog.look(start + tick * 0.2)
    assert not lease.is_cut


def test_a_pause_is_measured(lease):
    lease.stream()
    waited = []
    lease.pause(lambda: waited.append(lease.streaming))
    assert waited == [False]
    assert 0.0 <= lease.paused < 5.0


def test_no_min_speed(stop):
    watchdog = Watchdog(stop, 0.0)
    watchdog.close()
    lease = watchdog.lease()
    lease.begin(FOREVER)
    lease.stream()
    assert stream(watchdog, lease, 0, 3 * SPEED_WINDOW, time.monotonic()) is None


# -- which socket ---------------------------------------------------------------------------------


def test_a_stop_ends_every_attempt(watchdog, stop):
    pairs = [socket.socketpair() for _ in range(3)]
    leases = [watchdog.lease() for _ in pairs]
    try:
        for lease, (sock, _) in zip(leases, pairs, strict=True):
            lease.begin(FOREVER)
            lease.attach(sock)
        stop.set()
        watchdog.look(time.monotonic())
        assert all(is_shut(sock) for sock, _ in pairs)
        assert all(lease.is_cut for lease in leases)
        with pytest.raises(Stopped):
            leases[0].check()
    finally:
        for sock in (end for pair in pairs for end in pair):
            sock.close()


def test_what_nobody_wants_costs_the_connection_alone(watchdog, lease, pair):
    lease.attach(pair[0])
    lease.stream()
    lease.waste(0.5)
    watchdog.look(time.monotonic() + 0.4)
    assert not is_shut(pair[0])
    watchdog.look(time.monotonic() + 0.6)
    assert is_shut(pair[0])
    lease.check()


def test_the_connection_after_an_unwanted_body_is_left_alone(watchdog, lease, pair):
    lease.attach(pair[0])
    lease.waste(0.5)
    lease.leave()
    lease.attach(pair[0])
    watchdog.look(time.monotonic() + 10.0)
    assert not is_shut(pair[0])


@pytest.mark.parametrize("let_go", ["leave", "end", "forget", "begin"])
def test_a_socket_that_was_let_go_is_not_shut(lease, pair, let_go):
    lease.attach(pair[0])
    arguments = {"forget": (pair[0],), "begin": (FOREVER,)}.get(let_go, ())
    getattr(lease, let_go)(*arguments)
    lease.cut(lambda: Stopped("the run was stopped"), lease.number)
    assert not is_shut(pair[0])


@pytest.mark.parametrize("other", [None, socket.socket()], ids=["none", "another"])
def test_forgetting_another_socket_changes_nothing(lease, pair, other):
    lease.attach(pair[0])
    lease.forget(other)
    lease.cut(lambda: Stopped("the run was stopped"), lease.number)
    assert is_shut(pair[0])
    if other is not None:
        other.close()


def test_a_socket_its_owner_has_closed_is_no_error(lease, pair):
    lease.attach(pair[0])
    pair[0].close()
    lease.cut(lambda: Stopped("the run was stopped"), lease.number)
    assert lease.is_cut


def test_a_new_attempt_starts_clean(watchdog, lease):
    lease.enter("connecting", 1.0)
    lease.received, lease.reused = 500, True
    watchdog.look(time.monotonic() + 2.0)
    lease.end()
    lease.begin(FOREVER)
    assert not lease.is_cut
    assert (lease.received, lease.reused, lease.streaming) == (0, False, False)
    watchdog.look(time.monotonic() + 1000.0)
    assert not lease.is_cut


def test_between_attempts_nothing_is_overdue(watchdog, lease):
    lease.begin(time.monotonic() + 1.0)
    lease.enter("connecting", 1.0)
    lease.end()
    watchdog.look(time.monotonic() + 1000.0)
    assert not lease.is_cut


# -- who does not come back -----------------------------------------------------------------------


@pytest.fixture
def told():
    return []


@pytest.fixture
def naming(stop, told):
    """A watchdog that says whom it waits for."""
    watching = Watchdog(stop, SPEED, tell=told.append)
    watching.close()
    return watching


def overdue(watchdog):
    """Return a lease whose attempt has just been cut."""
    lease = watchdog.lease()
    lease.begin(FOREVER, "a.bin", "https://user:pw@example.org/a?token=s3cret")
    lease.enter("the answer's head", 1.0)
    watchdog.look(time.monotonic() + 2.0)
    assert lease.is_cut
    return lease


def test_a_worker_that_outlives_its_bounds_is_named_once(naming, told):
    overdue(naming)
    later = time.monotonic() + GRACE
    naming.look(later - 1.0)
    assert told == []
    for _ in range(3):
        naming.look(later + 1.0)
    (notice,) = told
    assert notice.message.startswith("a.bin from https://example.org/a?token=")
    assert notice.message.endswith(" does not end: the answer's head took too long")
    assert "s3cret" not in notice.message
    assert "pw" not in notice.message


def test_the_next_attempt_of_that_worker_is_another_one(naming, told):
    lease = overdue(naming)
    naming.look(time.monotonic() + GRACE + 1.0)
    lease.begin(FOREVER, "b.bin", "https://example.org/b")
    naming.look(time.monotonic() + GRACE + 1.0)
    lease.enter("connecting", 1.0)
    naming.look(time.monotonic() + 2.0)
    naming.look(time.monotonic() + GRACE + 1.0)
    assert [notice.message.partition(" ")[0] for notice in told] == ["a.bin", "b.bin"]


@pytest.mark.parametrize("back", ["end", "begin"])
def test_a_worker_that_came_back_is_not_named(naming, told, back):
    lease = overdue(naming)
    getattr(lease, back)(*((FOREVER,) if back == "begin" else ()))
    naming.look(time.monotonic() + 2 * GRACE)
    assert told == []


# -- threads --------------------------------------------------------------------------------------


def test_c13_a_cut_wakes_a_blocked_read(lease, pair):
    lease.attach(pair[0])
    ended = []
    reader = threading.Thread(target=lambda: ended.append(pair[0].recv(1)), daemon=True)
    reader.start()
    lease.cut(lambda: Stopped("the run was stopped"), lease.number)
    reader.join(30)
    assert ended == [b""]  # looks like a clean end, so the reader asks the lease (C14)
    assert lease.is_cut


def test_it_looks_by_itself(stop, pair):
    watchdog = Watchdog(stop, SPEED, tick=0.01)
    try:
        lease = watchdog.lease()
        lease.begin(time.monotonic() - 1.0)
        lease.attach(pair[0])
        pair[0].settimeout(30.0)
        assert pair[0].recv(1) == b""
        assert lease.is_cut
    finally:
        watchdog.close()


def test_a_program_that_ends_stops_its_run(stop, pair):
    watchdog = Watchdog(stop, SPEED, is_ending=lambda: True, tick=0.01)
    try:
        lease = watchdog.lease()
        lease.begin(FOREVER)
        lease.attach(pair[0])
        pair[0].settimeout(30.0)
        assert pair[0].recv(1) == b""
        with pytest.raises(Stopped):
            lease.check()
        assert stop.is_set()
    finally:
        watchdog.close()


def test_the_last_watch_ends_with_close(stop):
    before = threading.active_count()
    Watchdog(stop, SPEED).close()
    assert threading.active_count() <= before


def test_workers_that_begin_again_and_again_do_not_trip_the_watchdog(watchdog):
    lease = watchdog.lease()
    over = threading.Event()

    def work():
        while not over.is_set():
            lease.begin(FOREVER)
            lease.stream()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        for tick in range(5000):
            watchdog.look(tick * SPEED_WINDOW / 10_000)
        assert not lease.is_cut
    finally:
        over.set()
        worker.join(30)


def test_a_lease_belongs_to_no_watch_before_it_is_asked_for():
    lease = Lease()
    assert not lease.is_cut
    lease.check()
