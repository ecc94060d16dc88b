"""What the attempts of one worker share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from bulkfetch.config import FetchConfig
from bulkfetch.events import Exchanged, Notice, Progress
from bulkfetch.exchange import Exchange
from bulkfetch.limits import Buckets
from bulkfetch.models import Sharing
from bulkfetch.policy import Policies
from bulkfetch.store import LocalStore
from bulkfetch.transfer.beside import Cores
from bulkfetch.transfer.gate import Gate
from bulkfetch.watchdog import Lease


@dataclass(frozen=True, slots=True)
class Context:
    """What the attempts of one worker share."""

    config: FetchConfig
    policies: Policies
    store: LocalStore
    exchange: Exchange
    buckets: Buckets
    stop: threading.Event
    lease: Lease
    emit: Callable[[Progress | Sharing | Exchanged | Notice], None]  # never blocks
    cores: Cores = field(default_factory=Cores)  # one for all workers of a run
    gate: Gate | None = None  # None: no policy asks for robots.txt
