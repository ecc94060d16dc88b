"""Sending a request once more after an answer that asked for other credentials."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import requests
import urllib3
from requests.cookies import extract_cookies_to_jar

from bulkfetch.errors import TransferError

_DRAIN = 64 * 1024  # bytes of a refusal read to keep its connection (faults C11, X08)


def drain(response: requests.Response) -> None:
    """Leave an unread answer behind without taking its body into memory."""
    if not _reach_end(response.raw):
        response.raw.close()  # the connection too: what is left on it is no answer to anything else
    response._content = b""
    response._content_consumed = True  # type: ignore[attr-defined]


def _reach_end(raw: Any) -> bool:
    left = _DRAIN
    with contextlib.suppress(OSError, urllib3.exceptions.HTTPError, TransferError):
        while left > 0:
            data = raw.read1(min(left, 16 * 1024), decode_content=False)
            if not data:
                return True
            left -= len(data)
    return False


def send_again(
    response: requests.Response, change: Callable[[requests.PreparedRequest], None], options: dict[str, Any]
) -> requests.Response:
    """Repeat the request that `response` answers, once changed; `options` are those of its sending."""
    drain(response)
    response.close()
    request = response.request.copy()
    jar = request._cookies  # type: ignore[attr-defined]
    extract_cookies_to_jar(jar, response.request, response.raw)  # type: ignore[no-untyped-call]
    change(request)
    again: requests.Response = response.connection.send(request, **options)
    again.history.append(response)
    again.request = request
    return again
