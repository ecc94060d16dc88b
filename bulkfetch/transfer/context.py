"""What the attempts of one worker share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from bulkfetch.config import FetchConfig
from bulkfetch.events import Exchanged, Progress
from bulkfetch.exchange import Exchange
from bulkfetch.limits import NoLimit, TokenBucket
from bulkfetch.models import Sharing
from bulkfetch.policy import Policies
from bulkfetch.store import LocalStore
from bulkfetch.transfer.beside import Cores
from bulkfetch.watchdog import Lease


@dataclass(frozen=True, slots=True)
class Context:
    """What the attempts of one worker share."""

    config: FetchConfig
    policies: Policies
    store: LocalStore
    exchange: Exchange
    bucket: TokenBucket | NoLimit
    stop: threading.Event
    lease: Lease
    emit: Callable[[Progress | Sharing | Exchanged], None]  # never blocks
    cores: Cores = field(default_factory=Cores)  # one for all workers of a run
