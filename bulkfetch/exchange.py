"""Each request by the fastest transport that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bulkfetch.config import FetchConfig
from bulkfetch.errors import UsageError
from bulkfetch.models import Head, Origin
from bulkfetch.transport import Transport, is_replaced, proxy_for
from bulkfetch.watchdog import Lease
from bulkfetch.wire import Wire


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

    def pour(self, file: int, /) -> int:
        """Move what has arrived into an open file past this program's memory; 0 where only `read` will do."""

    def close(self) -> None:
        """Give the connection back, or close it."""


class Exchange:
    """Sends plain requests over connections of our own, and all others through `requests`.

    Left to `requests` are origins behind a proxy, with an auth object, or that have set a cookie; whatever
    must keep to public addresses; and everything while its adapter is replaced, as `responses` does.
    """

    def __init__(self, config: FetchConfig, *, most_origins: int = 256) -> None:
        if config.transport == "fast" and (config.proxies or config.auth):
            raise UsageError(
                "the fast transport knows neither proxies nor auth objects: use auto or requests"
            )
        self._config = config
        self._general = Transport(config, most_sessions=most_origins)
        self._wire = Wire(config, most_origins=most_origins)
        self._never = config.transport == "requests"
        self._is_plain = not config.proxies and not config.auth
        self._with_cookies: set[Origin] = set()

    def open(
        self, origin: Origin, url: str, headers: Mapping[str, str], lease: Lease, *, public_only: bool = False
    ) -> Reply:
        """Send a GET and return the reply once its head is here; redirects are not followed.

        Raises:
            TransferError: no usable answer came.
        """
        if public_only or self._never or not self._serves(origin) or is_replaced():
            return self._general.open(origin, url, headers, lease, public_only=public_only)
        reply = self._wire.open(origin, url, headers, lease)
        if reply.cookies:
            self._general.keep_cookies(origin, url, reply.cookies)
            self._with_cookies.add(origin)
        return reply

    def close(self) -> None:
        """Close every idle connection."""
        self._wire.close()
        self._general.close()

    def _serves(self, origin: Origin) -> bool:
        """Say whether our own connections can do what this origin needs."""
        if origin in self._with_cookies:
            return False
        if self._is_plain:
            return True
        config = self._config
        has_auth = bool(config.auth) and origin.host in config.auth
        return not has_auth and proxy_for(origin, config.proxies, config.no_proxy) is None
