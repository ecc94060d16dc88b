"""Content codings undone in the one case they must be: a server that compresses although asked not to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from bulkfetch.errors import DecodeFailed, ProtocolViolation, TooLarge
from bulkfetch.safetext import clean

_STEP = 256 * 1024  # decoded bytes handed out at once, so that a bomb never fills memory (fault X01)
_RATIO_FROM = 100 * 1024 * 1024  # decoded bytes from which the ratio is watched
_MOST_RATIO = 200
_GZIP_NAMES = frozenset({".gz", ".tgz", ".svgz", ".gzip"})
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's window bits for each form


class Decoder:
    """Undoes one content coding, piece by piece."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._wbits = 0 if coding == "deflate" else _GZIP  # 0: not known before two bytes have come
        self._head = b""  # the first of those two
        self._inflater = zlib.decompressobj(self._wbits or _ZLIB)
        self._taken = self._given = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to, in bounded pieces; raises `DecodeFailed` or `TooLarge`."""
        self._taken += len(data)
        if not self._wbits:
            data = self._choose_form(data)
        pending = bool(data)
        while pending:
            piece = self._inflate(data)
            self._given += len(piece)
            if self._given > _RATIO_FROM and self._given > _MOST_RATIO * self._taken:
                raise TooLarge(f"the {self._coding} body grows more than {_MOST_RATIO} times")
            if piece:
                yield piece
            data = self._rest()
            pending = bool(data) or len(piece) == _STEP  # a full piece may leave more inside the inflater

    def finish(self) -> None:
        """Raise `DecodeFailed` unless the coded stream came to its own end (fault B16)."""
        if not self._inflater.eof:
            raise DecodeFailed(f"the {self._coding} body ends before its end mark")

    def _choose_form(self, data: bytes) -> bytes:
        """Tell zlib (RFC 1950 section 2.2) from raw deflate, which many servers send under the same name."""
        data = self._head + data
        if len(data) < 2:
            self._head = data
            return b""
        is_zlib = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
        self._wbits = _ZLIB if is_zlib else _RAW
        self._inflater = zlib.decompressobj(self._wbits)
        return data

    def _inflate(self, data: bytes) -> bytes:
        try:
            return self._inflater.decompress(data, _STEP)
        except zlib.error as exc:
            raise DecodeFailed(f"the {self._coding} body is damaged: {exc}") from exc

    def _rest(self) -> bytes:
        inflater = self._inflater
        if inflater.eof and inflater.unused_data:  # RFC 1952 section 2.2: further members follow
            if self._wbits != _GZIP:
                raise DecodeFailed(f"bytes follow the end of the {self._coding} body")
            self._inflater = zlib.decompressobj(self._wbits)
            return inflater.unused_data
        return inflater.unconsumed_tail


def choose_decoder(codings: tuple[str, ...], path: str) -> Decoder | None:
    """Return what undoes `codings` for a file named `path`; None when the bytes are stored as they come.

    A `.gz` that comes labelled gzip is the file itself (fault B18).

    Raises:
        ProtocolViolation: a coding we do not know, or several.
    """
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _KNOWN:
        named = clean(", ".join(codings), 60)
        raise ProtocolViolation(f"the body is coded as {named}, which was not asked for")
    if codings[0] != "deflate" and PurePosixPath(path).suffix.lower() in _GZIP_NAMES:
        return None
    return Decoder(codings[0])
