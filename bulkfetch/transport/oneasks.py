"""Something all workers need and one of them gets, while the others wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from bulkfetch.errors import NotAuthorised, ServerFailed

_LOOK = 0.2  # seconds between looks at whether the attempt was cut while another worker asks
_REFUSED_FOR = 300.0  # seconds a refusal holds: asking for every entry would lock the account

T = TypeVar("T")


class OneAsks(Generic[T]):
    """Whoever needs it first asks; the others wait for that answer, good or bad.

    Args:
        ask: gets it, in the thread that needed it first.
        keep: stores what was got, or that nothing was; called under the lock.
        check: raises when the attempt of the calling thread was cut.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ask: Callable[[], T],
        keep: Callable[[T | None], None],
        check: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._keep = keep
        self._check = check
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows and what `keep` stores
        self._asking: Future[T] | None = None
        self._refusal: NotAuthorised | None = None
        self._refused_until = 0.0

    def get(self, known: Callable[[], T | None]) -> T:
        """Return what is `known`, which is looked up under the lock, or what asking brings.

        Raises:
            TransferError: asking failed, for all who wait.
        """
        while True:
            with self._lock:
                found = known()
                if found is not None:
                    return found
                if self._refusal is not None and self._clock() < self._refused_until:
                    raise type(self._refusal)(str(self._refusal), status_code=self._refusal.status_code)
                asking = self._asking
                if asking is None:
                    ours = self._asking = Future()
            if asking is None:
                return self._ask_for_all(ours)
            while not asking.done():
                wait([asking], timeout=_LOOK)
                self._check()
            try:
                return asking.result()
            except _AskAgain:
                continue

    def _ask_for_all(self, asking: Future[T]) -> T:
        try:
            got = self._ask()
        except BaseException as exc:
            self._end(None, exc)
            # That this attempt was cut is no news to the others.
            asking.set_exception(exc if isinstance(exc, NotAuthorised | ServerFailed) else _AskAgain())
            raise
        self._end(got)
        asking.set_result(got)
        return got

    def _end(self, got: T | None, error: BaseException | None = None) -> None:
        with self._lock:
            self._keep(got)
            if isinstance(error, NotAuthorised):
                self._refusal, self._refused_until = error, self._clock() + _REFUSED_FOR
            self._asking = None


class _AskAgain(Exception):
    """Whoever asked was cut; somebody else must."""
