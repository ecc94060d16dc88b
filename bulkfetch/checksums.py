"""The digest algorithms a manifest may name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bulkfetch.errors import LineError, UsageError
from bulkfetch.expressions import late

if TYPE_CHECKING:
    from hashlib import _Hash  # the stub's name for what every constructor returns

# Name -> hex digits, strongest first; of two with equal length the first is meant by bare hex.
ALGORITHMS: dict[str, int] = {
    "sha512": 128,
    "blake2b": 128,
    "sha384": 96,
    "sha256": 64,
    "sha224": 56,
    "sha1": 40,
    "md5": 32,
}
_STRENGTH = {name: rank for rank, name in enumerate(ALGORITHMS)}
_BY_LENGTH = {length: name for name, length in reversed(ALGORITHMS.items())}
_HEX = late(r"[0-9A-Fa-f]+")


def new(name: str, data: bytes | memoryview = b"") -> _Hash:
    """Return a hash object for one of `ALGORITHMS` that has taken in `data`."""
    if name not in ALGORITHMS:
        raise UsageError(f'"{name}" is not a digest algorithm; known are {", ".join(ALGORITHMS)}')
    # md5 and sha1 only compare against a manifest, which a machine in FIPS mode allows when told so.
    digest: _Hash = getattr(hashlib, name)(data, usedforsecurity=False)
    return digest


def is_hex_digest(name: str, text: str) -> bool:
    """Say whether `text` is a whole digest of algorithm `name` in hex."""
    return len(text) == ALGORITHMS.get(name) and _HEX.fullmatch(text) is not None


def parse_digest(text: str) -> tuple[str, str]:
    """Return (algorithm, lower-case hex) for "sha256:HEX", or for bare hex by its length.

    Raises:
        LineError: the algorithm is not known, or the hex is not a whole digest of it.
    """
    label, colon, digits = text.strip().rpartition(":")
    name = label.strip().lower().replace("-", "") if colon else _BY_LENGTH.get(len(digits), "")
    digits = digits.strip()
    if colon and name not in ALGORITHMS:
        raise LineError(f"the digest algorithm is not one of {', '.join(ALGORITHMS)}")
    if not is_hex_digest(name, digits):
        raise LineError(f"the {name or 'digest'} is not a whole digest in hex")
    return name, digits.lower()


def strongest(pairs: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the pair with the strongest known algorithm, if there is one."""
    known = [pair for pair in pairs if pair[0] in _STRENGTH]
    return min(known, key=lambda pair: _STRENGTH[pair[0]]) if known else None


class Digests:
    """Several digests of one stream of bytes, computed side by side."""

    def __init__(self, names: Iterable[str]) -> None:
        self._hashes = {name: new(name) for name in dict.fromkeys(names)}
        self._updates = tuple(digest.update for digest in self._hashes.values())
        self.are_none = not self._updates  # no digest was asked for

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take in the next bytes."""
        for update in self._updates:
            update(chunk)

    def hexdigest(self, name: str) -> str:
        """Return the digest so far under one of the names given."""
        return self._hashes[name].hexdigest()
