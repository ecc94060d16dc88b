"""The coordinator, through the library, on real sockets."""

from __future__ import annotations

import pytest

import bulkfetch
from bulkfetch.config import FetchConfig
from bulkfetch.errors import UsageError


def run(tmp_path, rows, **options):
    config = FetchConfig(dest=tmp_path / "out", backoff=0.01, **options)
    seen = []
    with bulkfetch.Fetcher(config, on_event=seen.append) as fetcher:
        outcomes = list(fetcher.run(rows))
    return outcomes, fetcher.summary, seen


def test_tasks_dropped_with_a_dead_host_have_outcomes_also_when_a_mirror_takes_over(make_server, tmp_path):
    dead, good = make_server(), make_server(host="127.0.0.2")
    dead.accept_as("refuse")
    good.add("/m", body=b"from the mirror")
    rows = [{"url": [dead.url("/m"), good.url("/m")]}]
    rows += [{"url": dead.url(f"/{i}")} for i in range(30)]
    outcomes, summary, _ = run(tmp_path, rows, retries=0)
    assert len(outcomes) == 31
    assert (summary.fetched, summary.failed, summary.complete) == (1, 30, True)


def test_a_busy_mirror_cools_its_own_host(make_server, tmp_path):
    busy, good = make_server(), make_server(host="127.0.0.2")
    busy.add("/m", statuses=[429], retry_after="1")
    good.add("/m", body=b"from the mirror")
    _, summary, seen = run(tmp_path, [{"url": [busy.url("/m"), good.url("/m")]}])
    assert summary.fetched == 1
    assert [event.origin for event in seen if event.name == "cooling"] == [busy.origin]


def test_a_column_of_the_user_never_names_the_event(server, tmp_path):
    server.add("/a", body=b"x")
    _, _, seen = run(tmp_path, [{"url": server.url("/a"), "event": "theirs", "v": "theirs"}])
    records = [event.to_record() for event in seen if event.name == "finished"]
    assert [(record["v"], record["event"]) for record in records] == [(1, "finished")]


@pytest.mark.parametrize(
    "options",
    [
        {"retries": -1},
        {"limit_rate": 0},
        {"host_rate": -1.0},
        {"rate": 0.0},
        {"deadline": 0},
        {"jobs": 0},
        {"digest": "crc"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_configuration_that_cannot_be_carried_out_is_refused(tmp_path, options):
    with (
        pytest.raises(UsageError, match=next(iter(options))),
        bulkfetch.Fetcher(FetchConfig(dest=tmp_path, **options)),
    ):
        pass


class Turns:
    """A display that counts how often the coordinator comes round."""

    count = 0

    def show(self, event):
        pass

    def refresh(self, now):
        self.count += 1


def test_a_run_whose_workers_are_all_busy_spun_while_another_task_was_due(server, tmp_path):
    server.add("/again", body=b"x", first=[{"status": 500}])
    server.add("/slow", body=b"x" * 1000, at={10: 0.5})
    config, turns = FetchConfig(dest=tmp_path / "out", backoff=0.01, jobs=1), Turns()
    with bulkfetch.Fetcher(config, displays=[turns]) as fetcher:
        outcomes = list(fetcher.run([server.url("/again"), server.url("/slow")]))
    assert [outcome.failure for outcome in outcomes] == [None, None]
    assert turns.count < 100


class Names(Turns):
    """A display that keeps the names of what it is told."""

    def __init__(self, **facts):
        self.seen = []
        vars(self).update(facts)

    def show(self, event):
        self.seen.append(event.name)


@pytest.mark.parametrize(
    ("others", "told"),
    [([], False), ([{}], True), ([{"skips_starts": False}], True), ([{"skips_starts": True}], False)],
)
def test_starts_are_told_where_anybody_shows_them(server, tmp_path, others, told):
    server.add("/a", body=b"x")
    displays = [Names(skips_starts=True), *(Names(**facts) for facts in others)]
    with bulkfetch.Fetcher(FetchConfig(dest=tmp_path), displays=displays) as fetcher:
        assert len(list(fetcher.run([server.url("/a")]))) == 1
    assert ["started" in display.seen for display in displays] == [told] * len(displays)
    assert all("finished" in display.seen for display in displays)
