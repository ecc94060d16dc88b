"""Plain GETs, cheaply: session, adapter and pool send them, but prepare nothing for who is not there.

A GET without body, proxy and anybody who watches its answer needs no hooks, no parser for mail and no
containers for fields that nobody reads. An answer of the usual kind is read as on our own connections; every
other one goes the usual way, `answers.Answer`, from its first byte on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPHeaderDict, HTTPResponse, connectionpool

from bulkfetch.errors import TransferError
from bulkfetch.transport.answers import Answer
from bulkfetch.transport.connections import Connection, Pool
from bulkfetch.transport.current import present_lease
from bulkfetch.wire import Reply as WireReply
from bulkfetch.wire.buffers import Buffers
from bulkfetch.wire.connection import Connection as Stream
from bulkfetch.wire.request import Template


class Prepared(requests.PreparedRequest):
    """A request, a GET unless it is told otherwise; its fields become a mapping if somebody looks.

    Args:
        url: what to ask for.
        usual: the fields of every request.
        fields: those of this one.
    """

    def __init__(self, url: str, usual: Mapping[str, str], fields: Mapping[str, str]) -> None:
        self.method, self.url, self.body = "GET", url, None
        self.hooks = {"response": []}
        self._cookies: Any = None
        self._body_position = None
        self._usual, self._fields = usual, fields
        self.rendered = b""  # what to send, where nobody but the server has to see the request

    @cached_property
    def headers(self) -> CaseInsensitiveDict[str]:  # type: ignore[override]
        """The header fields."""
        return CaseInsensitiveDict({**self._usual, **self._fields})

    def render(self, template: Template) -> None:
        """Take the short way, if it is a plain GET and nobody wants to see its answer."""
        if self.method != "GET" or self.body or self.hooks["response"] or present_lease().traced:
            return
        urlopen = HTTPConnectionPool.urlopen
        if getattr(urlopen, "__globals__", None) is not vars(connectionpool):  # a test stands in for it
            return
        try:
            self.rendered = template.render(self.url or "", vars(self).get("headers", self._fields))
        except (TransferError, TypeError):  # what cannot be sent, or is bytes, is told the usual way
            return


class PlainReply(WireReply):
    """A final answer of the usual kind."""

    __slots__ = ()

    def pour(self, _file: int) -> int:
        """Return 0: bytes cannot be moved from a socket that has a time-out."""
        return 0


class Loan:
    """A connection of a pool, and the buffer it reads into, while a plain answer is read."""

    __slots__ = ("_buffers", "_connection", "_pool", "on_release")

    def __init__(self, pool: Any, connection: Any, buffers: Buffers) -> None:
        self._pool = pool
        self._connection = connection
        self._buffers = buffers
        self.on_release: Callable[[], None] | None = None  # what else ends with it

    def distrust(self) -> None:
        """Use no connection twice, as `wire.pool.Pool.distrust`."""
        self._pool.is_doubtful = True

    def release(self, stream: Stream, *, keep: bool) -> None:
        """Give back both; `keep` says that the answer ended where it should."""
        self._buffers.give_back(stream.finish())
        if keep and not self._pool.is_doubtful:
            self._pool._put_conn(self._connection)
        else:
            self._connection.close()
        if self.on_release is not None:
            self.on_release()


class PlainResponse(requests.Response):
    """What the session returns for a `PlainReply`; what nobody asks for is not made."""

    raw: PlainReply

    def __init__(self, request: Prepared, adapter: Any, raw: PlainReply, loan: Loan, head: bytes) -> None:
        self._content = self._content_consumed = False  # type: ignore[assignment]
        self._next = self.encoding = None
        self.history = []
        self.elapsed = timedelta(0)
        self.status_code, self.reason = raw.head.status, raw.head.reason
        self.url, self.request, self.connection, self.raw = request.url or "", request, adapter, raw
        self.loan = loan
        self._head = head

    @cached_property
    def headers(self) -> CaseInsensitiveDict[str]:  # type: ignore[override]
        """The header fields."""
        lines = (line.partition(":") for line in str(self._head, "latin-1").split("\r\n")[1:-2])
        return CaseInsensitiveDict((name, value.strip()) for name, _, value in lines)

    @cached_property
    def cookies(self) -> RequestsCookieJar:  # type: ignore[override]
        """An empty jar: an answer that sets cookies is not of the usual kind."""
        return RequestsCookieJar()


def ask(
    request: Prepared, adapter: HTTPAdapter, pool: Pool, buffers: Buffers, timeouts: tuple[float, float]
) -> requests.Response:
    """Send a request over a connection of `pool` and return the response once its head is here.

    Args:
        request: what to send.
        adapter: which of the session's adapters does it.
        pool: where the connection comes from, and goes to when the answer is at its end.
        buffers: what the answer is read into.
        timeouts: seconds to connect, and to wait for more.
    """
    connection: Connection = pool._get_conn()
    try:
        stream = connection.reach(*timeouts)
        stream.begin(present_lease(), buffers.take())
        common = connection.ask(stream, request.rendered)
        here = bytes(stream.data[: common[1] if common else stream.end])
        if common is None:
            stream.start = stream.end  # all of it is read on from `here`
            buffers.give_back(stream.finish())
            raw = _wrap(connection.begin_answer(here), request, pool, connection)
            return adapter.build_response(request, raw)
    except BaseException:
        connection.close()
        raise
    answer, stream.start = common
    loan = Loan(pool, connection, buffers)
    reply = PlainReply(answer, stream, loan)  # type: ignore[arg-type]  # a pool to it
    return PlainResponse(request, adapter, reply, loan, here)


def _wrap(answer: Answer, request: Prepared, pool: Pool, connection: Connection) -> HTTPResponse:
    """Return an answer as the pool itself would."""
    return HTTPResponse(
        body=answer,
        headers=HTTPHeaderDict(answer.msg.items()),
        status=answer.status,
        version=answer.version,
        reason=answer.reason,
        preload_content=False,
        decode_content=False,
        original_response=answer,
        pool=pool,
        connection=connection,
        request_method=request.method,
        request_url=request.url,
    )
