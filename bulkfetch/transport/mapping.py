"""What foreign exceptions mean to us; they end here."""

from __future__ import annotations

import http.client
import ssl
from typing import Any, ClassVar

import requests
import urllib3

from bulkfetch import errors
from bulkfetch.safetext import clean, redact


class _Mapped:
    """Foreign exception classes and what they mean, most specific first."""

    TABLE: ClassVar[tuple[tuple[type[Exception], type[errors.TransferError], str], ...]] = (
        (ssl.SSLCertVerificationError, errors.TlsFailed, "the certificate was refused"),
        (urllib3.exceptions.IncompleteRead, errors.Truncated, "the body ended early"),
        (urllib3.exceptions.InvalidChunkLength, errors.Truncated, "a chunk of the body is damaged"),
        (http.client.IncompleteRead, errors.Truncated, "the body ended early"),
        (
            http.client.RemoteDisconnected,
            errors.ConnectionLost,
            "the server closed the connection unanswered",
        ),
        (ConnectionResetError, errors.ConnectionLost, "the connection was reset"),
        (BrokenPipeError, errors.ConnectionLost, "the connection was closed"),
        (ConnectionAbortedError, errors.ConnectionLost, "the connection was aborted"),
        (http.client.BadStatusLine, errors.NotHttp, "the answer is not HTTP"),
        (http.client.LineTooLong, errors.ProtocolViolation, "a header line is too long"),
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
        (requests.exceptions.InvalidHeader, errors.ProtocolViolation, "a header field is not valid"),
        (requests.exceptions.InvalidURL, errors.UrlRefused, "the URL cannot be asked for"),
        (urllib3.exceptions.LocationValueError, errors.UrlRefused, "the URL cannot be asked for"),
        (requests.exceptions.SSLError, errors.TlsFailed, "TLS failed"),
        (requests.Timeout, errors.TimedOut, "nothing came in time"),
        (requests.ConnectionError, errors.ConnectFailed, "no connection"),
        (ValueError, errors.ProtocolViolation, "the answer breaks HTTP"),
        (AttributeError, errors.ConnectionLost, "the connection was closed under the read"),
        (OSError, errors.ConnectionLost, "the connection failed"),
    )


def map_error(exc: BaseException) -> errors.TransferError:
    """Return what a foreign exception, or the cause inside it, means to us."""
    chain = _causes(exc)
    for cause in chain:
        if isinstance(cause, errors.TransferError):
            return cause
    for foreign, ours, text in _Mapped.TABLE:
        for cause in chain:
            if isinstance(cause, foreign):
                return ours(f"{text}{_detail(cause)}")
    return errors.TransferError(f"{type(exc).__name__}: {clean(redact(str(exc)), 200)}")


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


def _detail(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLError):
        reason = getattr(cause, "verify_message", "") or cause.reason or ""
        return f": {clean(str(reason), 120)}"
    if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, TimeoutError):
        return f": {clean(cause.strerror, 120)}"
    return ""
