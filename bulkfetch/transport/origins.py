"""One session per origin, handed out to attempts."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import requests

from bulkfetch.addresses import PeerOf, host_part
from bulkfetch.config import FetchConfig
from bulkfetch.errors import CredentialsMissing, UsageError
from bulkfetch.models import Origin, Request
from bulkfetch.policy import HostPolicy, Policies
from bulkfetch.tls import TlsContexts
from bulkfetch.transport.applied import Applied
from bulkfetch.transport.current import current
from bulkfetch.transport.mapping import map_error
from bulkfetch.transport.plain import PlainReply, PlainResponse
from bulkfetch.transport.proxies import contexts_of, is_https, route_through
from bulkfetch.transport.reply import Reply, read_head
from bulkfetch.transport.route import Route
from bulkfetch.transport.sessions import OriginSession, Way
from bulkfetch.watchdog import Lease
from bulkfetch.wire.buffers import Buffers

logging.getLogger("urllib3").addHandler(logging.NullHandler())  # not on stderr unless the caller logs

_MOST_SESSIONS = 256  # sessions kept; idle ones beyond are closed, oldest use first


class Transport:
    """Hands out one session per origin and turns requests into replies.

    Args:
        config: how the run behaves.
        policies: what holds for which host; None: the configuration alone.
        contexts: the run's TLS settings.
        most_sessions: sessions kept; more only while all of them are in use.
        peer_of: whom the address a socket was connected to stands for.
    """

    def __init__(
        self,
        config: FetchConfig,
        policies: Policies | None = None,
        contexts: TlsContexts | None = None,
        *,
        most_sessions: int = _MOST_SESSIONS,
        peer_of: PeerOf = host_part,
    ) -> None:
        self._config = config
        self._policies = policies or Policies(config)
        self._contexts = contexts or contexts_of(config)
        # The command line's client certificate is for origins that the manifest names.
        self._unnamed = (
            self
            if config.client_cert is None
            else Transport(
                replace(config, client_cert=None),
                self._policies,
                most_sessions=most_sessions,
                peer_of=peer_of,
            )
        )
        self._most_sessions = most_sessions
        self._peer_of = peer_of
        self._buffers = Buffers()
        self._sessions: OrderedDict[Origin, OriginSession] = OrderedDict()
        self._lock = threading.Lock()  # guards _sessions and each session's `users`

    def open(
        self,
        origin: Origin,
        url: str,
        headers: Mapping[str, str],
        lease: Lease,
        *,
        public_only: bool = False,
        request: Request | None = None,
        named: bool = True,
    ) -> Reply | PlainReply:
        """Send a request and return the reply once its head is here; redirects are not followed.

        Args:
            origin: whose session, connections and cookies to use.
            url: what to ask for, under that origin.
            headers: sent besides those of every request.
            lease: ends the request from outside.
            public_only: refuse to talk to a private address.
            request: what to send; None: a plain GET.
            named: the manifest names this origin; else a redirect led here.

        Raises:
            TransferError: no usable answer came.
        """
        if not named and self._unnamed is not self:
            return self._unnamed.open(origin, url, headers, lease, public_only=public_only, request=request)
        policy = self._policies.for_url(url)
        session = self._acquire(origin)
        self._tell_connections(lease, policy, public_only)
        response: requests.Response | None = None
        try:
            response = session.send(request, url, headers, policy)
            head = read_head(response)
        except BaseException as exc:
            if response is not None:
                response.close()
            self._release(session)
            if not isinstance(exc, Exception):
                raise
            lease.check()
            mapped = map_error(exc)
            if mapped is exc:
                raise
            raise mapped from exc
        lease.stream()
        release = partial(self._release, session)
        if isinstance(response, PlainResponse):
            response.loan.on_release = release
            return response.raw
        return Reply(response, head, lease, current.peer, release)

    def _tell_connections(self, lease: Lease, policy: HostPolicy, public_only: bool) -> None:
        """Set what the connection that carries this thread's next request must know."""
        current.lease = lease
        current.head_seconds = policy.idle_timeout
        current.public_only = public_only
        current.untrusted = self._config.untrusted
        current.peer_of = self._peer_of
        current.peer = None

    def applied(self, origin: Origin, policy: HostPolicy) -> Applied:
        """Return what `policy` adds to requests under `origin`.

        Raises:
            NotAuthorised: a secret cannot be had, or a library is missing.
        """
        session = self._acquire(origin)
        try:
            return session.applied(policy)
        finally:
            self._release(session)

    def keep_cookies(self, origin: Origin, url: str, values: Sequence[str]) -> None:
        """Give the session of `origin` the values of Set-Cookie fields that came on another connection."""
        session = self._acquire(origin)
        try:
            session.keep_cookies(url, values)
        finally:
            self._release(session)

    def drop_idle(self, origin: Origin) -> None:
        """Close the idle connections to an origin."""
        with self._lock:
            session = self._sessions.get(origin)
        if session is not None:
            session.drop_idle()
        if self._unnamed is not self:
            self._unnamed.drop_idle(origin)

    def close(self) -> None:
        """Close every session."""
        with self._lock:
            sessions = list(self._sessions.values())
            self._sessions.clear()
        for session in sessions:
            session.close()
        if self._unnamed is not self:
            self._unnamed.close()

    def _acquire(self, origin: Origin) -> OriginSession:
        known = self._sessions.get(origin)
        made = self._make_session(origin) if known is None else known  # may ask for secrets: not in the lock
        with self._lock:
            session = self._sessions.setdefault(origin, made)
            self._sessions.move_to_end(origin)
            session.users += 1
            idle = self._pop_idle() if len(self._sessions) > self._most_sessions else []
        for old in idle:
            old.close()
        return session

    def _make_session(self, origin: Origin) -> OriginSession:
        policy = self._policies.for_origin(origin)
        proxy = route_through(origin, policy, self._config)
        tls = self._contexts.get(policy) if origin.scheme == "https" else None
        proxy_tls = self._contexts.get_for_proxy(policy) if is_https(proxy) else None
        try:
            return OriginSession(
                origin, policy, Way(self._buffers, proxy, tls, proxy_tls), partial(self._route_to, origin)
            )
        except UsageError as exc:
            raise CredentialsMissing(f"no proxy for {origin}: {exc}") from exc

    def _route_to(self, asking: Origin, origin: Origin) -> Route:
        """Return how a request made for one origin travels to another, such as that of a token endpoint."""
        owner = self if origin == asking else self._unnamed
        session = owner._acquire(origin)
        owner._release(session)
        return session.route

    def _pop_idle(self) -> list[OriginSession]:
        excess = len(self._sessions) - self._most_sessions
        idle = [s for s in self._sessions.values() if s.users == 0][:excess]
        for session in idle:
            del self._sessions[session.origin]
        return idle

    def _release(self, session: OriginSession) -> None:
        with self._lock:
            session.users -= 1
