"""One path segment that Linux, macOS and Windows all take, and that no shell or viewer misreads."""

from __future__ import annotations

import re
from hashlib import blake2b
from unicodedata import normalize

from bulkfetch.errors import UnsafePath
from bulkfetch.expressions import late

MAX_SEGMENT = 255  # bytes in UTF-8: the tightest of ext4, APFS and NTFS
STATE_FOLDER = ".bulkfetch"
FALLBACK = "_"  # for a name of which nothing is left (fault N06)

# Controls, bidi controls, lone surrogates and noncharacters. In a name they hide or reorder
# what a viewer shows, or no file system takes them (faults N09, N10).
_CONTROLS = (
    "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff0-\ufffb"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}-{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
)
# Characters without a width that some scripts and emoji need; HFS+ and others ignore them when
# they compare names, so they never make two names differ.
_JOINERS = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u3164\ufe00-\ufe0f\uffa0"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
CONTROL = late(f"[{_CONTROLS}]")
INVISIBLE = late(f"[{_CONTROLS}{_JOINERS}]")
UNPORTABLE = late(r'[<>:"/\\|?*]')

# Windows device names, whatever follows the first dot (fault N11), and the short name that NTFS
# gives the state folder (fault N18).
_RESERVED = late(
    r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(?:\.|\Z)|bulkfe~[0-9]\Z", re.IGNORECASE
)
_DOUBTFUL = frozenset("abclnpABCLNP")  # what the reserved ones begin with
PLAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_. ~@+=,-]{0,190}[A-Za-z0-9_])?")
_EXT = late(r"(?<=[^.])(?:\.tar)?\.[^.\s]{1,16}\Z", re.IGNORECASE)


def clean_segment(name: str) -> str:
    """Return `name` as a safe, portable segment; a name that is one already comes back as it is."""
    if is_plain(name):
        return name
    # Removing first: NFC joins what an invisible character kept apart.
    name = normalize("NFC", INVISIBLE.sub("", name))
    name = UNPORTABLE.sub("_", name).lstrip(" ").rstrip(". ")
    if not name:
        return FALLBACK
    if name[0] == ".":  # a server names no dotfile (fault N07)
        name = "_" + name[1:]
    elif name[0] == "-" or _RESERVED.match(name):  # fault N08: no command takes it for an option
        name = "_" + name
    return fit_segment(name)


def check_segment(segment: str) -> str:
    """Return a segment the user asked for in NFC, or raise `UnsafePath` saying why no system takes it."""
    if is_plain(segment):
        return segment
    segment = normalize("NFC", segment)
    if reason := _why_unsafe(segment):
        raise UnsafePath(f"the path {reason}")
    return segment


def split_ext(name: str) -> tuple[str, str]:
    """Return stem and extension; ".tar.gz" and its kin count as one, a leading dot as none."""
    match = _EXT.search(name)
    return (name[: match.start()], match[0]) if match else (name, "")


def fit_segment(name: str, mark: str = "") -> str:
    """Return `name` with `mark` before its extension, cut at a code point to what a segment may hold.

    What is cut leaves a hash of the whole name instead (fault N12).
    """
    stem, ext = split_ext(name)
    if _size(name) + len(mark) <= MAX_SEGMENT:
        return f"{stem}{mark}{ext}"
    tail = f"~{blake2b(name.encode(), digest_size=4).hexdigest()}{mark}{ext}"
    room = MAX_SEGMENT - _size(tail)
    return stem.encode()[:room].decode("utf-8", "ignore") + tail


def is_plain(name: str) -> bool:
    """Say whether a name, like most, is one segment that needs no closer look."""
    return PLAIN.fullmatch(name) is not None and not is_reserved(name)


def is_reserved(name: str) -> bool:
    """Say whether a plain name means something else to Windows."""
    return name[0] in _DOUBTFUL and _RESERVED.match(name) is not None


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _why_unsafe(segment: str) -> str:
    if not segment:
        return "has an empty segment"
    if segment in (".", ".."):
        return f'has the segment "{segment}"'
    if found := CONTROL.search(segment):
        return f"has a character that cannot be seen (U+{ord(found[0]):04X})"
    if found := UNPORTABLE.search(segment):
        return f'has a "{found[0]}", which not every system allows in a name'
    if segment[-1] in ". ":
        return "has a segment that ends in a dot or a space, which Windows drops"
    if _RESERVED.match(segment):
        return "has a segment that names something else on Windows"
    if _size(segment) > MAX_SEGMENT:
        return f"has a segment longer than {MAX_SEGMENT} bytes"
    return ""
