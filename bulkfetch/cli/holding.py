"""What `plan --explain` shows of what holds for an entry: its host's values, the header fields, the run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bulkfetch.auth import Basic, Bearer, HeaderKey, Netrc
from bulkfetch.cli.options import CA_VARIABLES, first_set
from bulkfetch.config import FetchConfig
from bulkfetch.models import Entry
from bulkfetch.policy import Explained, Policies, explain
from bulkfetch.safetext import clean, redact_url

_HIDDEN = "(hidden)"  # any of them may be a secret
_WIDEST = 44  # columns of a value; a longer one moves its origin along
_OF_THE_RUN = ("rate", "limit_rate", "deadline", "jobs", "segments", "respect_cache", "existing")
_DEFAULT = FetchConfig()


def holding_lines(
    url: str, entry: Entry, config: FetchConfig, policies: Policies, given: Mapping[str, str]
) -> Iterator[str]:
    """Yield what holds for a canonical URL and what for the whole run, a line for each value."""
    headers = _headers(entry, config, given)
    yield "what holds for it, and where that is said:"
    shadowed = [row for row in policies.explain(url) if row.key not in headers]
    rows = [_exact(row, url, policies, headers) for row in shadowed]
    yield from _table(sorted([*rows, *headers.values()]))
    yield "what holds for the whole run:"
    yield from _table([_of_the_run(name, config, given) for name in _OF_THE_RUN])
    for scheme, proxy in config.proxies:
        yield f"  {'proxy of ' + scheme:<16}  {clean(redact_url(proxy), 80)}"


def _headers(entry: Entry, config: FetchConfig, given: Mapping[str, str]) -> dict[str, Explained]:
    """Return the header fields of the command line and of the entry; they go before those of a section."""
    where = given.get("headers", "configuration")
    ours = [(name, where) for name, _ in config.headers]
    named = [*ours, *((name, "the entry") for name, _ in entry.headers)]
    keys = ((f"headers.{name.lower()}", where) for name, where in named)
    return {key: Explained(key, _HIDDEN, where) for key, where in keys}


def _exact(row: Explained, url: str, policies: Policies, headers: Mapping[str, Explained]) -> Explained:
    if row.key == "auth" and (field := _field_of(policies.for_url(url).auth)) in headers:
        return row._replace(shown=f"{row.shown}, but {field} goes before it")
    if row.key == "verify" and row.where == "configuration" and (name := first_set(*CA_VARIABLES)):
        return row._replace(where=f"${name}")
    return row


def _field_of(auth: object) -> str:
    """Return the key of the header field that an auth of one field sets; the user's own replaces it."""
    if isinstance(auth, HeaderKey):
        return f"headers.{auth.name.lower()}"
    return "headers.authorization" if isinstance(auth, Basic | Bearer | Netrc) else ""


def _of_the_run(name: str, config: FetchConfig, given: Mapping[str, str]) -> Explained:
    value = getattr(config, name)
    usual = "default" if value == getattr(_DEFAULT, name) else "configuration"
    option = f"--{name.replace('_', '-')}"
    return explain(name, value, given.get(name, usual))._replace(key=option)


def _table(rows: list[Explained]) -> Iterator[str]:
    width = max(28, *(len(row.shown) for row in rows if len(row.shown) <= _WIDEST))
    for row in rows:
        yield f"  {row.key:<16}  {row.shown:<{width}}  {row.where}"
