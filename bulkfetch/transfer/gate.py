"""What robots.txt has to say about a request, asked for once per host before its first entry."""

from __future__ import annotations

import time

from bulkfetch import errors
from bulkfetch.codings import choose_decoder
from bulkfetch.events import Notice
from bulkfetch.exchange import Exchange, Reply
from bulkfetch.models import Origin
from bulkfetch.retry import REDIRECTS
from bulkfetch.robots import MOST_BYTES, Robots
from bulkfetch.urls import join_redirect, origin_of
from bulkfetch.watchdog import Lease

_NAME = "robots.txt"
_MOST_HOPS = 5  # redirects, RFC 9309 section 2.3.1.2
_MOST_SECONDS = 30.0
_CHUNK = 64 * 1024


class Gate:
    """Lets pass what robots.txt allows. Shared by all workers.

    A host whose policy asks for it gets one request at a time until its robots.txt is known, so no two
    workers ask for the same one.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._known: dict[Origin, tuple[Robots, str]] = {}  # with the reason why something is not allowed
        self._warned: set[Origin] = set()

    def check(self, origin: Origin, url: str, lease: Lease) -> tuple[float, str]:
        """Return the least seconds between two requests, and why this one is not allowed or "".

        Raises:
            TransferError: the host could not be asked.
        """
        known = self._known.get(origin)
        if known is None:
            known = self._known[origin] = self._ask(origin, lease)
        rules, reason = known
        is_allowed = rules.allows("/" + url.split("/", 3)[3])
        return rules.crawl_delay or 0.0, "" if is_allowed else reason

    def warning(self, origin: Origin, reason: str) -> Notice | None:
        """Return what to tell of a host for which nothing was told yet."""
        if origin in self._warned:
            return None
        self._warned.add(origin)
        return Notice(f"{reason}; it is fetched all the same, as may be others of this host")

    def _ask(self, origin: Origin, lease: Lease) -> tuple[Robots, str]:
        where, url = origin, f"{origin}/{_NAME}"
        for _ in range(_MOST_HOPS + 1):
            reply = self._exchange.open(where, url, {}, lease)
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
            target = _target(url, head.location)
            if target is None:
                break
            where, url = origin_of(target), target
        return Robots.from_answer(404), ""  # too many redirects: as if there were none

    def _judge(self, origin: Origin, reply: Reply) -> tuple[Robots, str]:
        status = reply.head.status
        if status >= 500:
            reason = f"{_NAME} of {origin} cannot be had: a {status} answer forbids everything"
        else:
            reason = f"{_NAME} of {origin} does not allow this"
        body = _read(reply) if 200 <= status < 300 else b""
        return Robots.from_answer(status, body), reason


def _target(url: str, location: str | None) -> str | None:
    """Return where a redirect leads, unless it is one that is not followed."""
    try:
        target = join_redirect(url, location or "")
    except errors.LineError:
        return None
    return None if url.startswith("https:") and target.startswith("http:") else target


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
