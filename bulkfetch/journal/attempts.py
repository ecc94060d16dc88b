"""What is kept of the attempts at an entry, where there was more to it than one that succeeded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from bulkfetch.journal.database import Database
from bulkfetch.safetext import redact, redact_url

MOST = 30  # attempts of an entry that are kept of a run
_RUNS = 20  # whose attempts are kept
_COLUMNS = "key, run, time, number, url, what, received, seconds, wait, why"
_ADD = f"INSERT INTO attempts ({_COLUMNS}) VALUES ({', '.join('?' * 10)})"


class AttemptRow(NamedTuple):
    """One attempt, and what came next."""

    key: bytes
    number: int
    url: str  # asked last
    what: str  # came of it
    received: int = 0  # body bytes
    seconds: float = 0.0
    wait: float | None = None  # seconds until the next; None: there was none
    why: str = ""  # it was so long
    run: int = 0
    time: float = 0.0  # Unix time of its end


class EntryStory(NamedTuple):
    """An entry as the journal knows it, with its attempts, oldest first."""

    url: str
    path: str
    state: str
    final_url: str
    received: int
    attempts: int
    seconds: float
    finished: float | None  # Unix time
    has_failed: bool  # at its last end
    reason: str  # of a failure, or for having skipped it
    kept: int  # bytes of a part that would be continued
    rows: tuple[AttemptRow, ...]
    run: int  # of its last end
    open_run: int  # which left it pending and has recorded no end of its own; 0: none


def add_attempt(database: Database, row: AttemptRow, run: int, now: float) -> None:
    """Record an attempt; part of the open transaction."""
    if row.number <= MOST:
        url, what = redact_url(row.url), redact(row.what)
        told = (row.key, run, now, row.number, url, what, row.received, row.seconds, row.wait, row.why)
        database.write(_ADD, told)


def forget_attempts(database: Database, run: int) -> None:
    """Forget the attempts of runs long ago; `run` is the present one."""
    database.write("DELETE FROM attempts WHERE run <= ?", (run - _RUNS,))


def find_stories(database: Database, url: str) -> Iterator[EntryStory]:
    """Yield every entry of a URL, given as the journal stores it."""
    query = (
        "SELECT key, path, state, final_url, received, attempts, seconds, finished, kind, message,"
        " (SELECT max(id) FROM runs WHERE runs.started <= entries.finished),"  # its own is of who saw it last
        " (SELECT id FROM runs WHERE id = run AND state = 'pending' AND runs.finished IS NULL)"
        " FROM entries WHERE url = ? ORDER BY id"
    )
    for values in database.fetch(query, (url,)):
        key, path, state, final_url, received, attempts, seconds, finished, kind, message, run, open_run = (
            values
        )
        reason = ": ".join(str(text) for text in (kind, message) if text)
        parts = database.fetch('SELECT "offset" FROM parts WHERE key = ?', (key,))
        yield EntryStory(
            url, str(path), str(state), _text(final_url), _number(received), _number(attempts),
            float(_number(seconds)), finished if isinstance(finished, float) else None, kind is not None,
            reason, _number(parts[0][0]) if parts else 0, tuple(_find_rows(database, key)),
            _number(run), _number(open_run),
        )  # fmt: skip


def _find_rows(database: Database, key: bytes) -> Iterator[AttemptRow]:
    if not database.fetch("SELECT 1 FROM sqlite_master WHERE name = 'attempts'"):
        return  # an older version wrote this journal
    for values in database.fetch(f"SELECT {_COLUMNS} FROM attempts WHERE key = ? ORDER BY id", (key,)):
        _, run, time, number, url, what, received, seconds, wait, why = values
        yield AttemptRow(
            key, _number(number), _text(url), _text(what), _number(received), float(_number(seconds)),
            wait if isinstance(wait, float) else None, _text(why), _number(run), float(_number(time)),
        )  # fmt: skip


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) else 0  # the file may have been edited (fault K07)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
