"""The benchmarks measure what they say and leave nothing behind; how fast anything is, no test asks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import clean_environment
from faultserver.nginx import is_installed

from benchmarks import __main__ as command
from benchmarks.contenders import CONTENDERS, Order
from benchmarks.layers import Tracer, measure_residue, to_profile
from benchmarks.lists import KINDS, Lists
from benchmarks.measure import Bench, Cost
from benchmarks.nginx import Traffic
from benchmarks.payloads import Files, find_problem, write_files
from benchmarks.report import format_workload, to_record
from benchmarks.run import Result, Round, choose_contenders, show_command
from benchmarks.scratch import NoRoom, open_scratch
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parent.parent
SECONDS = 120.0
MODES = {row.mode for row in WORKLOADS.values()}


@pytest.fixture
def _needs_nginx():
    if not is_installed():
        if os.environ.get("CI"):
            pytest.fail("nginx is not installed")
        pytest.skip("nginx is not installed")


@pytest.fixture
def start_benchmarks(tmp_path):
    """Return a function that starts `python -m benchmarks` with its files below `tmp_path / "scratch"`."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    started = []

    def start(*arguments, **changes):
        words = [sys.executable, "-m", "benchmarks", *arguments, "--scratch", str(scratch)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        env = clean_environment(tmp_path, changes)
        started.append(subprocess.Popen(words, cwd=ROOT, env=env, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


def finish(process):
    """Return (exit status, stdout, stderr)."""
    stdout, stderr = process.communicate(timeout=SECONDS)
    return process.returncode, stdout, stderr


@pytest.mark.usefixtures("_needs_nginx")
def test_smallest_run(start_benchmarks, tmp_path):
    bin_folder = tmp_path / "bin"  # of all programs only nginx: who is absent is then known
    bin_folder.mkdir()
    (bin_folder / "nginx").symlink_to(shutil.which("nginx"))
    names = "bulkfetch,curl"
    words = [
        "small",
        "--scale",
        "0.0004",
        "--rounds",
        "2",
        "--contenders",
        names,
        "--json",
        f"{tmp_path}/a.json",
    ]
    status, stdout, stderr = finish(start_benchmarks(*words, PATH=str(bin_folder)))
    assert status == 0, stderr
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["contenders"]["curl"] == "absent"
    (workload,) = record["workloads"]
    assert (workload["name"], workload["files"], workload["bytes"]) == ("small", 20, 200_000)
    (result,) = workload["results"]
    assert (result["contender"], result["right"], result["problem"]) == ("bulkfetch", True, "")
    assert (result["ratio"], len(result["rounds"])) == (1.0, 2)
    assert {one["traffic"]["requests"] for one in result["rounds"]} == {20}
    assert all(one["cost"]["peak"] > 1e6 and one["cost"]["cpu"] > 0 for one in result["rounds"])
    assert "small files" in stdout
    assert "MB are free" in stderr
    assert str(tmp_path) not in json.dumps(record)
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.usefixtures("_needs_nginx")
def test_smallest_profile(start_benchmarks, tmp_path):
    words = ["small", "resume", "--scale", "0.0004", "--contenders", "bulkfetch", "--profile", "--json", "-"]
    status, stdout, stderr = finish(start_benchmarks(*words))
    assert status == 0, stderr
    small, resume = json.loads(stdout)["workloads"]  # with --json - nothing else is on standard output
    rows = {row["row"]: row for row in small["profile"]["rows"]}
    assert {"(C) sockets", "bulkfetch.scheduler"} <= set(rows)
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1.0)
    assert rows["bulkfetch.scheduler"]["calls_per_file"] >= 2  # add and take
    assert resume["skipped"]
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.usefixtures("_needs_nginx")
def test_an_interrupted_run_leaves_a_record_and_nothing_else(start_benchmarks, tmp_path):
    words = ["small", "--scale", "0.0004", "--rounds", "99999", "--contenders", "bulkfetch"]
    process = start_benchmarks(*words, "--json", f"{tmp_path}/a.json")
    for line in process.stderr:
        if line.startswith("small 2/"):
            break
    (folder,) = (tmp_path / "scratch").iterdir()
    server = int((folder / "nginx" / "nginx.pid").read_text())
    process.send_signal(signal.SIGTERM)
    status, stdout, stderr = finish(process)
    assert status == command.EXIT_SIGINT, stderr
    assert "Traceback" not in stderr
    (workload,) = json.loads((tmp_path / "a.json").read_text())["workloads"]
    assert workload["results"][0]["right"]  # the first round was whole
    assert "small files" in stdout
    assert not list((tmp_path / "scratch").iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["small", "--contenders", "bulkfetch,nonsense"]],
    ids=["workload", "contender"],
)
def test_unknown_names_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert "nonsense" in capsys.readouterr().err


def test_too_little_room_is_said_before_anything_is_made(tmp_path):
    with pytest.raises(NoRoom, match=r"needs .* free"), open_scratch(10**18, str(tmp_path)):
        pytest.fail("opened")
    assert not list(tmp_path.iterdir())


def test_no_arguments_choose_the_quick_set():
    options = command.parse_arguments([])
    assert {row.name for row in options.chosen} >= {"small", "large"}
    assert options.rounds == command.QUICK_ROUNDS
    assert max(row.size for row in options.chosen) < 1e9
    assert command.parse_arguments(["small"]).chosen == [WORKLOADS["small"]]


def test_scale_changes_counts_or_sizes():
    assert WORKLOADS["small"].scaled(0.1).groups == (Files("small", 5000, 10_000),)
    assert WORKLOADS["large"].scaled(0.25).groups == (Files("large", 2, 1 << 28),)
    assert WORKLOADS["hosts"].scaled(0.01).origins == 10
    assert WORKLOADS["start"].scaled(0.0).files == 2  # never nothing


GROUP = Files("a", 3, 2_500_000)


def damage_none(out):
    pass


def damage_missing(out):
    (out / GROUP.name(1)).unlink()


def damage_surplus(out):
    (out / "part").write_bytes(b"")


def damage_bytes(out):
    with (out / GROUP.name(2)).open("r+b") as stream:
        stream.seek(2_400_000)
        stream.write(b"damaged")


def damage_swapped(out):
    for name, other in ((0, "x"), (1, GROUP.name(0)), ("x", GROUP.name(1))):
        (out / (name if name == "x" else GROUP.name(name))).rename(out / other)


def damage_size(out):
    with (out / GROUP.name(2)).open("ab") as stream:
        stream.write(b"x")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (damage_none, ""),
        (damage_missing, "2 files, not 3"),
        (damage_surplus, "4 files, not 3"),
        (damage_bytes, "a-0000002.bin is missing or has other bytes"),
        (damage_swapped, "a-0000000.bin is missing or has other bytes"),
        (damage_size, "7500001 bytes, not 7500000"),
    ],
    ids=["none", "missing", "surplus", "bytes", "swapped", "size"],
)
def test_find_problem(tmp_path, damage, problem):
    write_files(GROUP, tmp_path)
    out = tmp_path / GROUP.folder
    (out / ".bulkfetch").mkdir()
    damage(out)
    assert find_problem(out, [GROUP]) == problem


def round_of(seconds, problem="", told=""):
    return Round(Cost(seconds, seconds / 2, 10_000_000, told), Traffic(20, 16, 200_000), problem)


def test_medians_and_ratios():
    results = [
        Result("bulkfetch", [], [round_of(2.0), round_of(9.0), round_of(1.0)]),
        Result("curl", [], [round_of(1.0), round_of(0.5), round_of(1.5, told="exit 22")]),
        Result("wget", [], [round_of(0.1), round_of(0.1, "19 files, not 20"), round_of(0.1)]),
        Result("aria2c", []),  # interrupted before its first round
    ]
    record = to_record(WORKLOADS["small"].scaled(0.0004), results)
    ours, curl, wget = record["results"]
    assert (ours["median"]["seconds"], ours["ratio"]) == (2.0, 1.0)
    assert (curl["median"]["seconds"], curl["ratio"], curl["cpu_ratio"]) == (1.0, 0.5, 0.5)
    assert (curl["right"], curl["problem"]) == (True, "exit 22")
    assert (wget["right"], wget["ratio"]) == (False, None)
    assert wget["problem"] == "WRONG FILES: 19 files, not 20"
    lines = format_workload(json.loads(json.dumps(record))).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["curl", "bulkfetch", "wget"]  # the wrong one last


def test_a_workload_that_cannot_run_says_why():
    assert "left out: no module" in format_workload(to_record(WORKLOADS["latency"], [], "no module"))


@pytest.mark.parametrize(
    ("name", "mode"), [(row.name, mode) for row in CONTENDERS.values() for mode in row.modes.split()]
)
def test_every_command_line_can_be_built(tmp_path, name, mode):
    contender = CONTENDERS[name]
    assert mode in MODES
    lists = Lists(tmp_path, [Files("a", 1, 10)], ["http://127.0.0.1:1"], "out")
    words = contender.command(Order(lists, "out", 16, mode, "ca.pem", 10))
    assert all(isinstance(word, str) for word in words)
    assert not [word for word in show_command(words) if str(ROOT) in word or sys.executable in word]
    named = [word for word in words if word.startswith("list.")]
    assert all((tmp_path / word).stat().st_size for word in named)


def test_each_list_names_every_file(tmp_path):
    groups = [Files("a", 2, 10), Files("b", 1, 20)]
    lists = Lists(tmp_path, groups, ["http://127.0.0.1:1", "http://127.0.0.2:1"], "out")
    for kind in KINDS:
        text = (tmp_path / lists.write(kind)).read_text()
        assert all(text.count(name) for name in ("a-0000000.bin", "a-0000001.bin", "b-0000000.bin"))
    assert lists.urls()[1:] == ["http://127.0.0.2:1/a/a-0000001.bin", "http://127.0.0.1:1/b/b-0000000.bin"]


def test_who_cannot_do_a_workload_is_not_asked():
    names = list(CONTENDERS)
    assert choose_contenders(WORKLOADS["start"], names) == [
        "bulkfetch",
        "bulkfetch-nodigest",
        "curl",
        "aiohttp",
    ]
    assert "axel" not in choose_contenders(WORKLOADS["small"], names)
    assert "wget" not in choose_contenders(WORKLOADS["latency"], names)
    assert choose_contenders(WORKLOADS["small"], ["curl"]) == ["curl"]


@pytest.fixture
def bench(tmp_path):
    """A bench for commands of ours; whatever runs longer than 20 s is stuck."""
    return Bench(tmp_path, clean_environment(tmp_path), 20.0)


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="no wait4 on this system")
class TestBench:
    """What is told about one command."""

    def test_cost(self, bench):
        cost = bench.run([sys.executable, "-c", "len(b'x' * 64_000_000)"])
        assert not cost.problem
        assert cost.peak > 64_000_000
        assert cost.seconds > 0

    def test_failure(self, bench):
        program = "import sys; sys.exit('first\\nit broke\\x1b')"
        assert bench.run([sys.executable, "-c", program]).problem == "exit 1: it broke"

    def test_unknown_program(self, bench):
        assert bench.run(["no-such-program-here"]).problem.startswith("cannot be started")

    def test_pipe(self, bench):
        (bench.folder / "list").write_text("one\ntwo\n")
        program = (
            "import os, stat, sys; sys.exit(f'{stat.S_ISFIFO(os.fstat(0).st_mode)} {sys.stdin.read()!r}')"
        )
        told = bench.run([sys.executable, "-c", program], "list").problem
        assert told == r"exit 1: True 'one\ntwo\n'"

    def test_limit(self, tmp_path):
        limited = Bench(tmp_path, clean_environment(tmp_path), 0.5)
        assert "still ran" in limited.run([sys.executable, "-c", "import time; time.sleep(60)"]).problem

    def test_killed_half_way(self, bench):
        mark = bench.folder / "begun"
        lines = ("import time", "open('begun', 'w').close()", "time.sleep(60)", "open('ended', 'w').close()")
        bench.run_until([sys.executable, "-c", "; ".join(lines)], mark.exists)
        assert mark.exists()
        assert not (bench.folder / "ended").exists()


def busy(count):
    """Make `count` calls of a Python function and as many of a C function."""
    for number in range(count):
        plain(abs(number))


def plain(number):
    """Be called."""
    return number


def test_every_thread_is_traced():
    tracer = Tracer()
    thread = threading.Thread(target=busy, args=(1000,))
    tracer.install()
    try:
        busy(1000)
        thread.start()
        thread.join()
    finally:
        tracer.remove()
    spent, events, calls = tracer.rows()["other Python code"]
    assert calls >= 4000  # in two threads 1000 of plain and 1000 of abs
    assert events > calls
    assert spent > 0
    assert measure_residue() > 0


def test_profile_rows_share_a_plain_run():
    traced = {
        "cpu": 9.0,
        "residue": 100.0,
        "rows": {"a": (10_000, 10, 5), "b": (3_500, 5, 2), "c": (1, 1, 1)},
    }
    profile = to_profile(({"cpu": 0.001}, ""), (traced, ""), files=10)
    assert [(row["row"], row["share"]) for row in profile["rows"]] == [("a", 0.75), ("b", 0.25), ("c", 0.0)]
    assert [row["us_per_file"] for row in profile["rows"]] == pytest.approx([75.0, 25.0, 0.0])
    assert to_profile(({}, "exit 1"), ({}, ""), files=10)["problem"] == "exit 1"
