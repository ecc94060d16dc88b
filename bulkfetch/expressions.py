"""Regular expressions that are compiled when they are first used: most wait for input that few runs see."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Late:
    """Stands for a compiled expression, and becomes as fast: each method asked for is kept."""

    def __init__(self, text: str | bytes, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(self._text, self._flags), name)
        setattr(self, name, found)
        return found


def late(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what `re.compile` does, to be used by its methods and attributes alone."""
    return cast("re.Pattern[AnyStr]", _Late(text, flags))
