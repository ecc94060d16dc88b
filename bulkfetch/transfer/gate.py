"""What robots.txt has to say about a request, asked for once per host before its first entry."""

from __future__ import annotations

import threading
import time

from bulkfetch import errors
from bulkfetch.addresses import is_public
from bulkfetch.codings import choose_decoder
from bulkfetch.events import Notice
from bulkfetch.exchange import Exchange, Reply
from bulkfetch.models import Origin
from bulkfetch.retry import REDIRECTS
from bulkfetch.robots import MOST_BYTES, Robots
from bulkfetch.screening import refuse_url
from bulkfetch.urls import join_redirect, origin_of
from bulkfetch.watchdog import Lease

_NAME = "robots.txt"
_MOST_HOPS = 5  # redirects, RFC 9309 section 2.3.1.2
_MOST_SECONDS = 30.0
_MOST_HOSTS = 1024
_CHUNK = 64 * 1024


class Gate:
    """Lets pass what robots.txt allows. Shared by all workers.

    A host whose policy asks for it gets one request at a time until its robots.txt is known, so no two
    workers ask for the same one.

    Args:
        exchange: what asks.
        untrusted: redirects lead only where a stranger's list may.
        most_hosts: whose rules are kept; beyond, those asked for first are forgotten.
    """

    def __init__(self, exchange: Exchange, *, untrusted: bool = False, most_hosts: int = _MOST_HOSTS) -> None:
        self._exchange = exchange
        self._most_hosts = most_hosts
        self._untrusted = untrusted
        self._known: dict[Origin, tuple[Robots, str]] = {}  # with the reason why something is not allowed
        self._lock = threading.Lock()  # guards _known, for writing
        self._warned: set[Origin] = set()

    def check(
        self, origin: Origin, url: str, lease: Lease, *, public_only: bool = False, named: bool = True
    ) -> tuple[float, str]:
        """Return the least seconds between two requests, and why this one is not allowed or "".

        For the arguments see `Transport.open`.

        Raises:
            TransferError: the host could not be asked.
        """
        known = self._known.get(origin)
        if known is None:
            with lease.aside():
                known = self._ask(origin, lease, public_only, named)
            self._keep(origin, known)
        rules, reason = known
        is_allowed = rules.allows("/" + url.split("/", 3)[3])
        return rules.crawl_delay or 0.0, "" if is_allowed else reason

    def _keep(self, origin: Origin, known: tuple[Robots, str]) -> None:
        with self._lock:
            self._known[origin] = known
            if len(self._known) > self._most_hosts:
                del self._known[next(iter(self._known))]

    def warning(self, origin: Origin, reason: str) -> Notice | None:
        """Return what to tell of a host for which nothing was told yet."""
        if origin in self._warned:
            return None
        self._warned.add(origin)
        return Notice(f"{reason}; it is fetched all the same, as may be others of this host")

    def _ask(self, origin: Origin, lease: Lease, public_only: bool, named: bool) -> tuple[Robots, str]:
        where, url = origin, f"{origin}/{_NAME}"
        for hop in range(_MOST_HOPS + 1):
            is_named = named and where == origin
            try:
                reply = self._exchange.open(where, url, {}, lease, public_only=public_only, named=is_named)
            except errors.RedirectRefused:
                if hop == 0:  # the entry itself has been led here
                    raise
                break
            try:
                head = reply.head
                if head.status == 429:  # of this moment, not of the rules
                    raise errors.ServerBusy(
                        f"{_NAME}: the server answered 429", status_code=429, retry_after=head.retry_after
                    )
                if head.status not in REDIRECTS:
                    return self._judge(origin, reply)
            finally:
                reply.close()
            public_only = public_only or is_public(reply.peer or "")
            target = self._target(url, head.location)
            if target is None:
                break
            where, url = origin_of(target), target
        return Robots.from_answer(404), ""  # redirects that are not followed: as if there were none

    def _target(self, url: str, location: str | None) -> str | None:
        """Return where a redirect leads, unless it is one that is not followed."""
        try:
            target = join_redirect(url, location or "")
        except errors.LineError:
            return None
        is_refused = self._untrusted and refuse_url(target) is not None
        return None if is_refused or (url.startswith("https:") and target.startswith("http:")) else target

    def _judge(self, origin: Origin, reply: Reply) -> tuple[Robots, str]:
        status = reply.head.status
        if status >= 500:
            reason = f"{_NAME} of {origin} cannot be had: a {status} answer forbids everything"
        else:
            reason = f"{_NAME} of {origin} does not allow this"
        body = _read(reply) if 200 <= status < 300 else b""
        return Robots.from_answer(status, body), reason


def _read(reply: Reply) -> bytes:
    """Return the beginning of a body, within bounds of size and time."""
    decoder = choose_decoder(reply.head.codings, _NAME)
    end = time.monotonic() + _MOST_SECONDS
    body = b""
    while len(body) < MOST_BYTES and (data := bytes(reply.read(_CHUNK))):
        body += data if decoder is None else b"".join(map(bytes, decoder.decode(data)))
        if time.monotonic() > end:
            raise errors.TimedOut(f"{_NAME} took more than {_MOST_SECONDS:.0f} s")
    return body
