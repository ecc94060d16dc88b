"""Whether a test stands in for the adapter of `requests`; asked without loading it."""

from __future__ import annotations

import sys


def is_replaced() -> bool:
    """Say whether a test stands in for the adapter, as the `responses` library does.

    What nobody has loaded, nobody has replaced. What stands in for a function comes from another
    module, whenever that was put there.
    """
    adapters = sys.modules.get("requests.adapters")
    if adapters is None:
        return False
    send = getattr(getattr(adapters, "HTTPAdapter", None), "send", None)
    return getattr(send, "__globals__", None) is not vars(adapters)
