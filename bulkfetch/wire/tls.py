"""TLS: the roots everybody else uses, host names checked, and a handshake that can be cut."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from bulkfetch.errors import TimedOut, TlsFailed
from bulkfetch.watchdog import Lease


def make_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return the settings of every connection; `ca_bundle` is a file or a folder, None: certifi's."""
    if ca_bundle is None:
        import certifi

        ca_bundle = certifi.where()
    roots = ca_bundle
    is_folder = Path(roots).is_dir()
    context = ssl.create_default_context(
        cafile=None if is_folder else roots, capath=roots if is_folder else None
    )
    context.hostname_checks_common_name = False  # RFC 9110 section 4.3.4
    context.set_alpn_protocols(["http/1.1"])
    return context


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
