"""Entries whose ends are told many at once look as those told one by one."""

from __future__ import annotations

import io
import re
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


class Listener:
    """A display of one method, that keeps what it is told."""

    def __init__(self, then=lambda: None):
        self.told = []
        self.then = then

    def show(self, event):
        self.told.append(event)
        self.then()

    def refresh(self, _now):
        """Draw nothing."""

    def close(self):
        """Have nothing to close."""


class EndListener(Listener):
    """One that is told of many ends at once."""

    def show(self, event):
        super().show(event)

    def show_ends(self, outcomes):
        self.told.append(list(outcomes))
        self.then()


class Narrower(EndListener):
    """One that shows events in another way than the class it is made from."""

    def show(self, event):
        self.told.append(type(event))


class Wrapper:
    """One that hands on what it does not do itself."""

    def __init__(self, display):
        self.display = display

    def show(self, event):
        self.display.show(event)

    def __getattr__(self, name):
        return getattr(self.display, name)


END = Outcome(Entry(("https://h.example/a",)), Status.FETCHED)


def test_who_shows_events_in_a_way_of_its_own_gets_every_end_as_an_event():
    narrower, wrapped = Narrower(), EndListener()
    for display in (narrower, Wrapper(wrapped)):
        show_ends(display, [END, END])
    assert narrower.told == [events.Finished] * 2
    assert wrapped.told == [events.Finished(END)] * 2


@pytest.mark.parametrize("kind", [Listener, EndListener])
def test_an_error_while_ends_are_shown_turns_the_display_off(kind):
    def fail():
        raise RuntimeError("a bug")

    listener = kind(fail)
    display = GuardedDisplay(listener)
    for _ in range(2):
        show_ends(display, [END, END])
    assert (len(listener.told), type(display.error)) == (1, RuntimeError)


def test_the_callback_gets_every_end_beside_a_display_that_gets_them_all(server, tmp_path):
    urls = [server.url(f"/{number}") for number in range(20)]
    for number in range(20):
        server.add(f"/{number}", body=b"x")
    told, display = [], EndListener()
    config = FetchConfig(dest=tmp_path)
    with Fetcher(config, displays=[display, NullDisplay()], on_event=told.append) as fetcher:
        outcomes = list(fetcher.run(urls))
    assert [event.outcome for event in told if isinstance(event, events.Finished)] == outcomes
    assert [end for one in display.told if isinstance(one, list) for end in one] == outcomes
    assert not any(isinstance(one, events.Finished) for one in display.told)
