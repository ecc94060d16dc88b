"""What is around a run with processes: forks of its program, folders it changes to, modules it finds."""

from __future__ import annotations

import os

import pytest
from test_processes import children, is_right, on_linux, serve

import bulkfetch
from bulkfetch.config import FetchConfig

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are used on POSIX systems alone")


@on_linux
def test_a_forked_child_that_dropped_the_run_stopped_its_processes(server, tmp_path):
    serve(server)
    rows = [server.url(f"/{i}") for i in range(900)]
    seen, forked = set(), 0
    with bulkfetch.Fetcher(FetchConfig(dest=tmp_path, processes=2)) as fetcher:
        run = fetcher.run(rows)
        for number, _ in enumerate(run):
            if number == 100:
                seen = children()
                forked = os.fork()
                if not forked:
                    run.close()
                    os._exit(0)
                os.waitpid(forked, 0)
            if number == 500:
                assert children() == seen
    assert len(seen) == 2
    assert (fetcher.summary.fetched, fetcher.summary.complete) == (900, True)


def test_processes_wrote_where_the_program_had_gone_meanwhile(server, tmp_path, monkeypatch):
    serve(server)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with bulkfetch.Fetcher(FetchConfig(dest="out", processes=2)) as fetcher:
        monkeypatch.chdir(tmp_path / "elsewhere")
        names = [outcome.path for outcome in fetcher.run([server.url(f"/{i}") for i in range(300)])]
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert all(is_right(tmp_path / "out", name) for name in names)


def test_idle_connections_of_all_processes_came_together_at_a_host(make_server, tmp_path):
    servers = [make_server() for _ in range(4)]
    for server in servers:
        serve(server)
    rows = [server.url(f"/{i}") for i in range(400) for server in servers]
    seen = []
    with bulkfetch.Fetcher(FetchConfig(dest=tmp_path, layout="tree", processes=3, per_host=1)) as fetcher:
        for number, _ in enumerate(fetcher.run(rows)):
            if 600 < number < 1200:
                seen += [server.open_connections for server in servers]
    assert fetcher.summary.fetched == len(rows)
    assert max(seen) == 1
