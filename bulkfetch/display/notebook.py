"""The bar in a notebook: one widget for the run, lines below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Never, TextIO

from tqdm.notebook import tqdm_notebook

from bulkfetch.display.layout import Layout, Look
from bulkfetch.display.lines import Lines
from bulkfetch.display.output import write_lines
from bulkfetch.display.tally import Tally
from bulkfetch.events import Event
from bulkfetch.models import Outcome

STEPS = 1000  # the widget counts thousandths, so a total that is not known yet needs no change of scale
COLUMNS = 160
BAR_PLACE = "<bar/>"  # where tqdm's notebook bar puts its widget

if TYPE_CHECKING:
    _Base = tqdm_notebook[Never]
else:
    _Base = tqdm_notebook


class _Widget(_Base):
    monitor_interval: ClassVar[int] = 0

    def __del__(self) -> None:
        """Do nothing: tqdm would close what may never have come to be."""


class NotebookDisplay:
    """Draws one notebook widget; raises ImportError where the notebook has none."""

    def __init__(self, stream: TextIO, *, verbose: int = 0) -> None:
        self._stream = stream
        self._lines = Lines(verbose=verbose)
        self._tally = Tally()
        self._layout = Layout(self._tally, Look(draw_bar=lambda fraction, columns: BAR_PLACE))
        self._widget = _Widget(total=STEPS, leave=False, bar_format=BAR_PLACE)

    def show(self, event: Event) -> None:
        """Count `event` and keep its line."""
        self._tally.note(event)
        self._lines.note(event)

    def show_ends(self, outcomes: Sequence[Outcome]) -> None:
        """Count entries that have ended and keep their lines."""
        self._tally.note_ends(outcomes)
        self._lines.note_ends(outcomes)

    def refresh(self, now: float) -> None:
        """Draw the widget and write the lines that came up."""
        self._widget.n = int(self._layout.fraction() * STEPS)
        self._widget.display(msg=self._layout.overall(now, COLUMNS))
        write_lines(self._stream, self._lines.take(now))

    def close(self) -> None:
        """Write the lines left and take the widget away."""
        write_lines(self._stream, self._lines.rest())
        self._widget.n = STEPS  # tqdm leaves a red bar where the count is not complete
        self._widget.close()
