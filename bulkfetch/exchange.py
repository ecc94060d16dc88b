"""Each request by the fastest transport that serves it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bulkfetch.addresses import PeerOf, host_part
from bulkfetch.config import FetchConfig
from bulkfetch.errors import UsageError
from bulkfetch.models import Head, Origin, Request
from bulkfetch.policy import NO_COOKIES, HostPolicy, Policies
from bulkfetch.transport import contexts_of, is_replaced, route_through
from bulkfetch.watchdog import Lease
from bulkfetch.wire import Lane, Wire
from bulkfetch.wire import Reply as WireReply

if TYPE_CHECKING:
    from bulkfetch.transport import Applied, Transport

_MOST_WAYS = 4096  # remembered


class Reply(Protocol):
    """A final answer; whoever gets one closes it."""

    @property
    def head(self) -> Head:
        """What the answer says of itself."""

    @property
    def peer(self) -> str | None:
        """The address the connection leads to; None when a proxy hides it."""

    @property
    def surplus(self) -> bool:
        """Whether more bytes came than had been declared (fault B04)."""

    def read(self, size: int) -> bytes | memoryview:
        """Return what has arrived, valid until the next call; empty at the end of the body."""

    def peek_whole(self) -> memoryview | None:
        """Return the body if it is known to be here as a whole and to hold something; it stays to be read."""

    def take_whole(self) -> None:
        """Go past the body that `peek_whole` has returned."""

    def pour(self, file: int, /) -> int:
        """Move what has arrived into an open file past this program's memory; 0 where only `read` will do."""

    def close(self) -> None:
        """Give the connection back, or close it."""


class _Way(NamedTuple):
    """How requests under one policy travel to one origin."""

    is_plain: bool  # our own connections can do it
    applied: Applied | None = None  # what is added to each; None: nothing
    is_bare: bool = False  # any process can send them: nothing of the host's own goes with them


class Exchange:
    """Sends plain requests over connections of our own, and all others through `requests`.

    Left to `requests` are origins behind a proxy, with a login, cookies, the system's trust store or an auth
    object that must see requests and answers; what is no plain GET; a redirect that must keep to public
    addresses; and everything while its adapter is replaced, as `responses` does.

    Args:
        config: how the run behaves.
        policies: what holds for which host; None: the configuration alone.
        most_origins: whose idle connections are kept.
        peer_of: whom the address a socket was connected to stands for.
        tell_cookies: takes the cookies that a plain answer has set: its origin and URL, and the values.

    Raises:
        UsageError: the fast transport was asked for where it cannot serve.
    """

    def __init__(
        self,
        config: FetchConfig,
        policies: Policies | None = None,
        *,
        most_origins: int = 256,
        peer_of: PeerOf = host_part,
        tell_cookies: Callable[[Origin, str, Sequence[str]], None] | None = None,
    ) -> None:
        if config.transport == "fast" and (config.proxies or config.auth):
            raise UsageError(
                "the fast transport knows neither proxies nor auth objects: use auto or requests"
            )
        self._config = config
        self._policies = policies = policies or Policies(config)
        self._contexts = contexts_of(config)
        self._most_origins = most_origins
        self._peer_of = peer_of
        self._tell_cookies = tell_cookies
        self._general: Transport | None = None
        self._lock = threading.Lock()  # guards _general
        self._wire = Wire(config, policies, self._contexts, most_origins=most_origins, peer_of=peer_of)
        self._ways: dict[tuple[Origin, HostPolicy], _Way] = {}
        self._with_cookies: set[Origin] = set()

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
    ) -> Reply:
        """Send a request, by default a GET, and return the reply once its head is here; follows no redirect.

        For the arguments see `Transport.open`.

        Raises:
            TransferError: no usable answer came.
        """
        policy = self._policies.for_url(url)
        way = self._way(origin, policy)
        is_stranger = not named and self._config.client_cert is not None  # must not see our certificate
        is_plain = way.is_plain and request is None and (not public_only or self._config.untrusted)
        if is_stranger or not is_plain or origin in self._with_cookies or is_replaced():
            general = self._by_requests().open(
                origin, url, headers, lease, public_only=public_only, request=request, named=named
            )
            if way.is_bare and policy.keep_cookies and (values := general.cookies):
                self._note_cookies(origin, url, values)
            return general
        asked = url
        if way.applied is not None:
            asked, headers = way.applied.sent_url(url), {**way.applied.fields, **headers}
        reply = self._wire.open(origin, asked, headers, lease)
        self._take_cookies(reply, origin, url)
        return reply

    def lane(self, origin: Origin, lease: Lease) -> Lane:
        """Return what sends GETs that `is_direct` allows to an origin, one after another."""
        return self._wire.lane(origin, lease)

    def open_lane(self, lane: Lane, origin: Origin, url: str) -> Reply:
        """Return the reply to the request for `url` that a lane has sent, or raise why there is none."""
        reply = lane.open()
        self._take_cookies(reply, origin, url)
        return reply

    def is_direct(self, origin: Origin, url: str) -> bool:
        """Say whether a plain GET there is bare, and travels over our own connections."""
        way = self._bare_way(origin, url)
        return way is not None and way.is_plain

    def keep_cookies(self, origin: Origin, url: str, values: Sequence[str]) -> None:
        """Send cookies that the answer from `url` has set with what is asked there from now on."""
        self._leave_to_requests(origin)
        self._by_requests().keep_cookies(origin, url, values)

    def _take_cookies(self, reply: WireReply, origin: Origin, url: str) -> None:
        """Keep the cookies that a plain answer has set."""
        if reply.cookies and self._policies.for_url(url).keep_cookies:
            self._note_cookies(origin, url, reply.cookies)
            self._by_requests().keep_cookies(origin, url, reply.cookies)

    def _note_cookies(self, origin: Origin, url: str, values: Sequence[str]) -> None:
        self._leave_to_requests(origin)
        if self._tell_cookies is not None:
            self._tell_cookies(origin, url, values)

    def _leave_to_requests(self, origin: Origin) -> None:
        if origin not in self._with_cookies:
            self._with_cookies.add(origin)
            self._wire.leave(origin)  # or the host would see those connections and ours

    def is_bare(self, origin: Origin, url: str) -> bool:
        """Say whether a plain GET there carries nothing but its URL and the fields of all requests."""
        return self._bare_way(origin, url) is not None

    def drop_idle(self, origin: Origin) -> None:
        """Close the idle connections to an origin."""
        self._wire.drop_idle(origin)
        if self._general is not None:
            self._general.drop_idle(origin)

    def close(self) -> None:
        """Close every idle connection."""
        self._wire.close()
        if self._general is not None:
            self._general.close()

    def _by_requests(self) -> Transport:
        """Return the transport for everything else, made on first use: loading it costs 100 ms."""
        with self._lock:
            if self._general is None:
                from bulkfetch.transport import Transport

                self._general = Transport(
                    self._config,
                    self._policies,
                    self._contexts,
                    most_sessions=self._most_origins,
                    peer_of=self._peer_of,
                )
            return self._general

    def _bare_way(self, origin: Origin, url: str) -> _Way | None:
        policy = self._policies.for_url(url)
        if not _is_bare(policy) or origin in self._with_cookies:  # what goes with it need not be known here
            return None
        way = self._way(origin, policy)
        return way if way.is_bare and not is_replaced() else None

    def _way(self, origin: Origin, policy: HostPolicy) -> _Way:
        way = self._ways.get((origin, policy))
        if way is None:
            if len(self._ways) >= _MOST_WAYS:
                self._ways.clear()
            way = self._ways.setdefault((origin, policy), self._find_way(origin, policy))
        return way

    def _find_way(self, origin: Origin, policy: HostPolicy) -> _Way:
        asks_more = policy.login is not None or policy.cookies != NO_COOKIES or policy.verify == "system"
        if asks_more or route_through(origin, policy, self._config):
            return _Way(is_plain=False)
        is_bare = _is_bare(policy)
        is_plain = policy.transport != "requests"
        if is_bare or not is_plain:
            return _Way(is_plain, is_bare=is_bare)
        applied = self._by_requests().applied(origin, policy)
        return _Way(is_plain=applied.auth is None, applied=applied)


def _is_bare(policy: HostPolicy) -> bool:
    return not (policy.headers or policy.params or policy.auth)
