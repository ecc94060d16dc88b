"""The search for secrets over the session finds what it is for, and would fail the test that leaks."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watching import MARKS, Watch, marks_in, new_secret

TESTS = Path(__file__).parent
SECRET = new_secret("leak")
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc")


@pytest.fixture
def folder(tmp_path_factory):
    """A folder that is not the test's own, which must stay without secrets."""
    return tmp_path_factory.mktemp("leaky")


def put(path, text=SECRET):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@given(st.sampled_from(MARKS), st.binary(max_size=9), st.binary(max_size=9))
def test_a_mark_is_found_as_it_is_and_in_base64(mark, before, after):
    raw = before + mark.encode() + after
    assert mark in marks_in(raw)
    assert mark in marks_in(b64encode(raw))


def test_two_secrets_are_never_the_same():
    assert new_secret("a") != new_secret("a")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("dest/.bulkfetch/journal.sqlite3", True),
        ("dest/.bulkfetch/journal.sqlite3-wal", True),
        pytest.param(f"dest/.bulkfetch/{SECRET}", True, id="in a name"),
        ("dest/.bulkfetch/parts/1a2b", False),
        ("dest/body", False),
        ("events.jsonl", True),
        ("log/run.log", True),
        ("again.jsonl", False),
        ("policy.toml", False),
    ],
)
def test_where_a_secret_must_not_stand(folder, name, found):
    put(folder / "policy.toml")
    watch = Watch(folder)
    watch.begin(["get", "-d", folder / "dest", "--failed", folder / "again.jsonl"])
    put(folder / name)
    assert bool(watch.found()) is found


def test_the_state_of_a_run_without_a_command_is_searched_too(folder):
    put(folder / "manifest")
    assert Watch(folder).found() == []
    put(folder / "deep" / ".bulkfetch" / "journal.sqlite3")
    assert len(Watch(folder).found()) == 1


@needs_proc
@pytest.mark.parametrize(
    ("arguments", "told", "found"),
    [([], False, False), ([SECRET], True, False), ([SECRET], False, True)],
    ids=["none", "the test's own", "of the program's making"],
)
def test_what_ps_shows_is_searched(arguments, told, found):
    code = "import sys; sys.stdin.read()"
    watch = Watch(None)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", code, *arguments], **pipes) as process:
        watch.follow(process, arguments if told else [])
        watch.look_once(process.pid)
        process.stdin.close()
    assert any("ps shows" in line for line in watch.found()) is found


@needs_proc
def test_what_ps_shows_of_children_is_searched(folder):
    inner = [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()", SECRET]
    outer = "import subprocess, os; subprocess.run(eval(os.environ['INNER']))"
    environment = {**os.environ, "INNER": repr(inner)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    watch = Watch(None)
    with subprocess.Popen([sys.executable, "-c", outer], env=environment, **pipes) as process:
        watch.follow(process, [SECRET])
        assert process.stdout.readline()
        watch.look_once(process.pid)
        process.stdin.close()
    assert any("ps shows" in line for line in watch.found())


def test_a_test_that_leaks_fails(folder):
    """The whole way: a session of its own, with the fixtures of this one."""
    (folder / "empty.ini").write_text("[pytest]\n")
    (folder / "test_leaks.py").write_text(
        "from watching import new_secret\n"
        "def test_journal(tmp_path):\n"
        "    (tmp_path / '.bulkfetch').mkdir()\n"
        "    (tmp_path / '.bulkfetch' / 'journal').write_text(new_secret('x'))\n"
        "def test_said(command, tmp_path):\n"
        "    command('get', '-d', tmp_path / 'out', '--no-such-' + new_secret('x'))\n"
        "def test_clean(tmp_path):\n"
        "    (tmp_path / 'policy').write_text(new_secret('x'))\n"
    )
    options = ["-p", "conftest", "-c", "empty.ini", "--basetemp", "temp", "-q", "test_leaks.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 passed, 2 errors" in done.stdout, done.stdout
    for name in ("test_journal", "test_said"):
        assert f"ERROR test_leaks.py::{name} - Failed: secrets can be seen" in done.stdout


def secrets_named(path):
    """Yield what a test file has under a name such as SECRET."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        is_text = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        if is_text and re.fullmatch("(.*_)?(SECRET|PASSWORD)", ast.unparse(node.targets[0])):
            yield node.value.value


def test_every_secret_of_the_tests_has_a_mark():
    named = [secret for path in TESTS.glob("test_*.py") for secret in secrets_named(path)]
    assert len(named) >= 6
    assert [secret for secret in named if not marks_in(secret.encode())] == []
