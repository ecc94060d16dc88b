"""`demo`: a real run against a loopback server that misbehaves."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from bulkfetch.errors import UsageError
from bulkfetch.safetext import clean

_INTRODUCTION = """\
{count} files from a server on this machine: healthy, large, slow, throttling (429 + Retry-After),
cut off in the middle, redirected to another origin, and {missing} that are missing.
"""
_NEXT = """
The files are in {dest}. Try:
  bulkfetch status {dest}
  bulkfetch failed {dest}
  bulkfetch verify {dest}
"""


@click.command(
    short_help="A tour against a server of our own; no network needed.",
    help="""\b
Examples:
  bulkfetch demo
  bulkfetch demo -d /tmp/tour --progress log

Run `get` against a small server of our own that is slow, throttles, cuts bodies, redirects and misses files.
It needs no network and leaves one folder.""",
)
@click.option(
    "-d", "--dest", type=click.Path(file_okay=False), help="Folder to leave (default: bulkfetch-demo)."
)
@click.option("--progress", type=click.Choice(["auto", "bar", "log", "json", "none"]), default="auto")
def demo(dest: str | None, progress: str) -> int:
    """Run `demo`."""
    from bulkfetch.cli.get import get
    from bulkfetch.summary import EXIT_FAILED, EXIT_OK
    from bulkfetch.tour import MISSING, Tour

    folder = _new_folder(dest)
    with contextlib.closing(Tour()) as tour:
        manifest = folder / "manifest.jsonl"
        count = tour.write_manifest(manifest)
        click.echo(_INTRODUCTION.format(count=count, missing=MISSING), err=True)
        arguments = [str(manifest), "-d", str(folder), "--progress", progress]
        arguments += ["--proxy", "none", "--config", "none"]
        code = get.main(arguments, prog_name="bulkfetch get", standalone_mode=False)
    click.echo(_NEXT.format(dest=clean(str(folder))), err=True)
    sys.stderr.flush()
    return EXIT_OK if code == EXIT_FAILED else int(code)  # the missing files are part of the tour


def _new_folder(dest: str | None) -> Path:
    """Create the folder, under a name that is not taken."""
    wanted = Path(dest or "bulkfetch-demo")
    names = [wanted] if dest else [wanted, *(Path(f"{wanted}-{n}") for n in range(2, 100))]
    for folder in names:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as exc:
            raise UsageError(f"cannot create {clean(str(folder))}: {exc.strerror}") from exc
        return folder
    raise UsageError(f"{clean(str(wanted))} is there already; give another folder with -d")
