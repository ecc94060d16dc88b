"""One record, whatever format it came in, to one `Entry`: what each column means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from bulkfetch.asking import Asked, check_request, read_params
from bulkfetch.checksums import ALGORITHMS, is_hex_digest
from bulkfetch.errors import LineError
from bulkfetch.expressions import late
from bulkfetch.manifest.lines import BLANK
from bulkfetch.models import NOTHING, Entry
from bulkfetch.urls import add_query, join_url, parse_url
from bulkfetch.values import frozen


@frozen
class Shape:
    """How a manifest is read: its name, and how its rows become URLs."""

    source: str
    url_column: str | None = None  # None: "url"
    base_url: str | None = None  # canonical; what relative URLs are resolved against


class Draft:
    """An entry while its columns are read."""

    urls: tuple[str, ...] = ()
    path: str | None = None
    size: int | None = None
    digests: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    params: str = ""  # added to each URL
    asked: Asked | None = None  # None: a plain GET

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.extra: dict[str, Any] = {}


Column: TypeAlias = Callable[[Draft, str, Any], None]  # takes a draft, the column's name, a value

HEADER_PREFIX = "header."
PRIVATE = ("body", "json", "form")  # columns that often hold a credential, as headers do
_SIZE_LIMIT = 1 << 63
_TOKEN = late(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2
_FIELD_VALUE = late(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5
# Set for each request by bulkfetch itself: another value would splice or garble bodies (fault R18).
OWN_HEADERS = frozenset(
    (
        *(
            "accept-encoding",
            "connection",
            "content-length",
            "expect",
            "host",
            "if-match",
            "if-modified-since",
        ),
        *("if-none-match", "if-range", "if-unmodified-since", "keep-alive", "proxy-authorization", "range"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)


def to_url(text: str, shape: Shape) -> str:
    """Return one URL of a manifest in its canonical form."""
    return parse_url(text) if shape.base_url is None else join_url(shape.base_url, text)


def to_entry(record: Mapping[str, Any], shape: Shape, number: int) -> Entry:
    """Return a record as an entry, or raise `LineError`."""
    draft = Draft(shape)
    for name, value in record.items():
        name, column = column_of(name, shape.url_column)
        if column is None:
            draft.extra[name] = value
        elif value is not None and value != "":
            column(draft, name, value)
    return finish(draft, number)


def finish(draft: Draft, number: int) -> Entry:
    """Return the entry a draft has become, or raise `LineError`."""
    if not draft.urls:
        raise LineError("no URL")
    urls = draft.urls
    if draft.params:
        urls = tuple(parse_url(add_query(url, draft.params)) for url in urls)
    if len(urls) > 1:
        urls = tuple(dict.fromkeys(urls))
    request = draft.asked.finish(len(urls)) if draft.asked else None
    given = (draft.path, draft.size, draft.digests, draft.headers, draft.extra or NOTHING)
    return Entry(urls, *given, draft.shape.source, number, request)


def checked_entry(entry: Entry, shape: Shape, number: int) -> Entry:
    """Return an entry that a program made with its values checked, as if they had come in columns."""
    draft = Draft(shape)
    _add_urls(draft, "urls", entry.urls)
    if entry.size is not None:
        _set_size(draft, "size", entry.size)
    for name, digits in entry.digests:
        _add_digest(draft, name, digits)
    for name, value in entry.headers:
        _add_header(draft, HEADER_PREFIX + name, value)
    made = finish(draft, entry.line or number)
    request = entry.request and check_request(entry.request, len(made.urls))
    source = entry.source or shape.source
    if not isinstance(entry.path, str | None):
        raise TypeError(f"path is {type(entry.path).__name__}")
    return made._replace(path=entry.path, extra=entry.extra, source=source, request=request)


@lru_cache(maxsize=256)
def column_of(name: str, url_column: str | None = None) -> tuple[str, Column | None]:
    """Return a column's name as `COLUMNS` spells it and what reads it; None is a column of the user's own."""
    own = name.strip(BLANK)
    key = own.lower()
    if url_column is not None:
        if key == url_column.strip(BLANK).lower():
            return "url", _add_urls
        if key in ("url", "urls"):
            return name, None
    if key.startswith(HEADER_PREFIX):
        return HEADER_PREFIX + own[len(HEADER_PREFIX) :], _add_header
    return (key, COLUMNS[key]) if key in COLUMNS else (name, None)


def is_url_column(column: Column | None) -> bool:
    """Say whether a column holds URLs."""
    return column is _add_urls or column is _add_mirrors


def _add_urls(draft: Draft, name: str, value: Any) -> None:
    if not isinstance(value, list | tuple):
        value = (value,)
    for text in value:
        draft.urls += (to_url(_text(name, text), draft.shape),)


def _add_mirrors(draft: Draft, name: str, value: Any) -> None:
    _add_urls(draft, name, value.split() if isinstance(value, str) else value)


def _set_path(draft: Draft, name: str, value: Any) -> None:
    draft.path = _text(name, value) or None


def _set_size(draft: Draft, name: str, value: Any) -> None:
    if isinstance(value, str):
        digits = value.strip(BLANK)
        value = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 19 else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _SIZE_LIMIT:
        raise LineError("the size is not a whole number of bytes")
    draft.size = value


def _add_digest(draft: Draft, name: str, value: Any) -> None:
    digits = _text(name, value)
    if not is_hex_digest(name, digits):
        if name not in ALGORITHMS:
            raise LineError(f"the digest algorithm is not one of {', '.join(ALGORITHMS)}")
        raise LineError(f"the {name} is not {ALGORITHMS[name]} hex digits")
    draft.digests += ((name, digits.lower()),)


def _add_header(draft: Draft, name: str, value: Any) -> None:
    field_name = name[len(HEADER_PREFIX) :]
    if not _TOKEN.fullmatch(field_name):
        raise LineError(f'"{HEADER_PREFIX}" is not followed by the name of a header')
    if field_name.lower() in OWN_HEADERS:
        raise LineError(f"the header {field_name} is set by bulkfetch itself")
    text = str(value) if isinstance(value, int) else _text(name, value)
    if not _FIELD_VALUE.fullmatch(text):
        raise LineError(f"the header {field_name} has a character no header may have")
    draft.headers += ((field_name, text),)


def _ask(draft: Draft, name: str, value: Any) -> None:
    if draft.asked is None:
        draft.asked = Asked()
    draft.asked.take(name, value)


def _add_params(draft: Draft, _name: str, value: Any) -> None:
    draft.params = read_params(value)


def _drop(_draft: Draft, _name: str, _value: Any) -> None:
    """Take a column that a failures record has, and its entry had not."""


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise LineError(f"the column {name} is not text")
    return value.strip(BLANK)


# Every other column is the user's and travels untouched.
COLUMNS: dict[str, Column] = {
    "url": _add_urls,
    "urls": _add_mirrors,
    "path": _set_path,
    "size": _set_size,
    "sha256": _add_digest,
    "sha512": _add_digest,
    "sha1": _add_digest,
    "md5": _add_digest,
    "method": _ask,
    "body": _ask,
    "json": _ask,
    "form": _ask,
    "body_sha256": _ask,
    "params": _add_params,
    "failure": _drop,
    "attempts": _drop,
}
