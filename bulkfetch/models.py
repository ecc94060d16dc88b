"""Frozen values that cross module, thread or process borders.

Sizes and offsets are bytes, durations are seconds, wall-clock times are Unix seconds. What is made for every
file and has many fields is a NamedTuple: a `frozen` value of 20 fields takes four times as long to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from bulkfetch.values import field, frozen

Gap = tuple[int, int]  # first byte, and the one after the last
NOTHING: Mapping[str, Any] = MappingProxyType({})
LINE = "line"  # the kind of failure of what is no entry


class Origin(NamedTuple):
    """Scheme, host and port: what credentials, limits and connections belong to (RFC 9110 section 4.3.1)."""

    scheme: str
    host: str  # lower case; an IPv6 address without brackets
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return f"{self.scheme}://{host}" if self.port == default else f"{self.scheme}://{host}:{self.port}"


class Status(StrEnum):
    """How an entry ended, or `PENDING` in a journal that has not seen its end."""

    PENDING = "pending"
    FETCHED = "fetched"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


class Action(StrEnum):
    """Where a body goes."""

    APPEND = "append"  # after the bytes that are already there
    RESTART = "restart"  # at byte 0
    COMPLETE = "complete"  # everything is already there
    UNCHANGED = "unchanged"  # the server says what we hold is current


@frozen
class BadLine:
    """A manifest line that could not become an entry."""

    source: str  # the manifest's name as the user knows it
    line: int  # 1-based
    reason: str  # one clause, no trailing full stop
    text: str = ""  # the start of the line, made safe to show


@frozen
class Request:
    """What is sent where a plain GET is not all."""

    method: str = "POST"
    body: bytes = field(default=b"", repr=False)  # may hold secrets
    content_type: str = ""  # of the body

    def identity(self) -> bytes:
        """Return what tells it from other requests for the same URL."""
        return self.method.encode() + b"\0" + self.body


class Entry(NamedTuple):
    """One parsed manifest line; `_replace` makes another one with other fields."""

    urls: tuple[str, ...]  # at least one; further ones are mirrors, tried in turn
    path: str | None = None  # destination asked for, relative, "/" between segments
    size: int | None = None
    digests: tuple[tuple[str, str], ...] = ()  # (algorithm, lower-case hex) pairs
    headers: tuple[tuple[str, str], ...] = ()
    extra: Mapping[str, Any] = NOTHING  # the user's other columns, untouched
    source: str = ""
    line: int = 0
    request: Request | None = None  # None: a plain GET

    def __reduce__(self) -> tuple[Any, ...]:  # a mappingproxy does not pickle
        return (Entry, tuple(self._replace(extra=dict(self.extra))))


@frozen
class PartInfo:
    """What is already stored for one task."""

    offset: int = 0  # bytes that may be kept
    validator: str | None = None  # strong ETag or HTTP date; None forbids resuming
    total: int | None = None  # whole length the server named
    token: str = ""  # random part of the part file's name; "" is no part
    missing: tuple[Gap, ...] = ()  # the gaps, where bytes past the first one are there too


NO_PART = PartInfo()


class Check(NamedTuple):
    """What a file that is already there must be to count as this entry's."""

    size: int | None = None
    digests: tuple[tuple[str, str], ...] = ()
    reason: str = ""  # told with the outcome when it is
    spares: bool = False  # a file that is not this is the user's, and stays


class Held(NamedTuple):
    """A finished file and what its answer said: the server is asked whether it has changed since."""

    url: str  # whose answer it is, secrets removed
    size: int
    mtime_ns: int
    digest: str = ""  # "ALGORITHM:HEX" or ""
    etag: str | None = None  # strong or weak
    last_modified: str | None = None


class Shared(Protocol):
    """One unfinished file that several attempts fetch ranges of; workers change it, anyone may look."""

    @property
    def url(self) -> str:
        """What the ranges are asked of."""

    @property
    def hops(self) -> int:
        """The redirects that led there."""

    @property
    def came_from_public(self) -> bool:
        """Whether a server at a public address gave one of them."""

    @property
    def part(self) -> PartInfo:
        """What is stored by now."""

    @property
    def is_over(self) -> bool:
        """Whether no further range will be asked for."""

    @property
    def wants_more(self) -> bool:
        """Whether there is a range to ask for now."""


class Task(NamedTuple):
    """An entry planned: where it goes and whom to ask next."""

    entry: Entry
    key: bytes  # identity: digest of URL, wanted destination and request
    path: str  # destination, relative, "/" between segments
    url: str  # what the next attempt asks for
    origin: Origin
    attempt: int = 1  # number of the next attempt, from 1
    failures: int = 0  # failed attempts since the last real progress
    hops: int = 0  # redirects followed so far within this attempt
    mirror: int = 0  # index into entry.urls
    restarts: int = 0  # times the stored bytes had to be thrown away
    stale: int = 0  # free retries used after a keep-alive connection had gone stale
    renamed: bool = False  # another entry has the name it would have had
    replace: bool = False  # the destination holds a file that may be replaced
    check: Check | None = None  # first judge the file that is there
    held: Held | None = None  # ask whether this file, which is there, has changed
    part: PartInfo = NO_PART
    received: int = 0  # body bytes of earlier attempts
    came_from_public: bool = False  # a server at a public address redirected here, if hops > 0
    share: Shared | None = None  # ask for a range of this file
    refreshed: bool = False  # `refresh_url` gave the URL: it is not asked again, the query is secret
    deadline: float | None = None  # monotonic time past which the entry has failed
    started: float = 0.0  # monotonic time of the first attempt

    def begun(self, now: float, deadline: float | None) -> Task:
        """Return the task with its last two fields set; each file needs it, and `_replace` is slow."""
        return tuple.__new__(Task, (*self[:-2], deadline, now))


class Sharing(NamedTuple):
    """A worker found that a file may be fetched in several ranges at once."""

    task: Task
    share: Shared
    ranges: int  # how many besides the worker's own


class RateLimit(NamedTuple):
    """How many more requests a server allows, and until when."""

    remaining: int
    reset: float  # seconds until more are allowed
    window: float | None = None  # seconds over which they are counted, where told


class Head(NamedTuple):
    """What a final answer's head says, parsed strictly."""

    status: int
    reason: str = ""
    length: int | None = None  # Content-Length; None: chunked or until close
    chunked: bool = False
    range_start: int | None = None
    range_end: int | None = None  # inclusive
    total: int | None = None  # complete length by Content-Range
    etag: str | None = None
    last_modified: str | None = None
    date: float | None = None
    content_type: str = ""
    codings: tuple[str, ...] = ()  # content codings in the order applied, identity left out
    retry_after: float | None = None  # seconds
    location: str | None = None
    has_ranges: bool = False  # the server offers byte ranges of this file
    rate_limit: RateLimit | None = None
    lifetime: float | None = None  # seconds it is fresh from `date` on; 0: never, None: not told
    age: float = 0.0  # seconds it has been in caches


class BodyPlan(NamedTuple):
    """Where the body goes and how long the whole must be."""

    action: Action
    start: int = 0
    size: int | None = None  # whole length; None: not known
    validator: str | None = None  # for the next resume


@frozen
class Failure:
    """Why an attempt or an entry failed; pickles, and prints as JSON."""

    kind: str
    message: str
    status_code: int | None = None
    retry_after: float | None = None  # seconds the server asked for
    retryable: bool = False
    fatal: bool = False  # the run cannot go on (a full disk)
    unasked: bool = False  # the credentials are not there: no server has refused them
    anonymous: bool = False  # no credentials were given that a server could have refused

    def to_record(self) -> dict[str, Any]:
        """Return the `failure` object of outcome and failures records."""
        return {"kind": self.kind, "status": self.status_code, "message": self.message}


class Done(NamedTuple):
    """A committed, verified file."""

    size: int
    digest: str  # "" when none was asked for
    algorithm: str = "sha256"
    etag: str | None = None
    last_modified: str | None = None
    mtime_ns: int = 0
    warnings: tuple[str, ...] = ()
    kept: str = ""  # the file was there already: why it counts
    fresh_until: int | None = None  # Unix time; None: the answer is not fresh, or does not say
    is_foreign: bool = False  # what was kept is the user's
    is_asked: bool = True  # a server; else what was kept was looked at, and no more


class Attempt(NamedTuple):
    """What one attempt came to: one of done, redirect and failure; none for a range of a shared file."""

    number: int
    received: int = 0  # body bytes over the wire
    seconds: float = 0.0
    failure: Failure | None = None
    redirect: str | None = None  # absolute URL under another origin
    done: Done | None = None
    part: PartInfo = NO_PART  # what is kept for the next attempt
    reused: bool = False  # the failure came from a connection used before, with no answer on it
    url: str = ""  # last URL asked, after redirects within the origin
    hops: int = 0  # redirects followed
    came_from_public: bool = False  # the redirect was given by a server at a public address
    refreshed: bool = False  # the redirect was given by `refresh_url`
    started: float = 0.0  # monotonic
    rate_limit: RateLimit | None = None  # what the last answer told of
    crawl_delay: float | None = None  # seconds between requests by robots.txt; None: it was not asked
    has_credentials: bool = False  # refused: of the entry's own, in its URL or its header fields


class Outcome(NamedTuple):
    """The one final record of an entry, or of a line that is none (kind `line`)."""

    entry: Entry
    status: Status
    path: str | None = None  # relative to the destination folder
    url: str = ""  # as the manifest gave it, secrets removed
    final_url: str = ""  # "" where no server was asked
    size: int | None = None
    received: int = 0
    sha256: str = ""
    digest: str = ""  # "ALGORITHM:HEX" as recorded; sha256 unless another was asked for
    etag: str | None = None
    last_modified: str | None = None
    mtime_ns: int = 0
    attempts: int = 0
    seconds: float = 0.0
    failure: Failure | None = None
    reason: str = ""  # why an entry was skipped
    warnings: tuple[str, ...] = ()
    key: bytes = b""
    fresh_until: int | None = None  # Unix time up to which the file need not be asked for again

    def to_record(self) -> dict[str, Any]:
        """Return a JSON-ready dict: the user's columns first, ours win where names meet."""
        record: dict[str, Any] = dict(self.entry.extra)
        record.update(
            url=self.url, path=self.path, status=str(self.status), size=self.size, received=self.received,
            sha256=self.sha256 or None, digest=self.digest or None, etag=self.etag,
            last_modified=self.last_modified, final_url=self.final_url or None, attempts=self.attempts,
            seconds=round(self.seconds, 6), source=self.entry.source, line=self.entry.line,
        )  # fmt: skip
        if self.failure is not None:
            record["failure"] = self.failure.to_record()
        if self.reason:
            record["reason"] = self.reason
        if self.warnings:
            record["warnings"] = list(self.warnings)
        return record


def rejected(bad: BadLine) -> Outcome:
    """Return the outcome of a line that is no entry."""
    entry = Entry((bad.text,) if bad.text else (), source=bad.source, line=bad.line)
    failure = Failure(LINE, bad.reason)
    return Outcome(entry, Status.FAILED, url=bad.text, failure=failure)
