"""A strict reading of netrc files (fault A04): the exact host or nothing, and no file others may read."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from pathlib import Path

from bulkfetch.errors import UsageError
from bulkfetch.safetext import clean, register_secret
from bulkfetch.secrets import is_exposed

_OTHERS = 0o077


def netrc_path(environ: Mapping[str, str], home: Path) -> Path:
    """Return the file meant when none is named."""
    if named := environ.get("NETRC"):
        return Path(named)
    windows = home / "_netrc"
    return windows if os.name == "nt" and windows.exists() else home / ".netrc"


def read_netrc(path: Path, host: str) -> tuple[str, str] | None:
    """Return user and password for `host`; the `default` entry is for nobody.

    Raises:
        UsageError: the file is missing, broken, or open to other users.
    """
    name = clean(str(path))
    if is_exposed(path, _OTHERS):
        raise UsageError(f"other users may read {name}, so it is not used: chmod 600 it")
    try:
        hosts = netrc.netrc(str(path)).hosts
    except netrc.NetrcParseError as exc:  # its text repeats what it could not read
        raise UsageError(f"{name}, line {exc.lineno}: not a netrc file") from None
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "not UTF-8 text"
        raise UsageError(f"{name} cannot be read: {why}") from None
    hosts.pop("default", None)
    entry = {known.lower(): entry for known, entry in hosts.items()}.get(host.lower())
    if entry is None or not entry[2]:
        return None
    user, _, password = entry
    register_secret(password, user)
    return user, password
