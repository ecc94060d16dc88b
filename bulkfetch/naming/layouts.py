"""From an entry to its destination: an explicit path, or the layout applied to its first URL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from string import Formatter
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from bulkfetch.errors import LineError, UnsafePath, UsageError
from bulkfetch.expressions import late
from bulkfetch.models import Entry
from bulkfetch.naming.paths import SUFFIX_ROOM, bounded_path, checked_path, collision_key
from bulkfetch.naming.segments import PLAIN, check_segment, clean_segment, is_reserved, split_ext
from bulkfetch.safetext import has_secret
from bulkfetch.values import frozen

FIELDS = ("host", "port", "scheme", "path", "dir", "name", "stem", "ext", "index", "sha256")
_FOLDERS = frozenset({"path", "dir"})  # their "/" separates, everyone else's does not
_INDEX_FORMAT = late(r"(?:0?[0-9]{1,2})?d?")
_TEXT_FORMAT = late(r"(?:\.[0-9]{1,3})?")
_PORTS = {"http": "80", "https": "443"}
_PLAIN_URL = re.compile(rf"https?://[^/?#][^?#]*/({PLAIN.pattern})")
_PLAIN_ABOVE = late(r"https?://[^/?#]++(?:/[^/?#]++)*+")
_SHORT = 1000  # characters of a URL that make no path too long, however they are encoded
_SCRIPT = late(r"\.(?:php[0-9]?|phtml|aspx?|ashx|jspx?|cgi|cfm|pl|do|action|fcgi)$", re.IGNORECASE)
_TYPE = late(r"[^.]\.(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{1,10}$")
_INDEX = "index"  # for a URL that ends in "/", as every web server reads it


@frozen
class Piece:
    """One stretch of a template: text, or a field with its format."""

    text: str = ""
    field: str = ""
    spec: str = ""


@frozen
class Layout:
    """A layout as it was checked: for each "/"-separated part, the pieces it is made of."""

    parts: tuple[tuple[Piece, ...], ...]


class _Address(NamedTuple):
    """What a URL gives to names."""

    scheme: str
    host: str
    port: str  # "" is the scheme's own
    folders: list[str]  # not decoded yet
    name: str


def plan_path(entry: Entry, layout: str = "flat", index: int = 0) -> str:
    """Return the destination of `entry`: relative, "/" between segments.

    Raises:
        LineError: the layout needs something this entry does not have.
        UnsafePath: the explicit path, or the whole of a derived one, cannot be used.
        UsageError: the layout itself is broken.
    """
    return plan_destination(entry, layout, index)[0]


def plan_destination(entry: Entry, layout: str, index: int) -> tuple[str, str]:
    """Return what `plan_path` does, and its collision key; raises what it raises."""
    if entry.path is not None:
        path = checked_path(entry.path)
        return path, collision_key(path)
    url = entry.urls[0]
    if layout == "flat":
        match = _PLAIN_URL.fullmatch(url)
        if match is not None and not is_reserved(name := match[1]):
            return name, name.lower()
    elif layout == "tree" and (found := _plain_path(url)) is not None:
        return found
    path = _plan_slowly(entry, layout, index)
    return path, collision_key(path)


def _plan_slowly(entry: Entry, layout: str, index: int) -> str:
    """Return the destination of an entry without a path of its own, whatever its URL looks like."""
    address = _parse_address(entry.urls[0])
    if layout == "flat":
        return _off_home(clean_segment(address.name))
    if layout == "tree":
        host = f"{address.host}_{address.port}" if address.port else address.host
        segments = [clean_segment(part) for part in (host, *_folders(address), address.name)]
        return bounded_path(segments, SUFFIX_ROOM)
    segments = [s for part in parse_layout(layout).parts for s in _fill(part, entry, address, index)]
    if not segments:
        raise LineError("the layout gives this entry an empty path")
    return bounded_path([_off_home(segments[0]), *segments[1:]], SUFFIX_ROOM)


@lru_cache(maxsize=64)
def parse_layout(template: str) -> Layout:
    """Return a template checked and cut into parts; "flat" and "tree" are templates too.

    Raises:
        UsageError: the template cannot give portable names; the message lists the fields.
    """
    template = {"flat": "{name}", "tree": "{host}/{path}"}.get(template, template)
    try:
        pieces = [piece for parsed in Formatter().parse(template) for piece in _parse_piece(*parsed)]
        parts = tuple(_parse_part(part) for part in _split_parts(pieces))
        if not any(piece.field for piece in pieces):
            raise ValueError("it has no field, so every entry would get one name")
    except (ValueError, UnsafePath) as exc:
        fields = ", ".join(f"{{{name}}}" for name in FIELDS)
        raise UsageError(
            f'the layout "{template}" cannot be used: {exc}; '
            f"a layout is flat, tree, or a template of {fields} and the manifest's own columns"
        ) from exc
    return Layout(parts)


def _plain_path(url: str) -> tuple[str, str] | None:
    """Return where most URLs go in a tree, and its collision key; None where it takes a closer look."""
    above, _, name = url.rpartition("/")
    if PLAIN.fullmatch(name) is None or is_reserved(name):
        return None
    folder, folder_key = _plain_folder(above)
    return (folder + name, folder_key + name.lower()) if folder else None


@lru_cache(maxsize=1024)
def _plain_folder(above: str) -> tuple[str, str]:
    """Return the folder in a tree of all plain names behind `above`, with its "/", and its collision key.

    "" where each name needs a closer look.
    """
    if len(above) > _SHORT or _PLAIN_ABOVE.fullmatch(above) is None:
        return "", ""
    folder = _plan_slowly(Entry((f"{above}/x",)), "tree", 0).removesuffix("x")
    return folder, collision_key(f"{folder}x").removesuffix("x")


def _off_home(first: str) -> str:
    """Return a first segment that no shell takes for somebody's home folder (fault N19)."""
    return clean_segment(f"_{first}") if first.startswith("~") else first


def _parse_piece(text: str, field: str | None, spec: str | None, conversion: str | None) -> Iterator[Piece]:
    if text:
        yield Piece(text=text)
    if field is None:
        return
    if not field:
        raise ValueError("a field has no name")
    if conversion:
        raise ValueError(f'{{{field}}} has a conversion "!{conversion}"')
    spec = spec or ""
    if not (_INDEX_FORMAT if field == "index" else _TEXT_FORMAT).fullmatch(spec):
        raise ValueError(
            f'{{{field}}} has the format ":{spec}" (allowed: {{index:06d}}, and {{name:.40}} to cut)'
        )
    yield Piece(field=field, spec=spec)


def _split_parts(pieces: list[Piece]) -> list[list[Piece]]:
    """Return the pieces of each part: a "/" in the template's own text separates."""
    parts: list[list[Piece]] = [[]]
    for piece in pieces:
        if piece.field:
            parts[-1].append(piece)
            continue
        first, *others = piece.text.split("/")
        parts[-1].append(Piece(text=first))
        parts += [[Piece(text=text)] for text in others]
    return parts


def _parse_part(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Check a part; one of text alone is the user's own name, and kept as it is."""
    text = "".join(piece.text for piece in pieces)
    if any(piece.field for piece in pieces):
        check_segment(f"x{text}x")
        return tuple(piece for piece in pieces if piece.field or piece.text)
    return (Piece(text=checked_path(text) if text else check_segment(text)),)


def _fill(part: tuple[Piece, ...], entry: Entry, address: _Address, index: int) -> list[str]:
    if len(part) == 1 and not part[0].field:
        return [part[0].text]
    text = "".join(piece.text or _value(piece, entry, address, index) for piece in part)
    if _FOLDERS.isdisjoint(piece.field for piece in part):
        return [clean_segment(text)]
    return [clean_segment(segment) for segment in text.split("/") if segment]


def _value(piece: Piece, entry: Entry, address: _Address, index: int) -> str:
    field = piece.field
    if field == "index":
        return format(index, piece.spec)
    if field in _FOLDERS:
        segments = _folders(address) if field == "dir" else [*_folders(address), address.name]
        return format("/".join(_joined(segment) for segment in segments), piece.spec)
    return format(_joined(_text(field, entry, address)), piece.spec)


def _folders(address: _Address) -> list[str]:
    return [_decode(folder) for folder in address.folders]


def _joined(value: str) -> str:
    """Return a value that cannot be taken for two segments, nor for none."""
    return value.replace("/", "_").replace("\\", "_")


def _text(field: str, entry: Entry, address: _Address) -> str:
    match field:
        case "host" | "scheme" | "name":
            return str(getattr(address, field))
        case "port":
            return address.port or _PORTS[address.scheme]
        case "stem":
            return split_ext(address.name)[0]
        case "ext":
            return split_ext(address.name)[1]
        case "sha256":
            return _declared(entry)
    return _column(field, entry)


def _declared(entry: Entry) -> str:
    for name, digits in entry.digests:
        if name == "sha256":
            return digits
    raise LineError("the layout uses {sha256}, and this entry declares none")


def _column(field: str, entry: Entry) -> str:
    if field not in entry.extra:
        raise LineError(f'the layout uses the column "{field}", which this entry does not have')
    value = entry.extra[field]
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise LineError(f'the layout uses the column "{field}", which here is no text or number')
    return str(value)


def _parse_address(url: str) -> _Address:
    before, _, query = url.partition("#")[0].partition("?")
    scheme, slashes, rest = before.partition("://")
    if scheme not in _PORTS or not slashes:
        raise LineError("not an http(s) URL")
    authority, *folders = rest.split("/")
    name = folders.pop() if folders else ""
    return _Address(scheme, *_split_authority(scheme, authority), folders, _name(name, query))


@lru_cache(maxsize=1024)
def _split_authority(scheme: str, authority: str) -> tuple[str, str]:
    host_and_port = authority.rpartition("@")[2]
    host, colon, port = host_and_port.rpartition(":")
    if not colon or port.endswith("]"):  # an IPv6 address without a port
        host, port = host_and_port, ""
    return host.strip("[]"), "" if port == _PORTS[scheme] else port


def _name(last: str, query: str) -> str:
    """Return the file name a URL gives.

    The query takes part where the path alone names no file ("items?page=2", "get.php?id=7", but
    not "table.csv?download=1"), unless it carries a credential (fault L03).
    """
    name = _decode(last)
    if not query or _names_file(name) or has_secret(f"?{query}"):
        return name or f"{_INDEX}.html"
    if not name:
        return f"{_INDEX}_{_decode(query)}.html"
    return f"{name}_{_decode(query)}"


def _names_file(name: str) -> bool:
    return _TYPE.search(name) is not None and not _SCRIPT.search(name)


def _decode(text: str) -> str:
    """Percent-decode once and never again (fault N04); bytes that are not UTF-8 are latin-1 (fault N05)."""
    if "%" not in text:
        return text
    raw = unquote_to_bytes(text)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
