"""Which bytes of one file are there, which are under way, and what a free worker asks for next.

Pure. Whoever lets several workers at one map holds a lock around each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bulkfetch.config import FetchConfig
from bulkfetch.models import Gap, PartInfo

LEAST = 1024 * 1024  # bytes; a shorter range costs more than it saves
_WAVES = 8  # requests of each worker; the last ones bring what is left to hash at the end
_AUTO_LEAST = 8 * LEAST  # where nobody asked for a number


def choose_piece(left: int, ranges: int, config: FetchConfig) -> int:
    """Return the bytes of one request: all for one worker, else so much that each worker makes several.

    The front of the file then grows as the file does, which a digest needs: it takes bytes in order.
    Where requests are counted, there are no more than need be.
    """
    waves = 1 if ranges < 2 or config.host_rate or config.rate else _WAVES
    return max(LEAST, -(-left // (ranges * waves)))


def count_ranges(left: int, config: FetchConfig) -> int:
    """Return in how many ranges `left` bytes are worth fetching at once; 1 is a single stream."""
    most = min(config.most_jobs, config.most_per_host)
    if config.segments == "auto":
        return max(1, min(most, left // _AUTO_LEAST))
    return max(1, min(most, int(config.segments), left // LEAST))


class Claim:
    """A stretch of the file that one answer brings, in order."""

    __slots__ = ("end", "limit", "stored", "taken")

    def __init__(self, start: int, end: int) -> None:
        self.stored = start  # bytes before this one are in the file
        self.taken = start  # bytes before this one are in the file or being written
        self.end = end  # moves down when another worker takes the rest
        self.limit = end  # how far the answer goes

    @property
    def half(self) -> int:
        """How much of it another worker would get."""
        return (self.end - self.taken) // 2


class SegmentMap:
    """Divides the missing bytes of a file among workers that come and go.

    Args:
        missing: the gaps, in order and apart from one another.
        piece: most that one claim takes of a free gap.
        least: a stretch is not divided into shorter ones.
    """

    def __init__(self, missing: Sequence[Gap], piece: int, *, least: int = LEAST) -> None:
        self._free = sorted(missing)  # nobody is at work on these
        self._claims: list[Claim] = []
        self._piece = piece
        self._least = least

    def claim(self) -> Claim | None:
        """Return what to ask for: the first free gap, or the end of the longest stretch under way."""
        if self._free:
            start, end = self._take(0, self._free[0][1])
            claim = Claim(start, end)
        else:
            longest = max(self._claims, key=lambda one: one.half, default=None)
            if longest is None or longest.half < self._least:
                return None
            cut = longest.end - longest.half
            claim = Claim(cut, longest.end)
            longest.end = cut
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

    def front(self, total: int) -> int:
        """Return where the first gap begins, `total` where there is none."""
        starts = [claim.stored for claim in self._claims if claim.stored < claim.end]
        return min([*starts, *(start for start, _ in self._free[:1])], default=total)

    @property
    def is_busy(self) -> bool:
        """Say whether anybody is at work."""
        return bool(self._claims)

    @property
    def wants_more(self) -> bool:
        """Say whether there is something to claim."""
        return bool(self._free) or any(claim.half >= self._least for claim in self._claims)

    def _extend(self, claim: Claim) -> None:
        """Let an answer go on into what another worker gave back."""
        for i, gap in enumerate(self._free):
            if gap[0] == claim.end < claim.limit:
                _, claim.end = self._take(i, claim.limit)
                return

    def _take(self, i: int, limit: int) -> Gap:
        """Take the beginning of a free gap, up to `limit` and no more than a piece."""
        start, end = self._free[i]
        cut = min(end, limit, start + self._piece)
        self._free[i : i + 1] = [(cut, end)] if cut < end else []
        return start, cut


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
