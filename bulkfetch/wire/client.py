"""Plain GETs over pools of connections, one pool for each origin."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping

from bulkfetch.config import FetchConfig
from bulkfetch.errors import TlsFailed
from bulkfetch.models import Origin
from bulkfetch.watchdog import Lease
from bulkfetch.wire.buffers import Buffers
from bulkfetch.wire.pool import Pool
from bulkfetch.wire.reply import Reply
from bulkfetch.wire.request import Template
from bulkfetch.wire.tls import make_context

_MOST_ORIGINS = 256  # pools kept; beyond, the one made first is closed


class Wire:
    """Sends GETs and returns replies; knows no proxies, no auth and no cookies."""

    def __init__(self, config: FetchConfig, *, most_origins: int = _MOST_ORIGINS) -> None:
        self._most_origins = most_origins
        self._config = config
        self._buffers = Buffers()
        self._pools: dict[Origin, tuple[Pool, Template]] = {}
        self._lock = threading.Lock()  # guards _pools, for writing
        self._context: ssl.SSLContext | None = None
        self._context_lock = threading.Lock()  # guards _context: the roots are read once, others wait for it

    def open(self, origin: Origin, url: str, headers: Mapping[str, str], lease: Lease) -> Reply:
        """Send a GET and return the reply once its head is here; `lease` must be watched.

        Raises:
            TransferError: no usable answer came.
        """
        known = self._pools.get(origin)
        pool, template = self._add(origin) if known is None else known
        request = template.render(url, headers)
        answer, connection = pool.ask(request, lease)
        lease.stream()
        lease.what = "the wait for more of the body"  # should its bound pass
        return Reply(answer, connection, pool)

    def close(self) -> None:
        """Close every connection that is idle now, and the others when their replies are closed."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool, _ in pools:
            pool.close()

    def _add(self, origin: Origin) -> tuple[Pool, Template]:
        context = self._tls() if origin.scheme == "https" else None
        template = Template(origin, self._config.user_agent)
        pool = Pool(origin, self._config, self._buffers, context)
        with self._lock:
            made = self._pools.setdefault(origin, (pool, template))
            oldest = next(iter(self._pools)) if len(self._pools) > self._most_origins else None
            old = None if oldest is None else self._pools.pop(oldest)
        if old is not None:
            old[0].close()
        return made

    def _tls(self) -> ssl.SSLContext:
        with self._context_lock:
            if self._context is None:
                try:
                    self._context = make_context(self._config.ca_bundle)
                except OSError as exc:
                    raise TlsFailed("the CA bundle cannot be read") from exc
            return self._context
