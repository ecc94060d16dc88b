"""Whole destination paths: checked, compared, told apart."""

from __future__ import annotations

from hashlib import blake2b
from unicodedata import normalize

from bulkfetch.errors import UnsafePath
from bulkfetch.expressions import late
from bulkfetch.naming.segments import INVISIBLE, STATE_FOLDER, check_segment, fit_segment, is_plain

MAX_PATH = 4000  # bytes in UTF-8: PATH_MAX of Linux, less room for the destination folder
SUFFIX_ROOM = 9  # bytes that `with_suffix` may add

_DRIVE = late(r"[A-Za-z]:")
_ENDS = ("", ".", " ")
_DROPPED = late(r"[. ]+(?=/|$)")  # what Windows leaves out at the end of a segment


def checked_path(path: str) -> str:
    """Return a destination the user asked for, in NFC.

    Such a path is refused, never changed: what is stored under another name than asked for is lost.

    Raises:
        UnsafePath: it would leave the folder, or some system does not take it (faults N18, N19).
    """
    if is_plain(path):
        return path
    if not path:
        raise UnsafePath("the path is empty")
    if "\\" in path:
        raise UnsafePath('the path has a backslash; folders are separated by "/"')
    if path.startswith("/"):
        raise UnsafePath("the path is absolute")
    if _DRIVE.match(path):
        raise UnsafePath("the path begins with a drive")
    if path.startswith("~"):
        raise UnsafePath('the path begins with "~"')
    return bounded_path([check_segment(segment) for segment in path.split("/")])


def bounded_path(segments: list[str], room: int = 0) -> str:
    """Return safe segments as a path, or refuse what is reserved or leaves less than `room` of `MAX_PATH`."""
    if segments[0][:1] == "." and collision_key(segments[0]) == STATE_FOLDER:
        raise UnsafePath(f"the path lies in {STATE_FOLDER}, which is reserved")
    path = "/".join(segments)
    if len(path.encode()) > MAX_PATH - room:
        raise UnsafePath(f"the path is longer than {MAX_PATH - room} bytes")
    return path


def collision_key(path: str) -> str:
    """Return what is equal for two paths that some file system takes for one (fault N14)."""
    if path.isascii() and path.isprintable():
        path = path.lower()
        is_plain = path[-1:] not in _ENDS and "./" not in path and " /" not in path
        return path if is_plain else _DROPPED.sub("", path)
    # Unicode 3.13, D145: canonical caseless matching.
    folded = normalize("NFD", INVISIBLE.sub("", path)).casefold()
    return _DROPPED.sub("", normalize("NFC", folded))


def with_suffix(path: str, key: bytes) -> str:
    """Return `path` with the first 8 hex digits of `key` in its name: "stem~1a2b3c4d.ext"."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{fit_segment(name, f'~{key[:4].hex()}')}"


def identity(url: str, wanted: str, request: bytes = b"") -> bytes:
    """Return the 16 bytes that name an entry across runs, whatever line it stands on (fault I10).

    Args:
        url: the first one.
        wanted: the destination it would have if no other entry had it.
        request: what is sent, if not a plain GET.
    """
    named = f"{url}\0{wanted}".encode("utf-8", "surrogatepass")
    return blake2b(named + b"\0" + request if request else named, digest_size=16).digest()


def ancestors(path: str) -> tuple[str, ...]:
    """Return the folders above `path`, outermost first."""
    return tuple(path[:at] for at, character in enumerate(path) if character == "/")
