"""What foreign exceptions mean to us; they end here."""

from __future__ import annotations

import http.client
import re
import ssl
from typing import Any

import requests
import urllib3

from bulkfetch import errors
from bulkfetch.safetext import clean, redact

# Most specific first. Answers that break HTTP raise our own errors where they are read.
_MAPPED: tuple[tuple[type[Exception], type[errors.TransferError], str], ...] = (
    (ssl.SSLCertVerificationError, errors.TlsFailed, "the certificate was refused"),
    (urllib3.exceptions.IncompleteRead, errors.Truncated, "the body ended early"),
    (http.client.RemoteDisconnected, errors.ConnectionLost, "the server closed the connection unanswered"),
    (ConnectionResetError, errors.ConnectionLost, "the connection was reset"),
    (BrokenPipeError, errors.ConnectionLost, "the connection was closed"),
    (ConnectionAbortedError, errors.ConnectionLost, "the connection was aborted"),
    (http.client.InvalidURL, errors.UrlRefused, "the URL cannot be asked for"),
    (http.client.HTTPException, errors.ProtocolViolation, "the answer breaks HTTP"),
    (urllib3.exceptions.ConnectTimeoutError, errors.ConnectFailed, "no connection in time"),
    (urllib3.exceptions.ReadTimeoutError, errors.TimedOut, "nothing came for the idle timeout"),
    (TimeoutError, errors.TimedOut, "nothing came for the idle timeout"),
    (urllib3.exceptions.ProxyError, errors.ConnectFailed, "the proxy could not be used"),
    (urllib3.exceptions.NewConnectionError, errors.ConnectFailed, "no connection"),
    (ssl.SSLEOFError, errors.ConnectionLost, "the TLS connection was cut"),
    (ssl.SSLError, errors.TlsFailed, "TLS failed"),
    (urllib3.exceptions.SSLError, errors.TlsFailed, "TLS failed"),
    (urllib3.exceptions.ProtocolError, errors.ConnectionLost, "the connection broke"),
    (urllib3.exceptions.LocationValueError, errors.UrlRefused, "the URL cannot be asked for"),
    (requests.exceptions.SSLError, errors.TlsFailed, "TLS failed"),
    (requests.Timeout, errors.TimedOut, "nothing came in time"),
    (requests.ConnectionError, errors.ConnectFailed, "no connection"),
    (UnicodeError, errors.UrlRefused, "the request has characters that HTTP does not carry"),
    (ValueError, errors.UrlRefused, "the request cannot be made"),
    (OSError, errors.ConnectionLost, "the connection failed"),
)

# What sending a request raises; the exceptions of `requests` are OSErrors.
FOREIGN = (errors.TransferError, OSError, urllib3.exceptions.HTTPError)

_TUNNEL = re.compile(r"Tunnel connection failed: ((40[37]).*)")  # as `http.client` says it


def map_error(exc: BaseException) -> errors.TransferError:
    """Return what a foreign exception, or the cause inside it, means to us."""
    if isinstance(exc, errors.TransferError):
        return exc
    chain = _causes(exc)
    for cause in chain:
        if isinstance(cause, errors.TransferError):
            return cause
    if refusal := next(filter(None, (_TUNNEL.match(str(cause)) for cause in chain)), None):
        return errors.NotAuthorised(
            f"the proxy refuses us: {clean(refusal[1], 80)}", status_code=int(refusal[2])
        )
    for foreign, ours, text in _MAPPED:
        for cause in chain:
            if isinstance(cause, foreign):
                return ours(f"{text}{_detail(chain)}")
    return errors.TransferError(f"{type(exc).__name__}: {clean(redact(str(exc)), 200)}")


def map_refusal(exc: BaseException, text: str) -> errors.TransferError:
    """Return what failing to get credentials means for an entry: the end of it, unless it may pass."""
    mapped = map_error(exc)
    kind = errors.ServerFailed if mapped.retryable else errors.NotAuthorised
    return kind(f"{text}: {mapped}", status_code=mapped.status_code)


def map_read_error(exc: BaseException) -> errors.TransferError:
    """Return what an exception from within a body means: there a TLS error is a broken connection."""
    mapped = map_error(exc)
    if isinstance(mapped, errors.TlsFailed):
        return errors.ConnectionLost(str(mapped))
    return mapped


def _causes(exc: BaseException) -> list[BaseException]:
    """Return the exceptions wrapped in `exc`, innermost first."""
    chain: list[BaseException] = []
    current: Any = exc
    while isinstance(current, BaseException) and current not in chain and len(chain) < 10:
        chain.append(current)
        wrapped = next((a for a in current.args if isinstance(a, BaseException)), None)
        current = getattr(current, "reason", None) if wrapped is None else wrapped
        if not isinstance(current, BaseException):
            current = chain[-1].__cause__ or chain[-1].__context__
    return chain[::-1]


def _detail(chain: list[BaseException]) -> str:
    """Return what the innermost system error says of itself."""
    for cause in chain:
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "verify_message", "") or getattr(cause, "reason", None) or ""
            return f": {clean(reason.replace('_', ' '), 120)}" if reason else ""
        if isinstance(cause, (TimeoutError, http.client.RemoteDisconnected)):
            return ""
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
            text = cause.strerror or str(cause)
            return f": {clean(redact(text), 120)}" if text else ""
    return ""
