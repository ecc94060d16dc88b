"""Whether the program has come to its end while a run goes on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor


class Ending:
    """Sees the interpreter begin to end, which then waits for every thread of a pool (fault P14).

    The first sign that shows in the open: a pool's idle threads end. Here is one that does nothing else.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="bulkfetch-ending")
        self._thread = self._pool.submit(threading.current_thread).result()

    def has_begun(self) -> bool:
        """Say whether the program ends."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown()
