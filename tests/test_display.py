"""The bar on a real pseudo-terminal, the log, the JSON lines, and what a broken stream does to a run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import tqdm
from hypothesis import given
from hypothesis import strategies as st
from tqdm import TMonitor

from bulkfetch import errors, events
from bulkfetch.display import GuardedDisplay, NullDisplay, format_summary, make_display
from bulkfetch.display.closing import KINDS
from bulkfetch.display.flood import GROUPS, LINES_PER_GROUP, Flood
from bulkfetch.display.jsonl import JsonDisplay
from bulkfetch.display.layout import ASCII_LOOK, Layout
from bulkfetch.display.log import LogDisplay
from bulkfetch.display.tally import Speed, Tally
from bulkfetch.formatting import text_width
from bulkfetch.models import BadLine, Entry, Failure, Outcome, Status
from bulkfetch.summary import Summary

pty = pytest.importorskip("pty", reason="no pseudo-terminals here") if os.name != "nt" else None
terminal = pytest.mark.skipif(pty is None, reason="no pseudo-terminals here")
full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110 - a device

HOSTILE = "x\x1b]0;owned\x07\x1b[2J\r\n\x9b31mforged \u202egpj.exe\x7f\x08"
SENTINEL = "\x07"


def finished(path="a.csv", status=Status.FETCHED, *, host="h.example", declared=None, key=b"", **values):
    url = f"https://{host}/a"
    return events.Finished(Outcome(Entry((url,), size=declared), status, path, url, key=key, **values))


def failure(path="a.csv", kind="not-found", message="404 Not Found", **values):
    return finished(path, Status.FAILED, failure=Failure(kind, message), **values)


def progress(name, offset, total=1000, received=None):
    received = offset if received is None else received
    return events.Progress(name.encode(), name, offset, total, received)


def retrying(name, kept=0, message="connection lost"):
    return events.Retrying(name.encode(), name, "https://h/a", 1, 2.5, kept, Failure("reset", message))


class Screen:
    """Enough of a terminal to see what is on it; refuses every sequence our display does not use."""

    TOKEN = re.compile(r"\x1b\[(?P<code>[0-9;]*[A-Za-z])|(?P<char>.)", re.DOTALL)

    def __init__(self, columns=80):
        self.columns = columns
        self.rows = [[]]  # cells; the second cell of a wide character is ""
        self.row = self.column = 0
        self.folded = 0  # characters that found no room in their row

    def feed(self, text):
        for token in self.TOKEN.finditer(text):
            if token["code"]:
                self._obey(token["code"])
            else:
                self._put(token["char"])

    def resize(self, columns):
        """Fold rows as a terminal does that becomes narrower; the cursor stays with its text."""
        folded = [[row[at : at + columns] for at in range(0, max(len(row), 1), columns)] for row in self.rows]
        self.row = sum(map(len, folded[: self.row]))
        self.rows = [part for parts in folded for part in parts]
        self.columns = columns

    def visible(self):
        return ["".join(row).rstrip() for row in self.rows]

    def _obey(self, code):
        if code == "A":
            assert self.row > 0, "the cursor left the screen"
            self.row -= 1
        elif code == "K":
            self.rows[self.row] = self.rows[self.row][: self.column]
        elif code == "J":
            self.rows[self.row :] = [self.rows[self.row][: self.column]]
        else:
            assert code in ("31m", "0m"), f"an escape sequence came through: {code!r}"

    def _put(self, char):
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._down()
        else:
            assert char.isprintable(), f"a control character came through: {char!r}"
            self._print(char)

    def _print(self, char):
        width = text_width(char)
        if self.column + width > self.columns:
            self.folded += 1
            self._down()
            self.column = 0
        row = self.rows[self.row]
        row += [" "] * (self.column - len(row))
        row[self.column : self.column + width] = [char, ""][:width]
        self.column += width

    def _down(self):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])


class Terminal:
    """A pseudo-terminal with a display on it and a screen behind it."""

    def __init__(self, columns=80, lines=24, *, mode="auto", environ=None, **options):
        self._master, slave = pty.openpty()
        self.resize(columns, lines)
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self.screen = Screen(columns)
        self.display = make_display(mode, self.stream, environ=environ or {}, **options)
        self.now = 100.0
        self.text = ""
        self._arrived = (
            queue.SimpleQueue()
        )  # read at once, as a terminal does: a full one would block the display
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def resize(self, columns, lines=24):
        import termios

        termios.tcsetwinsize(self._master, (lines, columns))

    def draw(self, *shown):
        for event in shown:
            self.display.show(event)
        self.now += 0.5
        self.display.refresh(self.now)
        return self.look()

    def close(self):
        self.display.close()
        return self.look()

    def look(self):
        """Return the screen once everything written has arrived."""
        self.stream.write(SENTINEL)
        self.stream.flush()
        text = b""
        while not text.endswith(SENTINEL.encode()):
            text += self._arrived.get(timeout=30)
        self.text += text.decode()
        self.screen.feed(text.decode()[:-1])
        return self.screen.visible()

    def end(self):
        self.display.close()
        self.stream.close()
        self._reader.join(30)
        os.close(self._master)

    def _read(self):
        with contextlib.suppress(OSError):  # how Linux says that the other end was closed
            while text := os.read(self._master, 65536):
                self._arrived.put(text)


@pytest.fixture
def make_terminal():
    made = []

    def make(*args, **options):
        made.append(Terminal(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()


# The bar


BUSY = [
    events.Planned(2950, 10**9, True),
    *(finished(f"{i}.csv", declared=10**6, size=10**6, received=10**6) for i in range(7)),
    progress("data/目录/" + "long-name-" * 12 + ".csv.gz", 400, 1000),
    progress("two.bin", 10**6, None),
    events.Cooling("https://slow.example", 25.0, "429 Too Many Requests"),
]


@terminal
@pytest.mark.parametrize("columns", [1, 2, 5, 10, 20, 33, 40, 60, 79, 80, 132, 300])
def test_no_row_is_wider_than_the_terminal(make_terminal, columns):
    term = make_terminal(columns)
    term.draw(*BUSY)
    rows = term.draw(progress("two.bin", 2 * 10**6, None), finished("8.csv", declared=10**6, received=10**6))
    assert term.screen.folded == 0
    assert len(rows) == 3
    assert all(text_width(row) < max(columns, 2) for row in rows)
    assert term.screen.column == 0
    assert term.screen.row == 0


@terminal
def test_the_overall_row_says_how_the_run_goes(make_terminal):
    term = make_terminal(160)
    term.draw(events.Planned(200, 0, True))
    row = term.draw(*(finished(size=10**6, received=10**6) for _ in range(49)), failure())[0].rpartition(
        "h.example"
    )[0]
    row = term.screen.visible()[1]
    assert row.startswith("50/200 (25%)  |███████ ")
    assert row.endswith("49.0 MB  98.0 MB/s  100/s  ETA 0:02  1 failed")


@terminal
def test_the_total_is_open_until_the_manifest_is_read(make_terminal):
    term = make_terminal(60)
    assert term.draw(events.Planned(500, 0, False), finished())[0] == "1/?"
    assert term.draw(events.Planned(2, 0, True))[0].startswith("1/2 (50%)  |")


@terminal
def test_hosts_that_cool_down_are_named_until_they_may_be_asked(make_terminal):
    term = make_terminal(120)
    cooling = [events.Cooling(f"https://h{i}.example", 3.0 + i, "429") for i in range(3)]
    assert term.draw(*cooling)[0].endswith("h2.example waits 0:05 (+2)")
    for _ in range(7):
        term.draw()
    assert term.draw()[0].endswith("h2.example waits 0:01")
    for _ in range(3):
        term.draw()
    assert term.draw()[0] == "0/?"


@terminal
@pytest.mark.parametrize(("lines", "rows"), [(24, 5), (7, 4), (5, 2), (4, 1), (3, 0), (1, 0)])
def test_transfers_get_as_many_rows_as_there_is_room(make_terminal, lines, rows):
    term = make_terminal(80, lines)
    shown = term.draw(*(progress(f"file-{i}", i) for i in range(9)))
    assert [row.split()[0] for row in shown[1:]] == [f"file-{i}" for i in range(rows)]


@terminal
def test_a_transfer_leaves_its_row_when_it_ends_or_waits(make_terminal):
    def names():
        return [row.split()[0] for row in term.screen.visible()[1:] if row]

    term = make_terminal()
    term.draw(progress("one", 1), progress("two", 1), progress("three", 1))
    assert names() == ["one", "two", "three"]
    term.draw(finished("one", key=b"one"))
    assert names() == ["two", "three"]
    term.draw(retrying("two", kept=1))
    assert names() == ["three"]
    term.draw(progress("two", 5, received=4))
    assert names() == ["two", "three"]
    term.draw(finished("two", key=b"two"), finished("three", key=b"three"))
    assert names() == []


@terminal
def test_a_line_listed_twice_does_not_end_the_first_ones_row(make_terminal):
    term = make_terminal()
    term.draw(progress("one", 1))
    term.draw(finished("one", Status.SKIPPED, reason="listed before", key=b"one"))
    assert term.screen.visible()[1].startswith("one ")


@terminal
def test_lines_go_above_the_rows_and_stay(make_terminal):
    term = make_terminal()
    term.draw(failure("x/1.csv"), progress("big", 1))
    rows = term.draw(
        events.LineRejected(BadLine("list.csv", 7, "no URL", "a,b")),
        events.Notice("a stale lock was taken over"),
        events.Notice("the disk is full", "error"),
        finished("y.csv", warnings=("no length was sent",)),
        failure(None),
    )
    assert rows[:6] == [
        "failed  x/1.csv  404 Not Found",
        "bad line  list.csv:7  no URL: a,b",
        "warning  a stale lock was taken over",
        "error  the disk is full",
        "warning  y.csv  no length was sent",
        "failed  https://h.example/a  404 Not Found",
    ]
    assert rows[6].startswith("3/?")
    assert rows[7].startswith("big ")
    assert len(rows) == 8


@terminal
def test_close_leaves_only_the_lines_and_a_clean_one(make_terminal):
    term = make_terminal()
    term.draw(*BUSY)
    term.display.show(failure("late"))
    rows = term.close()
    assert rows[:1] == ["failed  late  404 Not Found"]
    assert not any(rows[1:])
    assert (term.screen.row, term.screen.column) == (1, 0)
    term.display.close()
    term.draw(failure("after the end"))
    assert term.screen.visible() == rows


@terminal
def test_an_echoed_interrupt_is_wiped(make_terminal):
    term = make_terminal(40)
    term.draw(*BUSY)
    term.stream.write("^C")  # the terminal's own echo
    assert not any(term.close())
    assert (term.screen.row, term.screen.column) == (0, 0)


@terminal
def test_a_terminal_that_becomes_narrower_is_cleaned(make_terminal):
    term = make_terminal(120)
    term.draw(failure("x"), *BUSY)
    term.resize(30)
    term.screen.resize(30)
    rows = term.draw()
    assert term.screen.folded == 0
    assert rows[0] == "failed  x  404 Not Found"
    assert [bool(row) for row in rows] == [True] * 4
    term.resize(200)
    term.screen.columns = 200
    assert max(map(len, term.draw())) > 60
    assert not any(term.close()[1:])


@terminal
def test_nothing_hostile_reaches_the_terminal(make_terminal):
    term = make_terminal(500, verbose=1)
    hostile = Failure("reset", HOSTILE)
    outcome = Outcome(
        Entry((HOSTILE,)), Status.FAILED, HOSTILE, HOSTILE, failure=hostile, warnings=(HOSTILE,)
    )
    rows = term.draw(
        events.Started(HOSTILE, HOSTILE, 2),
        events.Retrying(b"k", HOSTILE, HOSTILE, 1, 2.0, 5, hostile),
        events.Redirected(HOSTILE, HOSTILE, HOSTILE),
        events.Cooling(HOSTILE, 30.0, HOSTILE),
        events.LineRejected(BadLine(HOSTILE, 1, HOSTILE, HOSTILE)),
        events.Notice(HOSTILE),
        events.Finished(outcome),
        finished(HOSTILE, warnings=(HOSTILE,)),
        events.Progress(b"k", HOSTILE, 1, 2, 1),
    )
    assert term.screen.folded == 0
    words = [row.split()[0] for row in rows[:-2]]
    assert words == ["start", "retry", "redirect", "wait", "bad", "warning", "failed", "warning", "fetched"]
    assert rows[-1].startswith(r"x\x1b]0;owned\x07\x1b[2J\x0d\x0a\x9b31mforged \u202egpj.exe\x7f\x08")


@terminal
@pytest.mark.parametrize(("environ", "red"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_failures_are_red_unless_no_colour_is_wanted(make_terminal, environ, red):
    term = make_terminal(environ=environ)
    term.draw(failure())
    assert ("\x1b[31m1 failed\x1b[0m" in term.text) is red
    assert "1 failed" in term.text


@terminal
def test_the_programs_own_tqdm_is_left_alone(make_terminal):
    before, interval = set(tqdm.tqdm._instances), tqdm.tqdm.monitor_interval
    term = make_terminal()
    threads = threading.active_count()
    term.draw(*BUSY)
    assert set(tqdm.tqdm._instances) == before
    assert threading.active_count() <= threads  # those of earlier tests may end meanwhile
    assert not any(isinstance(thread, TMonitor) for thread in threading.enumerate())
    assert tqdm.tqdm.monitor_interval == interval != 0


def test_an_ascii_log_escapes_what_it_lacks():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    display = make_display("log", stream)
    display.show(failure("é.csv"))
    display.close()
    assert raw.getvalue().split() == [b"failed", rb"\xe9.csv", b"404", b"Not", b"Found"]


def test_an_ascii_stream_gets_ascii_rows():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    display = make_display("bar", stream, environ={})
    for event in (*BUSY, failure("目录.csv")):
        display.show(event)
    display.refresh(1.0)
    display.close()
    assert display.error is None
    assert b"failed  ??.csv" in raw.getvalue()
    assert b"|" + b" " * 20 in raw.getvalue()


# Totals that are wrong (L06)


def rows_of(tally, now=1.0, width=100):
    layout = Layout(tally, ASCII_LOOK)
    return [layout.overall(now, width), *layout.transfers(now, width, 5)]


@pytest.mark.parametrize(
    ("width", "row"),
    [
        (3, "2/4"),
        (9, "2/4 (50%)"),
        (25, "2/4 (50%)  1 failed"),
        (30, "2/4 (50%)  2.0 MB/s  1 failed"),
        (45, "2/4 (50%)  2.0 MB/s  ETA 0:01  1 failed"),
        (55, "2/4 (50%)  2.0 MB/s  ETA 0:01  1 failed  h waits 0:09"),
        (90, "2/4 (50%)  |####    |  2.0 MB  2.0 MB/s  2.0/s  ETA 0:01  1 failed  h waits 0:09"),
    ],
)
def test_what_matters_most_is_left_out_last(tally, width, row):
    tally.note(events.Planned(4, 0, True))
    tally.note(events.Cooling("https://h", 10.0, "429"))
    layout = Layout(tally, ASCII_LOOK)
    layout.overall(0.0, width)
    tally.note(finished(size=2 * 10**6, received=2 * 10**6))
    tally.note(failure())
    assert re.sub(r"#+ *\|", "####    |", layout.overall(1.0, width)) == row


@pytest.fixture
def tally():
    return Tally()


def test_more_entries_than_planned_clamp_the_bar(tally):
    tally.note(events.Planned(2, 0, True))
    for _ in range(3):
        tally.note(finished())
    assert rows_of(tally)[0].startswith("3/3 (100%)  |############################|")


def test_more_bytes_than_declared_clamp_the_bar(tally):
    tally.note(events.Planned(2, 100, True))
    tally.note(finished(declared=90))
    tally.note(progress("x", 500))
    assert rows_of(tally)[0].startswith("1/2 (100%)")
    assert "590 B/590 B" in rows_of(tally)[0]


def test_a_body_longer_than_its_total_loses_the_total(tally):
    tally.note(progress("x", 1500, 1000))
    assert rows_of(tally)[1].split() == ["x", "1.5", "kB", "?"]


def test_a_restart_rolls_everything_back(tally):
    tally.note(events.Planned(1, 1000, True))
    tally.note(progress("x", 800))
    assert rows_of(tally)[0].startswith("0/1 (80%)")
    tally.note(retrying("x", kept=0))
    assert rows_of(tally)[0].startswith("0/1 (0%)")
    tally.note(progress("x", 100))
    assert rows_of(tally)[0].startswith("0/1 (10%)")
    assert rows_of(tally)[1].split()[1:4] == ["10%", "100", "B/1.0"]


def test_bytes_are_counted_once_over_attempts(tally):
    tally.note(progress("x", 800))
    tally.note(retrying("x", kept=800))
    tally.note(progress("x", 900, received=100))
    assert tally.received == 900
    tally.note(finished("x", key=b"x", size=1000, received=1000))
    assert tally.received == 1000
    assert not tally.transfers


def test_a_size_not_declared_takes_the_byte_total_away(tally):
    tally.note(events.Planned(3, 300, True))
    tally.note(finished(declared=100, size=100))
    assert tally.sizes() == (100, 300)
    tally.note(finished(size=7))
    assert tally.sizes() == (107, None)


def test_a_rate_needs_time_and_forgets_what_is_old():
    speed = Speed()
    assert speed.sample(0.0, 0) is None
    assert speed.sample(0.1, 50) is None
    assert speed.sample(1.0, 100) == 100
    for now in range(2, 40):
        rate = speed.sample(float(now), 100 + 10 * now)
    assert rate == 10
    assert speed.sample(41.0, 0) is None  # started again


# Not too many lines


def test_more_is_said_of_a_group_of_which_nothing_was_shown():
    flood = Flood()
    while flood.admits("busy", "a.example", most=1000):
        pass
    assert not flood.admits("connect", "b.example")
    assert flood.rest() == [
        "... and 1 more of kind busy from a.example",
        "... and 1 of kind connect from b.example",
    ]


def test_the_warning_of_an_empty_answer_is_told_from_its_name():
    stream = io.StringIO()
    display = make_display("log", stream)
    display.show(finished("empty", warnings=("empty",)))
    display.close()
    assert stream.getvalue().splitlines() == ["warning  empty  the answer has no bytes"]


def test_a_million_failures_are_a_few_lines():
    stream = io.StringIO()
    display = make_display("log", stream)
    event, now = failure(), 0.0
    for _ in range(100):
        for _ in range(1000):
            display.show(event)
        now += 1.0
        display.refresh(now)
    display.close()
    lines = stream.getvalue().splitlines()
    held = [line for line in lines if line.startswith("...")]
    shown = [line for line in lines if line.startswith("failed")]
    assert len(shown) == LINES_PER_GROUP
    assert len(held) <= 5
    assert re.fullmatch(r"\.\.\. and [0-9,]+ more of kind not-found from h\.example", held[0])
    assert sum(int(line.split()[2].replace(",", "")) for line in held) + len(shown) == 100_000


def test_many_kinds_and_hosts_share_ten_lines_a_second():
    stream = io.StringIO()
    display = make_display("log", stream)
    for second in range(10):
        for number in range(90):
            display.show(failure(kind=f"k{number % 3}", host=f"h{second}-{number}"))
        display.refresh(float(second))
    assert stream.getvalue().count("failed  ") == 20 + 8 * 10  # a burst, then ten for each second gone by


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2 * GROUPS), st.booleans()), max_size=300))
def test_every_line_is_shown_or_counted(asked):
    flood, now, shown, counted = Flood(), 0.0, 0, []
    for kind, source, later in asked:
        shown += flood.admits(kind, str(source))
        if later:
            now += 3.0
            counted += flood.report(now)
    counted += flood.rest()
    assert shown + sum(int(line.split()[2].replace(",", "")) for line in counted) == len(asked)


def test_a_million_hosts_do_not_grow_memory():
    flood = Flood()
    for number in range(5 * GROUPS):
        flood.admits("dns", f"h{number}.example")
    assert len(flood._seen) == GROUPS + 1
    assert len(flood._held) <= GROUPS + 1
    assert len(flood.rest()) == 6


def test_errors_that_end_the_run_are_never_held_back():
    stream = io.StringIO()
    display = make_display("log", stream)
    for _ in range(1000):
        display.show(failure())
    display.show(events.Notice("the disk is full", "error"))
    display.close()
    assert "error  the disk is full\n" in stream.getvalue()


# The log


def test_the_log_is_calm():
    stream = io.StringIO()
    display = make_display("log", stream)
    told = []
    for tenth in range(3000):
        display.show(finished(size=1000, received=1000))
        size = stream.tell()
        display.refresh(tenth / 10)
        if stream.tell() > size:
            told.append(tenth / 10)
    assert told[:6] == [1.0, 3.0, 7.0, 15.0, 31.0, 61.0]
    assert told[-1] - told[-2] == 30.0
    lines = stream.getvalue()
    assert lines.splitlines()[0] == "11/? files, 11.0 kB, 10.0 kB/s, 10/s"
    assert "\r" not in lines
    assert "\x1b" not in lines


def test_the_log_is_silent_while_nothing_changes():
    stream = io.StringIO()
    display = make_display("log", stream)
    display.show(finished())
    for second in range(1000):
        display.refresh(float(second))
    assert len(stream.getvalue().splitlines()) == 1


def test_the_log_tells_of_cooldowns_and_hides_attempts():
    stream = io.StringIO()
    display = make_display("log", stream)
    for event in (
        events.Cooling("https://h", 25.0, "429"), retrying("x"), events.Started("x", "https://h/x", 1),
        events.Redirected("x", "https://h/x", "https://i/x"), finished(),
    ):  # fmt: skip
        display.show(event)
    display.refresh(0.0)
    assert stream.getvalue() == "wait  https://h  25 s  429\n"


def test_verbose_tells_of_every_attempt_and_holds_nothing_back():
    stream = io.StringIO()
    display = make_display("log", stream, verbose=1)
    for event in (
        events.Started("x", "https://h/x", 1), retrying("x", kept=500), events.Started("x", "https://h/x", 2),
        events.Redirected("x", "https://h/x", "https://i/x"), finished("x", size=12_345, seconds=0.2),
        finished("y", Status.SKIPPED, reason="already fetched"), finished("z", Status.UNCHANGED),
    ):  # fmt: skip
        display.show(event)
    for _ in range(100):
        display.show(failure())
    display.refresh(0.0)
    lines = stream.getvalue().splitlines()
    assert lines[:7] == [
        "start  x  https://h/x",
        "retry  x  attempt 1 failed, next in 2.5 s  500 B kept  connection lost",
        "start  x  https://h/x  attempt 2",
        "redirect  x  to https://i/x",
        "fetched  x  12.3 kB in 0.2 s",
        "skipped  y  already fetched",
        "unchanged  z",
    ]
    assert len(lines) == 107


@pytest.mark.parametrize("mode", ["auto", "bar", "log"])
def test_quiet_tells_of_errors_only(mode):
    stream = io.StringIO()
    display = make_display(mode, stream, quiet=True, verbose=2)
    noise = [
        events.RunStarted("d", 1), *BUSY, retrying("x"), events.Started("x", "u", 1),
        events.Notice("a warning"), finished(warnings=("w",)),
    ]  # fmt: skip
    for event in (
        *noise,
        failure(),
        events.Notice("an error", "error"),
        events.LineRejected(BadLine("l", 1, "bad")),
    ):
        display.show(event)
    for second in range(100):
        display.refresh(float(second))
    assert stream.getvalue().splitlines() == [
        "failed  a.csv  404 Not Found", "error  an error", "bad line  l:1  bad",
    ]  # fmt: skip


# JSON lines


def every_event():
    return [
        events.RunStarted("d", 16), events.Planned(5, 0, True), events.LineRejected(BadLine("l", 1, HOSTILE)),
        events.Started("x", "u", 1), progress("x", 5), retrying("x"), events.Redirected("x", "u", "v"),
        events.Cooling("https://h", 2.0, "429"), finished(HOSTILE), failure(), events.Notice("n"),
        events.RunFinished(Summary()),
    ]  # fmt: skip


def test_json_has_one_line_for_every_event():
    stream = io.StringIO()
    display = make_display("json", stream)
    for event in every_event():
        display.show(event)
    assert stream.getvalue() == ""
    display.refresh(0.0)
    lines = stream.getvalue().splitlines()
    assert [json.loads(line) for line in lines] == [event.to_record() for event in every_event()]
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_json_tells_what_was_at_the_time():
    stream, summary = io.StringIO(), Summary(fetched=1)
    display = make_display("json", stream)
    display.show(events.RunFinished(summary))
    summary.fetched = 2
    display.close()
    assert json.loads(stream.getvalue())["fetched"] == 1


def test_quiet_json_has_errors_only():
    stream = io.StringIO()
    display = make_display("json", stream, quiet=True)
    for event in every_event():
        display.show(event)
    display.close()
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["event"], one.get("status")) for one in told] == [
        ("line_rejected", None),
        ("finished", "failed"),
    ]


# Which display


@terminal
@pytest.mark.parametrize(
    ("mode", "environ", "options", "name"),
    [
        ("auto", {"TERM": "xterm"}, {}, "BarDisplay"),
        ("auto", {}, {}, "BarDisplay"),
        ("auto", {"TERM": "dumb"}, {}, "LogDisplay"),
        ("bar", {"TERM": "dumb"}, {}, "BarDisplay"),
        ("log", {}, {}, "LogDisplay"),
        ("json", {}, {}, "JsonDisplay"),
        ("auto", {}, {"quiet": True}, "LogDisplay"),
        ("bar", {}, {"quiet": True}, "LogDisplay"),
    ],
)
def test_the_display_fits_the_terminal(make_terminal, mode, environ, options, name):
    display = make_display(mode, make_terminal().stream, environ=environ, **options)
    assert type(display._display).__name__ == name


@pytest.mark.parametrize(
    ("mode", "stream", "kind"),
    [
        ("auto", None, NullDisplay), ("bar", None, NullDisplay), ("json", None, NullDisplay),
        ("none", io.StringIO(), NullDisplay), ("auto", io.StringIO(), LogDisplay),
        ("json", io.StringIO(), JsonDisplay), ("auto", SimpleNamespace(), LogDisplay),
    ],
)  # fmt: skip
def test_without_a_terminal(mode, stream, kind):
    display = make_display(mode, stream)
    assert isinstance(display if kind is NullDisplay else display._display, kind)


def test_no_display_shows_nothing():
    stream = io.StringIO()
    display = make_display("none", stream)
    for event in every_event():
        display.show(event)
    display.refresh(1.0)
    display.close()
    assert stream.getvalue() == ""


class Widget(SimpleNamespace):
    """What tqdm's notebook bar needs of a widget."""

    def __init__(self, children=(), **values):
        super().__init__(
            value=None, bar_style="", layout=SimpleNamespace(), style=SimpleNamespace(), **values
        )
        self.children = children
        self.closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def notebook(monkeypatch):
    """Make this process look like a notebook's kernel."""
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    return pytest.importorskip("tqdm.notebook")


def test_a_notebook_gets_one_widget(monkeypatch, notebook):
    shown = []
    for name in ("IProgress", "HTML", "TqdmHBox"):
        monkeypatch.setattr(notebook, name, Widget, raising=False)
    monkeypatch.setattr(notebook, "display", shown.append, raising=False)
    stream = io.StringIO()
    display = make_display("auto", stream)
    for event in (events.Planned(4, 0, True), finished(), failure("<b>")):
        display.show(event)
    display.refresh(1.0)
    (box,) = shown
    left, bar, right = box.children
    assert left.value.replace("\u2007", " ").strip() == "2/4 (50%)"
    assert right.value.replace("\u2007", " ").strip() == "1 failed"
    assert bar.value == 500
    display.close()
    assert (display.error, box.closed) == (None, True)
    assert stream.getvalue() == "failed  <b>  404 Not Found\n"


def test_a_notebook_without_widgets_gets_lines(monkeypatch, notebook):
    monkeypatch.setattr(notebook, "IProgress", None)
    assert isinstance(make_display("auto", io.StringIO())._display, LogDisplay)


def test_tqdm_is_loaded_for_a_bar_only():
    code = (
        "import sys, bulkfetch.display as d; d.make_display('log', sys.stderr); print('tqdm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=30)
    assert done.stdout.strip() == b"False"


# A display that fails


class Broken(io.StringIO):
    """A stream that fails when written to."""

    def __init__(self, error):
        super().__init__()
        self.raised = error
        self.writes = 0

    def write(self, text):
        self.writes += 1
        raise self.raised


@pytest.mark.parametrize("mode", ["bar", "log", "json"])
@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(), OSError(28, "No space left"), ValueError("I/O on closed file"), KeyError("a bug")],
)
def test_the_first_error_turns_the_display_off(mode, error):
    stream = Broken(error)
    display = make_display(mode, stream)
    for number in range(5):
        display.show(failure())
        display.refresh(float(number))
    display.close()
    assert display.error is error
    assert stream.writes == 1


def test_an_error_while_showing_or_closing_is_kept_too():
    def fail(*_):
        raise RuntimeError("a bug")

    for broken in (
        SimpleNamespace(show=fail, refresh=print, close=print),
        SimpleNamespace(show=bool, refresh=print, close=fail),
    ):
        display = GuardedDisplay(broken)
        display.show(failure())
        display.close()
        assert isinstance(display.error, RuntimeError)


@full_device
@pytest.mark.parametrize("mode", ["auto", "bar", "log", "json"])
def test_a_full_stderr_stops_nothing(mode):
    with open("/dev/full", "w", buffering=1) as stream:  # noqa: PTH123 - a device
        display = make_display(mode, stream)
        for number in range(3):
            display.show(failure())
            display.refresh(float(number))
        display.close()
        assert isinstance(display.error, OSError)
        with pytest.raises(OSError, match="No space"):
            stream.close()


@terminal
def test_a_terminal_that_is_gone_stops_nothing():
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    display = make_display("bar", stream, environ={})
    display.refresh(1.0)
    os.close(master)
    display.show(failure())
    display.refresh(2.0)
    display.close()
    assert isinstance(display.error, OSError)
    with contextlib.suppress(OSError):
        stream.close()


def test_drawing_is_paced_however_often_it_is_asked_for():
    stream = Broken(OSError())
    stream.write = lambda text: setattr(stream, "writes", stream.writes + 1)
    display = make_display("bar", stream)
    for thousandth in range(1000):
        display.show(finished())
        display.refresh(thousandth / 1000)
    assert 10 <= stream.writes <= 12


# The words a run ends with


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        (Summary(complete=True), "nothing to fetch"),
        (
            Summary(entries=1, fetched=1, stored=12_300_000, received=12_300_000, seconds=1.23),
            "fetched 1 file: 12.3 MB in 1.2 s (10.0 MB/s)",
        ),
        (
            Summary(entries=9, unchanged=4, skipped=5, seconds=0.2, complete=True),
            "fetched 0 files, 4 unchanged, 5 skipped: 0 B in 0.2 s",
        ),
        (
            Summary(
                dest="my data", entries=1261, fetched=1234, skipped=15, failed=12, bad_lines=1, retries=1,
                stored=5000, received=200_000, seconds=200, failures={"not-found": 7, "timeout": 5},
            ),
            "fetched 1,234 files, 15 skipped, 12 failed: 5.0 kB in 3 min 20 s (1.0 kB/s, 1 retry)\n"
            "  7 not-found: the server has no such file\n"
            "  5 timeout: no answer in time\n"
            "1 manifest line could not be read\n"
            "run the same command again to retry; `bulkfetch failed 'my data'` lists the failures",
        ),
        (
            Summary(entries=2, failed=2, complete=True, failures={"auth": 1, "tls": 1}),
            "fetched 0 files, 2 failed: 0 B in 0.0 s\n"
            "  1 auth: the server wants other credentials, or refuses ours\n"
            "  1 tls: the certificate or the handshake was refused\n"
            "`bulkfetch failed .` lists the failures",
        ),
        (
            Summary(entries=50, fetched=9, stopped="the deadline of 5 s passed", seconds=5),
            "fetched 9 files: 0 B in 5.0 s\n"
            "stopped: the deadline of 5 s passed, 41 entries or more to go; what was received is kept, "
            "run the same command again to go on",
        ),
        (
            Summary(signal=15, received=8_000_000, seconds=2),
            "fetched 0 files: 0 B in 2.0 s (8.0 MB received, 4.0 MB/s)\n"
            "stopped: by SIGTERM; what was received is kept, run the same command again to go on",
        ),
    ],
    ids=["nothing", "one", "up to date", "failures", "for good", "stopped", "signal"],
)  # fmt: skip
def test_the_summary_says_what_happened_and_how_to_go_on(summary, text):
    assert format_summary(summary) == text


def test_the_summary_is_eight_lines_at_most_and_clean():
    summary = Summary(
        dest=HOSTILE, stopped=HOSTILE, bad_lines=2, failed=99, failures={f"k{i}": i for i in range(30)}
    )
    text = format_summary(summary)
    assert len(text.splitlines()) <= 8
    assert all(line.isprintable() for line in text.splitlines())


def kinds_of_failures(kind):
    yield kind
    for below in kind.__subclasses__():
        yield from kinds_of_failures(below)


def test_every_kind_of_failure_is_explained_and_what_is_retried_may_be_tried_again():
    for kind in kinds_of_failures(errors.TransferError):
        if kind.__module__ == "bulkfetch.errors" and not kind.__name__.startswith("_"):
            words, again = KINDS[kind.kind]
            assert words
            assert again or not kind.retryable
