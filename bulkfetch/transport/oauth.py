"""OAuth 2 tokens by requests-oauthlib (extra `oauth`), shared by all workers and renewed in time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

import requests
from requests.adapters import BaseAdapter
from requests.auth import AuthBase, HTTPBasicAuth

from bulkfetch.auth import OAuth2, Value, text_of
from bulkfetch.errors import CredentialsMissing, NotAuthorised, ServerFailed, TransferError, UsageError
from bulkfetch.extras import load_extra
from bulkfetch.models import Origin
from bulkfetch.safetext import clean, redact, register_secret
from bulkfetch.transport.current import current
from bulkfetch.transport.mapping import FOREIGN, map_refusal
from bulkfetch.transport.oneasks import OneAsks
from bulkfetch.transport.resending import send_again
from bulkfetch.transport.route import Route
from bulkfetch.urls import origin_of

_PURPOSE = "auth of type oauth2"
_EARLY = 30.0  # seconds before its end at which a token is renewed
_LARGEST = 256 * 1024  # bytes of a token endpoint's answer (fault X08)


class _Token(NamedTuple):
    """A token and the seconds it is good for from when it was given."""

    text: str
    lifetime: float


class OAuth2Auth(AuthBase):
    """Adds a token; one that is refused with 401 is replaced once."""

    def __init__(
        self, policy: OAuth2, route_to: Callable[[Origin], Route], check: Callable[[], None]
    ) -> None:
        self._tokens = TokenSource(policy, route_to, check)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self._tokens.current()
        request.headers["Authorization"] = f"Bearer {token}"
        request.register_hook("response", partial(self._renew, token))  # type: ignore[no-untyped-call]
        return request

    def _renew(self, used: str, response: requests.Response, **options: Any) -> requests.Response:
        if response.status_code != 401:
            return response
        token = self._tokens.current(refused=used)

        def change(request: requests.PreparedRequest) -> None:
            request.headers["Authorization"] = f"Bearer {token}"

        return send_again(response, change, options)


class TokenSource:
    """The token of one policy: whoever needs it first asks, the others wait for that answer.

    Args:
        policy: whom to ask and how.
        route_to: how requests travel to the token endpoint.
        check: raises when the attempt of the calling thread was cut.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        policy: OAuth2,
        route_to: Callable[[Origin], Route],
        check: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._library = load_extra("requests_oauthlib", _PURPOSE)
        self._policy = policy
        self._route_to = route_to
        self._check = check
        self._clock = clock
        self._refresh: Value | None = policy.refresh_token  # changed by the one who asks alone
        self._token = ""
        self._renew_at = 0.0
        self._asking = OneAsks(self._fetch, self._keep, check, clock)

    def current(self, refused: str = "") -> str:
        """Return a token that is valid and not the one `refused`.

        Raises:
            TransferError: none can be had.
        """

        def known() -> _Token | None:
            is_good = self._token not in ("", refused) and self._clock() < self._renew_at
            return _Token(self._token, 0.0) if is_good else None

        return self._asking.get(known).text

    def _keep(self, token: _Token | None) -> None:
        self._token = ""
        if token is not None:
            self._token = token.text
            self._renew_at = self._clock() + token.lifetime - min(_EARLY, token.lifetime / 5)

    def _fetch(self) -> _Token:
        """Ask for a token."""
        host = clean(origin_of(self._policy.token_url).host)
        try:
            answer = self._request()
            token = _Token(str(answer["access_token"]), float(answer.get("expires_in") or "inf"))
        except Exception as exc:
            self._check()
            raise _judge(exc, host) from exc
        register_secret(token.text)
        if self._refresh is not None and (rotated := answer.get("refresh_token")):
            register_secret(str(rotated))
            self._refresh = str(rotated)
        return token

    def _request(self) -> Mapping[str, Any]:
        policy = self._policy
        client_id = text_of(policy.client_id)
        secret = None if policy.client_secret is None else text_of(policy.client_secret)
        form = {name: text_of(value) for name, value in policy.params}
        if secret is None or policy.in_body:
            auth: AuthBase = _NoAuth()
            form |= {"client_id": client_id} | ({} if secret is None else {"client_secret": secret})
        else:
            register_secret(secret, client_id)
            auth = HTTPBasicAuth(client_id.encode(), secret.encode())
        route = self._route_to(origin_of(policy.token_url))
        session = self._open(client_id, route)
        options = {**route.options, "auth": auth, "body": urlencode(form)}
        options.pop("cert", None)  # set on the session: `refresh_token` takes none
        try:
            if self._refresh is None:
                return dict(session.fetch_token(policy.token_url, **options))
            refresh = text_of(self._refresh)
            return dict(session.refresh_token(policy.token_url, refresh_token=refresh, **options))
        except Warning as warning:  # another scope than asked for: the server decides (RFC 6749 section 3.3)
            return dict(getattr(warning, "token", {}))

    def _open(self, client_id: str, route: Route) -> Any:
        """Return a session that reads no environment and follows nothing."""
        logging.getLogger("requests_oauthlib").setLevel(logging.WARNING)  # it logs tokens below that
        scope = list(self._policy.scope) or None
        client = load_extra("oauthlib.oauth2", _PURPOSE).BackendApplicationClient(client_id, scope=scope)
        session = self._library.OAuth2Session(client=client, scope=scope)
        session.trust_env = False
        session.headers["Accept-Encoding"] = "identity"
        session.cert = route.options.get("cert")
        session.adapters.clear()
        session.mount("https://", _TokenAdapter(route.adapter))
        return session


class _NoAuth(AuthBase):
    """Keeps the library from adding basic authentication of its own."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _TokenAdapter(BaseAdapter):
    """Lets only a short, final answer through: a redirect would carry the client's secret away."""

    def __init__(self, inner: BaseAdapter) -> None:
        super().__init__()
        self._inner = inner

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        current.needs_fresh = True  # RFC 9110 section 9.2.2
        response = self._inner.send(request, *args, **{**options, "stream": True})
        status = response.status_code
        try:
            if status == 429 or status >= 500:
                raise ServerFailed(f"it answered {status}", status_code=status)
            if 300 <= status < 400:
                raise NotAuthorised(f"it answered {status}, a redirect, which is not followed")
            response._content = _read_all(response)
            response._content_consumed = True  # type: ignore[attr-defined]
        finally:
            response.close()
        return response

    def close(self) -> None:
        """Leave the connections to whoever made them."""


def _read_all(response: requests.Response) -> bytes:
    body = b""
    while data := response.raw.read1(16 * 1024, decode_content=False):
        body += data
        if len(body) > _LARGEST:
            raise NotAuthorised(f"its answer is longer than {_LARGEST} bytes")
    return body


def _judge(exc: Exception, host: str) -> TransferError:
    """Return what a failure to get a token means for the entry that needs it."""
    name = f"no token from {host}"
    if isinstance(exc, UsageError):
        return CredentialsMissing(f"no credentials for {host}: {exc}")
    if isinstance(exc, FOREIGN):
        return map_refusal(exc, name)
    told = (getattr(exc, "error", None) or type(exc).__name__, getattr(exc, "description", None))
    return NotAuthorised(f"{name}: {clean(redact(': '.join(str(part) for part in told if part)), 200)}")
