"""Files a run writes besides what it fetches: none in the place of another, none lost without a word."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, TextIO

from bulkfetch.display import Display, GuardedDisplay, LogFile, make_display
from bulkfetch.errors import OutputLost, UsageError
from bulkfetch.printing import EventsFile, FailedFile
from bulkfetch.safetext import clean

_OPTIONS = ("failed", "events", "log_file")


def check_outputs(options: dict[str, Any], sources: Iterable[str]) -> None:
    """Raise `UsageError` where an output would empty a source before it is read, or another output.

    `--failed` may name its source: the new list takes the old one's place at the very end.
    """
    taken = {_identity(name): "a source" for name in sources}
    taken.pop(None, None)
    for option in filter(options.get, _OPTIONS):
        name = options[option]
        identity = _identity(name)
        spot = identity
        if option == "failed" and isinstance(identity, tuple):
            spot = _identity(f"{name}.new")  # grows there
        for place in {identity, spot} - {None}:
            other = taken.get(place)
            if other is not None and not (other == "a source" and place != spot):
                flag = f"--{option.replace('_', '-')}"
                raise UsageError(f"{flag} {clean(name)} would be written over {other}; give it another name")
            taken.setdefault(place, f"--{option.replace('_', '-')}")


def _identity(name: str) -> tuple[int, int] | str | None:
    """Return what tells a file from all others; None for what is no file, such as a device or a pipe."""
    try:
        found = os.fstat(sys.stdin.fileno()) if name == "-" and sys.stdin else os.stat(name)  # noqa: PTH116 - as typed
    except (OSError, ValueError):
        return None if name == "-" else os.path.normcase(os.path.realpath(name))
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def open_displays(opened: contextlib.ExitStack, options: dict[str, Any]) -> list[Display]:
    """Open what shows or records the events; `opened` closes it whatever happens."""
    displays: list[Display] = []
    for name, kind in (("events", EventsFile), ("failed", FailedFile)):
        if options[name]:
            displays.append(opened.enter_context(contextlib.closing(kind(options[name]))))
    if options["log_file"]:
        log = _open_log(opened, options["log_file"], max(1, options["verbose"]))
        displays.append(opened.enter_context(contextlib.closing(log)))
    shown = make_display(options["progress"], sys.stderr, verbose=options["verbose"], quiet=options["quiet"])
    displays.append(opened.enter_context(contextlib.closing(shown)))
    return displays


def _open_log(opened: contextlib.ExitStack, name: str, verbose: int) -> Display:
    try:
        stream = open(name, "a", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123, SIM115 - closed by `opened`
    except OSError as exc:
        raise UsageError(f"cannot write {clean(name)}: {exc.strerror}") from exc
    opened.callback(_close, stream)
    return GuardedDisplay(LogFile(stream, verbose=verbose))


def _close(stream: TextIO) -> None:
    with contextlib.suppress(OSError):  # the display has its error: it flushes all it writes
        stream.close()


def losses(displays: Sequence[Display], options: dict[str, Any]) -> list[str]:
    """Return what could not be written of the files asked for, after they were closed."""
    texts = []
    for display in displays[:-1]:  # the last one is on stderr, which may be gone (faults P07, P08)
        error = getattr(display, "error", None)
        if isinstance(error, OSError):
            error = f"cannot write {clean(options['log_file'])}: {error.strerror or error}"
        if error:
            texts.append(str(error))
    return texts


def send_body(source: BinaryIO, stream: BinaryIO | None) -> None:
    """Write a whole file to standard output.

    Raises:
        OutputLost: it cannot be written there.
        BrokenPipeError: its reader has gone.
    """
    import shutil

    if stream is None:
        raise OutputLost("cannot write to standard output: it is closed")
    try:
        shutil.copyfileobj(source, stream, 1024 * 1024)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise OutputLost(f"cannot write to standard output: {exc.strerror or exc}") from exc
