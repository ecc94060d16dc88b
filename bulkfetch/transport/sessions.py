"""The pooled `requests` session of one origin; it follows no redirects and reads no environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import get_cookie_header
from requests.structures import CaseInsensitiveDict

from bulkfetch.config import FetchConfig
from bulkfetch.models import Origin
from bulkfetch.transport.connections import _POOLS

_MOST_COOKIES = 64  # per origin (fault X07)


class _Adapter(HTTPAdapter):
    """Uses our connections, through a proxy too; never retries by itself."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        created = super().proxy_manager_for(proxy, **kwargs)
        if not known and not proxy.lower().startswith("socks"):
            created.pool_classes_by_scheme = _POOLS
        return created


class _Session(requests.Session):
    """Never looks at a redirect: requests would read its whole body into memory (fault A07)."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class OriginSession:
    """The pooled session of one origin: its headers, auth and cookies go nowhere else."""

    def __init__(self, origin: Origin, config: FetchConfig) -> None:
        self.origin = origin
        self.users = 0  # attempts under way; guarded by the transport's lock
        self._session = session = _Session()
        session.trust_env = False
        self._headers = {"User-Agent": config.user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        adapter = _Adapter(pool_connections=1, pool_maxsize=config.per_host, max_retries=0)
        session.adapters.clear()
        session.mount(f"{origin.scheme}://", adapter)
        self._auth = config.auth.get(origin.host) if config.auth else None
        self._options: dict[str, Any] = {
            "stream": True,
            "allow_redirects": False,
            "timeout": (config.connect_timeout, config.idle_timeout),
            "verify": config.ca_bundle or True,
            "cert": None,
            "proxies": _proxies_for(origin, config),
        }

    def send(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Send one request and return when the head of its answer is here."""
        request = requests.PreparedRequest()
        request.method = method
        request.url = url
        request.headers = CaseInsensitiveDict({**self._headers, **headers})
        request._cookies = self._session.cookies  # type: ignore[attr-defined]
        request.hooks = {"response": []}
        if self._session.cookies:
            self._add_cookies(request)
        if self._auth is not None:
            request.prepare_auth(self._auth, url)
        return self._session.send(request, **self._options)

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _add_cookies(self, request: requests.PreparedRequest) -> None:
        jar = self._session.cookies
        if len(jar) > _MOST_COOKIES:
            jar.clear()
            return
        if cookies := get_cookie_header(jar, request):  # type: ignore[no-untyped-call]
            request.headers["Cookie"] = cookies


def _proxies_for(origin: Origin, config: FetchConfig) -> dict[str, str]:
    proxies = dict(config.proxies)
    if not proxies or requests.utils.should_bypass_proxies(str(origin), config.no_proxy):
        return {}
    chosen = proxies.get(origin.scheme) or proxies.get("all")
    return {origin.scheme: chosen} if chosen else {}
