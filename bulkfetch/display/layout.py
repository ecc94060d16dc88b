"""The rows of the bar as text that fits a width: pure, nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bulkfetch.display.tally import Speed, Tally, Transfer
from bulkfetch.formatting import (
    UNKNOWN,
    cut,
    draw_bar,
    format_clock,
    format_count,
    format_per_second,
    format_size,
    shorten_middle,
    text_width,
)
from bulkfetch.safetext import clean, host_of
from bulkfetch.values import frozen

GAP = "  "
NARROWEST_NAME, NARROWEST_BAR, WIDEST_BAR = 12, 8, 30
WIDEST_HOST = 30
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
# What is left out last comes first; the second number of a piece is its place in the row.
_COUNTS, _FAILED, _RATE, _ETA, _WAITING, _SIZE, _FILES = range(7)
_PLACES = (_COUNTS, _SIZE, _RATE, _FILES, _ETA, _FAILED, _WAITING)

DrawBar = Callable[[float, int], str]  # fraction, columns -> text exactly that wide


@frozen
class Look:
    """What the screen can show."""

    draw_bar: DrawBar
    mark: str = "…"  # stands for what was cut out
    colour: bool = False


UNICODE_LOOK = Look(draw_bar)
ASCII_LOOK = Look(partial(draw_bar, charset=" -#"), mark="..")


class Layout:
    """Turns a tally into rows; remembers what rates are made of."""

    def __init__(self, tally: Tally, look: Look) -> None:
        self._tally = tally
        self._look = look
        self._bytes = Speed()
        self._files = Speed()

    def overall(self, now: float, width: int) -> str:
        """Return the row about the whole run."""
        pieces = self._pieces(now)
        pieces[_COUNTS] += self._percent()
        chosen = _fitting(pieces, width)
        places = [place for place in _PLACES if place in chosen]
        plain = GAP.join(pieces[place] for place in places)
        if text_width(plain) > width:  # not even the counts fit
            return cut(plain, width)
        texts = [self._coloured(place, pieces[place]) for place in places]
        if bar := self._bar(width - text_width(plain) - len(GAP)):
            texts.insert(1, bar)
        return GAP.join(texts)

    def transfers(self, now: float, width: int, rows: int) -> list[str]:
        """Return a row for each of the longest-running large transfers."""
        shown = [transfer for transfer in self._tally.transfers.values() if transfer.shown]
        rates = [transfer.speed.sample(now, transfer.offset) for transfer in shown]
        pairs = list(zip(shown, rates, strict=True))[: max(rows, 0)]
        return [self._transfer(transfer, rate, width) for transfer, rate in pairs]

    def summary_words(self, now: float) -> str:
        """Return what the log says about the whole run."""
        pieces = self._pieces(now)
        pieces[_COUNTS] += " files" + self._percent()
        return ", ".join(pieces[place] for place in _PLACES if place in pieces)

    def _pieces(self, now: float) -> dict[int, str]:
        tally = self._tally
        bytes_rate = self._bytes.sample(now, tally.received)
        files_rate = self._files.sample(now, tally.worked)
        size, size_total = tally.sizes()
        pieces = {_COUNTS: self._counts()}
        if tally.failed:
            pieces[_FAILED] = f"{format_count(tally.failed)} failed"
        if size:
            pieces[_SIZE] = format_size(size) + (f"/{format_size(size_total)}" if size_total else "")
        if bytes_rate is not None and tally.received:
            pieces[_RATE] = format_size(bytes_rate) + "/s"
        if files_rate is not None and tally.worked:
            pieces[_FILES] = format_per_second(files_rate)
        pieces |= self._eta(bytes_rate, files_rate) | self._waiting(now)
        return pieces

    def _counts(self) -> str:
        tally = self._tally
        total = tally.total
        return f"{format_count(tally.done)}/{UNKNOWN if total is None else format_count(total)}"

    def _percent(self) -> str:
        return f" ({int(self.fraction() * 100)}%)" if self._tally.total else ""

    def _coloured(self, place: int, text: str) -> str:
        return _RED + text + _PLAIN if place == _FAILED and self._look.colour else text

    def fraction(self) -> float:
        """Return how much of the run is done, from 0 to 1; 0 while the whole is not known."""
        size, size_total = self._tally.sizes()
        if size_total:
            return min(size / size_total, 1.0)
        total = self._tally.total
        return min(self._tally.done / total, 1.0) if total else 0.0

    def _eta(self, bytes_rate: float | None, files_rate: float | None) -> dict[int, str]:
        size, size_total = self._tally.sizes()
        total = self._tally.total
        if total is None or total == self._tally.done:
            return {}
        left, rate = (size_total - size, bytes_rate) if size_total else (total - self._tally.done, files_rate)
        return {_ETA: f"ETA {format_clock(left / rate)}"} if rate else {}

    def _waiting(self, now: float) -> dict[int, str]:
        waiting = self._tally.waiting(now)
        if not waiting:
            return {}
        origin, left = waiting[0]
        name = shorten_middle(host_of(origin) or clean(origin), WIDEST_HOST, self._look.mark)
        more = f" (+{len(waiting) - 1})" if len(waiting) > 1 else ""
        return {_WAITING: f"{name} waits {format_clock(left)}{more}"}

    def _bar(self, room: int) -> str:
        if room < NARROWEST_BAR or self._tally.total is None:
            return ""
        return self._look.draw_bar(self.fraction(), min(room, WIDEST_BAR))

    def _transfer(self, transfer: Transfer, rate: float | None, width: int) -> str:
        figures = _figures(transfer, rate)
        while figures and width - text_width(GAP.join(figures)) - len(GAP) < NARROWEST_NAME:
            figures.pop()
        right = GAP.join(figures)
        room = width - text_width(right) - (len(GAP) if figures else 0)
        name = shorten_middle(clean(transfer.path), room, self._look.mark)
        return name + " " * (room - text_width(name)) + (GAP if figures else "") + right


def _fitting(pieces: dict[int, str], width: int) -> set[int]:
    """Choose the pieces that fit, most important first; the first always stays."""
    chosen, used = {_COUNTS}, text_width(pieces[_COUNTS])
    for piece in sorted(pieces):
        wanted = used + len(GAP) + text_width(pieces[piece])
        if piece != _COUNTS and wanted <= width:
            chosen.add(piece)
            used = wanted
    return chosen


def _figures(transfer: Transfer, rate: float | None) -> list[str]:
    """Return the figures of one row, right-aligned in columns, most important first."""
    offset, total = transfer.offset, transfer.total
    if total is not None and total < offset:  # the length was wrong (L06)
        total = None
    sizes = format_size(offset) + (f"/{format_size(total)}" if total else "")
    speed = UNKNOWN if rate is None else format_size(rate) + "/s"
    left = format_clock((total - offset) / rate) if total and rate else ""
    percent = f"{int(offset / total * 100)}%" if total else ""
    return [f"{percent:>4}", f"{sizes:>17}", f"{speed:>10}", f"{left:>7}"]
