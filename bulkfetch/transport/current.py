"""What connections must know of the request their thread works on: `urllib3` passes nothing through."""

from __future__ import annotations

import threading

from bulkfetch.addresses import PeerOf, host_part
from bulkfetch.watchdog import Lease


class _Current(threading.local):
    """Set by `Transport.open` before each request, read by the connection that carries it."""

    lease: Lease | None = None
    head_seconds = 60.0  # longest wait for a whole head
    public_only = False  # a connection to a private address is refused (fault A09)
    untrusted = False  # the same for a whole list
    peer_of: PeerOf = staticmethod(host_part)
    needs_fresh = False  # the request must not meet a connection that may have gone stale
    peer: str | None = None  # set by the connection: whom it talks to; None for a proxy's


current = _Current()


def present_lease() -> Lease:
    """Return the lease of the attempt this thread works on."""
    lease = current.lease
    assert lease is not None  # `Transport.open` set it
    return lease
