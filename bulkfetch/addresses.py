"""Whether an IP address belongs to the public internet (faults A09, A10).

Decided by the IANA special-purpose registries as written here, not by `ipaddress.is_global`, whose
tables differ between Python releases. Where a range is partly public, the whole range is refused:
files are not served from there.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from bulkfetch.errors import UrlRefused

_NOT_PUBLIC = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host, RFC 1122; Linux connects 0.0.0.0 to the loopback
            "10.0.0.0/8",  # private, RFC 1918
            "100.64.0.0/10",  # behind a carrier's NAT, RFC 6598; a cloud's metadata at 100.100.100.200
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # a cloud's metadata, though its range is public
            "169.254.0.0/16",  # link-local, RFC 3927; metadata at 169.254.169.254
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments, RFC 6890; a cloud's metadata at 192.0.0.192
            "192.0.2.0/24",  # documentation, RFC 5737
            "192.88.99.0/24",  # 6to4 relays, withdrawn by RFC 7526
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks, RFC 2544
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that RFC 4291 section 2.4 has given out
_NOT_PUBLIC_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation, RFC 3849
            "3fff::/20",  # documentation, RFC 9637
        ),
    )
)
_SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056: the IPv4 address follows the prefix
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the IPv4 address comes last
_LAST_32 = 0xFFFF_FFFF


PeerOf = Callable[[tuple[Any, ...]], str]


def host_part(address: tuple[Any, ...]) -> str:
    """Return whom a socket address names."""
    return str(address[0])


def check_public(peer: str) -> None:
    """Raise `UrlRefused` for a peer that a list from a stranger must not lead to."""
    if not is_public(peer):
        raise UrlRefused(f"the host is at {peer}, which is no public address (--untrusted)")


def is_address(host: str) -> bool:
    """Say whether a host is written as an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Say whether `address` is an IP address, in the usual notation, that anyone may be sent to."""
    try:
        parsed = ip_address(address)
    except ValueError:  # a name, or a notation only some resolvers read (0177.1, 2130706433)
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_4(parsed)
    if parsed.scope_id is not None:  # meaningful on one link only
        return False
    embedded = _embedded(parsed)
    if embedded is not None:
        return _is_public_4(embedded)
    return parsed in _GLOBAL_UNICAST and not any(parsed in network for network in _NOT_PUBLIC_6)


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that packets for `address` end up at, if its form names one."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & _LAST_32)
    if address in _SIX_TO_FOUR:
        return IPv4Address(int(address) >> 80 & _LAST_32)
    return None
