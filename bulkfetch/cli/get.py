"""`get` and `plan`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from bulkfetch.cli.options import SETTINGS, build_config, policy_options, source_options
from bulkfetch.cli.policies import build_policies
from bulkfetch.cli.signals import caught
from bulkfetch.cli.sources import Entries, Sources, read_named
from bulkfetch.config import FetchConfig
from bulkfetch.display import Display, Mode, format_summary, make_display
from bulkfetch.errors import UsageError
from bulkfetch.manifest import Checked
from bulkfetch.policy import Policies
from bulkfetch.printing import EventsFile, FailedFile, ResultWriter, parse_print
from bulkfetch.summary import EXIT_FAILED

if TYPE_CHECKING:
    from bulkfetch.fetcher import Fetcher

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
    help=f"{GET_EXAMPLES}\nFetch everything. SOURCE is a URL, a manifest file, or - for standard input.",
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
    metavar="FIELDS",
    help="Write finished entries to stdout: path, url, json, or a template such as '{path}\\t{sha256}'.",
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
    config = build_config(options)
    policies = build_policies(config, options)
    if options["output"] is not None:
        return _get_one(sources, config, policies, options)
    return _get_all(sources.read(config, policies), config, policies, options)


@click.command(
    context_settings=SETTINGS,
    short_help="Show what get would do.",
    help=f"{PLAN_EXAMPLES}\nShow what `get` would do, without fetching a body.",
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


def _get_all(entries: Entries, config: FetchConfig, policies: Policies, options: dict[str, Any]) -> int:
    from bulkfetch.fetcher import Fetcher

    printer = parse_print(options["print_"], null=options["print0"]) if options["print_"] else None
    writer = ResultWriter(getattr(sys.stdout, "buffer", None), printer, config.dest) if printer else None
    with contextlib.ExitStack() as opened:
        displays = opened.enter_context(_displays(options))
        fetcher = opened.enter_context(Fetcher(config, policies=policies, displays=displays))
        opened.enter_context(caught(fetcher.stop))
        _drive(fetcher, entries, writer)
    _conclude(fetcher, options)
    return fetcher.summary.exit_status


def _drive(fetcher: Fetcher, entries: Entries, writer: ResultWriter | None) -> None:
    for outcome in fetcher.run(Checked(entries)):
        if writer is None:
            continue
        writer.write(outcome)
        if not writer.flush():
            fetcher.stop(writer.error or "the reader of standard output went away")
            writer = None


@contextlib.contextmanager
def _displays(options: dict[str, Any]) -> Iterator[list[Display]]:
    """Open what shows or records the events, and close it whatever happens."""
    with contextlib.ExitStack() as opened:
        displays: list[Display] = []
        for name, kind in (("events", EventsFile), ("failed", FailedFile)):
            if options[name]:
                displays.append(opened.enter_context(contextlib.closing(kind(options[name]))))
        if options["log_file"]:
            log = _open_log(opened, options["log_file"], max(1, options["verbose"]))
            displays.append(opened.enter_context(contextlib.closing(log)))
        shown = make_display(
            options["progress"], sys.stderr, verbose=options["verbose"], quiet=options["quiet"]
        )
        displays.append(opened.enter_context(contextlib.closing(shown)))
        yield displays


def _open_log(opened: contextlib.ExitStack, name: str, verbose: int) -> Display:
    try:
        stream = opened.enter_context(open(name, "a", encoding="utf-8", errors="backslashreplace"))  # noqa: PTH123, SIM115 - closed by `opened`
    except OSError as exc:
        raise UsageError(f"cannot write {name}: {exc.strerror}") from exc
    return make_display("log", stream, verbose=verbose)


def _conclude(fetcher: Fetcher, options: dict[str, Any]) -> None:
    """Say how the run ended, unless nobody wants to know."""
    summary = fetcher.summary
    if options["progress"] in ("json", "none") or (options["quiet"] and summary.exit_status == 0):
        return
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr closed or full (faults P07, P08)
        print(format_summary(summary), file=sys.stderr, flush=True)


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
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(prefix="bulkfetch-") as folder:
        code = _get_all(
            read_named(sources.urls[0], "body"),
            replace(config, dest=folder),
            policies,
            {**options, "print_": None},
        )
        body = Path(folder, "body")
        if code or not body.exists():
            return code or EXIT_FAILED
        with body.open("rb") as stream:
            shutil.copyfileobj(stream, sys.stdout.buffer, 1024 * 1024)
    return 0
