"""The tables, and the statements that touch many rows at once."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

VERSION = 1
APPLICATION_ID = 0x62756C6B  # "bulk": tells a journal from another program's database

# Rows of `entries` are appended and mostly changed while their page is still at hand. `names` leads
# from 64 bits of a key, or of the collision key of a destination, to the row; see names.py.
TABLES = (
    """CREATE TABLE IF NOT EXISTS runs (
        id INTEGER PRIMARY KEY, started REAL NOT NULL, finished REAL, boot TEXT NOT NULL,
        clean INTEGER NOT NULL DEFAULT 0, durable INTEGER NOT NULL DEFAULT 0,
        version TEXT NOT NULL, summary TEXT)""",
    """CREATE TABLE IF NOT EXISTS entries (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL, owns INTEGER NOT NULL DEFAULT 0, path TEXT, url TEXT,
        state TEXT NOT NULL, run INTEGER NOT NULL, written INTEGER,
        size INTEGER, mtime_ns INTEGER, digest TEXT, etag TEXT, last_modified TEXT,
        final_url TEXT, received INTEGER, attempts INTEGER, seconds REAL, finished REAL,
        kind TEXT, status_code INTEGER, message TEXT, source TEXT, line INTEGER, entry TEXT,
        fresh_until INTEGER)""",
    "CREATE TABLE IF NOT EXISTS names (hash INTEGER PRIMARY KEY, id INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER)",
    """CREATE TABLE IF NOT EXISTS parts (
        key BLOB PRIMARY KEY, token TEXT NOT NULL, validator TEXT, total INTEGER,
        "offset" INTEGER NOT NULL, durable INTEGER NOT NULL, boot TEXT NOT NULL, url TEXT, missing TEXT)
        WITHOUT ROWID""",
    # Without an index: it is written often and hardly ever read. No probe: older journals have none.
    """CREATE TABLE IF NOT EXISTS attempts (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL, run INTEGER NOT NULL, time REAL, number INTEGER,
        url TEXT, what TEXT, received INTEGER, seconds REAL, wait REAL, why TEXT)""",
)
ADDED = (("parts", "missing", "TEXT"), ("entries", "fresh_until", "INTEGER"))  # what older journals lack
# Fail where a table or a column is missing.
PROBES = (
    "SELECT id, started, finished, boot, clean, durable, version, summary FROM runs LIMIT 0",
    "SELECT id, key, owns, path, url, state, run, written, size, mtime_ns, digest, etag, last_modified,"
    " final_url, received, attempts, seconds, finished, kind, status_code, message, source, line, entry"
    " FROM entries LIMIT 0",
    'SELECT key, token, validator, total, "offset", durable, boot, url FROM parts LIMIT 0',
    "SELECT hash, id FROM names LIMIT 0",
    "SELECT name, value FROM meta LIMIT 0",
)


class Many(NamedTuple):
    """A statement whose middle is repeated, so that one step of SQLite does a whole batch.

    Each step lets go of the interpreter lock, and the workers are slow to give it back.
    """

    head: str
    row: str
    tail: str

    @property
    def parameters(self) -> int:
        """How many values a row takes."""
        return self.row.count("?")

    def text(self, rows: int) -> str:
        """Return the SQL for `rows` rows."""
        return _text(self, rows)


@lru_cache(maxsize=128)
def _text(many: Many, rows: int) -> str:
    return many.head + ",".join([many.row] * rows) + many.tail


def _upsert(columns: str, updated: str, always: str = "") -> Many:
    names = columns.split()
    assignments = [f"{name} = excluded.{name}" for name in updated.split()]
    tail = f" ON CONFLICT (id) DO UPDATE SET {', '.join(assignments)}{always}"
    return Many(f"INSERT INTO entries ({', '.join(names)}) VALUES ", f"({','.join('?' * len(names))})", tail)


_ROW = "key, path, state, size, mtime_ns, digest, run, etag, last_modified, written, owns"
_RESULT = "state run attempts received seconds finished source line entry"
_FACTS = "size digest etag last_modified mtime_ns written fresh_until"  # of the file last put there
_FAILURE = "kind status_code message"

FIND_IDS = Many(
    "SELECT key, entries.id FROM names CROSS JOIN entries ON entries.id = names.id WHERE hash IN (", "?", ")"
)
NEXT_ROWS = f"SELECT {_ROW}, id FROM entries WHERE id > ? ORDER BY id LIMIT ?"
TOUCH_RANGE = "UPDATE entries SET run = ? WHERE id BETWEEN ? AND ?"
FIND_PATH_IDS = Many("SELECT hash, id FROM names WHERE hash IN (", "?", ")")
FIND_ROWS = Many(f"SELECT {_ROW} FROM entries WHERE id IN (", "?", ")")
FIND_ANSWERS = Many("SELECT key, fresh_until, final_url FROM entries WHERE id IN (", "?", ")")
FIND_OWNERS = Many(f"SELECT {_ROW}, url FROM entries WHERE owns = 1 AND id IN (", "?", ")")
ALL_PARTS = 'SELECT key, token, validator, total, "offset", durable, boot, missing FROM parts'
FIND_PARTS = Many(f"{ALL_PARTS} WHERE key IN (", "?", ")")
FINISHED = (
    f"SELECT id, {_ROW} FROM entries"
    " WHERE id > ? AND id <= ? AND state IN ('fetched', 'unchanged') ORDER BY id LIMIT ?"
)
# A failure since then changes nothing about the file, nor does a request until its answer is there.
RECORDED = (
    f"SELECT id, {_ROW} FROM entries WHERE id > ? AND id <= ? AND (state IN ('fetched', 'unchanged')"
    " OR (state IN ('failed', 'pending') AND owns = 1 AND digest IS NOT NULL)) ORDER BY id LIMIT ?"
)
FAILED = (
    "SELECT id, url, path, kind, status_code, message, attempts, entry FROM entries"
    " WHERE id > ? AND id <= ? AND state = 'failed' ORDER BY id LIMIT ?"
)
_HOST = "instr(url, '://') + 3"  # where it begins in a URL
_PATH = f"{_HOST} + instr(substr(url, {_HOST}) || '/', '/') - 1"
BY_HOST = (
    f"SELECT substr(url, 1, {_PATH} - 1) AS start, state, kind, count(*)"
    " FROM entries GROUP BY start, state, kind"
)
ADD_PENDING = _upsert("id key owns path url source line run state", "owns path url source line run state")
# A failure leaves the facts of the file that is there from before (fault F07), and whose answer it is.
SETTLE_FINISHED = _upsert(
    f"id key path url {_RESULT} final_url {_FACTS} message",
    f"{_RESULT} final_url {_FACTS} message",
    ", kind = NULL, status_code = NULL",
)
# The same where a row is as ADD_PENDING of this run left it, and a file came at once: a third less work.
# Only for rows that are there, as what it would insert is no row of an entry: they are, as the planner
# commits them before their tasks start, and who deletes one has its number forgotten.
_OF_PLAIN = "seconds finished entry size digest etag last_modified mtime_ns fresh_until"
SETTLE_PLAIN = _upsert(
    f"key state id run {_OF_PLAIN}",
    _OF_PLAIN,
    ", state = 'fetched', attempts = 1, received = excluded.size, written = excluded.run, final_url = NULL,"
    " message = NULL, kind = NULL, status_code = NULL WHERE state = 'pending' AND run = excluded.run",
)._replace(row=f"(x'', ''{', ?' * 11})")
# No server was asked: what its last answer said holds for the same bytes, and for no others.
SETTLE_CHECKED = _upsert(
    f"id key path url {_RESULT} final_url {_FACTS} message",
    f"{_RESULT} size digest mtime_ns written message",
    ", kind = NULL, status_code = NULL"
    + "".join(
        f", {name} = CASE WHEN digest = excluded.digest THEN {name} ELSE excluded.{name} END"
        for name in ("final_url", "etag", "last_modified", "fresh_until")
    ),
)
SETTLE_OTHER = _upsert(
    f"id key path url {_RESULT} final_url {_FAILURE}",
    f"{_RESULT} {_FAILURE}",
    ", final_url = CASE WHEN size IS NULL THEN excluded.final_url ELSE final_url END",
)
# What stands there is ours to replace, and nobody's file until then: no file has this time.
TAKE_OVER = (
    "UPDATE entries SET size = coalesce((SELECT size FROM entries WHERE id = ?), 0), mtime_ns = 1,"
    " digest = NULL, etag = NULL, last_modified = NULL, fresh_until = NULL WHERE id = ?"
)
# What broke off has changed nothing: the last end of the entry still holds.
PUT_BACK = Many(
    "UPDATE entries SET state = CASE WHEN kind IS NOT NULL THEN 'failed'"
    " WHEN message IS NULL THEN 'fetched' ELSE 'unchanged' END"
    " WHERE state = 'pending' AND size IS NOT NULL AND id IN (",
    "?",
    ")",
)
TOUCH = Many("UPDATE entries SET run = ? WHERE id IN (", "?", ")")
DROP_PARTS = Many("DELETE FROM parts WHERE key IN (", "?", ")")
ADD_NAMES = Many("INSERT OR REPLACE INTO names (hash, id) VALUES ", "(?, ?)", "")
UNNAMED = "SELECT id, key, path, owns FROM entries WHERE id > ? ORDER BY id"
SAVE_PART = (
    'INSERT OR REPLACE INTO parts (key, token, validator, total, "offset", durable, boot, url, missing)'
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
