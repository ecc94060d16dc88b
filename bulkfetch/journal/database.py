"""One SQLite connection: transactions, batches, and what its errors mean."""

from __future__ import annotations

import contextlib
import functools
import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from bulkfetch.errors import BulkfetchError, DiskFull, DiskUnusable
from bulkfetch.journal.schema import Many
from bulkfetch.safetext import clean

Values = Sequence[Any]
T = TypeVar("T")

# Python looks for an adapter of each None and each bytes object that is bound, which takes longer than all
# else that is done for the value. A bytearray it takes as it is, and NaN SQLite stores as NULL.
NULL = math.nan
_WIDEST = 256  # rows a statement
_TIGHT = 1024 * 1024  # bytes free; below them SQLite's "disk I/O error" is a full disk
_LARGEST = 2**63 - 1
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_REFUSED = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}
)
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})


# An edited file may hold any bytes as text (fault K07).
forgiving = functools.partial(str, encoding="utf-8", errors="replace")


class Database:
    """A connection whose every failure is one of ours; statements that write open a transaction."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._variables = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        self.has_failed = False  # something may be missing from the file
        connection.text_factory = str  # a third of what reading a row costs in any other way

    @property
    def changes(self) -> int:
        """Rows inserted, updated or deleted so far."""
        return self._connection.total_changes

    def fetch(self, sql: str, values: Values = ()) -> list[Values]:
        """Return all rows of a query."""
        return self._attempt(lambda: self._fetch(sql, values))

    def fetch_many(self, many: Many, values: Sequence[Any]) -> list[Values]:
        """Return the rows for all `values` of an IN list."""
        found: list[Values] = []
        for text, flat in self._split(many, [(value,) for value in values], ()):
            found += self.fetch(text, flat)
        return found

    def write(self, sql: str, values: Values = ()) -> None:
        """Run one statement inside the open transaction."""
        self._attempt(lambda: self._write(sql, values))

    def write_many(self, many: Many, rows: Sequence[Values], first: Values = ()) -> None:
        """Run a statement over all `rows`, with `first` before them; a row may be written twice."""
        for text, flat in self._split(many, rows, first):
            self.write(text, flat)

    def commit(self) -> None:
        """End the transaction; what was written survives the process from here on."""
        self._attempt(self._connection.commit)

    def checkpoint(self) -> None:
        """Make everything committed survive the machine too, if there is room: in the log it stays anyhow."""
        with contextlib.suppress(BulkfetchError):
            self.fetch("PRAGMA wal_checkpoint(PASSIVE)")

    def copy_to(self, path: Path) -> None:
        """Write everything committed into a new file."""
        with contextlib.closing(sqlite3.connect(path)) as target:
            self._attempt(lambda: self._connection.backup(target))

    def close(self) -> None:
        """Commit what can be committed and let go of the file; never raises."""
        with contextlib.suppress(BulkfetchError):
            self.commit()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _fetch(self, sql: str, values: Values) -> list[Values]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as exc:
            if self._connection.text_factory is forgiving or "decode" not in str(exc):
                raise
        self._connection.text_factory = forgiving
        return self._connection.execute(sql, values).fetchall()

    def _write(self, sql: str, values: Values) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.execute(sql, values)
        except (UnicodeEncodeError, OverflowError):
            self._connection.execute(sql, [storable(value) for value in values])

    def _split(self, many: Many, rows: Sequence[Values], first: Values) -> Iterable[tuple[str, list[Any]]]:
        """Yield statements of a few widths with their values, the last row repeated to fill the width."""
        widest = max(1, min(_WIDEST, (self._variables - len(first)) // many.parameters))
        for start in range(0, len(rows), widest):
            batch = list(rows[start : start + widest])
            width = min(1 << (len(batch) - 1).bit_length(), widest)
            batch += batch[-1:] * (width - len(batch))
            yield many.text(width), [*first, *chain.from_iterable(batch)]

    def _attempt(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except sqlite3.Error as exc:
            self.has_failed = True
            raise explain(exc, self._path) from exc


def explain(exc: sqlite3.Error, path: Path) -> BulkfetchError:
    """Return what an error of SQLite means for the journal at `path`."""
    code, name = primary_code(exc), clean(str(path))
    if code in DAMAGED:
        return DiskUnusable(f"the journal {name} is damaged ({exc}); the next run starts a new one")
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return DiskFull(f"cannot write {name}: no space left")
    if code in _REFUSED:
        return DiskUnusable(f"cannot write {name}: {exc}")
    if code in _BUSY:
        return DiskUnusable(f"another program holds the journal {name}: {exc}")
    return BulkfetchError(f"cannot use the journal {name}: {exc}")


def primary_code(exc: sqlite3.Error) -> int:
    """Return SQLite's result code without its extension; 0 for an error of the Python module's own."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF


def storable(value: Any) -> Any:
    """Return what SQLite takes for `value`: no lone surrogates, no number past 64 bits (fault I05)."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        return _LARGEST if value > 0 else -_LARGEST
    return value


def _is_full(path: Path) -> bool:
    try:
        import shutil  # and with it every kind of archive

        return shutil.disk_usage(path.parent).free < _TIGHT
    except OSError:
        return False
