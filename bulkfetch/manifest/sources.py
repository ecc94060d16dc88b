"""Where a manifest's bytes come from: a path, standard input or an open stream; plain, gzip or UTF-16."""

from __future__ import annotations

import codecs
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias

from bulkfetch.errors import ManifestCut, ManifestError
from bulkfetch.safetext import clean, redact

ManifestSource: TypeAlias = str | os.PathLike[str] | TextIO | BinaryIO

CHUNK = 65536  # bytes asked for at once; what has arrived is taken, however little
STDIN = "-"

_GZIP = b"\x1f\x8b"
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_MARKS = (_GZIP, codecs.BOM_UTF8, *_UTF16)


def name_of(source: ManifestSource) -> str:
    """Return the name under which the user knows a manifest."""
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        return "stdin" if path == STDIN else path
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "stream"


def check_readable(source: ManifestSource) -> None:
    """Raise `ManifestError` now for a path that cannot be read, so that no run begins with it."""
    if not isinstance(source, str | os.PathLike) or os.fspath(source) == STDIN:
        return
    path = Path(source)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):  # a FIFO would lose its writer
            path.open("rb").close()
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        raise _cannot_read(str(source), exc) from exc
    if stat.S_ISDIR(mode):
        raise ManifestError(f"the manifest {clean(str(source))} is a folder")


def read_chunks(source: ManifestSource) -> Iterator[bytes]:
    """Yield the text of a manifest as UTF-8, without a byte order mark, as it arrives.

    Raises:
        ManifestError: it cannot be read; `ManifestCut`: not to its end.
    """
    try:
        with ExitStack() as stack:
            chunks = iter(_reader(_open(source, stack)), b"")
            head, chunks = _begin(chunks)
            if head.startswith(_GZIP):
                head, chunks = _begin(_gunzip(chunks))
            if coding := _UTF16.get(head[:2]):
                chunks = _from_utf16(chunks, coding)
            yield next(chunks, b"").removeprefix(codecs.BOM_UTF8)
            yield from chunks
    except (OSError, EOFError, ValueError, zlib.error) as exc:
        raise _cannot_read(name_of(source), exc) from exc


def _cannot_read(name: str, exc: Exception) -> ManifestError:
    name = clean(redact(name))
    if isinstance(exc, FileNotFoundError):
        return ManifestError(f"there is no manifest {name}")
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    is_lasting = isinstance(exc, ValueError | zlib.error | PermissionError)
    kind = ManifestError if is_lasting else ManifestCut
    return kind(f"cannot read the manifest {name}: {clean(reason)}")


def _open(source: ManifestSource, stack: ExitStack) -> Any:
    if not isinstance(source, str | os.PathLike):
        return source
    if os.fspath(source) != STDIN:
        return stack.enter_context(Path(source).open("rb"))
    if sys.stdin is None:
        raise OSError("there is no standard input")
    stream = getattr(sys.stdin, "buffer", sys.stdin)
    # Left non-blocking by another program, a pipe with nothing in it yet would read as ended.
    with suppress(AttributeError, OSError, ValueError):
        os.set_blocking(stream.fileno(), True)
    return stream


def _reader(stream: Any) -> Callable[[], bytes]:
    """Return what reads the next bytes without waiting for more than have arrived (fault I07)."""
    if not isinstance(stream, io.TextIOBase):
        if hasattr(stream, "read1"):
            return partial(stream.read1, CHUNK)
        if isinstance(stream, io.RawIOBase):
            return lambda: _present(stream.read(CHUNK))
    return lambda: _as_bytes(stream.readline(CHUNK))


def _present(out: bytes | None) -> bytes:
    if out is None:
        raise OSError("the stream is non-blocking")
    return out


def _as_bytes(line: str | bytes) -> bytes:
    return line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line


def _begin(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, enough to know every mark by, and all chunks, these included."""
    head = b""
    for chunk in chunks:
        head += chunk
        if not any(len(head) < len(mark) and mark.startswith(head) for mark in _MARKS):
            break
    return head, chain((head,), chunks)


def _from_utf16(chunks: Iterable[bytes], coding: str) -> Iterator[bytes]:
    # A lone surrogate passes here and makes its line, not the manifest, unreadable.
    decoder = codecs.getincrementaldecoder(coding)("surrogatepass")
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
    decoder.decode(b"", final=True)


def _gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what the gzip members hold (RFC 1952 section 2.2), never more than `CHUNK` at once."""
    member = zlib.decompressobj(wbits=31)
    for chunk in chunks:
        out = b""
        while chunk or (len(out) == CHUNK and not member.eof):
            if member.eof:
                member = zlib.decompressobj(wbits=31)
            out = member.decompress(chunk, CHUNK)
            yield out
            chunk = member.unused_data.lstrip(b"\0") if member.eof else member.unconsumed_tail
    if not member.eof:
        raise EOFError("the gzip data ends early")
