"""How a proxy is named."""

from __future__ import annotations

import contextlib
from urllib.parse import SplitResult, urlsplit

_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def split_proxy(url: str) -> SplitResult:
    """Return the parts of a proxy's URL.

    Raises:
        ValueError: it is none; it is not told, as it may hold a password.
    """
    parts, has_port = SplitResult("", "", "", "", ""), False
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    if not has_port or parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(f"a proxy is a URL whose scheme is one of {', '.join(_SCHEMES)}")
    return parts
