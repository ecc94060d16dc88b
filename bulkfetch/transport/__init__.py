"""How requests are sent; the only package that knows `requests` and `urllib3`.

The seam is small, so that another transport can stand in:

    Transport.open(origin, url, headers, lease, public_only=False, request=None, named=True) -> Reply
    Reply.head, Reply.peer, Reply.surplus, Reply.read(size) -> bytes, Reply.pour(file) -> int, Reply.close(),
    Reply.peek_whole() -> bytes | None, Reply.take_whole()
    Transport.close()

Sessions are one per origin, follow no redirects, read no environment and share nothing.
Foreign exceptions end here: `open` and `read` raise `TransferError` alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bulkfetch.transport.proxies import contexts_of, route_through
from bulkfetch.transport.replaced import is_replaced

if TYPE_CHECKING:
    from bulkfetch.transport.applied import Applied
    from bulkfetch.transport.mapping import map_error
    from bulkfetch.transport.origins import Transport
    from bulkfetch.transport.reply import Reply
    from bulkfetch.transport.versions import versions

# Loaded on first use: a run that needs no `requests` does not wait for it.
_HOME = {
    "Applied": "applied",
    "Reply": "reply",
    "Transport": "origins",
    "map_error": "mapping",
    "versions": "versions",
}

__all__ = [
    "Applied",
    "Reply",
    "Transport",
    "contexts_of",
    "is_replaced",
    "map_error",
    "route_through",
    "versions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bulkfetch.transport' has no attribute {name!r}")
    value = getattr(import_module(f"bulkfetch.transport.{_HOME[name]}"), name)
    globals()[name] = value
    return value
