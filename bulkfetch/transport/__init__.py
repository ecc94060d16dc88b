"""How requests are sent; the only package that knows `requests` and `urllib3`.

The seam is small, so that another transport can stand in:

    Transport.open(origin, url, headers, lease, public_only=False, named=True) -> Reply
    Reply.head, Reply.peer, Reply.surplus, Reply.read(size) -> bytes, Reply.close()
    Transport.close()

Sessions are one per origin, follow no redirects, read no environment and share nothing.
Foreign exceptions end here: `open` and `read` raise `TransferError` alone.
"""

import logging

from bulkfetch.transport.applied import Applied
from bulkfetch.transport.mapping import map_error
from bulkfetch.transport.origins import Transport, contexts_of, route_through
from bulkfetch.transport.reply import Reply
from bulkfetch.transport.sessions import is_replaced
from bulkfetch.transport.versions import versions

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

logging.getLogger("urllib3").addHandler(logging.NullHandler())  # not on stderr unless the caller logs
