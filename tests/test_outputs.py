"""Outputs besides the files: `--print`, `--events`, `--failed`, `--log-file`, and what of them is lost."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import clean_environment

full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110 - a device


@pytest.fixture
def url(server: Any) -> str:
    """One small file."""
    server.add("/a.bin", body=b"content")
    return str(server.url("/a.bin"))


def shell(tmp_path: Path, arguments: str, redirect: str, *names: object) -> subprocess.CompletedProcess[str]:
    """Run bulkfetch with shell redirections; `names` fill the placeholders of both."""
    command = f"{shlex.quote(sys.executable)} -m bulkfetch {arguments} {redirect}"
    command = command.format(*(shlex.quote(str(name)) for name in names))
    environment = clean_environment(tmp_path)
    return subprocess.run(
        command, shell=True, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


# -- an output in the place of the list ---------------------------------------------------------------


@pytest.mark.parametrize("option", ["--events", "--log-file"])
def test_an_output_that_is_the_list_itself_does_not_empty_it(server, command, tmp_path, url, option):
    manifest = tmp_path / "only.txt"
    manifest.write_text(url)
    (tmp_path / "link.txt").symlink_to(manifest)
    for name in ("only.txt", "link.txt"):
        done = command("get", manifest, "-d", tmp_path / "out", option, tmp_path / name)
        assert done.returncode == 2
        assert "would be written over a source" in done.stderr
        assert manifest.read_text() == url
    assert server.requests == []


def test_a_list_on_standard_input_is_not_emptied_either(tmp_path, url):
    manifest = tmp_path / "only.txt"
    manifest.write_text(url)
    command = [sys.executable, "-m", "bulkfetch", "get", "--events", str(manifest)]
    with manifest.open() as stream:
        done = subprocess.run(
            command, stdin=stream, capture_output=True, check=False, timeout=60, cwd=tmp_path,
            env=clean_environment(tmp_path),
        )  # fmt: skip
    assert done.returncode == 2
    assert manifest.read_text() == url


def test_two_outputs_are_not_written_into_one_file(command, tmp_path, url):
    both = ("--events", tmp_path / "x", "--failed", tmp_path / "x")
    done = command("get", url, "-d", tmp_path / "out", *both)
    assert done.returncode == 2
    assert "over --failed" in done.stderr


def test_the_failures_may_take_the_place_of_the_list(server, command, tmp_path, url):
    server.add("/b.bin", status=404)
    manifest = tmp_path / "again.jsonl"
    manifest.write_text(f'{{"url": "{url}"}}\n{{"url": "{server.url("/b.bin")}"}}\n')
    assert command("get", manifest, "-d", tmp_path / "out", "--failed", manifest).returncode == 1
    assert "b.bin" in manifest.read_text()
    assert "a.bin" not in manifest.read_text()


def test_a_list_of_failures_that_was_left_unfinished_is_not_removed_before_it_is_read(command, tmp_path, url):
    manifest, left = tmp_path / "again.jsonl", tmp_path / "again.jsonl.new"
    for path in (manifest, left):
        path.write_text(f'{{"url": "{url}"}}\n')
    done = command("get", left, "-f", "jsonl", "-d", tmp_path / "out", "--failed", manifest)
    assert done.returncode == 2
    assert url in left.read_text()


# -- an output that cannot be written ------------------------------------------------------------------


@full_device
@pytest.mark.parametrize("option", ["--events", "--failed", "--log-file"])
def test_a_file_that_could_not_be_written_is_told_by_the_exit_status(server, command, tmp_path, url, option):
    server.add("/b.bin", status=404)
    done = command("get", url, server.url("/b.bin"), "-d", tmp_path / "out", option, "/dev/full")
    assert done.returncode == 5
    assert "bulkfetch: cannot write /dev/full: No space left on device\n" in done.stderr


@full_device
@pytest.mark.parametrize(
    ("arguments", "redirect", "said"),
    [
        ("get {} -d out --print path", "> /dev/full", "cannot write results: No space left on device"),
        ("get {} -d out --print path", ">&-", "cannot write results: standard output is closed"),
        ("get {} -o -", "> /dev/full", "cannot write to standard output: No space left on device"),
        ("get {} -o -", ">&-", "cannot write to standard output: it is closed"),
        ("plan {}", "> /dev/full", "cannot write to standard output: No space left on device"),
    ],
)
def test_results_that_could_not_be_written_are_told(tmp_path, url, arguments, redirect, said):
    done = shell(tmp_path, arguments, redirect, url)
    assert done.returncode == 5, done.stderr
    assert said in done.stderr
    assert "bug" not in done.stderr


@full_device
@pytest.mark.parametrize("name", ["status", "failed"])
def test_a_full_stdout_is_no_bug_of_ours(server, command, tmp_path, name):
    server.add("/b.bin", status=404)
    command("get", server.url("/b.bin"), "-d", tmp_path / "out")
    done = shell(tmp_path, f"{name} out", "> /dev/full")
    assert done.returncode == 5
    assert done.stderr == "bulkfetch: cannot write to standard output: No space left on device\n"


# -- one body to standard output -------------------------------------------------------------------------


def test_a_body_for_stdout_that_fails_points_to_no_folder_that_is_gone(server, command):
    server.add("/b.bin", status=404)
    done = command("get", server.url("/b.bin"), "-o", "-")
    assert done.returncode == 1
    assert "404" in done.stderr
    assert "bulkfetch failed" not in done.stderr
    assert "bulkfetch-" not in done.stderr


def test_a_body_and_records_do_not_share_stdout(command, url):
    done = command("get", url, "-o", "-", "--print", "path")
    assert done.returncode == 2
    assert "both write to standard output" in done.stderr


# -- the log file -------------------------------------------------------------------------------------------


def test_a_log_file_says_when_each_run_began_and_how_it_ended(server, command, tmp_path, url):
    server.add("/b.bin", status=404)
    log = tmp_path / "data.log"
    for _ in range(2):
        command("get", url, server.url("/b.bin"), "-d", tmp_path / "out", "--log-file", log)
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}  .", line) for line in lines), lines
    assert sum("run started  " in line for line in lines) == 2
    assert sum("run ended  fetched 1 file, 1 failed: 7 B" in line for line in lines) == 1
    assert any("failed  b.bin" in line for line in lines)
