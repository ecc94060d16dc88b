"""Entries whose ends are told many at once look as those told one by one."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch import events
from bulkfetch.config import FetchConfig
from bulkfetch.display import GuardedDisplay, LogFile, NullDisplay, make_display, show_ends
from bulkfetch.fetcher import Fetcher
from bulkfetch.models import Entry, Failure, Outcome, Status


def make_end(status: Status, number: int, **facts: Any) -> Outcome:
    url, failure = f"https://h{number}.example/a", Failure("server", "an error")
    entry = Entry((url,), size=facts["size"])
    end = Outcome(entry, status, f"{number}.csv", url, key=bytes([number]), **facts)
    return end._replace(failure=failure) if status is Status.FAILED else end


ENDS = st.builds(
    make_end,
    st.sampled_from([Status.FETCHED, Status.UNCHANGED, Status.SKIPPED, Status.FAILED]),
    st.integers(0, 3),
    size=st.sampled_from([None, 0, 500]),
    received=st.sampled_from([0, 500]),
    warnings=st.sampled_from([(), ("empty",)]),
)
KINDS = {
    "quiet": lambda stream: make_display("auto", stream, quiet=True),
    "log": lambda stream: make_display("log", stream),
    "verbose": lambda stream: make_display("log", stream, verbose=1),
    "bar": lambda stream: make_display("bar", stream, environ={}),
    "json": lambda stream: make_display("json", stream),
    "file": lambda stream: GuardedDisplay(LogFile(stream, now=lambda: 0.0)),
}


def shown(kind: str, ends: list[Outcome], *, at_once: bool) -> list[str]:
    """Return the texts written, sorted: tqdm draws the rows of a bar in any order."""
    stream = io.StringIO()
    display = KINDS[kind](stream)
    display.show(events.Planned(len(ends), 500, complete=True))
    display.show(events.Progress(bytes([0]), "0.csv", 400, 500, 400))
    if at_once:
        show_ends(display, ends)
    else:
        for outcome in ends:
            display.show(events.Finished(outcome))
    for second in range(3):
        display.refresh(float(second))
    display.close()
    assert display.error is None
    return sorted(text for text in re.split(r"[\r\n]|\x1b\[[A-Z]", stream.getvalue()) if text)


@pytest.mark.parametrize("kind", KINDS)
@given(ends=st.lists(ENDS, max_size=6))
def test_many_at_once_look_as_one_by_one(kind, ends):
    assert shown(kind, ends, at_once=True) == shown(kind, ends, at_once=False)


@pytest.mark.parametrize("name", ["show", "show_ends"])
def test_an_error_while_ends_are_shown_turns_the_display_off(name):
    told = []

    def fail(_):
        told.append(name)
        raise RuntimeError("a bug")

    display = GuardedDisplay(SimpleNamespace(**{name: fail}, refresh=print, close=print))
    outcome = Outcome(Entry(("https://h.example/a",)), Status.FETCHED)
    for _ in range(2):
        show_ends(display, [outcome, outcome])
    assert (told, type(display.error)) == ([name], RuntimeError)


def test_the_callback_gets_every_end_beside_a_display_that_gets_them_all(server, tmp_path):
    urls = [server.url(f"/{number}") for number in range(20)]
    for number in range(20):
        server.add(f"/{number}", body=b"x")
    told, seen = [], []
    display = SimpleNamespace(show=seen.append, show_ends=seen.extend, refresh=bool, close=bool)
    config = FetchConfig(dest=tmp_path)
    with Fetcher(config, displays=[display, NullDisplay()], on_event=told.append) as fetcher:
        outcomes = list(fetcher.run(urls))
    assert [event.outcome for event in told if isinstance(event, events.Finished)] == outcomes
    assert [one for one in seen if isinstance(one, Outcome)] == outcomes
    assert not any(isinstance(one, events.Finished) for one in seen)
