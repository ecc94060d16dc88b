"""One session per origin, handed out to attempts."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

import requests

from bulkfetch.config import FetchConfig
from bulkfetch.headers import parse_head
from bulkfetch.models import Head, Origin
from bulkfetch.safetext import clean
from bulkfetch.transport.connections import _current
from bulkfetch.transport.mapping import map_error
from bulkfetch.transport.reply import Reply
from bulkfetch.transport.sessions import OriginSession
from bulkfetch.watchdog import Lease

_MOST_SESSIONS = 256  # sessions kept; idle ones beyond are closed, oldest use first


class Transport:
    """Hands out one session per origin and turns requests into replies."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        self._sessions: OrderedDict[Origin, OriginSession] = OrderedDict()
        self._lock = threading.Lock()  # guards _sessions and each session's `users`

    def open(self, origin: Origin, url: str, headers: Mapping[str, str], lease: Lease) -> Reply:
        """Send a GET and return the reply once its head is here.

        Raises:
            TransferError: no usable answer came.
        """
        session = self._acquire(origin)
        _current.lease = lease
        _current.head_seconds = self._config.idle_timeout
        lease.enter("the answer's head", self._config.connect_timeout + self._config.idle_timeout)
        response: requests.Response | None = None
        try:
            response = session.send("GET", url, headers)
            head = _read_head(response)
        except BaseException as exc:
            if response is not None:
                response.close()
            self._release(session)
            if not isinstance(exc, Exception):
                raise
            lease.check()
            raise map_error(exc) from exc
        lease.stream()
        return Reply(response, head, lease, lambda: self._release(session))

    def close(self) -> None:
        """Close every session."""
        with self._lock:
            sessions = list(self._sessions.values())
            self._sessions.clear()
        for session in sessions:
            session.close()

    def _acquire(self, origin: Origin) -> OriginSession:
        with self._lock:
            session = self._sessions.get(origin)
            if session is None:
                session = self._sessions[origin] = OriginSession(origin, self._config)
            self._sessions.move_to_end(origin)
            session.users += 1
            idle = self._pop_idle()
        for old in idle:
            old.close()
        return session

    def _pop_idle(self) -> list[OriginSession]:
        excess = len(self._sessions) - _MOST_SESSIONS
        if excess <= 0:
            return []
        idle = [s for s in self._sessions.values() if s.users == 0][:excess]
        for session in idle:
            del self._sessions[session.origin]
        return idle

    def _release(self, session: OriginSession) -> None:
        with self._lock:
            session.users -= 1


def _read_head(response: requests.Response) -> Head:
    raw = response.raw
    return parse_head(
        response.status_code, clean(response.reason or "", 80), raw.headers.iteritems(), time.time()
    )
