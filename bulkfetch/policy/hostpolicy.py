"""The values a policy is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bulkfetch.auth import Auth, Value
from bulkfetch.config import MOST_PER_HOST, USER_AGENT, most_of
from bulkfetch.refreshing import Renewer
from bulkfetch.values import frozen


@frozen
class ClientCert:
    """A certificate that shows who we are."""

    cert: str
    key: str | None = None  # None: in the same file
    password: Value | None = None  # of the key


@frozen
class Cookies:
    """Cookies to begin with."""

    file: str | None = None  # in Netscape format
    values: tuple[tuple[str, Value], ...] = ()


NO_COOKIES = Cookies()


@frozen
class Expiry:
    """What an answer looks like once a login has expired; all that is given must fit."""

    status: frozenset[int] = frozenset()
    location: str = ""  # a regular expression, found anywhere in the redirect's target
    content_type: str = ""


@frozen
class Login:
    """One request before the first of a host, whose cookies are kept for that host."""

    url: str
    form: tuple[tuple[str, Value], ...] = ()
    json: tuple[tuple[str, Value], ...] = ()
    expired_when: Expiry | None = None  # 401 and 403 are always taken so


@frozen
class HostPolicy:
    """All that holds for a URL; the same object for all URLs that the same sections apply to."""

    headers: tuple[tuple[str, Value], ...] = ()
    params: tuple[tuple[str, Value], ...] = ()
    # A callable: what `requests` takes, or what makes such from an origin.
    auth: Auth | Callable[..., Any] | None = None
    cookies: Cookies = NO_COOKIES
    keep_cookies: bool = True  # those that the host sets
    login: Login | None = None
    proxy: Value | None = None  # None: as the whole run; "" is no proxy
    verify: bool | str = True  # a CA file or folder; "system" is the system's trust store
    tls_min: str = "1.2"
    client_cert: ClientCert | None = None
    user_agent: str = USER_AGENT
    connect_timeout: float = 10.0
    idle_timeout: float = 60.0
    min_speed: float = 1024.0  # bytes per second; 0 is off
    entry_deadline: float | None = None
    max_size: int | None = None
    retries: int = 5  # further attempts after the first
    backoff: float = 1.0
    backoff_cap: float = 60.0
    max_wait: float = 3600.0
    retry_statuses: frozenset[int] | None = None  # None: the usual ones
    retry_methods: frozenset[str] = frozenset({"GET", "HEAD"})
    per_host: int | str = 6  # "auto": as many as pay
    rate: float | None = None  # requests per second
    limit_rate: float | None = None  # bytes per second of this host
    robots: str = "off"  # off | warn | obey
    transport: str = "auto"  # auto | requests | fast
    refresh_url: Renewer | None = None  # gives a new URL for one that has expired
    strict: bool = False
    allow_html: bool = False

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def most_per_host(self) -> int:
        """Connections at once, at most."""
        return most_of(self.per_host, MOST_PER_HOST)
