"""Credentials as values: what a policy says, before anything is asked or sent.

`transport.auth` makes requests authentication objects of them.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import quote

from bulkfetch.errors import UsageError
from bulkfetch.expressions import late
from bulkfetch.safetext import register_secret
from bulkfetch.secrets import Secret
from bulkfetch.urls import add_query
from bulkfetch.values import frozen

Value = str | Secret  # plain text, or a secret that is revealed when it is sent

FIELD_VALUE = late(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5


@frozen
class Basic:
    """Basic authentication (RFC 7617)."""

    username: Value
    password: Value


@frozen
class Digest:
    """Digest authentication (RFC 7616)."""

    username: Value
    password: Value


@frozen
class Bearer:
    """A bearer token (RFC 6750)."""

    token: Value


@frozen
class HeaderKey:
    """An API key in a request header."""

    name: str
    value: Value


@frozen
class QueryKey:
    """An API key as a query parameter."""

    name: str
    value: Value


@frozen
class OAuth2:
    """An OAuth 2 token by client credentials, or by a refresh token where there is one (RFC 6749)."""

    token_url: str
    client_id: Value
    client_secret: Value | None = None
    refresh_token: Value | None = None
    scope: tuple[str, ...] = ()
    params: tuple[tuple[str, Value], ...] = ()  # further fields of the token request, such as audience
    in_body: bool = False  # the client's credentials go into the form instead of a header


@frozen
class SigV4:
    """AWS signature version 4; without keys, the ones the AWS tools would use."""

    service: str
    region: str
    access_key: Value | None = None
    secret_key: Value | None = None
    session_token: Value | None = None
    profile: str | None = None


@frozen
class Netrc:
    """Basic authentication with what a netrc file says for exactly the host asked."""

    file: str | None = None  # None: $NETRC, or the one in the user's home


Auth = Basic | Digest | Bearer | HeaderKey | QueryKey | OAuth2 | SigV4 | Netrc


def text_of(value: Value) -> str:
    """Return the text to send.

    Raises:
        SecretMissing: its source does not have it.
    """
    return value.reveal() if isinstance(value, Secret) else value


def field_text(name: str, value: Value) -> str:
    """Return the value of a header field.

    Raises:
        UsageError: it would break the request; the value is not told.
        SecretMissing: its source does not have it.
    """
    text = text_of(value)
    if not FIELD_VALUE.fullmatch(text):
        origin = f" from {value}" if isinstance(value, Secret) else ""
        raise UsageError(f"the value of {name}{origin} has a character no header may have")
    return text


def basic_field(username: Value, password: Value) -> str:
    """Return the value of an `Authorization` field (RFC 7617 section 2.1, in UTF-8).

    Raises:
        UsageError: no such field can say it.
        SecretMissing: its source does not have it.
    """
    user, secret = text_of(username), text_of(password)
    if ":" in user:
        raise UsageError("a user name with a colon cannot be sent by basic authentication")
    pair = b64encode(f"{user}:{secret}".encode()).decode()
    register_secret(secret or user, user)
    register_secret(pair)  # also where the user name is the secret
    return f"Basic {pair}"


def add_params(url: str, params: Iterable[tuple[str, Value]]) -> str:
    """Return a canonical URL with query parameters added behind its own."""
    added = "&".join(f"{quote(name, safe='')}={quote(text_of(value), safe='')}" for name, value in params)
    return add_query(url, added) if added else url
