"""Everything in samples/ runs as it stands, but for the host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent / "samples"
STATIONS = (b"name,lat,lon\n" + b"north,53.5,9.9\n" * 80)[:1200].ljust(1200, b"\n")
POSIX = pytest.mark.skipif(os.name != "posix", reason="a shell script")
BASH = pytest.mark.skipif(os.name != "posix" or not shutil.which("bash"), reason="a script for bash")


@pytest.fixture
def samples(server, tmp_path):
    """A copy of samples/ that names the test's server."""
    folder = tmp_path / "samples"
    shutil.copytree(SAMPLES, folder)
    for path in folder.iterdir():
        if path.suffix in (".txt", ".csv", ".tsv", ".jsonl"):
            path.write_text(path.read_text("utf-8").replace("https://example.org", server.origin), "utf-8")
    server.add("/data/stations.csv", body=STATIONS)
    server.add("/data/2026/readings.json", body=b"[1, 2]")
    server.add("/mirror/map.png", body=b"a map")  # the first mirror has none
    return folder


@pytest.fixture
def shell_environment():
    """An environment in which `bulkfetch` is the one under test."""
    return {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("urls.txt", {"stations.csv", "readings.json", "map.png"}),
        ("files.jsonl", {"stations.csv", "readings.json", "map.png"}),
        ("files.tsv", {"stations.csv", "readings.json"}),
    ],
)
def test_a_manifest_of_each_format(samples, run_bulkfetch, tmp_path, name, files):
    done = run_bulkfetch("get", samples / name, "-d", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = {path.name for path in (tmp_path / "out").rglob("*") if ".bulkfetch" not in path.parts}
    assert files <= found


def test_the_csv_manifest_has_no_mirror_so_its_map_is_missing(samples, run_bulkfetch, tmp_path):
    done = run_bulkfetch("get", samples / "files.csv", "-d", tmp_path / "out")
    assert done.returncode == 1
    assert (tmp_path / "out" / "tables" / "stations.csv").read_bytes() == STATIONS


def test_the_library_script(samples, shell_environment, tmp_path):
    command = [
        sys.executable,
        str(samples / "library.py"),
        str(samples / "files.jsonl"),
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=shell_environment)
    assert done.returncode == 0, done.stderr
    assert sorted(line.split()[1] for line in done.stdout.splitlines()) == [
        "map.png",
        "readings.json",
        "tables/stations.csv",
    ]


def test_the_exports_are_posted(server, samples, run_bulkfetch, tmp_path):
    server.add("/export", body=lambda request: request.body or request.query.encode())
    done = run_bulkfetch("get", samples / "exports.jsonl", "-d", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "north.csv").read_bytes() == b'{"station":"north","days":[1,2]}'
    assert (tmp_path / "out" / "south.csv").read_bytes() == b"station=south"
    assert (tmp_path / "out" / "all.csv").read_bytes() == b"format=csv&limit=100"


@BASH
@pytest.mark.parametrize(("missing", "status"), [("", 0), ("/nothing.csv", 1)], ids=["well", "one failed"])
def test_the_pipe_recipe(server, samples, shell_environment, tmp_path, missing, status):
    urls = (samples / "urls.txt").read_text() + (f"{server.url(missing)}\n" if missing else "")
    command = ["bash", str(samples / "pipe.sh"), str(tmp_path / "out")]
    done = subprocess.run(
        command, input=urls, capture_output=True, text=True, timeout=60, env=shell_environment
    )
    assert done.returncode == status, done.stderr
    assert done.stdout.count("ready: ") == 3
    assert f"stations.csv ({len(STATIONS)} bytes, sha256 " in done.stdout


@POSIX
def test_the_cron_recipe_is_silent_when_all_is_well(samples, shell_environment, tmp_path):
    command = ["/bin/sh", str(samples / "cron.sh"), str(samples / "urls.txt"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=shell_environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_picture_is_a_picture():
    assert (SAMPLES / "run.svg").read_text("utf-8").startswith("<svg")
