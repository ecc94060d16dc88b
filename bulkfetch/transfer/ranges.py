"""One attempt's part in a file that several attempts fetch at once, each a range of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from bulkfetch import errors
from bulkfetch.checksums import Digests
from bulkfetch.config import FetchConfig
from bulkfetch.exchange import Reply
from bulkfetch.limits import NoLimit
from bulkfetch.models import NO_PART, Action, BodyPlan, Done, Failure, Head, PartInfo, Sharing, Task
from bulkfetch.resume import plan_body
from bulkfetch.retry import refuse_status
from bulkfetch.segments import Claim, clip, count_ranges
from bulkfetch.store import Part
from bulkfetch.transfer.body import Body
from bulkfetch.transfer.checks import HTML_TYPES, check_html, check_room, check_size
from bulkfetch.transfer.context import Context
from bulkfetch.transfer.held import dated, own
from bulkfetch.transfer.share import Share
from bulkfetch.transfer.strides import CHUNK, PAGE_START
from bulkfetch.transfer.trail import Trail


class Ranges:
    """The range that an attempt fetches, if it does; nothing is done for most files."""

    _claim: Claim | None = None
    _part: Part | None = None
    _is_last = False  # this attempt has brought the last byte
    share: Share | None = None
    is_announced = False  # the scheduler knows of the share
    received = 0

    def __init__(self, task: Task, context: Context) -> None:
        self._task = task
        self._context = context
        if isinstance(task.share, Share):
            self.share, self.is_announced = task.share, True

    # -- beginning -------------------------------------------------------------------------------

    def reopen(self, new_digests: Callable[[], Digests]) -> bool:
        """Say whether this attempt is for a range: of a file under way, or of one an earlier run left so."""
        known, context = self._task.part, self._context
        if self.share is not None or not known.missing or known.total is None or known.validator is None:
            return self.share is not None
        self._part, size = context.store.share_part(self._task.key, known.token, self._task.path)
        if self._part is None:
            return False
        part = clip(known, size)
        self.share = Share(self._task.key, self._task.path, part, self._host_config(), new_digests())
        return True

    def begin(self, body: Body, head: Head, plan: BodyPlan, trail: Trail) -> bool:
        """Say whether the answer that has begun is worth sharing with other workers; if so, share it."""
        config = self._context.config
        if config.segments == 1 or plan.size is None or plan.validator is None or not head.has_ranges:
            return False
        if self._task.entry.request is not None:  # no plain GET: it has no ranges
            return False
        if self._task.restarts or head.content_type in HTML_TYPES or plan.action is Action.COMPLETE:
            return False
        config = self._host_config()
        if count_ranges(plan.size - plan.start, config) < 2:
            return False
        self._part, digests = body.lend(head, plan)
        self._part.is_shared = True
        known = PartInfo(plan.start, plan.validator, plan.size, self._part.token)
        self.share = Share(self._task.key, self._task.path, known, config, digests, plan.start)
        self._claim = self.share.claim(open_ended=True)
        self._announce(head, trail)
        return True

    def _host_config(self) -> FetchConfig:
        """Return the configuration with what the host's policy says of its connections and requests."""
        policy = self._context.policies.for_url(self._task.url)
        return replace(self._context.config, per_host=policy.per_host, host_rate=policy.rate)

    def ask(self) -> tuple[tuple[str, str], ...]:
        """Take a range and return the request fields for it; none when nothing is left to ask for."""
        share = self.share
        assert share is not None  # reopen has said so
        part = share.part
        claim = self._claim = share.claim()
        if claim is None or part.validator is None:
            return ()
        if self._part is None:
            self._part, _ = self._context.store.share_part(self._task.key, part.token, self._task.path)
        if self._part is None:
            raise errors.RangeMismatch("the part has gone")
        self._part.seek(claim.stored)
        return (("Range", f"bytes={claim.stored}-{claim.end - 1}"), ("If-Range", part.validator))

    def accept(self, reply: Reply, trail: Trail) -> None:
        """Check that the answer is the range asked for, of the same file (see `resume.plan_body`)."""
        share, claim, head = self.share, self._claim, reply.head
        assert share is not None  # ask has taken both
        assert claim is not None
        policy = self._context.policies.for_url(self._task.url)
        refused = refuse_status(head, policy.retry_statuses)
        if refused is not None:
            raise refused
        known = share.part
        wanted = PartInfo(claim.stored, known.validator, known.total, known.token)
        if plan_body(wanted, head, asked_range=True).action is not Action.APPEND:
            if head.content_type in HTML_TYPES:  # keep what is there: the link may have expired (fault R17)
                first = bytes(reply.read(PAGE_START))
                check_html(head, first, self._task, policy, is_resuming=True)
            raise errors.RangeMismatch("the server does not send this range any more")
        if not self.is_announced:
            check_size(share.total, self._task.entry, policy)
            check_room(sum(end - start for start, end in known.missing), self._task, self._context.store)
            self._announce(head, trail)

    def check_moved(self) -> None:
        """Refuse a redirect to another origin if other workers ask this one for the same file."""
        if self.is_announced:
            raise errors.RangeMismatch("the file has moved")

    def _announce(self, head: Head, trail: Trail) -> None:
        share = self.share
        assert share is not None  # just made
        share.head, share.url = dated(own(head, self._task, trail.url)), trail.url
        share.hops, share.came_from_public = trail.hops, trail.is_public
        self.is_announced = True
        self._context.emit(Sharing(self._task, share, share.ranges - 1))

    # -- bytes -----------------------------------------------------------------------------------

    def receive(self, reply: Reply) -> None:
        """Store what comes, up to where another worker's range begins."""
        share, claim, part, context = self.share, self._claim, self._part, self._context
        assert share is not None  # begun
        assert claim is not None
        assert part is not None
        policy = context.policies.for_url(self._task.url)
        bucket, lease = context.buckets.choose(self._task.origin, policy.limit_rate), context.lease
        is_limited = not isinstance(bucket, NoLimit)
        size = min(CHUNK, bucket.chunk)
        while share.left(claim) and (data := reply.read(size)):
            self.received += len(data)
            lease.received = self.received
            if is_limited:
                lease.pause(functools.partial(bucket.take, len(data)))
            self._write(share, claim, part, data[: share.reserve(claim, len(data))])
            lease.check()
        part.close()
        if share.left(claim):
            raise errors.Truncated("the range ended early")

    def _write(self, share: Share, claim: Claim, part: Part, data: bytes | memoryview) -> None:
        part.write(data)
        share.hash_passing(claim, data)
        front = share.store(claim, self._context.emit)
        if front is not None:
            part.sync()
            share.sync_done(front)
        share.hash_front(part)

    # -- ends ------------------------------------------------------------------------------------

    def finish(self, body: Body) -> Done | None:
        """End the range; returns the file where it is whole now."""
        share, claim, part = self.share, self._claim, self._part
        if share is None or claim is None or part is None:
            return None
        if part.is_spoiled:
            raise errors.DiskFailed(f"cannot write {part.name}: its bytes did not all reach the disk")
        self._claim = None
        if not share.give_back(claim):
            return None
        if not share.is_whole:
            self._discard(share, part)
            return None
        self._is_last = True
        whole, size = self._context.store.share_part(self._task.key, part.token, self._task.path)
        if whole is not None:
            body.take_over(whole, share.digests, share.plan)
        if whole is None or size != share.total:
            raise errors.RangeMismatch("the part was changed by another program")
        whole.seek(size)
        while share.hash_front(whole, wait=True):
            self._context.lease.check()
        assert share.head is not None  # announced
        return body.finish(share.head, share.plan)

    def end(self, failure: Failure | None, left: PartInfo) -> None:
        """End the range whatever came of it; what it has not stored is asked for again.

        Args:
            failure: why it ended, if it failed.
            left: what remains of a whole file that could not be finished.
        """
        share, claim, part = self.share, self._claim, self._part
        if part is not None:
            part.close()
        if share is None:
            return
        if self._is_last or (part is not None and part.is_spoiled):
            share.end(left if self._is_last else NO_PART)
        if claim is not None:
            self._claim = None
            refuse = failure is not None and failure.kind == "range"
            if share.give_back(claim, refuse=refuse) and not share.is_whole and part is not None:
                self._discard(share, part)

    def _discard(self, share: Share, part: Part) -> None:
        self._context.store.discard(part)
        share.end()
