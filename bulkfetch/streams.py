"""How the standard streams are left at the very end."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TextIO


def flush_or_divert(*streams: TextIO | None) -> None:
    """Flush streams at the very end; what a full or broken one still holds goes nowhere.

    Python would try once more while it exits, complain, and turn the exit status into 120 (P06, P08).
    """
    for stream in streams:
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            _divert(stream)


def _divert(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
