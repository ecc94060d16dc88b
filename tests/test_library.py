"""bulkfetch as a library."""

from __future__ import annotations

import threading

import pytest
from faultserver import route

import bulkfetch
from bulkfetch.errors import DestinationLocked, UsageError


@pytest.fixture
def files(server):
    """A server that has any file."""
    server.add_generator(lambda request: route(body=f"body of {request.path}".encode()))
    return server


def test_outcomes_arrive_as_they_finish(files, tmp_path):
    urls = [files.url(f"/{i}.txt") for i in range(20)]
    outcomes = list(bulkfetch.fetch(urls, dest=tmp_path))
    assert {o.status for o in outcomes} == {bulkfetch.Status.FETCHED}
    assert all((tmp_path / o.path).read_bytes() == f"body of /{o.path}".encode() for o in outcomes)
    assert all(len(o.sha256) == 64 for o in outcomes)


def test_a_failed_entry_is_an_outcome_and_columns_travel(server, tmp_path):
    rows = [{"url": server.url("/missing"), "station": 7}, {"url": "ftp://example.org/x"}]
    with bulkfetch.Fetcher(bulkfetch.FetchConfig(dest=tmp_path)) as fetcher:
        (outcome,) = fetcher.run(rows)
    assert outcome.failure.kind == "not-found"
    assert outcome.to_record()["station"] == 7
    assert fetcher.summary.bad_lines == 1


def test_dropping_the_iterator_stops_and_leaves_the_destination_free(files, tmp_path):
    urls = (files.url(f"/{i}.txt") for i in range(100_000))
    run = bulkfetch.fetch(urls, dest=tmp_path)
    next(run)
    run.close()
    names = {thread.name for thread in threading.enumerate()}
    assert not any(name.startswith("bulkfetch-w") for name in names)
    assert len(files.requests) < 10_000
    assert next(bulkfetch.fetch([files.url("/again.txt")], dest=tmp_path)).path == "again.txt"


def test_leaving_the_block_in_the_middle_stops(files, tmp_path):
    urls = (files.url(f"/{i}.txt") for i in range(100_000))
    with bulkfetch.Fetcher(bulkfetch.FetchConfig(dest=tmp_path)) as fetcher:
        for _ in fetcher.run(urls):
            break
    assert not fetcher.summary.complete


def test_a_fetcher_runs_twice_and_remembers(files, tmp_path):
    with bulkfetch.Fetcher(bulkfetch.FetchConfig(dest=tmp_path)) as fetcher:
        first = [o.status for o in fetcher.run([files.url("/a")])]
        second = [o.status for o in fetcher.run([files.url("/a"), files.url("/b")])]
    assert first == ["fetched"]
    assert sorted(second) == ["fetched", "skipped"]


def test_two_fetchers_in_one_destination_exclude_each_other(tmp_path):
    config = bulkfetch.FetchConfig(dest=tmp_path)
    with bulkfetch.Fetcher(config), pytest.raises(DestinationLocked), bulkfetch.Fetcher(config):
        pass


def test_threads_with_destinations_of_their_own(files, tmp_path):
    def work(name):
        urls = [files.url(f"/{i}.txt") for i in range(30)]
        counts[name] = sum(o.failure is None for o in bulkfetch.fetch(urls, dest=tmp_path / name))

    counts = {}
    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert counts == {"a": 30, "b": 30, "c": 30}


def test_an_interrupt_in_the_callers_loop_ends_the_run(files, tmp_path):
    def loop():
        for _ in bulkfetch.fetch([files.url(f"/{i}") for i in range(1000)], dest=tmp_path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert list(bulkfetch.fetch([files.url("/last")], dest=tmp_path))


def test_a_callers_iterable_that_fails_is_told_after_what_came_before(files, tmp_path):
    def urls():
        yield files.url("/a")
        raise RuntimeError("their bug")

    with pytest.raises(RuntimeError, match="their bug"):
        list(bulkfetch.fetch(urls(), dest=tmp_path))


@pytest.mark.parametrize("options", [{"jobs": 0}, {"no_such_option": 1}, {"existing": "maybe"}])
def test_a_wrong_option_is_one_clear_error(tmp_path, options):
    with pytest.raises(UsageError):
        list(bulkfetch.fetch(["http://127.0.0.1:1/"], dest=tmp_path, **options))
