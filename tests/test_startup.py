"""What a run does not need is not loaded: start-up time, told without a clock."""

from __future__ import annotations

import gc
import re
import subprocess
import sys

import pytest

from bulkfetch.cli.loading import no_search

IMPORTED = re.compile(r"^import time: .*\| +([\w.]+)$", re.MULTILINE)
HEAVY = {"requests", "urllib3", "tqdm", "asyncio", "email", "http", "xml", "certifi", "mimetypes", "shutil"}
RARE = {"tomllib", "pickle", "idna", "encodings.idna"}  # what few lists and hosts need
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
    assert not loaded & (HEAVY | RARE)
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
