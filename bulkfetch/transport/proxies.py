"""Which proxy an origin is asked through: by configuration alone, never by the environment (fault C15)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from urllib.parse import unquote

from bulkfetch.auth import text_of
from bulkfetch.config import FetchConfig
from bulkfetch.errors import CredentialsMissing, UsageError
from bulkfetch.models import Origin
from bulkfetch.policy import ClientCert, HostPolicy, split_proxy
from bulkfetch.safetext import register_secret
from bulkfetch.tls import TlsContexts


def contexts_of(config: FetchConfig) -> TlsContexts:
    """Return the TLS settings of a run, with the client certificate of its command line."""
    return TlsContexts(ClientCert(config.client_cert) if config.client_cert else None)


def route_through(origin: Origin, policy: HostPolicy, config: FetchConfig) -> str | None:
    """Return the URL of the proxy that `origin` is asked through.

    Raises:
        NotAuthorised: the proxy's URL is a secret that cannot be had, or is none.
    """
    try:
        if policy.proxy is None:
            proxy = proxy_for(origin, config.proxies, config.no_proxy)
        else:
            proxy = text_of(policy.proxy) or None
        return None if proxy is None else check_proxy(proxy)
    except UsageError as exc:
        raise CredentialsMissing(f"no proxy for {origin}: {exc}") from exc


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


def check_proxy(proxy: str) -> str:
    """Return the URL of a proxy with its credentials registered; one without a scheme is an HTTP proxy.

    Raises:
        UsageError: it is not the URL of a proxy; it is not told, as it may hold a password.
    """
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = split_proxy(url)
    except ValueError as exc:
        raise UsageError(str(exc)) from None
    if parts.password:
        register_secret(parts.password)
        register_secret(unquote(parts.password), unquote(parts.username or ""))
    return url


def is_https(proxy: str | None) -> bool:
    """Say whether the connection to the proxy itself is TLS."""
    return proxy is not None and proxy.lower().startswith("https:")


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
