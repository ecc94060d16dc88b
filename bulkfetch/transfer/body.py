"""The bytes of one attempt: from the reply into a part, from the part into the file."""

from __future__ import annotations

import functools
import time
from dataclasses import replace

from bulkfetch import errors
from bulkfetch.checksums import Digests
from bulkfetch.codings import Decoder, choose_decoder
from bulkfetch.events import Progress
from bulkfetch.exchange import Reply
from bulkfetch.freshness import fresh_until
from bulkfetch.limits import NoLimit
from bulkfetch.models import NO_PART, Action, BodyPlan, Done, Failure, Head, PartInfo, Task
from bulkfetch.policy import HostPolicy
from bulkfetch.resume import plan_request
from bulkfetch.retry import REAL_PROGRESS
from bulkfetch.store import Part
from bulkfetch.transfer.beside import Beside
from bulkfetch.transfer.checks import (
    HTML_TYPES,
    check_growth,
    check_html,
    check_replacing,
    date_worth_setting,
)
from bulkfetch.transfer.context import Context
from bulkfetch.transfer.held import compare, confirm
from bulkfetch.transfer.strides import CHUNK, EVENT_EVERY, JOURNALLED, PAGE_START, SYNC_EVERY

_JOURNALLED_SHIFT = 5  # or a thirty-second of what is stored: a row for each MiB cost a tenth of a large file
_BESIDE_FROM = 4 * 1024 * 1024  # bytes of a part from which a thread for its digests is worth starting
_USELESS = frozenset({"range", "digest", "decode"})  # failures after which stored bytes are worth nothing
_USELESS_VERSION = frozenset({"size", "too-large"})  # the same, if they belong to the version that failed
_MOST_SMALL = 100  # answers to ranges that bring little, within one attempt (fault T11)
_BROKEN = (errors.Truncated, errors.ConnectionLost, errors.TimedOut, errors.TooSlow)


class Body:
    """Stores what comes and knows what the next attempt may rely on.

    What a small file never asks for is made when something does.
    """

    _part: Part | None = None
    _validator: str | None = None  # pins the bytes in the part
    _total: int | None = None
    _beside: Beside | None = None  # stands before the digests of a large body
    _is_current = False  # the part holds the version of the file that the answer tells of
    _next_event = 0.0
    _reported = 0  # bytes of the part at the last event
    _is_ignored = False  # the same version came from byte 0 on, although only its rest was asked for
    _restarted_from = 0  # bytes an earlier attempt had stored and this one threw away
    _durable = 0  # bytes of the part that were synced
    _small = 0  # answers that brought less than real progress
    received = 0

    def __init__(self, task: Task, context: Context) -> None:
        self._task = task
        self._entry = task.entry
        self._context = context
        self.asked = time.time()  # or a little later
        self.left = task.part  # what the next attempt may rely on

    @functools.cached_property
    def _policy(self) -> HostPolicy:
        return self._context.policies.for_url(self._task.url)

    @functools.cached_property
    def _digests(self) -> Digests:
        return self.new_digests()

    @functools.cached_property
    def _warnings(self) -> list[str]:
        return []

    # -- what is there ---------------------------------------------------------------------------

    def adopt(self) -> tuple[tuple[str, str], ...]:
        """Open what an earlier attempt left and return the request fields that ask for the rest."""
        known = self._task.part
        if not known.token:
            return ()
        self.left = NO_PART
        part = self._context.store.adopt_part(self._task.key, known.token, known.offset, self._task.path)
        if part is None:
            return ()
        self._part = part
        self.left = PartInfo(part.offset, known.validator, known.total, known.token)
        fields = plan_request(self.left, digest_known=bool(self._entry.digests))
        if not fields or self._entry.request is not None:  # nothing pins its bytes
            self._discard()
            return ()
        self._validator, self._total = known.validator, known.total
        for data in part.read_back():
            self._context.lease.check()
            self._digests.update(data)
        return fields

    def put_away(self) -> None:
        """Close the part for the next attempt."""
        if self._part is not None:
            self._part.close()
            self._part = None

    def keep_or_discard(self, failure: Failure) -> Failure:
        """Keep the bytes that another attempt can continue, remove all others."""
        part = self._part
        if part is None:
            return failure
        useless = failure.kind in _USELESS or (self._is_current and failure.kind in _USELESS_VERSION)
        part.close()
        if part.offset <= 0 or useless or part.is_spoiled or not self._is_pinned():
            self._discard()
            return failure
        self.left = PartInfo(part.offset, self._validator, self._total, part.token)
        self._part = None
        if failure.kind == "disk" and part.offset == self._total:  # fault F16
            return replace(failure, message=f"{failure.message}; the file is kept for the next run")
        return failure

    def _is_pinned(self) -> bool:
        is_plain = self._entry.request is None  # each answer to another request stands for itself
        return is_plain and (self._validator is not None or bool(self._entry.digests))

    def _discard(self) -> None:
        if self._part is not None:
            self._context.store.discard(self._part)
            self._part = None
        self.left = NO_PART

    # -- ranges of a file that several attempts fetch ----------------------------------------------

    def new_digests(self) -> Digests:
        """Return digests for a file that starts anew."""
        names = {self._context.config.digest, *(name for name, _ in self._entry.digests)}
        if self._task.held is not None:
            names.add(self._task.held.digest.partition(":")[0])
        return Digests(names - {"none", ""})

    def lend(self, head: Head, plan: BodyPlan) -> tuple[Part, Digests]:
        """Give away the part, where the first byte of the body goes, and the digests of what it holds."""
        if not self._is_current:
            self._restart(plan, head, b"")
        part = self._part or self._context.store.new_part(self._task.key, self._task.path)
        self._part = None
        return part, self._digests

    def take_over(self, part: Part, digests: Digests, plan: BodyPlan) -> None:
        """Take a part that is whole."""
        self._part, self._digests = part, digests
        self._validator, self._total = plan.validator, plan.size
        self._is_current = True

    # -- what comes ------------------------------------------------------------------------------

    def expect(self, plan: BodyPlan) -> None:
        """Note what the answer says of the bytes in the part."""
        if plan.action is not Action.RESTART:
            self._is_current = True
            self._total = plan.size

    def receive(self, reply: Reply, plan: BodyPlan) -> None:
        """Store the body as planned; raises `TransferError` when it is not the whole."""
        if plan.action is Action.COMPLETE:
            return
        head = reply.head
        decoder = choose_decoder(head.codings, self._task.path)
        if plan.size is None and decoder is None and head.length is None and not head.chunked:
            self._accept_unverified()
        try:
            try:
                self._read_all(reply, plan, decoder)
            finally:
                if self._beside is not None:
                    self._beside.end()
            if decoder is not None:
                decoder.finish()
            elif plan.size is not None and self._offset < plan.size and not self._may_ask_on(plan, head):
                raise errors.Truncated("the body ended early")
        except _BROKEN as exc:
            raise type(exc)(f"{exc} after {self._progress(plan)}") from exc
        if reply.surplus:
            self._warnings.append("more bytes than declared followed")

    def _may_ask_on(self, plan: BodyPlan, head: Head) -> bool:
        """Say whether a whole answer with less than was asked for is followed by a request (fault R14).

        Where requests are counted each goes through the scheduler, as a further attempt.
        """
        brought = self._offset - plan.start
        self._small += brought < REAL_PROGRESS
        is_slice = head.status == 206 and brought > 0 and head.range_end == self._offset - 1
        counts = self._policy.rate is not None or self._context.config.rate is not None
        is_bounded = self._small <= _MOST_SMALL and not counts
        return is_slice and is_bounded and self._is_pinned()

    def ask_on(self, plan: BodyPlan) -> tuple[tuple[str, str], ...]:
        """Return the request fields that ask for the rest; none when everything is there."""
        part = self._part
        if part is None or plan.size is None or part.offset >= plan.size:
            return ()
        self.left = PartInfo(part.offset, self._validator, self._total, part.token)
        self._is_current = False  # the next answer may be another version, whole
        return plan_request(self.left, digest_known=bool(self._entry.digests))

    def _read_all(self, reply: Reply, plan: BodyPlan, decoder: Decoder | None) -> None:
        lease = self._context.lease
        bucket = self._context.buckets.choose(self._task.origin, self._policy.limit_rate)
        is_limited = not isinstance(bucket, NoLimit)
        size = min(CHUNK if plan.size is None else max(plan.size - plan.start, 1), CHUNK, bucket.chunk)
        is_large = plan.size is not None and plan.size >= JOURNALLED
        self._next_event = 0.0 if is_large else time.monotonic() + EVENT_EVERY
        self._reported = plan.start
        may_pour = is_large and decoder is None and not is_limited and self._digests.are_none
        data = _read_first(reply, size)
        while data:
            self.received += len(data)
            lease.received = self.received
            if is_limited:
                lease.pause(functools.partial(bucket.take, len(data)))
            for piece in (data,) if decoder is None else decoder.decode(bytes(data)):
                self._store(piece, plan, reply.head)
            self._look_round(plan)
            if may_pour and self._part is not None:
                may_pour = False
                self._pour(reply, plan, self._part)
            data = reply.read(size)
        if not self._is_current:
            self._restart(plan, reply.head, b"")

    def _pour(self, reply: Reply, plan: BodyPlan, part: Part) -> None:
        """Let the system store what nobody here has to see."""
        while count := part.pour(reply.pour):
            self.received += count
            self._context.lease.received = self.received
            self._look_round(plan)

    def _look_round(self, plan: BodyPlan) -> None:
        """Between two reads: tell how far the body is, and end it if it was cut."""
        now, offset = time.monotonic(), self._offset
        if now >= self._next_event or offset - self._reported >= _may_miss(offset):
            self._next_event, self._reported = now + EVENT_EVERY, offset
            self._report(plan)
            if self._beside is None and offset >= _BESIDE_FROM and not self._digests.are_none:
                self._beside = Beside(self._digests, self._context.cores)
        self._context.lease.check()

    def _store(self, data: bytes | memoryview, plan: BodyPlan, head: Head) -> None:
        if not self._is_current:
            self._restart(plan, head, data)
        if self._part is None:
            self._part = self._context.store.new_part(self._task.key, self._task.path)
        self._part.write(data)
        (self._beside or self._digests).update(data)
        if plan.size is None:
            check_growth(self._part.offset, self._entry, self._policy)
        elif self._part.offset > plan.size:  # a chunked body: its Content-Range says where it must end
            raise errors.RangeMismatch(f"more than the {plan.size} bytes of the file came")

    def _restart(self, plan: BodyPlan, head: Head, first: bytes | memoryview) -> None:
        """Throw away what is stored, unless the first bytes are unwanted (faults R01, R17)."""
        check_html(head, first, self._task, self._policy, is_resuming=self._offset > 0)
        if self._part is not None:
            self._restarted_from = self._offset
            self._is_ignored = plan.validator == self._validator
            self._durable = 0
            self._part.restart()
            self._digests = self.new_digests()
        self.left = NO_PART
        self._is_current = True
        self._validator, self._total = plan.validator, plan.size

    def _accept_unverified(self) -> None:
        """Nothing says how long the body is, so a cut would look like its end (faults B06, S02)."""
        if self._entry.size is not None or self._entry.digests:
            return
        if self._policy.strict:
            raise errors.ProtocolViolation("the server does not say how long the body is (--strict)")
        self._warnings.append("length unverified")

    def _report(self, plan: BodyPlan) -> None:
        part = NO_PART
        if self._part is not None and self._is_pinned():
            part = PartInfo(self._part.offset, self._validator, self._total, self._part.token)
            if part.offset - self._durable >= SYNC_EVERY:
                self._part.sync()
                self._durable = part.offset
        shown = (self._offset, plan.size, self.received, self._durable)
        self._context.emit(Progress(self._task.key, self._task.path, *shown, part=part))

    def _progress(self, plan: BodyPlan) -> str:
        text = f"{self._offset} bytes" if plan.size is None else f"{self._offset} of {plan.size} bytes"
        if self._restarted_from:  # fault R25
            if self._is_ignored:
                return f"{text}; the server ignored the range and began again at byte 0"
            return f"{text}; the {self._restarted_from} stored before belong to another version of the file"
        return text

    @property
    def _offset(self) -> int:
        return self._part.offset if self._part is not None else 0

    # -- the file --------------------------------------------------------------------------------

    def finish(self, head: Head, plan: BodyPlan) -> Done:
        """Verify, close and commit."""
        context, task, config = self._context, self._task, self._context.config
        if self._part is None:
            self._part = context.store.new_part(task.key, task.path)
        part = self._part
        self._verify(part.offset)
        check_replacing(part.offset, task, context.store)
        context.lease.check()
        same = compare(task, part.offset, self._digests, head, self.asked, context)
        if same is not None:
            self._discard()
            return same
        etag, last_modified = _validators(head, plan)
        mtime_ns = part.finish(date_worth_setting(last_modified), durable=config.fsync)
        context.store.commit(part, task.path, replace=task.replace)
        self._part, self.left = None, NO_PART
        digest = "" if config.digest == "none" else self._digests.hexdigest(config.digest)
        if part.offset == 0 and self._entry.size is None:
            self._warnings.append("empty")
        facts = (part.offset, digest, config.digest, etag, last_modified, mtime_ns, tuple(self._warnings))
        return Done(*facts, fresh_until=fresh_until(head, self.asked))

    def confirm(self, head: Head) -> Done:
        """Return the file that is there as done, as the answer says; a part is of no use then."""
        done = confirm(self._task, head, self.asked, self._context)
        self._discard()
        return done

    def _verify(self, size: int) -> None:
        if self._entry.size is not None and size != self._entry.size:
            raise errors.SizeMismatch(f"{size} bytes came, the manifest declares {self._entry.size}")
        for name, wanted in self._entry.digests:
            got = self._digests.hexdigest(name)
            if got != wanted:
                raise errors.DigestMismatch(f"{name} is {got}, the manifest declares {wanted}")


def _may_miss(stored: int) -> int:
    """Return how many bytes a kill may cost."""
    return max(JOURNALLED, stored >> _JOURNALLED_SHIFT)


def _read_first(reply: Reply, size: int) -> bytes | memoryview:
    """Return the first bytes; of what calls itself a page, enough to tell."""
    data = reply.read(size)
    if reply.head.content_type not in HTML_TYPES:
        return data
    page = bytes(data)
    while 0 < len(page) < PAGE_START and (more := reply.read(size)):
        page += more
    return page


def _validators(head: Head, plan: BodyPlan) -> tuple[str | None, str | None]:
    """Return ETag and Last-Modified; a 416 need not repeat the one that pinned the part."""
    pinned = plan.validator or ""
    is_etag = pinned.startswith('"')
    etag = head.etag or (pinned if is_etag else None)
    return etag, head.last_modified or (None if is_etag else pinned or None)
