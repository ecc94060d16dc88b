"""Every row of the fault catalogue has a test; those that fit nowhere else are here."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from faults_table import CATALOGUE, GAPS, ROWS
from faultserver import route

HERE = Path(__file__).parent
POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


def test_every_row_has_a_test_or_a_reason():
    assert set(ROWS) | set(GAPS) == set(CATALOGUE)
    assert not set(ROWS) & set(GAPS)


@pytest.mark.parametrize("place", sorted(set(ROWS.values())))
def test_the_tests_it_names_are_there(place):
    file, name = place.split("::")
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@POSIX
def test_p02_a_second_interrupt_leaves_at_once(server, start_bulkfetch, tmp_path):
    server.add("/slow.bin", body=b"x" * 100_000, at={10: 60.0})
    running = start_bulkfetch("get", server.url("/slow.bin"), "-d", tmp_path)
    server.wait_for_hits("/slow.bin")
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in stderr


@POSIX
def test_p09_a_signal_found_ignored_stays_ignored(server, tmp_path):
    server.add("/a.bin", body=b"x" * 100_000, at={10: 1.0})
    script = 'trap "" INT; exec "$@"'
    command = [sys.executable, "-m", "bulkfetch", "get", server.url("/a.bin"), "-d", str(tmp_path)]
    running = subprocess.Popen(["/bin/sh", "-c", script, "sh", *command], stderr=subprocess.PIPE)
    server.wait_for_hits("/a.bin")
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert running.returncode == 0
    assert (tmp_path / "a.bin").stat().st_size == 100_000


@POSIX
def test_p10_an_empty_environment_is_enough(server, tmp_path):
    server.add_generator(lambda request: route(body=b"x"))
    command = [sys.executable, "-m", "bulkfetch", "get", server.url("/a.bin"), "-d", str(tmp_path)]
    done = subprocess.run(
        command, env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, cwd=HERE.parent
    )
    assert done.returncode == 0, done.stderr
    assert b"\r" not in done.stderr


@POSIX
def test_p11_stopped_and_continued(server, start_bulkfetch, tmp_path):
    server.add("/a.bin", body=b"x" * 100_000, etag='"1"', at={10: 1.5}, times=1)
    running = start_bulkfetch("get", server.url("/a.bin"), "-d", tmp_path, "--idle-timeout", "1")
    server.wait_for_hits("/a.bin")
    running.send_signal(signal.SIGSTOP)
    time.sleep(1.2)  # a real process must be seen to stand still
    running.send_signal(signal.SIGCONT)
    running.communicate(timeout=30)
    assert running.returncode == 0
    assert (tmp_path / "a.bin").stat().st_size == 100_000


def test_s05_old_releases_with_known_holes_are_not_accepted():
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"requests>=2.34", "urllib3>=2.8"} <= set(project["dependencies"])


def test_x03_the_window_bounds_what_is_in_memory(server, tmp_path):
    import bulkfetch

    server.add("/n/*", body=b"x", head_delay=0.02)
    given = []

    def urls():
        for number in range(20_000):
            given.append(number)
            yield server.url(f"/n/{number}")

    config = bulkfetch.FetchConfig(dest=tmp_path, window=100, per_host=16)
    with bulkfetch.Fetcher(config) as fetcher:
        for _ in zip(range(50), fetcher.run(urls()), strict=False):
            pass
    assert len(given) < 5_000  # the rest was never read
