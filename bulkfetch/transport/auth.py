"""Credentials as `requests` authentication objects; each belongs to one origin's session."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase, HTTPDigestAuth

from bulkfetch.auth import (
    Auth,
    Basic,
    Bearer,
    Digest,
    HeaderKey,
    Netrc,
    OAuth2,
    QueryKey,
    SigV4,
    add_params,
    basic_field,
    field_text,
    text_of,
)
from bulkfetch.errors import CredentialsMissing, UsageError
from bulkfetch.models import Origin
from bulkfetch.netrcfile import netrc_path, read_netrc
from bulkfetch.transport.oauth import OAuth2Auth
from bulkfetch.transport.resending import drain
from bulkfetch.transport.route import Route
from bulkfetch.transport.sigv4 import SigV4Auth


class HeaderAuth(AuthBase):
    """Sets one header field."""

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self.value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[self.name] = self.value
        return request


class QueryAuth(AuthBase):
    """Adds one query parameter."""

    def __init__(self, name: str, value: str) -> None:
        self.params = ((name, value),)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.url = add_params(request.url or "", self.params)
        return request


class BoundedDigestAuth(HTTPDigestAuth):
    """Digest authentication that does not read a challenge's whole body into memory (fault X08)."""

    def handle_401(self, r: requests.Response, **kwargs: Any) -> requests.Response:
        if r.status_code == 401:
            drain(r)
        answer: requests.Response = super().handle_401(r, **kwargs)  # type: ignore[no-untyped-call]
        return answer


def make_auth(
    auth: Auth | Callable[..., Any] | None,
    origin: Origin,
    route_to: Callable[[Origin], Route],
    check: Callable[[], None],
) -> AuthBase | None:
    """Return what authenticates requests to `origin`; secrets are asked for here.

    Args:
        auth: what the policy says; a callable is a `requests` auth object, or makes one from an origin.
        origin: the one origin that will see it.
        route_to: how a request to a token endpoint travels.
        check: raises when the attempt of the calling thread was cut.

    Raises:
        NotAuthorised: a secret cannot be had, or a library is missing.
    """
    try:
        return _make(auth, origin, lambda policy: OAuth2Auth(policy, route_to, check))
    except UsageError as exc:
        raise CredentialsMissing(f"no credentials for {origin}: {exc}") from exc


def _make(
    auth: Auth | Callable[..., Any] | None, origin: Origin, make_oauth: Callable[[OAuth2], AuthBase]
) -> AuthBase | None:
    match auth:
        case None | AuthBase():
            return auth
        case Basic():
            return HeaderAuth("Authorization", basic_field(auth.username, auth.password))
        case Bearer():
            return HeaderAuth("Authorization", f"Bearer {field_text('Authorization', auth.token)}")
        case HeaderKey():
            return HeaderAuth(auth.name, field_text(auth.name, auth.value))
        case QueryKey():
            return QueryAuth(auth.name, text_of(auth.value))
        case Digest():
            return BoundedDigestAuth(text_of(auth.username), text_of(auth.password))
        case Netrc():
            return _from_netrc(auth, origin.host)
        case OAuth2():
            return make_oauth(auth)
        case SigV4():
            return SigV4Auth(auth)
        case _:
            return _from_program(auth(origin))


def _from_netrc(auth: Netrc, host: str) -> AuthBase | None:
    path = Path(auth.file) if auth.file else netrc_path(os.environ, Path.home())
    found = read_netrc(path, host)
    return HeaderAuth("Authorization", basic_field(*found)) if found else None


def _from_program(made: Any) -> AuthBase | None:
    if made is None or callable(made):
        return made  # type: ignore[no-any-return]
    if isinstance(made, tuple) and len(made) == 2:  # what `requests` takes too
        return HeaderAuth("Authorization", basic_field(*map(str, made)))
    raise UsageError(f"the program's auth made {type(made).__name__}, not a requests auth object")
