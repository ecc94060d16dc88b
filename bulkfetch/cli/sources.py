"""Where entries come from: URLs, manifest files, standard input, remote manifests."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bulkfetch.config import FetchConfig
from bulkfetch.errors import ManifestCut, ManifestError
from bulkfetch.manifest import read_manifest, read_urls
from bulkfetch.models import BadLine, Entry, Status
from bulkfetch.policy import Policies
from bulkfetch.safetext import clean, redact_url

Entries = Iterator[Entry | BadLine]
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Sources:
    """The SOURCE arguments and `--manifest` options of one command."""

    def __init__(
        self,
        sources: Sequence[str],
        manifests: Sequence[str],
        *,
        format: str | None,
        url_column: str | None,
        base_url: str | None,
    ) -> None:
        self._options = {"format": format, "url_column": url_column, "base_url": base_url}
        self.urls = [source for source in sources if _URL.match(source)]
        self._files = [source for source in sources if not _URL.match(source)]
        self._manifests = list(manifests)
        if not sources and not manifests:
            if sys.stdin is None or sys.stdin.isatty():
                raise click.UsageError(
                    "nothing to fetch: give URLs, a manifest, or pipe a list into standard input"
                )
            self._files = ["-"]
        self.files = [*self._files, *(m for m in manifests if not _URL.match(m))]  # "-": standard input
        for name in self.files:
            _check_readable(name)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Sources:
        """Return the sources that a command's options name."""
        names = ("format", "url_column", "base_url")
        return cls(options["sources"], options["manifests"], **{name: options[name] for name in names})

    @property
    def are_urls(self) -> bool:
        """Whether there are URLs alone: entries without columns."""
        return not (self._files or self._manifests)

    def read(self, config: FetchConfig, policies: Policies) -> Entries:
        """Yield every entry: URLs first, then each manifest in the order given."""
        if self.urls:
            yield from read_urls(self.urls)
        for name in [*self._files, *self._manifests]:
            if _URL.match(name):
                yield from self._read_remote(name, config, policies)
            else:
                yield from read_manifest(name, **self._options)

    def _read_remote(self, url: str, config: FetchConfig, policies: Policies) -> Entries:
        """Fetch a manifest with the run's own options, then read it."""
        import tempfile

        from bulkfetch.fetcher import fetch_one
        from bulkfetch.journal.records import transient_kinds

        with tempfile.TemporaryDirectory(prefix="bulkfetch-") as folder:
            config = replace(config, dest=folder, layout="flat", existing="skip")
            outcome = fetch_one(url, config, policies)
            if outcome.status is Status.FAILED or outcome.path is None:
                why = outcome.failure.message if outcome.failure else "unknown"
                may_pass = outcome.failure is not None and outcome.failure.kind in transient_kinds()
                kind = ManifestCut if may_pass else ManifestError
                raise kind(f"cannot fetch the manifest {redact_url(url)}: {why}")
            options = {**self._options, "base_url": self._options["base_url"] or url}
            yield from read_manifest(str(Path(folder, outcome.path)), **options)


def read_named(url: str, name: str) -> Entries:
    """Yield the one entry of `url`, to be stored as `name`."""
    for entry in read_urls([url]):
        yield entry._replace(path=name) if isinstance(entry, Entry) else entry


def _check_readable(name: str) -> None:
    if name == "-":
        return
    path = Path(name)
    if not path.exists():
        raise ManifestError(f"{clean(name)} is neither a URL nor a file")
    if path.is_dir():
        raise ManifestError(f"{clean(name)} is a folder; give a manifest file or a URL")
    if not os.access(path, os.R_OK):
        raise ManifestError(f"{clean(name)} cannot be read: permission denied")
