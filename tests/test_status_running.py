"""`status` beside a run that is alive."""

from __future__ import annotations

import sys

import pytest

from bulkfetch.lock import DestinationLock, holder_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the holder's file says nothing for sure")

BIG = b"x" * 100_000


def test_status_does_not_ask_for_the_same_command_while_a_run_is_going_on(
    server, tmp_path, start_bulkfetch, run_bulkfetch
):
    server.add("/slow.bin", body=BIG, at={100: 60.0})
    process = start_bulkfetch("get", server.url("/slow.bin"), "-d", tmp_path)
    server.wait_for_hits("/slow.bin")
    shown = run_bulkfetch("status", tmp_path).stdout
    assert f"a run is going on here: process {process.pid}" in shown
    assert "run the same command again" not in shown
    process.kill()
    process.wait(30)
    shown = run_bulkfetch("status", tmp_path).stdout
    assert "a run is going on" not in shown
    assert "run the same command again to go on" in shown


def test_looking_at_the_lock_does_not_keep_a_run_from_taking_it(tmp_path):
    assert holder_of(tmp_path) == ""
    with DestinationLock(tmp_path):
        pass
    assert holder_of(tmp_path) == ""
    (tmp_path / "lock").write_text("nonsense")
    assert holder_of(tmp_path) == ""
    with DestinationLock(tmp_path):
        pass
