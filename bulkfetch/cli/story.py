"""`explain`: every attempt at one entry, every wait, and why."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkfetch.cli.inspect import open_journal
from bulkfetch.cli.params import FOLDER
from bulkfetch.errors import LineError, UsageError
from bulkfetch.formatting import format_duration, format_number_of, format_size
from bulkfetch.safetext import clean, redact_url
from bulkfetch.summary import EXIT_OK
from bulkfetch.urls import parse_url

if TYPE_CHECKING:
    from bulkfetch.journal import AttemptRow, EntryStory


@click.command(
    short_help="Every attempt and wait of one entry.",
    help="""\b
Examples:
  bulkfetch explain data https://example.org/a.csv

Show what happened to the entry of URL in DEST: every attempt, wait and reason; also while a run goes on.""",
)
@click.argument("dest", type=FOLDER)
@click.argument("url")
def explain(dest: str, url: str) -> int:
    """Run `explain`."""
    try:
        wanted = redact_url(parse_url(url))
    except LineError as exc:
        raise UsageError(f"the URL cannot be looked for: {exc}") from exc
    from bulkfetch.lock import holder_of
    from bulkfetch.store import STATE

    with open_journal(dest) as journal:
        stories = list(journal.stories(wanted))
    if not stories:
        raise UsageError(f"the journal of {clean(dest)} knows nothing of {clean(wanted)}")
    goes_on = sys.platform == "win32" or bool(holder_of(Path(dest, STATE)))  # there nobody can tell
    for story in stories:
        _show(story, goes_on=goes_on)
    return EXIT_OK


def _show(story: EntryStory, *, goes_on: bool) -> None:
    click.echo(f"{clean(story.url)}\n  destination  {clean(story.path)}")
    run = 0
    for row in (*story.rows, *_only_attempt(story)):
        if row.run != run:
            run = row.run
            click.echo(f"  run {run}")
        _show_row(row)
    if story.open_run and not goes_on:  # telling of each beginning would cost a write for each file
        click.echo(
            f"  run {story.open_run} ended with the program; an attempt under way then has no line of its own"
        )
    if story.kept:
        click.echo(f"  kept         {format_size(story.kept)} that the next attempt goes on from")
    totals = [
        format_number_of(story.attempts, "attempt"),
        f"{format_size(story.received)} received",
        f"{story.seconds:.1f} s",
    ]
    reason = f", {clean(story.reason)}" if story.reason else ""
    told = f" ({', '.join(totals)})" if story.attempts else ""
    click.echo(f"  {story.state}{reason}{told}")


def _show_row(row: AttemptRow) -> None:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.time))
    click.echo(f"    {at}  attempt {row.number}: {clean(row.what)}")
    click.echo(f"      asked {clean(row.url)}: {format_size(row.received)} in {row.seconds:.2f} s")
    if row.wait is not None:
        wait = format_duration(row.wait) if row.wait > 0 else "no wait"
        click.echo(f"      then {wait}: {clean(row.why)}")


def _only_attempt(story: EntryStory) -> list[AttemptRow]:
    """Return the attempt of an end that needed no other: the entry's own record has all of it."""
    from bulkfetch.journal import AttemptRow

    is_told = any(row.run == story.run for row in story.rows)
    if story.attempts != 1 or story.finished is None or is_told:
        return []
    what = f"failed, {story.reason}" if story.has_failed else story.reason or "fetched"
    facts = (story.final_url or story.url, what, story.received, story.seconds)
    return [AttemptRow(b"", 1, *facts, run=story.run, time=story.finished)]
