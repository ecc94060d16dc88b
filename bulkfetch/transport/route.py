"""How a request of ours, such as a login or one for a token, travels to an origin that is not the entry's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from requests.adapters import BaseAdapter


@dataclass(frozen=True, slots=True)
class Route:
    """How requests travel to an origin: by the adapter and with the settings of its own policy."""

    adapter: BaseAdapter
    options: Mapping[str, Any]  # timeout, verify, cert and proxies, as `requests` takes them
