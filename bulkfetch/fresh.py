"""What most tasks are, and what most attempts at them come to."""

from __future__ import annotations

from bulkfetch.models import NO_PART, Attempt, Done, Entry, Origin, Task

_new = tuple.__new__  # one for every file, made in a quarter of the time
_FIRST = Task._fields.index("attempt")
_LAST = Task._fields.index("deadline")
_NOTHING_KEPT, _NEW_FILE = ((), ""), (False, True)  # what `Done` says of a file that was not there
FRESH = Task(Entry(("",)), b"", "", "", Origin("", "", 0))[_FIRST:_LAST]  # as nothing has been tried yet


def is_fresh(task: Task) -> bool:
    """Say whether a task is a plain GET of a new file, not tried before."""
    entry = task.entry
    is_plain = entry.request is None and not entry.headers and entry.urls == (task.url,)
    return is_plain and task[_FIRST:_LAST] == FRESH and "@" not in task.url


# Seconds, start, and of `Done` the fields up to `mtime_ns`, size first, and `fresh_until`: as it is sent.
Whole = tuple[float, float, int, str, str, str | None, str | None, int, int | None]


def pack_whole(attempt: Attempt, task: Task) -> Whole | None:
    """Return all there is to tell of an attempt at a fresh task; None where there is more."""
    done = attempt.done
    if done is None or done[6:8] != _NOTHING_KEPT or done[9:] != _NEW_FILE:
        return None
    seconds, started = attempt.seconds, attempt.started
    if whole_attempt(task, done, seconds, started) != attempt:
        return None
    return seconds, started, *done[:6], done.fresh_until


def unpack_whole(whole: Whole, task: Task) -> Attempt:
    """Return the attempt that `pack_whole` was given."""
    seconds, started, *facts, fresh_until = whole
    return whole_attempt(task, _new(Done, (*facts, (), "", fresh_until, False, True)), seconds, started)


def whole_attempt(task: Task, done: Done, seconds: float, started: float) -> Attempt:
    """Return the attempt at a fresh task whose first answer was the file."""
    return _new(Attempt, (
        task.attempt, done.size, seconds, None, None, done, NO_PART, False, task.url,
        0, False, False, started, None, None, False,
    ))  # fmt: skip
