"""Plain GETs over pools of connections, one pool for each origin."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial

from bulkfetch.addresses import PeerOf, host_part
from bulkfetch.config import FetchConfig
from bulkfetch.models import Origin
from bulkfetch.policy import Policies
from bulkfetch.tls import TlsContexts
from bulkfetch.watchdog import Lease
from bulkfetch.wire.buffers import Buffers
from bulkfetch.wire.lane import Lane
from bulkfetch.wire.pool import Pool
from bulkfetch.wire.reply import Reply
from bulkfetch.wire.request import Template

_MOST_ORIGINS = 256  # pools kept; beyond, the one made first is closed


class Wire:
    """Sends GETs and returns replies; knows no proxies, no auth and no cookies."""

    def __init__(
        self,
        config: FetchConfig,
        policies: Policies | None = None,
        contexts: TlsContexts | None = None,
        *,
        most_origins: int = _MOST_ORIGINS,
        peer_of: PeerOf = host_part,
    ) -> None:
        self._peer_of = peer_of if config.untrusted else None  # None: nobody asks
        self._most_origins = most_origins
        self._policies = policies or Policies(config)
        self._contexts = contexts or TlsContexts()
        self._buffers = Buffers()
        self._pools: dict[Origin, tuple[Pool, Template]] = {}
        self._lock = threading.Lock()  # guards _pools, for writing

    def open(self, origin: Origin, url: str, headers: Mapping[str, str], lease: Lease) -> Reply:
        """Send a GET and return the reply once its head is here; `lease` must be watched.

        Raises:
            TransferError: no usable answer came.
        """
        pool, template = self._find(origin)
        request = template.render(url, headers)
        if lease.traced:
            lease.said(str(request, "latin-1").split("\r\n")[:-2])
        answer, connection = pool.ask(request, lease)
        lease.stream()
        return Reply(answer, connection, pool)

    def lane(self, origin: Origin, lease: Lease) -> Lane:
        """Return what sends plain GETs to an origin one after another; `lease` must be watched."""
        return Lane(partial(self._find, origin), lease)

    def drop_idle(self, origin: Origin) -> None:
        """Close the idle connections to an origin."""
        known = self._pools.get(origin)
        if known is not None:
            known[0].drop_idle()

    def leave(self, origin: Origin) -> None:
        """Close the connections to an origin, those in use when they come back."""
        with self._lock:
            known = self._pools.pop(origin, None)
        if known is not None:
            known[0].close()

    def close(self) -> None:
        """Close every connection that is idle now, and the others when their replies are closed."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool, _ in pools:
            pool.close()

    def _find(self, origin: Origin) -> tuple[Pool, Template]:
        return self._pools.get(origin) or self._add(origin)

    def _add(self, origin: Origin) -> tuple[Pool, Template]:
        policy = self._policies.for_origin(origin)
        context = self._contexts.get(policy) if origin.scheme == "https" else None
        template = Template(origin, policy.user_agent)
        pool = Pool(origin, policy, self._buffers, context, self._peer_of)
        with self._lock:
            made = self._pools.setdefault(origin, (pool, template))
            oldest = next(iter(self._pools)) if len(self._pools) > self._most_origins else None
            old = None if oldest is None else self._pools.pop(oldest)
        if old is not None:
            old[0].close()
        return made
