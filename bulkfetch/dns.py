"""Name look-ups with a bound: `getaddrinfo` has none and cannot be interrupted (fault C05)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from bulkfetch.errors import DnsFailed

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
_STEP = 0.1  # seconds between looks at the caller's own bounds


def resolve(host: str, port: int, seconds: float, check: Callable[[], None]) -> list[Address]:
    """Return the addresses of `host` within `seconds`.

    The look-up runs in a thread of its own, left behind when it does not answer; `check` is called
    while waiting and may raise.
    """
    if _is_address(host):
        return _look_up(host, port)
    box: list[list[Address] | DnsFailed] = []
    done = threading.Event()

    def ask() -> None:
        try:
            box.append(_look_up(host, port))
        except DnsFailed as exc:
            box.append(exc)
        done.set()

    threading.Thread(target=ask, name=f"bulkfetch-dns-{host}", daemon=True).start()
    waited = 0.0
    while not done.wait(_STEP):
        check()
        waited += _STEP
        if waited >= seconds:
            raise DnsFailed(f"no answer to the name look-up of {host} within {seconds:g} s")
    found = box[0]
    if isinstance(found, DnsFailed):
        raise found
    return found


def _look_up(host: str, port: int) -> list[Address]:
    try:
        # A name that is text is looked up in the tables of international names, which take long to load.
        asked = host.encode() if _is_address(host) else host
        rows = socket.getaddrinfo(asked, port, 0, socket.SOCK_STREAM)
    except (OSError, ValueError) as exc:  # a label IDNA refuses is a UnicodeError, a ValueError
        raise DnsFailed(f"no address for {host}: {getattr(exc, 'strerror', None) or exc}") from exc
    return [(socket.AddressFamily(row[0]), row[4]) for row in rows]


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
