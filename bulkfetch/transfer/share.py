"""One unfinished file that several workers write to, each where its range goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bulkfetch.checksums import Digests
from bulkfetch.config import FetchConfig
from bulkfetch.events import Progress
from bulkfetch.models import NO_PART, Action, BodyPlan, Gap, Head, PartInfo
from bulkfetch.segments import Claim, SegmentMap, choose_piece, count_ranges
from bulkfetch.store import Part
from bulkfetch.transfer.strides import EVENT_EVERY, JOURNALLED, SYNC_EVERY

_HASHED = 1024 * 1024  # bytes read back and hashed at once


class Share:
    """What the ranges of one file have in common; safe from any thread.

    Args:
        key: the entry's identity.
        path: its destination.
        part: what is stored, with the validator that pins it and the length of the whole.
        digests: have seen the bytes up to `part.offset`, or none.
    """

    def __init__(
        self, key: bytes, path: str, part: PartInfo, config: FetchConfig, digests: Digests, hashed: int = 0
    ) -> None:
        assert part.total is not None  # only a file of known length is divided
        self.total = part.total
        self.url = ""  # what the ranges are asked of
        self.hops = 0  # redirects that led there
        self.came_from_public = False  # a server at a public address gave one of them
        self.head: Head | None = None  # of the first answer
        self.digests = digests
        self.hashed = hashed  # bytes the digests have seen
        self.hashing = threading.Lock()  # held by the one who feeds them
        self.is_over = False  # no further range will be asked for
        self._key, self._path = key, path
        self._part = part  # what pins the bytes
        self._lock = threading.Lock()  # guards all that follows
        missing = part.missing or ((part.offset, self.total),)
        left = sum(end - start for start, end in missing)
        self.ranges = ranges = count_ranges(left, config)
        self._map = SegmentMap(missing, choose_piece(left, ranges, config))
        self._have = self.total - left
        self._received = 0
        self._told, self._told_at = self._have, time.monotonic()
        self._synced = self._have
        self._durable = 0
        self._left: PartInfo | None = None  # what remains once the file is done or thrown away

    # -- ranges ----------------------------------------------------------------------------------

    def claim(self, *, open_ended: bool = False) -> Claim | None:
        """Return a range to ask for, or None when there is none just now; `open_ended`: all is on its way."""
        with self._lock:
            claim = None if self.is_over else self._map.claim()
            if claim is not None and open_ended:
                claim.limit = self.total
            return claim

    def reserve(self, claim: Claim, length: int) -> int:
        """Return how many of the next `length` bytes are to be written."""
        with self._lock:
            self._received += length
            return self._map.reserve(claim, length)

    def store(self, claim: Claim, emit: Callable[[Progress], None]) -> int | None:
        """Note that what was reserved is in the file; returns how much is, now and then, for a sync."""
        with self._lock:
            self._have += claim.taken - claim.stored
            self._map.store(claim)
            now = time.monotonic()
            if self._have - self._told >= JOURNALLED or now >= self._told_at + EVENT_EVERY:
                self._told, self._told_at = self._have, now
                shown = (self._have, self.total, self._received, self._durable)
                emit(Progress(self._key, self._path, *shown, part=self._info()))  # in the order of the facts
            if self._have - self._synced < SYNC_EVERY:
                return None
            self._synced = self._have
            return self._info().offset

    @property
    def front(self) -> int:
        """How many bytes are there without a gap."""
        with self._lock:
            return self._map.front(self.total)

    def sync_done(self, front: int) -> None:
        """Note that the first `front` bytes survive the machine."""
        with self._lock:
            self._durable = max(self._durable, front)

    def left(self, claim: Claim) -> int:
        """Return how many bytes an answer has still to bring."""
        with self._lock:
            return self._map.left(claim)

    def give_back(self, claim: Claim, *, refuse: bool = False) -> bool:
        """End a claim; says whether nobody is at work any more on a file of which no more will come.

        Args:
            claim: what it has not stored is free again.
            refuse: ranges are of no use here: ask for no further ones.
        """
        with self._lock:
            self._map.give_back(claim)
            self.is_over = self.is_over or refuse or not self._map.missing()
            return self.is_over and not self._map.is_busy

    # -- digests ---------------------------------------------------------------------------------

    def hash_passing(self, claim: Claim, data: bytes | memoryview) -> None:
        """Feed the digests what has been written, and is not stored yet, if it comes in order."""
        if claim.stored == self.hashed and self.hashing.acquire(blocking=False):
            try:
                if claim.stored == self.hashed:
                    self.digests.update(data)
                    self.hashed += len(data)
            finally:
                self.hashing.release()

    def hash_front(self, part: Part, *, wait: bool = False) -> bool:
        """Feed the digests some of what is there in order; says whether there was any.

        Whoever stores bytes does so for a moment: a digest takes them in order, and ranges come in any.
        """
        if self.digests.are_none or not self.hashing.acquire(blocking=wait):
            return False
        try:
            count = min(_HASHED, self.front - self.hashed)
            if count <= 0:
                return False
            self.digests.update(part.read_at(self.hashed, count))
            self.hashed += count
            return True
        finally:
            self.hashing.release()

    # -- what is there ---------------------------------------------------------------------------

    @property
    def wants_more(self) -> bool:
        """Say whether there is a range to ask for now."""
        with self._lock:
            return not self.is_over and self._map.wants_more

    @property
    def part(self) -> PartInfo:
        """What is stored by now."""
        with self._lock:
            return self._info()

    @property
    def is_whole(self) -> bool:
        """Say whether every byte is there."""
        with self._lock:
            return self._left is None and self._have == self.total

    @property
    def plan(self) -> BodyPlan:
        """What an answer with all of it would have been."""
        return BodyPlan(Action.APPEND, self.total, self.total, self._part.validator)

    def end(self, left: PartInfo = NO_PART) -> None:
        """Note that the file is done or has been thrown away; `left` is what remains of the part."""
        with self._lock:
            self.is_over = True
            self._left = left

    def _info(self) -> PartInfo:
        if self._left is not None:
            return self._left
        part, missing = self._part, self._map.missing()
        front = missing[0][0] if missing else self.total
        gaps: tuple[Gap, ...] = () if missing and missing[0] == (front, self.total) else missing
        return PartInfo(front, part.validator, self.total, part.token, gaps)
