"""`status`, `failed` and `verify`: what the journal knows, without a request."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulkfetch.cli.params import FOLDER
from bulkfetch.errors import DiskFailed, UsageError
from bulkfetch.formatting import format_number_of, format_size, json_line
from bulkfetch.models import Status
from bulkfetch.safetext import clean
from bulkfetch.summary import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from bulkfetch.journal import Journal, Row
    from bulkfetch.store import LocalStore

_DEST = click.argument("dest", type=FOLDER)


@click.command(
    short_help="What the journal of a destination knows.",
    help="""\b
Examples:
  bulkfetch status data
  bulkfetch status data --by-host
  bulkfetch status data --json

Show what the journal of DEST knows: totals by state and failure kind.""",
)
@_DEST
@click.option("--by-host", is_flag=True, help="Entries host by host, and how each was asked last.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(dest: str, by_host: bool, as_json: bool) -> int:
    """Run `status`."""
    from bulkfetch.lock import holder_of
    from bulkfetch.store import STATE

    if by_host:
        return _by_host(dest, as_json=as_json)
    with open_journal(dest) as journal:
        states, kinds, last = journal.counts(), journal.failure_counts(), journal.last_run()
    if as_json:
        click.echo(json.dumps({"dest": dest, "states": states, "failures": kinds, "last_run": last}))
        return EXIT_OK
    click.echo(f"{clean(dest)}: {format_number_of(sum(states.values()), 'entry', 'entries')}")
    for state, count in sorted(states.items()):
        click.echo(f"  {count:>9,}  {state}")
    for kind, count in sorted(kinds.items(), key=lambda row: -row[1]):
        click.echo(f"  {count:>9,}    failed: {kind}")
    if last and isinstance(workers := last["summary"].get("jobs"), int):
        click.echo(f"--jobs auto came to {format_number_of(workers, 'worker')} in the last run")
    if holder := holder_of(Path(dest, STATE)):
        click.echo(f"a run is going on here: {holder}")
    elif states.get("pending") or kinds:
        click.echo("run the same command again to go on with what is left")
    return EXIT_OK


def _by_host(dest: str, *, as_json: bool) -> int:
    from bulkfetch.cli.byhost import host_lines, hosts_of

    with open_journal(dest) as journal:
        hosts = hosts_of(journal)
    for line in [json.dumps({"dest": dest, "hosts": hosts})] if as_json else host_lines(hosts):
        click.echo(line)
    return EXIT_OK


@click.command(
    short_help="The failures, as a manifest.",
    help="""\b
Examples:
  bulkfetch failed data > again.jsonl && bulkfetch get again.jsonl -d data
  bulkfetch failed data --transient --format txt

Print the failures of DEST as a manifest.""",
)
@_DEST
@click.option(
    "--format", "format_", type=click.Choice(["jsonl", "txt"]), default="jsonl", help="txt: bare URLs."
)
@click.option("--kind", "kinds", multiple=True, help="Only this kind of failure; repeatable.")
@click.option("--transient", is_flag=True, help="Only failures that may pass by themselves.")
def failed(dest: str, format_: str, kinds: tuple[str, ...], transient: bool) -> int:
    """Run `failed`."""
    hidden = 0
    with open_journal(dest) as journal:
        for record in journal.failures(kinds=kinds or None, transient=transient):
            hidden += bool(record.pop("redacted", False))
            click.echo(_url_line(record) if format_ == "txt" else json_line(record))
    if hidden:
        text = f"{format_number_of(hidden, 'entry', 'entries')} had a secret or a body"
        click.echo(f"bulkfetch: {text}, which the journal does not keep: use `get --failed FILE`", err=True)
    return EXIT_OK


@click.command(
    short_help="Hash the files again and compare.",
    help="""\b
Examples:
  bulkfetch verify data

Hash the files of DEST again; exit 1 and a list when something differs from the journal.""",
)
@_DEST
def verify(dest: str) -> int:
    """Run `verify`."""
    from bulkfetch.store import LocalStore

    store = LocalStore(dest)
    good = bad = size = 0
    with open_journal(dest) as journal:
        for row in journal.recorded():
            if row.state in (Status.FAILED, Status.PENDING) and store.find(row.path) is None:
                continue
            if problem := _compare(store, row):
                bad += 1
                click.echo(f"{row.path}: {problem}")
            else:
                good += 1
                size += row.size or 0
    if not good + bad:
        click.echo(f"nothing to verify: no finished file is on record in {clean(dest)}", err=True)
        return EXIT_OK
    click.echo(f"{format_number_of(good, 'file')} as recorded ({format_size(size)}), {bad} not", err=True)
    return EXIT_FAILED if bad else EXIT_OK


def _url_line(record: dict[str, Any]) -> str:
    """Return the URL of a record for a list that can say nothing else."""
    return f"{'# left out, as it is no plain GET: ' if 'method' in record else ''}{record['url']}"


def _compare(store: LocalStore, row: Row) -> str:
    """Return how the file differs from its row, or ""."""
    from bulkfetch.checksums import Digests

    found = store.find(row.path)
    if found is None:
        return "missing"
    if row.size is not None and found.st_size != row.size:
        return f"{found.st_size} bytes, recorded {row.size}"
    name, _, wanted = row.digest.partition(":")
    if not wanted:
        return ""
    digests = Digests([name])
    try:
        for data in store.read(row.path):
            digests.update(data)
    except DiskFailed as exc:
        return str(exc)
    got = digests.hexdigest(name)
    return "" if got == wanted else f"{name} is {got}, recorded {wanted}"


@contextlib.contextmanager
def open_journal(dest: str) -> Iterator[Journal]:
    """Open the journal of a destination for questions."""
    from bulkfetch.journal import Journal
    from bulkfetch.store import STATE

    state = Path(dest, STATE)
    if not (state / "journal.sqlite3").exists():
        raise UsageError(f"{clean(dest)} holds no journal: no run of bulkfetch wrote there")
    with contextlib.closing(Journal.open_readonly(state)) as journal:
        yield journal
