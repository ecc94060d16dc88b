"""Calls of the standard library, seen before and after they happen."""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WATCHED = (
    "open",
    "write",
    "fsync",
    "ftruncate",
    "close",
    "rename",
    "replace",
    "link",
    "unlink",
    "mkdir",
    "utime",
)
_BY_FD = frozenset({"write", "fsync", "ftruncate", "close", "utime"})
_TWO_NAMES = frozenset({"rename", "replace", "link"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call: `name` is that of the function in `os`, or "sql", "commit" and "sync"."""

    name: str
    path: str = ""  # absolute where it can be known
    target: str = ""  # the second name of a rename
    flags: int = 0  # of open
    fd: int = -1
    size: int = 0  # of ftruncate
    sql: str = ""


class Observer:
    """Is told of every call; raising in `before` makes the call fail."""

    def before(self, call: Call) -> None:
        """Take note that `call` is about to happen."""

    def after(self, call: Call, result: Any) -> None:
        """Take note that `call` has happened."""


class Intercept:
    """Wraps the watched functions of `os` and every SQLite connection, for the rest of the process."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._paths: dict[int, str] = {}  # by file descriptor
        self._lock = threading.Lock()  # guards _paths
        for name in WATCHED:
            self._wrap(name)
        if hasattr(os, "sync"):
            os.sync = self._around(os.sync, lambda *_args, **_options: Call("sync"))
        sqlite3.connect = functools.partial(sqlite3.connect, factory=_connection_class(observer))

    def _wrap(self, name: str) -> None:
        real = getattr(os, name)
        wrapped = self._around(real, functools.partial(self._call, name))
        for functions in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if real in functions:
                functions.add(wrapped)
        setattr(os, name, wrapped)

    def _around(self, real: Callable[..., Any], describe: Callable[..., Call]) -> Callable[..., Any]:
        @functools.wraps(real)
        def wrapped(*args: Any, **options: Any) -> Any:
            call = describe(*args, **options)
            self._observer.before(call)
            result = real(*args, **options)
            if call.name == "open":
                with self._lock:
                    self._paths[result] = call.path
            self._observer.after(call, result)
            return result

        return wrapped

    def _call(self, name: str, *args: Any, **options: Any) -> Call:
        first = args[0]
        if name in _BY_FD and isinstance(first, int):
            with self._lock:
                path = self._paths.pop(first, "") if name == "close" else self._paths.get(first, "")
            return Call(name, path, fd=first, size=args[1] if name == "ftruncate" else 0)
        folder = options.get("src_dir_fd") if name in _TWO_NAMES else options.get("dir_fd")
        path = self._absolute(first, folder)
        if name in _TWO_NAMES:
            return Call(name, path, self._absolute(args[1], options.get("dst_dir_fd")))
        flags = args[1] if name == "open" and len(args) > 1 else 0
        return Call(name, path, flags=flags)

    def _absolute(self, path: Any, folder: int | None) -> str:
        name = os.fsdecode(path)
        if folder is None:
            return os.path.abspath(name)  # noqa: PTH100 - what the call was given may be bytes
        with self._lock:
            return f"{self._paths.get(folder, '?')}/{name}"


def _connection_class(observer: Observer) -> type[sqlite3.Connection]:
    class Watched(sqlite3.Connection):
        path = ""

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            call = Call("commit" if sql == "COMMIT" else "sql", self._file(), sql=sql)
            observer.before(call)
            result = super().execute(sql, *args)
            observer.after(call, result)
            return result

        def commit(self) -> None:
            if not self.in_transaction:
                return
            call = Call("commit", self._file())
            observer.before(call)
            super().commit()
            observer.after(call, None)

        def _file(self) -> str:
            if not self.path:
                self.path = str(super().execute("PRAGMA database_list").fetchone()[2]) or "memory"
            return self.path

    return Watched
