"""A TLS handshake that can be cut."""

from __future__ import annotations

import socket
import ssl

from bulkfetch.errors import TimedOut, TlsFailed
from bulkfetch.watchdog import Lease


def secure(
    sock: socket.socket, host: str, context: ssl.SSLContext, session: ssl.SSLSession | None, lease: Lease
) -> ssl.SSLSocket:
    """Shake hands over a connected socket, within its time-out and the phase of the lease (fault C07).

    The socket given is no longer usable, also when this raises.
    """
    try:
        secured = context.wrap_socket(
            sock, server_hostname=host.removesuffix("."), do_handshake_on_connect=False, session=session
        )
    except ValueError as exc:
        raise TlsFailed("the host name cannot be used for TLS") from exc
    try:
        lease.attach(secured)
        secured.do_handshake()
    except BaseException as exc:
        lease.forget(secured)
        secured.close()
        if isinstance(exc, TimeoutError):
            raise TimedOut("the TLS handshake took too long") from exc
        raise
    return secured
