"""The versions that matter in a bug report."""

from __future__ import annotations

import ssl
import sys
from importlib import metadata

import requests


def versions() -> str:
    """Return the versions that matter in a bug report."""
    python = ".".join(map(str, sys.version_info[:3]))
    parts = (f"requests {requests.__version__}", f"urllib3 {metadata.version('urllib3')}", f"Python {python}")
    return ", ".join((*parts, ssl.OPENSSL_VERSION))
