"""Which proxy an origin is asked through: by configuration alone, never by the environment (fault C15)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from bulkfetch.auth import text_of
from bulkfetch.config import FetchConfig
from bulkfetch.errors import NotAuthorised, UsageError
from bulkfetch.models import Origin
from bulkfetch.policy import HostPolicy


def route_through(origin: Origin, policy: HostPolicy, config: FetchConfig) -> str | None:
    """Return the URL of the proxy that `origin` is asked through.

    Raises:
        NotAuthorised: the proxy's URL is a secret that cannot be had.
    """
    if policy.proxy is None:
        return proxy_for(origin, config.proxies, config.no_proxy)
    try:
        return text_of(policy.proxy) or None
    except UsageError as exc:
        raise NotAuthorised(f"no proxy for {origin}: {exc}") from exc


def proxy_for(origin: Origin, proxies: Iterable[tuple[str, str]], no_proxy: str) -> str | None:
    """Return the URL of the proxy for `origin`, or None to connect directly.

    Args:
        origin: whom to ask.
        proxies: (scheme or "all", proxy URL) pairs.
        no_proxy: hosts asked directly, separated by commas: "*", names with their sub-domains,
            addresses, networks in CIDR form; each may end in ":port".
    """
    chosen = dict(proxies)
    proxy = chosen.get(origin.scheme) or chosen.get("all")
    if not proxy:
        return None
    patterns = (pattern.strip().lower() for pattern in no_proxy.split(","))
    return None if any(_matches(pattern, origin) for pattern in patterns if pattern) else proxy


def _matches(pattern: str, origin: Origin) -> bool:
    if pattern == "*" or _has_address(pattern, origin.host):
        return True
    name, colon, port = pattern.rpartition(":")
    if colon and port.isdecimal():
        if int(port) != origin.port:
            return False
        pattern = name
    name = pattern.removeprefix("*").strip("[]").lstrip(".")
    return origin.host == name or origin.host.endswith(f".{name}")


def _has_address(pattern: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(pattern, strict=False)
    except ValueError:
        return False
