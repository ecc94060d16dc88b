"""`python -m benchmarks.adaptive` counts what it timed, and compares auto with what it could choose."""

from __future__ import annotations

import pytest

from benchmarks.adaptive import MODES, Run, describe, fetch


@pytest.fixture
def listed(server, tmp_path):
    server.add("/body", body=b"x" * 10)
    path = tmp_path / "list"
    path.write_text("".join(f"{server.url('/body')}?{number}\n" for number in range(3)))
    return path


def test_a_run_is_timed_and_leaves_nothing(listed, tmp_path):
    run = fetch(listed, tmp_path / "dest", "auto")
    assert run.cpu > 0
    assert run.seconds > 0
    assert not (tmp_path / "dest").exists()


def test_a_run_that_brought_less_is_no_result(server, listed, tmp_path):
    listed.write_text(listed.read_text() + server.url("/missing") + "\n")
    with pytest.raises(SystemExit, match="exit status 1, 1 files missing"):
        fetch(listed, tmp_path / "dest", "4")


def test_auto_is_compared_with_what_it_may_choose():
    runs = dict(
        zip(MODES, (Run(10.0, 1.0), Run(4.0, 1.0), Run(2.0, 1.0), Run(1.0, 1.0), Run(3.0, 1.0)), strict=True)
    )
    assert describe(50, 9, runs).split(" | ")[-1] == "1.50 |"  # of 2 s, not of 1 s with 64 connections
