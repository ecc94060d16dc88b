"""What the coordinator and its worker processes tell one another: frames of marshalled values.

A small file that went well is a few plain values each way. What is anything else is pickled, so both sides
must run the same code; neither reads what anybody else has written.
"""

from __future__ import annotations

import marshal
import os
import struct
from typing import Any

from bulkfetch.fresh import FRESH, pack_whole, unpack_whole
from bulkfetch.models import Attempt, Entry, Origin, Task

STOP = "stop"  # to a process: nothing more is to be done
# From a process; what a frame begins with.
HELLO, ALIVE, BATCH, COOKIES, EVENT = "hello", "alive", "batch", "cookies", "event"
BEAT = 5.0  # seconds from one sign of life to the next
_SIZE = struct.Struct("!I")
_new = tuple.__new__  # several for every file, made in a quarter of the time
_REST = Entry(())[4:]  # of an entry's fields, which no attempt at a fresh task asks for

Frame = Any  # what `marshal` knows: numbers, texts, bytes, None and tuples and lists of such


def pack_frame(frame: Frame) -> bytes:
    """Return a value as it is sent."""
    data = marshal.dumps(frame)
    return _SIZE.pack(len(data)) + data


def write_all(file: int, data: bytes) -> None:
    """Write to an open pipe; no buffer, as a thread that the interpreter's end stops may hold its lock."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def read_frame(file: int) -> Frame:
    """Return the next value from an open pipe; raises `EOFError` when none will come."""
    return marshal.loads(_read(file, _SIZE.unpack(_read(file, _SIZE.size))[0]))


def _read(file: int, size: int) -> bytes:
    data = os.read(file, size)
    while len(data) < size:
        more = os.read(file, size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def pack_task(task: Task) -> Frame:
    """Return what `unpack_task` makes the task of again, the user's columns left out."""
    entry = task.entry
    return (task.key, task.path, task.url, entry.size, entry.digests, task.deadline, task.started)


def unpack_task(frame: Frame, origin: Origin) -> Task:
    """Return a task with an origin."""
    key, path, url, size, digests, deadline, started = frame
    entry = _new(Entry, ((url,), None, size, digests, *_REST))
    return _new(Task, (entry, key, path, url, origin, *FRESH, deadline, started))


def pack_attempt(attempt: Attempt, task: Task) -> Frame:
    """Return what `unpack_attempt` makes the attempt of again."""
    if (whole := pack_whole(attempt, task)) is not None:
        return whole
    import pickle  # which a run without processes does not need

    return pickle.dumps(attempt, pickle.HIGHEST_PROTOCOL)


def is_whole(frame: Frame) -> bool:
    """Say whether an attempt brought a small file and nothing else, so that `unpack_whole` serves."""
    return not isinstance(frame, bytes)


def unpack_attempt(frame: Frame, task: Task) -> Attempt:
    """Return the attempt at a task."""
    if is_whole(frame):
        return unpack_whole(frame, task)
    import pickle

    attempt: Attempt = pickle.loads(frame)
    return attempt
