"""How the journal's file is opened: made, found damaged and set aside, or only read."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from bulkfetch.errors import UsageError
from bulkfetch.journal import schema
from bulkfetch.journal.database import DAMAGED, Database, explain, forgiving, primary_code
from bulkfetch.safetext import clean

if sys.platform != "win32":
    import fcntl

FILE = "journal.sqlite3"
_BUSY_TIMEOUT = 5.0  # seconds
_CACHE = 4096  # KiB; what does not fit is in the page cache of the system anyway
_CHECKPOINT = 8000  # pages
_CHECKED_ALWAYS = 16 * 1024 * 1024  # bytes that are checked in well under 0.1 s
_MISSHAPEN = DAMAGED | {sqlite3.SQLITE_ERROR}  # a table or a column is missing
_CLOSED = frozenset({sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN})
_LOCKING = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_BUSY})

Opener = Callable[[Path, str], sqlite3.Connection]


class _Damaged(Exception):
    """The file cannot be trusted; its text says why."""


class _Refused(UsageError):
    """The system does not let us open the file like this."""


def open_writable(folder: Path, now: Callable[[], float]) -> tuple[Database, list[str]]:
    """Open the journal in `folder`, making what is missing; also returns what the user should be told.

    Raises:
        UsageError: the folder cannot be written, or a newer version wrote the journal.
        DiskFull: there is no room for it.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"cannot write to {clean(str(folder.parent))}: {exc.strerror or exc}") from exc
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write to {clean(str(folder.parent))}: it is read-only")
    try:
        return _open(path, _open_for_writing), []
    except _Damaged as exc:
        aside = _set_aside(path, now())
        notice = f"the journal was damaged ({exc}); it is kept as {clean(str(aside))}, and a new one begins"
        return _open(path, _open_for_writing), [notice]


def open_scratch(folder: Path) -> Database:
    """Open a journal in `folder` that nobody will ever read again: nothing in it need survive."""
    database, _ = open_writable(folder, time.time)
    for setting in ("synchronous = OFF", "journal_mode = OFF"):
        database.fetch(f"PRAGMA {setting}")
    return database


def open_readable(folder: Path) -> tuple[Database, list[str]]:
    """Open the journal in `folder` without changing anything, also while a run writes it.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        raise UsageError(f"{clean(str(folder.parent))} holds no journal: no run of bulkfetch wrote there")
    try:
        return _open(path, _open_for_reading), []
    except _Damaged as exc:
        raise UsageError(f"the journal {clean(str(path))} is damaged ({exc})") from exc
    except _Refused:
        # SQLite makes files beside one it only reads; where nobody can, the file stands still.
        if not os.access(path, os.R_OK):
            raise
    wal = path.with_name(f"{FILE}-wal")
    notices = [f"{clean(str(wal))} cannot be read: the last rows may be missing"] if wal.exists() else []
    return _open(path, functools.partial(_open_for_reading, immutable=True)), notices


def _open(path: Path, opener: Opener) -> Database:
    try:
        try:
            connection = opener(path, "")
        except sqlite3.Error as exc:
            if primary_code(exc) not in _LOCKING or _has_locks(path.parent):
                raise
            connection = opener(path, "nolock=1")
    except sqlite3.Error as exc:
        raise _meaning(exc, path) from exc
    except UnicodeDecodeError as exc:  # SQLite's message quotes bytes that are no text (fault K06)
        raise _Damaged("its schema is garbled") from exc
    return Database(connection, path)


def _has_locks(folder: Path) -> bool:
    """Say whether the file system has what SQLite locks with; where not, the destination's lock must do."""
    if sys.platform != "win32":
        import tempfile

        try:
            with tempfile.TemporaryFile(dir=folder) as probe:
                fcntl.lockf(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            return exc.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
    return True


def _open_for_writing(path: Path, option: str) -> sqlite3.Connection:
    connection = _connect(path, f"mode=rwc&{option}")
    try:
        _configure(connection)
        _check_owner(connection, path)
        _use_log(connection)
        _create(connection)
        _check_content(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_for_reading(path: Path, option: str, *, immutable: bool = False) -> sqlite3.Connection:
    connection = _connect(path, f"mode=ro&{option}{'&immutable=1' if immutable else ''}")
    try:
        _configure(connection)
        connection.execute("PRAGMA query_only = ON")
        _check_owner(connection, path)
        _probe(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, options: str) -> sqlite3.Connection:
    # Everything quoted, so that no part of the name is taken for a host or an option.
    uri = f"file:{quote(os.fsencode(path.absolute()), safe='')}?{options}"
    return sqlite3.connect(
        uri, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )


def _configure(connection: sqlite3.Connection) -> None:
    connection.text_factory = forgiving
    for setting in ("trusted_schema = OFF", "cell_size_check = ON", f"cache_size = -{_CACHE}"):
        connection.execute(f"PRAGMA {setting}")


def _check_owner(connection: sqlite3.Connection, path: Path) -> None:
    version = _number(connection, "PRAGMA user_version")
    if _number(connection, "PRAGMA application_id") != schema.APPLICATION_ID:
        if _number(connection, "SELECT count(*) FROM sqlite_master"):
            raise _Damaged("it is another program's database")
    elif version > schema.VERSION:
        raise UsageError(
            f"{clean(str(path))} was written by a newer bulkfetch (journal version {version}, this one knows"
            f" {schema.VERSION}): upgrade bulkfetch, or move that file away to start over"
        )


def _use_log(connection: sqlite3.Connection) -> None:
    """Write ahead where the file system can share memory; some network ones cannot."""
    # What holds nothing yet need not survive: four waits for the disk fewer before the first request.
    is_new = _number(connection, "PRAGMA page_count") == 0
    connection.execute(f"PRAGMA synchronous = {'OFF' if is_new else 'NORMAL'}")
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    except sqlite3.OperationalError as exc:
        if primary_code(exc) not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN):
            raise
        mode = ""
    if mode != "wal":
        connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA secure_delete = OFF")


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in schema.TABLES:
        connection.execute(statement)
    for table, column, kind in schema.ADDED:
        known = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if column not in known:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    if _number(connection, "PRAGMA application_id") != schema.APPLICATION_ID:
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")
    connection.execute("COMMIT")


def _check_content(connection: sqlite3.Connection, path: Path) -> None:
    """Look for damage: always in a small file, in a large one after a run that did not end well."""
    _probe(connection)
    last = connection.execute("SELECT clean FROM runs ORDER BY id DESC LIMIT 1").fetchone()
    if path.stat().st_size > _CHECKED_ALWAYS and last == (1,):
        return
    problem = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if problem != "ok":
        raise _Damaged(clean(problem.replace("\n", " "), 200))


def _probe(connection: sqlite3.Connection) -> None:
    for query in schema.PROBES:
        connection.execute(query)


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _meaning(exc: sqlite3.Error, path: Path) -> Exception:
    code = primary_code(exc)
    if code in _MISSHAPEN:
        return _Damaged(str(exc))
    if code == sqlite3.SQLITE_READONLY:
        return _Refused(f"cannot write to {clean(str(path.parent.parent))}: it is read-only")
    if code in _CLOSED:
        return _Refused(f"cannot open the journal {clean(str(path))}: {exc}")
    return explain(exc, path)


def _set_aside(path: Path, now: float) -> Path:
    """Rename a damaged journal and its log, never over an older one; returns the new name."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    names = (
        path.with_name(f"{FILE}.damaged-{stamp}{suffix}")
        for suffix in ("", *map("-{}".format, range(1, 1000)))
    )
    aside = next(name for name in names if not os.path.lexists(name))
    try:
        for ending in ("-wal", "-journal"):  # first: one left behind would be played into the new file
            with contextlib.suppress(FileNotFoundError):
                path.with_name(FILE + ending).rename(aside.with_name(aside.name + ending))
        path.with_name(f"{FILE}-shm").unlink(missing_ok=True)
        path.rename(aside)
    except OSError as exc:
        raise UsageError(f"cannot set the damaged journal {clean(str(path))} aside: {exc.strerror}") from exc
    return aside
