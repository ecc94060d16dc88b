"""The tables of a policy file that hold credentials."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

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
    Value,
)
from bulkfetch.errors import LineError
from bulkfetch.policy.hostpolicy import ClientCert, Cookies, Expiry, Login
from bulkfetch.policy.proxies import split_proxy
from bulkfetch.policy.values import (
    TOKEN,
    Reading,
    a_list,
    a_table,
    a_text,
    did_you_mean,
    statuses,
)
from bulkfetch.secrets import Secret, is_secret_source
from bulkfetch.urls import parse_url

Table = dict[str, Any]


def read_auth(value: Any, reading: Reading) -> Auth | Callable[..., Any] | None:
    """Read how to authenticate; "none" is not at all."""
    if callable(value):  # from the library alone: TOML has no such values
        return value  # type: ignore[no-any-return]
    if isinstance(value, str) and value in ("none", "netrc"):
        return Netrc() if value == "netrc" else None
    if not isinstance(value, Mapping):
        raise ValueError('a table such as { type = "bearer", token = "env:NAME" } is wanted')
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _AUTHS:
        close = did_you_mean(kind, _AUTHS) if isinstance(kind, str) else ""
        raise ValueError(f"type is one of {', '.join(_AUTHS)}{close}")
    make, required, optional = _AUTHS[kind]
    return make(a_table(value, {"type", *required, *optional}, required), reading)


def read_login(value: Any, reading: Reading) -> Login:
    """Read the request that makes a session."""
    table = a_table(value, {"url", "form", "json", "expired_when"}, ["url"])
    if ("form" in table) == ("json" in table):
        raise ValueError("login has either form or json")
    return Login(
        url=_url(table["url"]),
        form=read_pairs(table.get("form", {}), reading),
        json=read_pairs(table.get("json", {}), reading),
        expired_when=_expiry(table["expired_when"], reading) if "expired_when" in table else None,
    )


def read_cookies(value: Any, reading: Reading) -> Cookies:
    """Read the path of a cookie file, or a table of cookies."""
    if isinstance(value, str):
        return Cookies(file=reading.private_file(value))
    if not isinstance(value, Mapping):
        raise ValueError("a table of cookies or the path of a cookie file is wanted")
    for name in value:
        if not TOKEN.fullmatch(name):
            raise ValueError("a cookie's name has a character it may not have")
    return Cookies(values=tuple((name, reading.secret(text)) for name, text in value.items()))


def read_client_cert(value: Any, reading: Reading) -> ClientCert:
    """Read the path of a certificate with its key, or a table of both."""
    if isinstance(value, str):
        return ClientCert(reading.private_file(value))
    table = a_table(value, {"cert", "key", "password"}, ["cert"])
    has_key = "key" in table
    return ClientCert(
        reading.file(table["cert"]) if has_key else reading.private_file(table["cert"]),
        reading.private_file(table["key"]) if has_key else None,
        _optional(table, "password", reading),
    )


def read_proxy(value: Any, reading: Reading) -> Value:
    """Read the URL of a proxy, or where it is; "none" is no proxy."""
    text = a_text(value)
    if text in ("", "none"):
        return ""
    if is_secret_source(text) and not text.startswith("literal:"):
        return reading.secret(text)
    return reading.secret(f"literal:{text}") if split_proxy(text).password else text


def read_verify(value: Any, reading: Reading) -> bool | str:
    """Read what makes a server's certificate good: true, "system", a CA file or folder; false is nothing."""
    if isinstance(value, bool):
        return value
    return "system" if value == "system" else reading.file(value)


def read_pairs(value: Any, reading: Reading) -> tuple[tuple[str, Value], ...]:
    """Read a table of names and texts."""
    if not isinstance(value, Mapping):
        raise ValueError("a table of names and texts is wanted")
    return tuple((str(name), reading.value(str(name), text)) for name, text in value.items())


def _basic(table: Table, reading: Reading) -> Basic:
    return Basic(reading.value("username", table["username"]), reading.secret(table["password"]))


def _digest(table: Table, reading: Reading) -> Digest:
    return Digest(reading.value("username", table["username"]), reading.secret(table["password"]))


def _bearer(table: Table, reading: Reading) -> Bearer:
    return Bearer(reading.secret(table["token"]))


def _header(table: Table, reading: Reading) -> HeaderKey:
    name = a_text(table["name"])
    if not TOKEN.fullmatch(name):
        raise ValueError("name is not the name of a header")
    return HeaderKey(name, reading.secret(table["value"]))


def _query(table: Table, reading: Reading) -> QueryKey:
    return QueryKey(a_text(table["name"]), reading.secret(table["value"]))


def _oauth2(table: Table, reading: Reading) -> OAuth2:
    scope = table.get("scope", [])
    if "client_secret" not in table and "refresh_token" not in table:
        raise ValueError("client_secret missing")
    sent_in = table.get("client_auth", "header")
    if sent_in not in ("header", "body"):
        raise ValueError("client_auth is header or body")
    token_url = _url(table["token_url"])
    if not token_url.startswith("https://"):
        raise ValueError("token_url must begin with https://: a secret is sent there")
    return OAuth2(
        token_url=token_url,
        client_id=reading.value("client", table["client_id"]),
        client_secret=_optional(table, "client_secret", reading),
        refresh_token=_optional(table, "refresh_token", reading),
        scope=tuple(scope.split() if isinstance(scope, str) else map(a_text, a_list(scope))),
        params=read_pairs(table.get("params", {}), reading),
        in_body=sent_in == "body",
    )


def _sigv4(table: Table, reading: Reading) -> SigV4:
    if ("access_key" in table) != ("secret_key" in table):
        raise ValueError("access_key and secret_key belong together")
    if "access_key" in table and "profile" in table:
        raise ValueError("either keys or a profile, not both")
    return SigV4(
        service=a_text(table["service"]),
        region=a_text(table["region"]),
        access_key=_optional(table, "access_key", reading),
        secret_key=_optional(table, "secret_key", reading),
        session_token=_optional(table, "session_token", reading),
        profile=a_text(table["profile"]) if "profile" in table else None,
    )


def _netrc(table: Table, reading: Reading) -> Netrc:
    return Netrc(reading.file(table["file"]) if "file" in table else None)


def _optional(table: Table, name: str, reading: Reading) -> Secret | None:
    return reading.secret(table[name]) if name in table else None


def _expiry(value: Any, reading: Reading) -> Expiry:
    table = a_table(value, {"status", "location", "content_type"})
    if not table:
        raise ValueError("expired_when is empty")
    location = a_text(table.get("location", ""))
    try:
        re.compile(location)
    except re.error as exc:
        raise ValueError(f"location is not a regular expression: {exc}") from exc
    status = statuses(200)(table.get("status", []), reading)
    return Expiry(status, location, a_text(table.get("content_type", "")).lower())


def _url(value: Any) -> str:
    try:
        return parse_url(a_text(value))
    except LineError as exc:
        raise ValueError(str(exc)) from exc


_Maker = Callable[[Table, Reading], Auth]
_AUTHS: dict[str, tuple[_Maker, tuple[str, ...], tuple[str, ...]]] = {  # makers, required and optional keys
    "basic": (_basic, ("username", "password"), ()),
    "bearer": (_bearer, ("token",), ()),
    "digest": (_digest, ("username", "password"), ()),
    "header": (_header, ("name", "value"), ()),
    "netrc": (_netrc, (), ("file",)),
    "oauth2": (
        _oauth2,
        ("token_url", "client_id"),
        ("client_secret", "refresh_token", "scope", "params", "client_auth"),
    ),
    "query": (_query, ("name", "value"), ()),
    "sigv4": (_sigv4, ("service", "region"), ("access_key", "secret_key", "session_token", "profile")),
}
