"""What the exceptions of sockets and TLS mean to us."""

from __future__ import annotations

import ssl

from bulkfetch import errors
from bulkfetch.safetext import clean

# Most specific first; every one of them is an OSError.
_MEANINGS: tuple[tuple[type[OSError], type[errors.TransferError], str], ...] = (
    (ssl.SSLCertVerificationError, errors.TlsFailed, "the certificate was refused"),
    (ssl.SSLEOFError, errors.ConnectionLost, "the TLS connection was cut"),
    (ssl.SSLZeroReturnError, errors.ConnectionLost, "the TLS connection was closed"),
    (ssl.SSLError, errors.TlsFailed, "TLS failed"),
    (TimeoutError, errors.TimedOut, "nothing came for the idle timeout"),
    (ConnectionResetError, errors.ConnectionLost, "the connection was reset"),
    (BrokenPipeError, errors.ConnectionLost, "the connection was closed"),
    (ConnectionAbortedError, errors.ConnectionLost, "the connection was aborted"),
    (OSError, errors.ConnectionLost, "the connection failed"),
)


def map_error(exc: OSError) -> errors.TransferError:
    """Return what an exception of a socket means."""
    ours, text = next((ours, text) for foreign, ours, text in _MEANINGS if isinstance(exc, foreign))
    detail = _detail(exc)
    return ours(f"{text}: {detail}" if detail else text)


def _detail(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLError):
        reason = getattr(exc, "verify_message", None) or getattr(exc, "reason", None)
        return clean(str(reason or ""), 120)
    return "" if isinstance(exc, TimeoutError) else clean(exc.strerror or "", 120)
