"""What `plan` shows: counts, hosts, renamed and refused entries; it fetches no body and writes nothing."""

from __future__ import annotations

import collections
import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bulkfetch.cli.holding import holding_lines
from bulkfetch.cli.options import build_config
from bulkfetch.cli.policies import build_policies, given_options, noted, tell_unmatched
from bulkfetch.cli.sources import Sources
from bulkfetch.config import FetchConfig
from bulkfetch.formatting import format_number_of, format_size
from bulkfetch.journal import Journal, copy_journal
from bulkfetch.models import BadLine, Entry, Origin, Outcome, Status, Task
from bulkfetch.planner import Planner
from bulkfetch.policy import Policies
from bulkfetch.safetext import clean, redact, redact_url
from bulkfetch.screening import screen
from bulkfetch.store import STATE, LocalStore
from bulkfetch.summary import EXIT_BAD_LINES, EXIT_FAILED, EXIT_OK
from bulkfetch.urls import split_userinfo

_BATCH = 1024
_MOST_SHOWN = 20  # rows of one kind


@dataclass(slots=True)
class _Tally:
    """What planning a whole manifest came to."""

    entries: int = 0
    size: int = 0  # bytes declared by what would be fetched
    told: int = 0  # bytes that servers named for what would be fetched
    kept: int = 0  # bytes of parts that would be continued
    counts: Counter[str] = field(default_factory=Counter)
    hosts: Counter[Origin] = field(default_factory=Counter)
    lines: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, line: str) -> None:
        """Count one row of a kind that is listed, and keep the first of them."""
        self.counts[kind] += 1
        rows = self.lines.setdefault(kind, [])
        if len(rows) < _MOST_SHOWN:
            rows.append(line)


def show_plan(options: dict[str, Any]) -> int:
    """Print what would happen; returns the exit status."""
    config = build_config(options)
    policies = build_policies(config, options)
    wanted = options.get("explain")
    is_alone = wanted is not None and not (options["sources"] or options["manifests"])
    sources = Sources.from_options({**options, "sources": (wanted,)} if is_alone else options)
    tally = _Tally()
    found: list[bool] = []

    def visit(planned: Task | Outcome) -> None:
        if wanted is not None and (is_alone or wanted in planned.entry.urls):
            found.append(True)
            _explain(planned, config, policies)

    with _planner(config) as planner:
        entries = noted(sources.read(config, policies), policies)
        rows = _plan_all(planner, screen(entries) if config.untrusted else entries, tally)
        rows = _visited(rows, tally, visit)
        if options.get("sizes"):
            _measure(rows, config, policies, tally)
        collections.deque(rows, maxlen=0)
    if wanted is None:
        _print(tally, config)
        if not options.get("quiet"):
            tell_unmatched(policies, "the list")
    elif not found:
        raise click.UsageError(f"{redact_url(clean(wanted))} is not in the manifest")
    refused = tally.counts["refused"]
    return EXIT_FAILED if refused else EXIT_BAD_LINES if tally.counts["unreadable line"] else EXIT_OK


@contextlib.contextmanager
def _planner(config: FetchConfig) -> Iterator[Planner]:
    """Plan against a copy of the destination's journal, so that nothing there changes."""
    with tempfile.TemporaryDirectory(prefix="bulkfetch-plan-") as folder:
        copy_journal(Path(config.dest, STATE), Path(folder))
        with contextlib.closing(Journal.open_scratch(Path(folder))) as journal:
            journal.begin_run()
            yield Planner(config, journal, LocalStore(config.dest))


def _plan_all(
    planner: Planner, entries: Iterable[Entry | BadLine], tally: _Tally
) -> Iterator[Task | Outcome]:
    batch: list[Entry] = []
    for entry in entries:
        if isinstance(entry, BadLine):
            tally.note("unreadable line", f"{entry.source}:{entry.line}: {entry.reason}")
            continue
        batch.append(entry)
        if len(batch) >= _BATCH:
            yield from planner.plan(batch)
            batch.clear()
    yield from planner.plan(batch)


def _visited(
    rows: Iterator[Task | Outcome], tally: _Tally, visit: Callable[[Task | Outcome], None]
) -> Iterator[Task | Outcome]:
    """Yield what was planned once it is counted and shown."""
    for planned in rows:
        _count(tally, planned)
        visit(planned)
        yield planned


def _measure(rows: Iterator[Task | Outcome], config: FetchConfig, policies: Policies, tally: _Tally) -> None:
    """Go through what was planned and ask the servers for the sizes that are not declared."""
    from bulkfetch.fetcher import Fetcher

    for sized in Fetcher(config, policies=policies).sizes(_unsized(rows, tally)):
        if sized.size is None:
            tally.note("unknown size", f"{_where(sized.task.entry)}: {clean(redact(sized.reason), 200)}")
        else:
            tally.counts["size told by its server"] += 1
            tally.told += sized.size


def _unsized(rows: Iterator[Task | Outcome], tally: _Tally) -> Iterator[Task]:
    for planned in rows:
        if isinstance(planned, Task) and planned.entry.size is None and planned.held is None:
            if planned.entry.request is None:
                yield planned
            else:
                tally.note("unknown size", f"{_where(planned.entry)}: no plain GET")


def _count(tally: _Tally, planned: Task | Outcome) -> None:
    tally.entries += 1
    if isinstance(planned, Task):
        _count_task(tally, planned)
    elif planned.status is Status.FAILED:
        why = planned.failure.message if planned.failure else ""
        tally.note("refused", f"{_where(planned.entry)}: {why}")
    else:
        tally.counts[planned.reason] += 1


def _count_task(tally: _Tally, task: Task) -> None:
    tally.size += (task.entry.size or 0) if task.held is None else 0
    tally.hosts[task.origin] += 1
    if task.held is not None and task.check is not None:
        spared = "" if task.check.spares else ", else fetched again"
        tally.counts[f"changed on disk: to hash, and asked about if as recorded{spared}"] += 1
    elif task.held is not None:
        tally.counts["stale: would ask whether it changed"] += 1
    elif task.check is not None:
        tally.counts["to check"] += 1
    elif task.part.offset:
        tally.counts["to resume"] += 1
        tally.kept += task.part.offset
    else:
        tally.counts["to replace" if task.replace else "to fetch"] += 1
    if task.renamed:
        tally.note("renamed", f"{_where(task.entry)}: {task.path}, as its own name is taken")


def _where(entry: Entry) -> str:
    place = f"{entry.source}:{entry.line}" if entry.line else entry.source
    return f"{place}: {clean(redact_url(entry.urls[0]), 120)}".lstrip(": ")


def _print(tally: _Tally, config: FetchConfig) -> None:
    click.echo(f"{format_number_of(tally.entries, 'entry', 'entries')} for {clean(str(config.dest))}")
    for kind, count in sorted(tally.counts.items(), key=lambda row: -row[1]):
        note = f", {format_size(tally.kept)} kept" if kind == "to resume" else ""
        click.echo(f"  {count:>9,}  {kind}{note}")
    if tally.size:
        click.echo(f"  {format_size(tally.size)} declared by what would be fetched")
    if tally.told:
        unknown = tally.counts["unknown size"]
        rest = f", {format_number_of(unknown, 'file')} of unknown size besides" if unknown else ""
        click.echo(f"  {format_size(tally.size + tally.told)} in all, as far as it is known{rest}")
    if tally.hosts:
        click.echo(f"{format_number_of(len(tally.hosts), 'host')}:")
        _print_rows(
            [f"{count:>9,}  {host}" for host, count in tally.hosts.most_common(_MOST_SHOWN)], len(tally.hosts)
        )
    for kind, rows in tally.lines.items():
        click.echo(f"{kind}:")
        _print_rows(rows, tally.counts[kind])


def _print_rows(rows: list[str], total: int) -> None:
    for row in rows:
        click.echo(f"  {row}")
    if total > len(rows):
        click.echo(f"  ... and {total - len(rows):,} more")


def _explain(planned: Task | Outcome, config: FetchConfig, policies: Policies) -> None:
    click.echo(f"entry        {_where(planned.entry)}")
    click.echo(f"destination  {planned.path}")
    if isinstance(planned, Outcome):
        why = planned.failure.message if planned.failure else planned.reason
        click.echo(f"outcome      {planned.status}: {why}")
    else:
        _explain_task(planned)
    url = planned.url if isinstance(planned, Task) else split_userinfo(planned.entry.urls[0])[0]
    for line in holding_lines(url, planned.entry, config, policies, given_options()):
        click.echo(line)


def _explain_task(planned: Task) -> None:
    click.echo(f"origin       {planned.origin}")
    click.echo(f"mirrors      {len(planned.entry.urls) - 1}")
    if planned.part.offset:
        click.echo(f"resumes at   {planned.part.offset} of {planned.part.total or 'unknown'} bytes")
    if planned.check is not None:
        click.echo("first        the file that is there is checked")
    if planned.held is not None and planned.check is not None:
        click.echo("then         if it is as recorded, the server is asked whether it has changed")
        if planned.check.spares:
            click.echo("             else it is yours, and left to --existing")
    elif planned.held is not None:
        click.echo("stale        the server is asked whether the file that is there has changed")
    elif planned.replace and planned.check is None:
        click.echo("replaces     the file that is there")
