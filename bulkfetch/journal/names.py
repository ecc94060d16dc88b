"""Which row an entry or a destination has: an index that is written in large, sorted pieces.

Keys are digests. An index kept up row by row would have each of them change another page, and
writing these pages would cost more than everything else the journal does. So new names wait in
memory, and a crash costs nothing but reading the youngest rows again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from bulkfetch.journal import schema
from bulkfetch.journal.database import Database
from bulkfetch.naming import collision_key

_WAITING = 8 * 1024  # rows whose names wait in memory: some 2 MiB
_NAMED = "named"  # in `meta`: the highest row whose names are written


class Names:
    """From keys and collision keys to row numbers."""

    def __init__(self, database: Database, waiting: int = _WAITING) -> None:
        self._database = database
        self._waiting = waiting
        self._keys: dict[bytes, int] = {}
        self._paths: dict[int, int] = {}
        self._looked_up: dict[bytes, int] = {}  # by the last query; what was found is asked for again
        self._absent: set[bytes] = set()  # what that query did not find; who adds one looks here no more
        self._named = 0
        self._last = -1  # highest row; -1: not loaded

    def find(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """Return the rows of the keys that have one."""
        self._load()
        found, missing = {}, []
        for key in keys:
            number = self._keys.get(key) or self._looked_up.get(key)
            if number is None:
                missing.append(key)
            else:
                found[key] = number
        if missing and self._named and not self._absent.issuperset(missing):
            rows = self._database.fetch_many(schema.FIND_IDS, [_hash_key(key) for key in missing])
            wanted = set(missing)
            self._looked_up = {key: number for key, number in rows if key in wanted}
            self._absent = wanted.difference(self._looked_up)
            found |= self._looked_up
        return found

    def remember(self, numbers: dict[bytes, int]) -> None:
        """Take note of rows just found, which are asked for again."""
        self._looked_up = numbers

    def find_paths(self, path_keys: Iterable[str]) -> list[int]:
        """Return the rows that may have these destinations."""
        self._load()
        hashes = [hash_path(path_key) for path_key in path_keys]
        found = [self._paths[value] for value in hashes if value in self._paths]
        missing = [value for value in hashes if value not in self._paths]
        if missing and self._named:
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
        self._looked_up.pop(key, None)

    def claim(self, path_key: str, number: int) -> None:
        """Give a destination to a row."""
        value = hash_path(path_key)
        if number > self._named:
            self._paths[value] = number
        else:  # nobody would look at this row again after a crash
            self._paths.pop(value, None)
            self._database.write_many(schema.ADD_NAMES, [(value, number)])

    def write(self, *, all_of_them: bool = False) -> None:
        """Write what waits if it is much; part of the open transaction."""
        if not self._keys or (len(self._keys) < self._waiting and not all_of_them):
            return
        names = [(_hash_key(key), number) for key, number in self._keys.items()]
        self._database.write_many(schema.ADD_NAMES, sorted([*names, *self._paths.items()]))
        self._database.write("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (_NAMED, self._last))
        self._named = self._last
        self._keys.clear()
        self._paths.clear()
        self._absent.clear()  # they may be what has just been written

    def _load(self) -> None:
        if self._last >= 0:
            return
        fetch = self._database.fetch
        self._last = fetch("SELECT coalesce(max(id), 0) FROM entries")[0][0]
        named = fetch("SELECT value FROM meta WHERE name = ?", (_NAMED,))
        if named and isinstance(named[0][0], int):
            self._named = max(0, min(named[0][0], self._last))
        for number, key, path, owns in fetch(schema.UNNAMED, (self._named,)):
            if isinstance(key, bytes):
                self._keys[key] = number
            if owns == 1 and isinstance(path, str):
                self._paths[hash_path(collision_key(path))] = number


def hash_path(path_key: str) -> int:
    """Return 64 bits that stand for a collision key."""
    digest = blake2b(path_key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _hash_key(key: bytes) -> int:
    return int.from_bytes(key[:8], "big", signed=True)
