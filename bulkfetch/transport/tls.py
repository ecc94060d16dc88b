"""The TLS settings of a run, made once: loading the CA file costs more than a handshake."""

from __future__ import annotations

import ssl
from pathlib import Path

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from bulkfetch.errors import TlsFailed


def make_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return a context that verifies certificates and names against a CA file or folder.

    Raises:
        TlsFailed: the CA bundle cannot be read (fault S04).
    """
    context = create_urllib3_context()
    source = Path(ca_bundle or DEFAULT_CA_BUNDLE_PATH)
    try:
        if source.is_dir():
            context.load_verify_locations(capath=str(source))
        else:
            context.load_verify_locations(cafile=str(source))
    except (OSError, ssl.SSLError) as exc:
        raise TlsFailed(f"the CA bundle {source} cannot be read: {exc.strerror or exc}") from exc
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    return context
