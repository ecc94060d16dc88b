"""The command line: options in, exit status out."""

from bulkfetch.cli.main import main

__all__ = ["main"]
