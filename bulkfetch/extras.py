"""Libraries that only some users need, imported when they are."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bulkfetch.errors import UsageError

EXTRAS = {
    "botocore": "aws",
    "keyring": "keyring",
    "oauthlib": "oauth",
    "protego": "robots",
    "requests_oauthlib": "oauth",
    "socks": "socks",
    "truststore": "truststore",
}


def load_extra(module: str, purpose: str) -> Any:
    """Return a module of one of the libraries in `EXTRAS`.

    Raises:
        UsageError: it is not installed; the message names the extra that brings it.
    """
    library = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as exc:
        text = f"{purpose} needs {library}: install bulkfetch[{EXTRAS[library]}]"
        raise UsageError(text) from exc
