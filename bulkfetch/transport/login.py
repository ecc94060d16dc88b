"""The request that makes a session: sent before the first entry, and again once the session has expired."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

import requests
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar, get_cookie_header
from requests.structures import CaseInsensitiveDict

from bulkfetch.auth import text_of
from bulkfetch.errors import CredentialsMissing, LineError, NotAuthorised, ServerFailed, UsageError
from bulkfetch.models import Head, Origin
from bulkfetch.policy import Expiry, Login
from bulkfetch.retry import REDIRECTS
from bulkfetch.transport.current import current
from bulkfetch.transport.mapping import FOREIGN, map_refusal
from bulkfetch.transport.oneasks import OneAsks
from bulkfetch.transport.resending import drain
from bulkfetch.transport.route import Route
from bulkfetch.urls import join_redirect, origin_of

_MOST_HOPS = 10
_VAIN_FOR = 60.0  # seconds without another login after one that did not help
_REFUSALS = frozenset({401, 403})
_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"


def is_expired(head: Head, expiry: Expiry | None) -> bool:
    """Say whether an answer means that nobody is logged in (any more)."""
    if head.status in _REFUSALS:
        return True
    if expiry is None:
        return False
    return (
        (not expiry.status or head.status in expiry.status)
        and (not expiry.location or re.search(expiry.location, head.location or "") is not None)
        and (not expiry.content_type or head.content_type == expiry.content_type)
    )


class LoginSession:
    """Whether an origin has been logged in to; the worker that needs it first does it, the others wait.

    Args:
        login: whom to ask and what to send.
        origin: whose entries need it; its jar alone gets the cookies.
        headers: of every request of ours.
        adopt: takes cookies; says whether one of them is for the origin.
        route_to: how requests travel to the login's origin.
        check: raises when the attempt of the calling thread was cut.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        login: Login,
        origin: Origin,
        headers: Mapping[str, str],
        adopt: Callable[[RequestsCookieJar], bool],
        route_to: Callable[[Origin], Route],
        check: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.expiry = login.expired_when
        self._login = login
        self._origin = origin
        self._headers = headers
        self._adopt = adopt
        self._route_to = route_to
        self._check = check
        self._clock = clock
        self._number = 0  # of the present login; 0: none
        self._last = 0
        self._vain_until = 0.0
        self._asking = OneAsks(self._log_in, self._keep, check, clock)

    def ensure(self) -> int:
        """Return the number of the present login, made now if there is none.

        Raises:
            TransferError: it failed.
        """
        return self._asking.get(lambda: self._number or None)

    def renew(self, used: int) -> bool:
        """Log in again unless another worker has since `used`; returns whether asking again may help.

        Raises:
            TransferError: it failed.
        """
        if self._number == used and self._clock() < self._vain_until:
            return False
        self._asking.get(lambda: self._number if self._number not in (0, used) else None)
        return True

    def was_in_vain(self) -> None:
        """Note that a request was refused right after a login: for a while, refusals mean what they say."""
        self._vain_until = self._clock() + _VAIN_FOR

    def _keep(self, number: int | None) -> None:
        self._number = number or 0

    def _log_in(self) -> int:
        host = origin_of(self._login.url).host
        try:
            jar, status = self._ask()
        except FOREIGN as exc:
            self._check()
            raise map_refusal(exc, f"the login at {host} failed") from exc
        except UsageError as exc:
            raise CredentialsMissing(f"no login at {host}: {exc}") from exc
        if not self._adopt(jar):
            text = f"the login at {host} failed: it set no cookie for {self._origin.host}"
            raise NotAuthorised(text, status_code=status)
        self._last += 1
        return self._last

    def _ask(self) -> tuple[RequestsCookieJar, int]:
        """Send the login and follow its redirects, within its origin alone; returns what it set."""
        url = self._login.url
        origin = origin_of(url)
        route, jar = self._route_to(origin), RequestsCookieJar()
        method = "POST"
        kind, body = self._body()
        for _ in range(_MOST_HOPS):
            request = self._request(method, url, kind, body, jar)
            current.needs_fresh = method == "POST"  # RFC 9110 section 9.2.2
            response = route.adapter.send(request, stream=True, **route.options)
            try:
                extract_cookies_to_jar(jar, request, response.raw)  # type: ignore[no-untyped-call]
                drain(response)
            finally:
                response.close()
            status = response.status_code
            _judge(status)
            target = response.headers.get("Location")
            if status not in REDIRECTS or not target:
                return jar, status
            url = _join(url, target)
            if origin_of(url) != origin:
                return jar, status
            if status not in (307, 308):  # RFC 9110 section 15.4.4
                method, body = "GET", None
        raise NotAuthorised(f"more than {_MOST_HOPS} redirects")

    def _body(self) -> tuple[str, bytes | None]:
        login = self._login
        if login.json:
            return _JSON, json.dumps({name: text_of(value) for name, value in login.json}).encode()
        return _FORM, urlencode([(name, text_of(value)) for name, value in login.form]).encode()

    def _request(
        self, method: str, url: str, kind: str, body: bytes | None, jar: RequestsCookieJar
    ) -> requests.PreparedRequest:
        request = requests.PreparedRequest()
        request.method, request.url, request.body = method, url, body
        request.headers = CaseInsensitiveDict(self._headers)
        if body is not None:
            request.headers.update({"Content-Type": kind, "Content-Length": str(len(body))})
        cookies = get_cookie_header(jar, request)  # type: ignore[no-untyped-call]
        if cookies:
            request.headers["Cookie"] = cookies
        return request


def _judge(status: int) -> None:
    if status == 429 or status >= 500:
        raise ServerFailed(f"it answered {status}", status_code=status)
    if status >= 400:
        raise NotAuthorised(f"it answered {status}", status_code=status)


def _join(url: str, target: str) -> str:
    try:
        return join_redirect(url, target)
    except LineError as exc:
        raise NotAuthorised(f"a redirect that is not followed: {exc}") from exc
