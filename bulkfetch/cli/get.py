"""`get` and `plan`."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from bulkfetch.cli.options import SETTINGS, build_config, policy_options, source_options
from bulkfetch.cli.outputs import check_outputs, losses, open_displays, send_body
from bulkfetch.cli.policies import build_policies, noted, tell_unmatched
from bulkfetch.cli.signals import caught
from bulkfetch.cli.sources import Entries, Sources, read_named
from bulkfetch.config import FetchConfig
from bulkfetch.display import Mode, format_summary
from bulkfetch.errors import DiskFailed, ManifestError
from bulkfetch.loading import no_search
from bulkfetch.manifest import Checked
from bulkfetch.models import LINE
from bulkfetch.policy import Policies
from bulkfetch.printing import Printer, ResultWriter, parse_print
from bulkfetch.safetext import clean
from bulkfetch.summary import EXIT_BAD_LINES, EXIT_FAILED, EXIT_OK, EXIT_STOPPED, Summary

if TYPE_CHECKING:
    from bulkfetch.fetcher import Fetcher

_SILENT = ("json", "none")  # kinds of progress without plain lines
_VARIABLES = (
    "$BULKFETCH_PER_HOST stands for --per-host, and so on for every option; what is typed goes before it."
)
GET_EXAMPLES = """\b
Examples:
  bulkfetch get urls.txt -d data
  bulkfetch get https://example.org/a.csv -o b.csv
  bulkfetch get files.jsonl -d data --layout tree -j 32 --per-host 4
  producer | bulkfetch get -d data --print path -0 | xargs -0 consumer
  bulkfetch get -i https://example.org/list.csv -d data --failed again.jsonl
"""
PLAN_EXAMPLES = """\b
Examples:
  bulkfetch plan urls.txt -d data
  bulkfetch plan files.csv --layout '{host}/{stem}{ext}' -d data
"""


@click.command(
    context_settings=SETTINGS,
    short_help="Fetch everything a list names.",
    help=f"{GET_EXAMPLES}\nFetch everything. SOURCE is a URL, a manifest file, or - for standard input.\n\n{_VARIABLES}",
)
@source_options
@click.option(
    "-o", "--output", metavar="NAME", help="Name for a single URL; - writes the one body to stdout."
)
@policy_options
@click.option(
    "--progress",
    type=click.Choice(get_args(Mode)),
    default="auto",
    help="Default auto: a bar on a terminal, log lines otherwise.",
)
@click.option(
    "--print",
    "print_",
    envvar="BULKFETCH_PRINT",
    metavar="FIELDS",
    help="Write finished entries to stdout: path (with DEST before it), url, json, or a template such as '{path}\\t{sha256}', '{url} {failure.kind} {failure.message}'.",
)
@click.option("-0", "--print0", is_flag=True, help="End printed records with NUL instead of a line feed.")
@click.option("--events", metavar="FILE", help="Every event as a JSON line.")
@click.option("--failed", metavar="FILE", help="Failures as a manifest that `get` reads back.")
@click.option("--log-file", metavar="FILE", help="What happens, as plain log lines.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr.")
@click.option(
    "-v",
    "--verbose",
    count=True,
    help="One line per attempt; -vv the exchange with the server, secrets removed.",
)
@click.option("--dry-run", is_flag=True, help="The same as `bulkfetch plan`.")
def get(**options: Any) -> int:  # fmt: skip
    """Run `get`."""
    if options["dry_run"]:
        from bulkfetch.cli.plan import show_plan

        return show_plan(options)
    sources = Sources.from_options(options)
    check_outputs(options, sources.files)
    config = build_config(options)
    policies = build_policies(config, options)
    if options["output"] is not None:
        return _get_one(sources, config, policies, options)
    entries = sources.read(config, policies)
    return _get_all(entries, config, policies, options, has_columns=not sources.are_urls)


@click.command(
    context_settings=SETTINGS,
    short_help="Show what get would do.",
    help=f"{PLAN_EXAMPLES}\nShow what `get` would do, without fetching a body.\n\n{_VARIABLES}",
)
@source_options
@policy_options
@click.option(
    "--sizes", is_flag=True, help="Ask the servers for sizes that the manifest does not declare (HEAD)."
)
@click.option("--explain", metavar="URL", help="What becomes of this one entry.")
def plan(**options: Any) -> int:
    """Run `plan`."""
    from bulkfetch.cli.plan import show_plan

    return show_plan(options)


def _get_all(
    entries: Entries,
    config: FetchConfig,
    policies: Policies,
    options: dict[str, Any],
    *,
    lasts: bool = True,
    has_columns: bool = False,
) -> int:
    """Fetch everything; `lasts`: the destination is there afterwards."""
    with no_search():
        from bulkfetch.fetcher import Fetcher

    printer = _printer(options, has_columns=has_columns)
    writer = ResultWriter(getattr(sys.stdout, "buffer", None), printer, config.dest) if printer else None
    with contextlib.ExitStack() as opened:
        displays = open_displays(opened, options)
        fetcher = opened.enter_context(Fetcher(config, policies=policies, displays=displays))
        opened.enter_context(caught(fetcher.stop))
        broken = _drive(fetcher, noted(entries, policies), writer)
    summary = fetcher.summary
    if broken is not None and summary.unreadable and not summary.entries:
        raise broken
    if summary.complete and not options["quiet"] and options["progress"] not in _SILENT:
        tell_unmatched(policies, "this run")
    if printer is not None and summary.finished and not options["quiet"]:
        _tell_unseen(printer)
    _conclude(summary, options, lasts=lasts)
    lost = losses(displays, options)
    if writer is not None and writer.error:
        lost.append(writer.error)
    for text in lost:
        if text != summary.stopped:
            _say(f"bulkfetch: {text}")
    is_worse = summary.exit_status not in (EXIT_OK, EXIT_FAILED, EXIT_BAD_LINES)
    return EXIT_STOPPED if lost and not is_worse else summary.exit_status


def _printer(options: dict[str, Any], *, has_columns: bool) -> Printer | None:
    fields = options["print_"]
    return parse_print(fields, null=options["print0"], has_columns=has_columns) if fields else None


def _tell_unseen(printer: Printer) -> None:
    for name in sorted(printer.unseen):
        _say(
            f"bulkfetch: warning: --print {{{clean(name, 80)}}}: no field, and no printed entry has this column"
        )


def _drive(fetcher: Fetcher, entries: Entries, writer: ResultWriter | None) -> ManifestError | None:
    """Let a run go through; returns what kept the manifest from being read to its end."""
    try:
        _print_outcomes(fetcher, entries, writer)
    except ManifestError as exc:
        return exc
    except DiskFailed:
        if not fetcher.summary.stopped:  # which tells it
            raise
    return None


def _print_outcomes(fetcher: Fetcher, entries: Entries, writer: ResultWriter | None) -> None:
    for outcome in fetcher.run(Checked(entries)):
        if writer is None or (outcome.failure is not None and outcome.failure.kind == LINE):
            continue  # bad lines are told on stderr
        writer.write(outcome)
        if not writer.flush():
            fetcher.stop(writer.error or "the reader of standard output went away")
            writer = None


def _conclude(summary: Summary, options: dict[str, Any], *, lasts: bool) -> None:
    """Say how the run ended, unless nobody wants to know."""
    if options["progress"] in _SILENT or (options["quiet"] and summary.exit_status == 0):
        return
    _say(format_summary(summary, lasts=lasts))


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr closed or full (faults P07, P08)
        print(text, file=sys.stderr, flush=True)


def _get_one(sources: Sources, config: FetchConfig, policies: Policies, options: dict[str, Any]) -> int:
    """Fetch a single URL under the name given, or to standard output once it is whole."""
    if len(sources.urls) != 1 or len(options["sources"]) != 1 or options["manifests"]:
        raise click.UsageError("--output is for a single URL")
    name = options["output"]
    if name != "-":
        target = Path(name)
        config = replace(
            config, dest=target.parent if target.is_absolute() else Path(config.dest) / target.parent
        )
        return _get_all(read_named(sources.urls[0], target.name), config, policies, options)
    if options["print_"]:
        raise click.UsageError("--output - and --print both write to standard output")
    import tempfile

    with tempfile.TemporaryDirectory(prefix="bulkfetch-") as folder:
        code = _get_all(
            read_named(sources.urls[0], "body"),
            replace(config, dest=folder),
            policies,
            options,
            lasts=False,
        )
        body = Path(folder, "body")
        if code or not body.exists():
            return code or EXIT_FAILED
        with body.open("rb") as stream:
            send_body(stream, getattr(sys.stdout, "buffer", None))
    return 0
