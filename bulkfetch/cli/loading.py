"""Modules imported late, and fast."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_search() -> Iterator[None]:
    """Import without looking for garbage: there is none, and the looks are a tenth of a start."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # else the first look goes through all that was made meanwhile
        if was_enabled:
            gc.enable()
