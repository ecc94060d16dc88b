"""Which bytes of one file are there, which are under way, and what a free worker asks for next.

Pure. Whoever lets several workers at one map holds a lock around each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bulkfetch.config import FetchConfig
from bulkfetch.models import Gap, PartInfo

LEAST = 1024 * 1024  # bytes; a shorter range costs more than it saves
_AUTO_LEAST = 8 * LEAST  # where nobody asked for a number


def count_ranges(left: int, config: FetchConfig) -> int:
    """Return in how many ranges `left` bytes are worth fetching at once; 1 is a single stream."""
    most = min(config.jobs, config.per_host)
    if config.segments == "auto":
        return max(1, min(most, left // _AUTO_LEAST))
    return max(1, min(most, int(config.segments), left // LEAST))


class Claim:
    """A stretch of the file that one answer brings, in order."""

    __slots__ = ("end", "limit", "shares", "stored", "taken")

    def __init__(self, start: int, end: int, shares: int) -> None:
        self.stored = start  # bytes before this one are in the file
        self.taken = start  # bytes before this one are in the file or being written
        self.end = end  # moves down when another worker takes the rest
        self.limit = end  # how far the answer goes
        self.shares = shares  # workers that this stretch is still meant for

    @property
    def piece(self) -> int:
        """How much of it the next worker gets."""
        return (self.end - self.taken) // max(2, self.shares)


class SegmentMap:
    """Divides the missing bytes of a file among workers that come and go.

    Args:
        missing: the gaps, in order and apart from one another.
        ranges: how many workers are expected at once.
        least: a stretch is not divided into shorter ones.
    """

    def __init__(self, missing: Sequence[Gap], ranges: int, *, least: int = LEAST) -> None:
        self._free = sorted(missing)  # nobody is at work on these
        self._claims: list[Claim] = []
        self._ranges = ranges
        self._least = least

    def claim(self) -> Claim | None:
        """Return what to ask for: the first free gap, or the end of the longest stretch under way."""
        if self._free:
            start, end = self._free.pop(0)
            claim = Claim(start, end, max(1, self._ranges - len(self._claims) - len(self._free)))
        else:
            longest = max(self._claims, key=lambda one: one.piece, default=None)
            if longest is None or longest.piece < self._least:
                return None
            cut = longest.end - longest.piece
            claim = Claim(cut, longest.end, 1)
            longest.end = cut
            longest.shares -= 1
        self._claims.append(claim)
        return claim

    def reserve(self, claim: Claim, length: int) -> int:
        """Return how many of the next `length` bytes are to be written; nobody else will get those."""
        if claim.taken + length > claim.end:
            self._extend(claim)
        count = min(length, claim.end - claim.taken)
        claim.taken += count
        return count

    def store(self, claim: Claim) -> None:
        """Note that everything reserved is in the file."""
        claim.stored = claim.taken

    def left(self, claim: Claim) -> int:
        """Return how many bytes its answer has still to bring."""
        if claim.taken == claim.end:
            self._extend(claim)
        return claim.end - claim.taken

    def give_back(self, claim: Claim) -> None:
        """End a claim; what it has not stored is free again."""
        self._claims.remove(claim)
        if claim.stored < claim.end:
            self._free = joined([*self._free, (claim.stored, claim.end)])

    def missing(self) -> tuple[Gap, ...]:
        """Return the gaps: what is not in the file."""
        under_way = [(claim.stored, claim.end) for claim in self._claims if claim.stored < claim.end]
        return tuple(joined([*self._free, *under_way]))

    @property
    def is_busy(self) -> bool:
        """Say whether anybody is at work."""
        return bool(self._claims)

    @property
    def wants_more(self) -> bool:
        """Say whether there is something to claim."""
        return bool(self._free) or any(claim.piece >= self._least for claim in self._claims)

    def _extend(self, claim: Claim) -> None:
        """Let an answer go on into what another worker gave back."""
        for gap in self._free:
            if gap[0] == claim.end < claim.limit:
                self._free.remove(gap)
                claim.end = min(gap[1], claim.limit)
                if claim.end < gap[1]:
                    self._free = sorted([*self._free, (claim.end, gap[1])])
                return


def clip(part: PartInfo, size: int) -> PartInfo:
    """Return what `part` says less the bytes past `size`, where the file ends now."""
    assert part.total is not None  # known of every part with gaps
    cut = [(start, min(end, size)) for start, end in part.missing if start < size]
    missing = tuple(joined([*cut, (size, part.total)] if size < part.total else cut))
    return replace(part, offset=missing[0][0], missing=missing)


def joined(gaps: Sequence[Gap]) -> list[Gap]:
    """Return gaps in order, those that touch or overlap made one."""
    found: list[Gap] = []
    for start, end in sorted(gaps):
        if found and found[-1][1] >= start:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
