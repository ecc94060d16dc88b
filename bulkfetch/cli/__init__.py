"""The command line: options in, exit status out."""

from bulkfetch.loading import RARE, no_search, put_off

with no_search():
    put_off(*RARE)
    from bulkfetch.cli.main import main

__all__ = ["main"]
