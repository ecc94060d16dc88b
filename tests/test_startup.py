"""What a run does not need is not loaded: start-up time, told without a clock."""

from __future__ import annotations

import gc
import importlib
import re
import subprocess
import sys
import threading

import pytest

from bulkfetch.loading import RARE, no_search, put_off

IMPORTED = re.compile(r"^import time: .*\| +([\w.]+)$", re.MULTILINE)
HEAVY = {"requests", "urllib3", "tqdm", "asyncio", "email", "http", "xml", "certifi", "mimetypes", "shutil"}
FOR_FEW = {"tomllib", "pickle", "idna", "encodings.idna"}  # what few lists and hosts need
FOR_A_RUN = {
    "sqlite3",
    "ssl",
    "logging",
    "hashlib",
    "bulkfetch.fetcher",
    "bulkfetch.display",
    "bulkfetch.manifest",
}


@pytest.fixture
def loaded_by(run_bulkfetch):
    """Return a function that runs `bulkfetch ARGS` and tells which modules it loaded."""

    def run(*args, env=None):
        done = run_bulkfetch(*args, env={"PYTHONPROFILEIMPORTTIME": "1", **(env or {})})
        assert done.returncode == 0, done.stderr
        return set(IMPORTED.findall(done.stderr))

    return run


def test_the_version_loads_nothing_of_a_run(loaded_by):
    loaded = loaded_by("--version")
    assert "click" in loaded
    assert not loaded & (HEAVY | FOR_A_RUN)


def test_a_plain_run_loads_neither_requests_nor_what_only_others_need(loaded_by, server, tmp_path):
    server.add("/a.csv", body=b"1,2")
    loaded = loaded_by("get", server.url("/a.csv"), "-d", tmp_path / "data")
    assert loaded >= FOR_A_RUN
    assert not loaded & (HEAVY | FOR_FEW)
    assert (tmp_path / "data" / "a.csv").read_bytes() == b"1,2"


def test_requests_is_loaded_for_who_wants_it(loaded_by, server, tmp_path):
    server.add("/a.csv", body=b"1,2")
    loaded = loaded_by("get", server.url("/a.csv"), "-d", tmp_path, "--transport", "requests")
    assert "requests" in loaded


def test_the_version_says_what_serves_which_request(run_bulkfetch):
    first, second = run_bulkfetch("--version").stdout.splitlines()
    assert re.fullmatch(r"bulkfetch \d+\.\d+\.\d+", first)
    assert "own connections" in second
    assert "requests" in second


MOCKED_FIRST = """
import sys, responses
with responses.RequestsMock() as mock:
    mock.get("http://mocked.test/a.csv", body=b"from the mock")
    import bulkfetch
    (outcome,) = bulkfetch.fetch(["http://mocked.test/a.csv"], dest=sys.argv[1])
print(outcome.status, outcome.size)
"""


def test_a_mock_that_was_there_before_our_transport_is_not_taken_for_the_real_thing(tmp_path):
    command = [sys.executable, "-c", MOCKED_FIRST, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "fetched 13\n", done.stderr


def test_imports_without_a_search_leave_the_collector_as_it_was():
    for before in (True, False):
        was_enabled = gc.isenabled()
        (gc.enable if before else gc.disable)()
        try:
            with no_search():
                assert not gc.isenabled()
            assert gc.isenabled() is before
        finally:
            (gc.enable if was_enabled else gc.disable)()
            gc.unfreeze()


@pytest.fixture
def unused(tmp_path, monkeypatch):
    """Return the name of a module that has been put off, and the file that its loading leaves behind."""
    name = f"put_off_{tmp_path.name}"
    mark = tmp_path / "loaded"
    source = f"import pathlib\nwith pathlib.Path({str(mark)!r}).open('a') as mark:\n    mark.write('x')\n"
    source += "number = 5\n"
    (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    put_off(name)
    yield name, mark
    sys.modules.pop(name, None)


def test_a_module_put_off_is_loaded_by_its_first_use(unused):
    name, mark = unused
    module = importlib.import_module(name)
    assert (module.__name__, module.__spec__.name) == (name, name)
    assert not mark.exists()
    assert module.number == 5
    assert type(module) is type(sys)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        module.other  # noqa: B018
    assert mark.read_text() == "x"


def test_a_name_that_a_module_put_off_lacks_is_an_error_at_once(unused):
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        sys.modules[unused[0]].other  # noqa: B018
    assert sys.modules[unused[0]].number == 5


def test_threads_that_want_a_module_put_off_load_it_once(unused):
    name, mark = unused
    start, found = threading.Barrier(8), []

    def use():
        start.wait(5)
        found.append(sys.modules[name].number)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [5] * 8
    assert mark.read_text() == "x"


def test_what_is_loaded_or_not_there_is_left_alone():
    put_off("re", "no_such_module_anywhere")
    assert sys.modules["re"] is re
    assert "no_such_module_anywhere" not in sys.modules


LEFT = """
import os, sys
import bulkfetch.cli
from bulkfetch.loading import RARE
def leave(code):
    print(*(name for name in RARE if type(sys.modules.get(name)) is type(sys)), code)
    sys.stdout.flush()
    end(code)
end, os._exit = os._exit, leave
bulkfetch.cli.main(sys.argv[1:])
"""


def test_a_plain_run_uses_nothing_that_was_put_off(server, tmp_path):
    server.add("/a.csv", body=b"1,2")
    command = [sys.executable, "-c", LEFT, "get", server.url("/a.csv"), "-d", str(tmp_path), "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "0\n", done.stderr
    assert len(RARE) > 5
