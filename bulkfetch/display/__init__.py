"""What the user sees of a run: a bar, log lines, JSON lines, or nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Literal, TextIO

from bulkfetch.display.closing import format_summary
from bulkfetch.display.guard import Display, GuardedDisplay, NullDisplay, show_ends, skips_starts
from bulkfetch.display.jsonl import JsonDisplay
from bulkfetch.display.log import LogDisplay
from bulkfetch.display.logfile import LogFile

__all__ = [
    "Display", "GuardedDisplay", "LogFile", "Mode", "NullDisplay",
    "format_summary", "make_display", "show_ends", "skips_starts",
]  # fmt: skip

Mode = Literal["auto", "bar", "log", "json", "none"]


def make_display(
    mode: Mode,
    stream: TextIO | None,
    *,
    verbose: int = 0,
    quiet: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Display:
    """Return the display for `mode`, guarded; a stream that is None (closed, or no console) shows nothing."""
    if mode == "none" or stream is None:
        return NullDisplay()
    known = os.environ if environ is None else environ
    return GuardedDisplay(_choose(mode, stream, verbose, quiet, known))


def _choose(mode: Mode, stream: TextIO, verbose: int, quiet: bool, environ: Mapping[str, str]) -> Display:
    if mode == "json":
        return JsonDisplay(stream, quiet=quiet)
    if quiet:
        return LogDisplay(stream, quiet=True)
    if mode == "log":
        return LogDisplay(stream, verbose=verbose)
    if _runs_in_notebook():
        return _notebook(stream, verbose)
    if mode == "bar" or (_is_terminal(stream) and environ.get("TERM") != "dumb"):
        return _bar(stream, verbose, colour=_is_terminal(stream) and not environ.get("NO_COLOR"))
    return LogDisplay(stream, verbose=verbose)


def _bar(stream: TextIO, verbose: int, *, colour: bool) -> Display:
    is_stderr = stream is sys.stderr
    from bulkfetch.display.bar import BarDisplay  # tqdm is not loaded for those who see no bar

    if is_stderr and sys.stderr is not None:
        stream = sys.stderr  # on Windows loading tqdm wraps it in what understands escape sequences
    return BarDisplay(stream, verbose=verbose, colour=colour)


def _notebook(stream: TextIO, verbose: int) -> Display:
    from bulkfetch.display.notebook import NotebookDisplay

    try:
        return NotebookDisplay(stream, verbose=verbose)
    except ImportError:  # no widgets installed
        return LogDisplay(stream, verbose=verbose)


def _runs_in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError, OSError):  # closed, or not quite a file
        return False
