"""Concurrent bulk fetcher: a manifest of URLs becomes verified files.

>>> import bulkfetch
>>> for outcome in bulkfetch.fetch(["https://example.org/a.csv"], dest="data"):  # doctest: +SKIP
...     print(outcome.status, outcome.path, outcome.sha256)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bulkfetch._version import __version__

if TYPE_CHECKING:
    from bulkfetch.config import FetchConfig
    from bulkfetch.errors import BulkfetchError, DestinationLocked, ManifestError, UsageError
    from bulkfetch.fetcher import Fetcher, fetch
    from bulkfetch.manifest import read_manifest
    from bulkfetch.models import BadLine, Entry, Failure, Outcome, Status
    from bulkfetch.policy import policy_from_table, read_policy
    from bulkfetch.summary import Summary

# Public name -> module; loaded on first use, so that `bulkfetch --version` imports no requests.
_HOME = {
    "BadLine": "models",
    "BulkfetchError": "errors",
    "DestinationLocked": "errors",
    "Entry": "models",
    "Failure": "models",
    "FetchConfig": "config",
    "Fetcher": "fetcher",
    "ManifestError": "errors",
    "Outcome": "models",
    "Status": "models",
    "Summary": "summary",
    "UsageError": "errors",
    "fetch": "fetcher",
    "policy_from_table": "policy",
    "read_manifest": "manifest",
    "read_policy": "policy",
}

__all__ = [
    "BadLine",
    "BulkfetchError",
    "DestinationLocked",
    "Entry",
    "Failure",
    "FetchConfig",
    "Fetcher",
    "ManifestError",
    "Outcome",
    "Status",
    "Summary",
    "UsageError",
    "__version__",
    "fetch",
    "policy_from_table",
    "read_manifest",
    "read_policy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bulkfetch' has no attribute {name!r}")
    value = getattr(import_module(f"bulkfetch.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
