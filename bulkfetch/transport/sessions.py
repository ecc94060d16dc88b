"""The pooled `requests` session of one origin; it follows no redirects and reads no environment."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NamedTuple

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from bulkfetch.errors import NotAuthorised
from bulkfetch.models import Origin, Request
from bulkfetch.policy import HostPolicy
from bulkfetch.transport.applied import Applied, apply_policy
from bulkfetch.transport.connections import POOLS
from bulkfetch.transport.cookies import OriginCookies
from bulkfetch.transport.current import current, present_lease
from bulkfetch.transport.login import LoginSession, is_expired
from bulkfetch.transport.plain import Prepared, ask
from bulkfetch.transport.replaced import is_replaced
from bulkfetch.transport.reply import read_head
from bulkfetch.transport.resending import drain
from bulkfetch.transport.route import Route
from bulkfetch.transport.socks import SOCKS_POOLS, is_socks, parse_socks
from bulkfetch.wire.buffers import Buffers
from bulkfetch.wire.request import Template

_IDEMPOTENT = ("GET", "HEAD")  # of those that are sent


class Way(NamedTuple):
    """How connections to an origin are made."""

    buffers: Buffers  # what plain answers are read into
    proxy: str | None = None  # URL of the proxy to go through
    tls: ssl.SSLContext | None = None  # how the origin is verified
    proxy_tls: ssl.SSLContext | None = None  # how the proxy is; it is never shown a client certificate


class _Adapter(HTTPAdapter):
    """Uses our connections, through a proxy too; never retries by itself."""

    def __init__(self, origin: Origin, per_host: int, way: Way) -> None:
        self._host_params = {"scheme": origin.scheme, "host": origin.host, "port": origin.port}
        self._way = way
        # What a plain request to an HTTPS proxy travels in is the proxy's own TLS.
        tls = way.tls or way.proxy_tls
        self._pool_options: dict[str, Any] = {"ssl_context": tls} if tls is not None else {}
        self._pools = POOLS
        if is_socks(way.proxy):
            self._pools = SOCKS_POOLS
            self._pool_options["_socks_options"] = {"proxy": parse_socks(way.proxy or "")}
        self._pool: Any = None
        super().__init__(pool_connections=1, pool_maxsize=per_host, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        created = super().proxy_manager_for(proxy, **{**kwargs, "proxy_ssl_context": self._way.proxy_tls})
        if not known:
            created.pool_classes_by_scheme = POOLS
        return created

    def build_connection_pool_key_attributes(self, *_args: Any, **_kwargs: Any) -> Any:
        """Name the one pool of this origin; `requests` would load the CA file anew for every connection."""
        return self._host_params, self._pool_options

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool, looked up once."""
        if self._pool is None:
            self._pool = super().get_connection_with_tls_context(*args, **kwargs)
        return self._pool

    def drop_idle(self) -> None:
        """Close the connections that no request is on."""
        idle = self._pool and self._pool.pool  # another thread may close it meanwhile
        if idle is not None:
            idle.drop()

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send a request, a plain one by a shorter way."""
        if not isinstance(request, Prepared) or not request.rendered:
            return super().send(request, *args, **options)
        pool = self._pool or self.get_connection_with_tls_context(request, True)
        return ask(request, self, pool, self._way.buffers, options["timeout"])

    def close(self) -> None:
        """Close what is idle at once; `requests` would leave it to the garbage collector."""
        if self._pool is not None:
            self._pool.close()
        super().close()

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing to do: the TLS context verifies."""


class _Session(requests.Session):
    """Never looks at a redirect: requests would read its whole body into memory (fault A07)."""

    def resolve_redirects(self, *_args: Any, **_options: Any) -> Iterator[Any]:
        return iter(())


class OriginSession:
    """The pooled session of one origin: its headers, auth and cookies go nowhere else.

    Args:
        origin: whom it asks.
        policy: what holds for the origin as a whole.
        way: how its connections are made.
        route_to: how a request to another origin, such as a token endpoint, travels.

    Raises:
        NotAuthorised: the cookies to begin with cannot be had.
    """

    def __init__(
        self,
        origin: Origin,
        policy: HostPolicy,
        way: Way,
        route_to: Callable[[Origin], Route],
    ) -> None:
        self.origin = origin
        self.policy = policy
        self._route_to = route_to
        self._applied: dict[HostPolicy, Applied] = {}
        self.users = 0  # attempts under way; guarded by the transport's lock
        self._session = session = _Session()
        session.trust_env = False
        if not policy.keep_cookies:
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._headers = {"User-Agent": policy.user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        session.adapters.clear()
        self._adapter = _Adapter(origin, policy.most_per_host, way)
        session.mount(f"{origin.scheme}://", self._adapter)
        self._options: dict[str, Any] = {
            "stream": True,
            "allow_redirects": False,
            "timeout": (policy.connect_timeout, policy.idle_timeout),
            "verify": True,
            "cert": None,
            "proxies": {} if is_socks(way.proxy) or not way.proxy else {origin.scheme: way.proxy},
        }
        self._template = Template(origin, policy.user_agent)
        self._is_direct = policy.login is None and not self._options["proxies"]
        self._cookies = OriginCookies(origin, policy.cookies, session.cookies)
        self._login: LoginSession | None = None
        if policy.login is not None:
            adopt = self._cookies.adopt
            self._login = LoginSession(policy.login, origin, self._headers, adopt, route_to, _check_lease)

    def applied(self, policy: HostPolicy) -> Applied:
        """Return what `policy` adds to requests here; its secrets are asked for the first time."""
        known = self._applied.get(policy)
        if known is None:  # another thread may be at it too: one object wins, and with it one token
            made = apply_policy(policy, self.policy, self.origin, self._route_to, _check_lease)
            known = self._applied.setdefault(policy, made)
        return known

    @property
    def route(self) -> Route:
        """Return how a request without our headers and credentials travels to this origin."""
        options = {name: self._options[name] for name in ("timeout", "verify", "cert", "proxies")}
        return Route(self._adapter, options)

    def send(
        self, asked: Request | None, url: str, headers: Mapping[str, str], policy: HostPolicy
    ) -> requests.Response:
        """Send one request under `policy` and return when the head of its answer is here."""
        login = self._login
        if login is None:
            return self._send_once(asked, url, headers, policy)
        with present_lease().aside():
            number = login.ensure()
        response = self._send_once(asked, url, headers, policy)
        if not is_expired(read_head(response), login.expiry):
            return response
        drain(response)
        response.close()
        if login.renew(number):
            response = self._send_once(asked, url, headers, policy)
            if not is_expired(read_head(response), login.expiry):
                return response
            login.was_in_vain()
            response.close()
        status = response.status_code
        raise NotAuthorised(f"the server answered {status}, also after a new login", status_code=status)

    def _send_once(
        self, asked: Request | None, url: str, headers: Mapping[str, str], policy: HostPolicy
    ) -> requests.Response:
        lease = present_lease()
        applied = self._applied.get(policy)
        if applied is None or applied.auth is not None:
            lease.enter("the credentials", current.head_seconds)
            with lease.aside():
                applied = self.applied(policy)
        fields: Mapping[str, str] = {**applied.fields, **headers}
        if len(fields) > 1:  # a name may be there twice, in another case
            fields = CaseInsensitiveDict(fields)
        request = Prepared(applied.sent_url(url), self._headers, fields)
        request._cookies = self._session.cookies
        if asked is not None:
            request.method, request.body = asked.method, asked.body or None
            if asked.method != "HEAD":
                request.headers["Content-Length"] = str(len(asked.body))
        if not self._cookies.is_empty:
            self._add_cookies(request)
        if applied.auth is not None:
            with lease.aside():
                request.prepare_auth(applied.auth, url)
        lease.enter("the answer's head", current.head_seconds)
        # RFC 9110 section 9.2.2: what a stale connection may have swallowed could not be sent again.
        current.needs_fresh = lease.wants_fresh or request.method not in _IDEMPOTENT
        if asked is None and self._is_direct and not is_replaced():
            request.render(self._template)
        return self._session.send(request, **self._options)

    def keep_cookies(self, url: str, values: Sequence[str]) -> None:
        """Take cookies that came over another connection of this origin."""
        self._cookies.keep(url, values)

    def drop_idle(self) -> None:
        """Close the idle connections of a session that goes on."""
        self._adapter.drop_idle()

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _add_cookies(self, request: requests.PreparedRequest) -> None:
        """Add the origin's cookies to those the user gave, which stay."""
        given = request.headers.pop("Cookie", None)  # the jar adds nothing to a request that has some
        if together := "; ".join(filter(None, (given, self._cookies.field_for(request)))):
            request.headers["Cookie"] = together


def _check_lease() -> None:
    present_lease().check()
