"""Which row an entry or a destination has: an index that is written in large, sorted pieces.

Keys are digests. An index kept up row by row would have each of them change another page, and
writing these pages would cost more than everything else the journal does. So new names wait in
memory, and a crash costs nothing but reading the youngest rows again.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import islice

from bulkfetch.journal import schema
from bulkfetch.journal.database import Database
from bulkfetch.journal.rows import KEY_SIZE
from bulkfetch.journal.sieve import Sieve
from bulkfetch.naming import collision_key

_WAITING = 8 * 1024  # rows whose names wait in memory: some 2 MiB
_MOST_WAITING = 8 * _WAITING
_MOST_WRITTEN = 2 * _WAITING
_SHARE = 64  # of the rows; the larger the index, the more of its pages a piece of it would touch
_AT_ONCE = 4096
_MOST_ROWS = 1 << 48  # more are there only in a journal that was edited
_NAMED = "named"  # in `meta`: the highest row whose names are written


class Names:
    """From keys and collision keys to row numbers."""

    def __init__(self, database: Database, waiting: int = _WAITING) -> None:
        self._database = database
        self._waiting = waiting
        self._keys: dict[bytes, int] = {}
        self._paths: dict[int, int] = {}
        self._written: dict[bytes, int] = {}  # of the last piece, the youngest: their outcomes are to come
        self._looked_up: dict[bytes, int] = {}  # by the last query; what was found is asked for again
        self._absent: set[bytes] = set()  # what that query did not find; who adds one looks here no more
        self._hashes: dict[str, int] = {}  # of the destinations asked for last, which are claimed next
        self._is_ours = False  # the index: it was empty before the first piece
        self._sieve: Sieve | None = None  # what the index may have; None: anything
        self._named = 0
        self._last = -1  # highest row; -1: not loaded

    def find(self, keys: Collection[bytes]) -> dict[bytes, int]:
        """Return the rows of the keys that have one."""
        self._load()
        found: dict[bytes, int] = {}
        for known in (self._written, self._looked_up, self._keys):
            if known:
                found.update({key: known[key] for key in keys if key in known})
        missing = [key for key in keys if key not in found] if len(found) < len(keys) else []
        if missing and self._named and not self._absent.issuperset(missing):
            rows = self._database.fetch_many(schema.FIND_IDS, self._sift(hash_keys(missing)))
            wanted = set(missing)
            self._looked_up = {key: number for key, number in rows if key in wanted}
            self._absent = wanted.difference(self._looked_up)
            found |= self._looked_up
        return found

    def remember(self, numbers: dict[bytes, int]) -> None:
        """Take note of rows just found, which are asked for again."""
        self._looked_up = numbers

    def find_paths(self, path_keys: Collection[str]) -> list[int]:
        """Return the rows that may have these destinations."""
        self._load()
        self._hashes = dict(zip(path_keys, hash_paths(path_keys), strict=True))
        hashes = self._hashes.values()
        paths = self._paths
        found = [paths[value] for value in hashes if value in paths]
        if self._named and (missing := self._sift(value for value in hashes if value not in paths)):
            found += [number for _, number in self._database.fetch_many(schema.FIND_PATH_IDS, missing)]
        return found

    def find_or_add(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Return a row for each key, a new one where there was none."""
        found = self.find(keys)
        for key in keys:
            if key not in found:
                self._last += 1
                found[key] = self._keys[key] = self._last
        return found

    def forget(self, key: bytes) -> None:
        """Drop a key whose row is gone."""
        self._keys.pop(key, None)
        self._written.pop(key, None)
        self._looked_up.pop(key, None)

    def claim(self, numbers: Mapping[str, int]) -> None:
        """Give each destination to a row."""
        if not self._hashes.keys() >= numbers.keys():
            self._hashes = dict(zip(numbers, hash_paths(numbers), strict=True))
        owners = {self._hashes[path_key]: number for path_key, number in numbers.items()}
        self._paths |= owners
        if old := [(value, number) for value, number in owners.items() if number <= self._named]:
            # Nobody would look at these rows again after a crash.
            for value, _ in old:
                del self._paths[value]
            self._note(value for value, _ in old)
            self._database.write_many(schema.ADD_NAMES, old)

    def write(self, *, all_of_them: bool = False) -> None:
        """Write what waits if it is much; part of the open transaction."""
        enough = max(self._waiting, min(self._named // _SHARE, _MOST_WAITING))
        if not self._keys or (len(self._keys) < enough and not all_of_them):
            return
        names = dict(zip(hash_keys(self._keys), self._keys.values(), strict=True)) | self._paths
        self._note(names)
        order = sorted(names)
        for start in range(0, len(order), _AT_ONCE):  # no second copy of all of them
            values = order[start : start + _AT_ONCE]
            numbers = map(names.__getitem__, values)
            self._database.write_many(schema.ADD_NAMES, list(zip(values, numbers, strict=True)))
        self._database.write("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (_NAMED, self._last))
        self._named = self._last
        self._written = dict(islice(self._keys.items(), max(0, len(self._keys) - _MOST_WRITTEN), None))
        self._keys.clear()
        self._paths.clear()
        self._absent.clear()  # they may be what has just been written

    def _sift(self, values: Iterable[int]) -> list[int]:
        return list(values) if self._sieve is None else self._sieve.passing(values)

    def _note(self, values: Iterable[int]) -> None:
        if self._is_ours:
            self._sieve = self._sieve or Sieve()
            self._sieve.add(values)

    def _load(self) -> None:
        if self._last >= 0:
            return
        fetch = self._database.fetch
        self._last = fetch("SELECT coalesce(max(id), 0) FROM entries")[0][0]
        named = fetch("SELECT value FROM meta WHERE name = ?", (_NAMED,))
        if named and isinstance(named[0][0], int):
            self._named = max(0, min(named[0][0], _MOST_ROWS))
            self._last = max(self._last, self._named)  # the highest of them may be gone: its number too
        self._is_ours = not fetch("SELECT 1 FROM names LIMIT 1")
        for number, key, path, owns in fetch(schema.UNNAMED, (self._named,)):
            if isinstance(key, bytes) and len(key) == KEY_SIZE:
                self._keys[key] = number
            if owns == 1 and isinstance(path, str):
                [value] = hash_paths([collision_key(path)])
                self._paths[value] = number


def hash_paths(path_keys: Iterable[str]) -> list[int]:
    """Return the 64 bits that stand for each collision key."""
    return _numbers(
        b"".join([blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest() for key in path_keys])
    )


def hash_keys(keys: Iterable[bytes]) -> list[int]:
    """Return the first 64 bits of each key, of `KEY_SIZE` bytes."""
    return _numbers(b"".join(keys))[:: KEY_SIZE // 8]


def _numbers(data: bytes) -> list[int]:
    """Return 64 bits after 64 bits as signed numbers, their first byte the highest."""
    numbers = array("q", data)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers.tolist()
