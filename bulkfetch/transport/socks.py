"""Connections through a SOCKS proxy by PySocks (extra `socks`); the lease can cut them at any moment."""

from __future__ import annotations

import socket
import time
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from bulkfetch import dns, errors
from bulkfetch.extras import load_extra
from bulkfetch.safetext import clean, redact
from bulkfetch.transport.connections import Connection, Pool, SecureConnection, SecurePool
from bulkfetch.transport.current import present_lease

_PURPOSE = "a SOCKS proxy"


class Socks(NamedTuple):
    """One SOCKS proxy; a member may be part of the key of a pool, so all of them can be hashed."""

    version: int  # 4 or 5
    host: str
    port: int
    by_name: bool  # the proxy looks names up
    username: str | None = None
    password: str | None = None


def is_socks(proxy: str | None) -> bool:
    """Say whether the URL of a proxy names a SOCKS proxy."""
    return proxy is not None and proxy.lower().startswith("socks")


def parse_socks(proxy: str) -> Socks:
    """Return what the URL of a SOCKS proxy says.

    Raises:
        UsageError: the extra is not installed.
    """
    load_extra("socks", _PURPOSE)
    parts = urlsplit(proxy)
    scheme = parts.scheme.lower()
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    by_name = scheme in ("socks4a", "socks5h")
    return Socks(int(scheme[5]), parts.hostname or "", parts.port or 1080, by_name, user, password)


def open_through(proxy: Socks, host: str, port: int, seconds: float) -> socket.socket:
    """Return a socket that leads to `host` through the proxy, its timeout set to `seconds`.

    Raises:
        TransferError: no such connection could be made in time.
    """
    lease = present_lease()
    end = time.monotonic() + seconds
    target = host if proxy.by_name else _look_up(proxy, host, port, seconds)
    where = f"the proxy {clean(proxy.host)}:{proxy.port}"
    last: errors.TransferError = errors.ConnectFailed(f"no connection through {where} within {seconds:g} s")
    addresses = dns.resolve(proxy.host, proxy.port, seconds, lease.check)
    for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        share = (end - time.monotonic()) / left
        if share <= 0:
            break
        try:
            return _connect(proxy, family, str(address[0]), (target, port), share)
        except OSError as exc:
            lease.check()
            last = _judge(exc, where, seconds)
            last.__cause__ = exc
    raise last


def _look_up(proxy: Socks, host: str, port: int, seconds: float) -> str:
    """Return an address of `host` for a proxy that is not to look it up; version 4 knows only IPv4."""
    addresses = dns.resolve(host, port, seconds, present_lease().check)
    fitting = [a for family, a in addresses if proxy.version == 5 or family == socket.AF_INET]
    if not fitting:
        raise errors.ConnectFailed(f"a SOCKS4 proxy cannot reach {clean(host)}: it has no IPv4 address")
    return str(fitting[0][0])


def _connect(
    proxy: Socks, family: socket.AddressFamily, address: str, target: tuple[str, int], seconds: float
) -> socket.socket:
    library = load_extra("socks", _PURPOSE)
    lease = present_lease()
    sock: Any = library.socksocket(family, socket.SOCK_STREAM)
    try:
        kind = library.SOCKS5 if proxy.version == 5 else library.SOCKS4
        sock.set_proxy(kind, address, proxy.port, proxy.by_name, proxy.username, proxy.password)
        socket.socket.settimeout(sock, seconds)
        sock._timeout = seconds  # PySocks sets it again before it connects, and only then
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lease.attach(sock)
        sock.connect(target)
        # From here on a plain socket: PySocks replaces methods of its own ones.
        plain = socket.socket(family, socket.SOCK_STREAM, fileno=sock.detach())
    except BaseException:
        lease.forget(sock)
        sock.close()
        raise
    plain.settimeout(seconds)
    return plain


def _judge(exc: OSError, where: str, seconds: float) -> errors.TransferError:
    """Return what an error of PySocks means."""
    library = load_extra("socks", _PURPOSE)
    cause = getattr(exc, "socket_err", None) or exc  # its own errors are OSErrors, and wrapped as such
    if isinstance(cause, TimeoutError):
        return errors.ConnectFailed(f"no connection through {where} within {seconds:g} s")
    text = clean(redact(str(cause.strerror or cause)), 120)
    if isinstance(cause, library.SOCKS5AuthError):
        return errors.NotAuthorised(f"{where} refuses us: {text}")
    return errors.ConnectFailed(f"no connection through {where}: {text}")


class _Through(Connection):
    """Opens its socket through a SOCKS proxy."""

    def __init__(self, *args: Any, _socks_options: Any = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self._socks: Socks = dict(_socks_options)["proxy"]

    def _open_socket(self, host: str, port: int, seconds: float) -> tuple[socket.socket, str | None]:
        return open_through(self._socks, host, port, seconds), None


class SocksConnection(_Through):
    """A plain connection through a SOCKS proxy."""


class SecureSocksConnection(_Through, SecureConnection):
    """A TLS connection through a SOCKS proxy."""


class _SocksPool(Pool):
    """Pooled plain connections through a SOCKS proxy."""

    ConnectionCls = SocksConnection


class _SecureSocksPool(SecurePool):
    """Pooled TLS connections through a SOCKS proxy."""

    ConnectionCls = SecureSocksConnection


SOCKS_POOLS = {"http": _SocksPool, "https": _SecureSocksPool}
