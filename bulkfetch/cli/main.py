"""The command group, and the border where errors become one sentence and an exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from importlib import import_module
from typing import Any

import click

from bulkfetch._version import __version__
from bulkfetch.errors import BulkfetchError, DestinationLocked, DiskFailed, OutputLost
from bulkfetch.loading import no_search
from bulkfetch.safetext import redact
from bulkfetch.streams import flush_or_divert
from bulkfetch.summary import EXIT_LOCKED, EXIT_SIGINT, EXIT_STOPPED, EXIT_USAGE

EXAMPLES = """\b
Examples:
  bulkfetch get urls.txt -d data            fetch a list into data/
  bulkfetch get https://example.org/a.csv   fetch one URL into this folder
  producer | bulkfetch get -d data --print path | consumer
  bulkfetch status data                     what the journal knows
  bulkfetch failed data > again.jsonl       the failures, as a manifest
  bulkfetch explain data URL                every attempt and wait of one entry
  bulkfetch demo                            a two-minute tour, no network needed
"""

EXIT_STATUSES = (
    "Exit status: 0 all well; 1 an entry failed; 2 usage; 3 unreadable lines; 4 another run holds the "
    "destination; 5 stopped early and resumable; 129, 130, 143 by SIGHUP, SIGINT, SIGTERM."
)
TRANSPORTS = "transport: own connections for plain requests; requests for proxies, auth and cookies"

# Command -> module under `cli`; imported when it is asked for, so that the others cost nothing.
_COMMANDS = {
    "get": "get",
    "plan": "get",
    "status": "inspect",
    "failed": "inspect",
    "verify": "inspect",
    "explain": "story",
    "demo": "demo",
}


# Of a stream; what happens to a file of ours is a `DiskFailed`.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EBADF, getattr(errno, "EDQUOT", -1)})


class _Commands(click.Group):
    """A group that imports each command on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        with no_search():
            module = import_module(f"bulkfetch.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"bulkfetch {__version__}\n{TRANSPORTS}")
        ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help=f"{EXAMPLES}\nConcurrent bulk fetcher: a manifest of URLs becomes verified files.",
    epilog=EXIT_STATUSES,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version, and which transport serves what.",
)
def cli() -> None:
    """Group of all commands."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    code = _run(arguments)
    # A thread may still sit in a name look-up or a full pipe (fault P14): everything is written, so go.
    flush_or_divert(sys.stdout, sys.stderr)
    os._exit(code)


def _run(arguments: list[str] | None) -> int:
    try:
        result: Any = cli.main(arguments, prog_name="bulkfetch", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        with contextlib.suppress(OSError):
            exc.show()
        return EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        return EXIT_SIGINT
    except DestinationLocked as exc:
        return _say(exc, EXIT_LOCKED)
    except (DiskFailed, OutputLost) as exc:
        return _say(exc, EXIT_STOPPED)
    except BulkfetchError as exc:
        return _say(exc, EXIT_USAGE)
    except BrokenPipeError:
        return EXIT_STOPPED
    except Exception as exc:  # noqa: BLE001 - the outermost border: a bug, told in one line
        return _say(_explain(exc), EXIT_STOPPED)


class _Bug(BulkfetchError):
    """Something that should not have happened."""


def _explain(exc: Exception) -> BulkfetchError:
    if isinstance(exc, OSError) and exc.filename is None and exc.errno in _UNWRITABLE:
        return OutputLost(f"cannot write to standard output: {exc.strerror or exc}")
    return _Bug(f"a bug ended the run ({type(exc).__name__}: {exc}); what was done is kept")


def _say(exc: Exception, code: int) -> int:
    with contextlib.suppress(Exception):
        click.echo(f"bulkfetch: {redact(str(exc))}", err=True)
    return code
