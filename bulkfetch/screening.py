"""What a stranger's list may ask for (`--untrusted`); addresses are checked where connections are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bulkfetch.addresses import is_address, is_public
from bulkfetch.expressions import late
from bulkfetch.models import BadLine, Entry
from bulkfetch.safetext import clean, redact_url
from bulkfetch.urls import origin_of

MOST_ENTRIES = 1_000_000
MOST_BYTES = 10 * 1024**3  # of a file, unless --max-size or a host section says otherwise
_MOST_MIRRORS = 16
_WEB_PORTS = (80, 443)
_FIRST_FREE_PORT = 1024  # below, ports belong to services that must not be talked to in HTTP
_PRIVATE_NAMES = (  # RFC 6761, and what resolvers know besides; RFC 6762; RFC 8375; of ICANN, and clouds'
    ".localhost", ".localdomain", ".local", ".home.arpa", ".internal",
)  # fmt: skip
_NUMBER = late(r"[0-9]+|0x[0-9a-f]*")


def screen(entries: Iterable[Entry | BadLine], most: int = MOST_ENTRIES) -> Iterator[Entry | BadLine]:
    """Yield the first `most` entries, those that a stranger may not ask for as `BadLine`s."""
    for count, entry in enumerate(entries, 1):
        if count > most:
            text = f"the list has more than {most:,} lines: the rest is left out (--untrusted)"
            yield BadLine(entry.source, entry.line, text)
            return
        reason = None if isinstance(entry, BadLine) else _why_refused(entry)
        if isinstance(entry, Entry) and reason is not None:
            text = clean(redact_url(entry.urls[0]), 120)
            yield BadLine(entry.source, entry.line, f"{reason} (--untrusted)", text)
        else:
            yield entry


def refuse_url(url: str) -> str | None:
    """Return why a canonical URL is not asked for on a stranger's word, or None."""
    origin = origin_of(url)
    if "@" in url.split("/", 3)[2]:
        return "a login in the URL"
    if (reason := _refuse_host(origin.host)) is not None:
        return reason
    if origin.port not in _WEB_PORTS and origin.port < _FIRST_FREE_PORT:
        return f"port {origin.port} is not one of web servers"
    return None


def _refuse_host(host: str) -> str | None:
    """Judge a host by its spelling: behind a proxy nobody but the proxy learns its address."""
    if is_address(host):
        return None if is_public(host) else f"{host} is no public address"
    name = host.removesuffix(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):  # no name ends so, yet inet_aton reads an address
        return f"{host} is an address in an odd notation"
    if "." not in name or name.endswith(_PRIVATE_NAMES):
        return f"{host} is a name of private networks"
    return None


def _why_refused(entry: Entry) -> str | None:
    if entry.headers:
        return "headers are not taken from a list"
    if entry.request is not None:
        return "only plain GETs are taken from a list"
    if len(entry.urls) > _MOST_MIRRORS:
        return f"more than {_MOST_MIRRORS} mirrors"
    return next(filter(None, map(refuse_url, entry.urls)), None)
