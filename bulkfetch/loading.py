"""Modules imported late, and fast."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it loads what is put off here
    from importlib.abc import Loader

# Of the standard library: what others import at once and a run rarely uses.
RARE = ("csv", "secrets", "selectors", "shlex", "textwrap", "tokenize", "traceback")
_AT_HAND = frozenset({"__class__", "__dict__", "__name__", "__spec__"})  # an `import` alone asks for these


class _Later(ModuleType):
    """A module that is loaded once something of it is used.

    `importlib.util.LazyLoader` makes such too, but before 3.12 it loads them at the next `import` already.
    """

    def __getattribute__(self, name: str) -> Any:
        if name not in _AT_HAND:
            space = vars(self)
            with space["_lock"]:  # who comes second waits until it is whole
                loader: Loader | None = space.pop("_loader", None)
                if loader is not None:
                    loader.exec_module(self)
                    self.__class__ = ModuleType  # type: ignore[assignment]
        return ModuleType.__getattribute__(self, name)


def put_off(*names: str) -> None:
    """Have modules loaded late; for a program of ours alone, as it holds for all that is in the process."""
    for name in names:
        spec = None if name in sys.modules else find_spec(name)
        if spec is not None and spec.loader is not None:
            module = _Later(name)
            vars(module).update(vars(module_from_spec(spec)), _loader=spec.loader, _lock=threading.RLock())
            sys.modules[name] = module


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
