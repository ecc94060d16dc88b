"""What to fetch, written the way each contender reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from benchmarks.payloads import Files


class Lists:
    """Writes each kind of list once, into `folder`, with the URLs of `groups` spread over `bases`."""

    def __init__(self, folder: Path, groups: Sequence[Files], bases: Sequence[str], out: str) -> None:
        self._folder, self._groups, self._bases, self._out = folder, groups, bases, out
        self._digests: dict[str, str] = {}

    def write(self, kind: str) -> str:
        """Return the name, relative to the working folder, of a list of that kind."""
        target = self._folder / f"list.{kind}"
        if not target.exists():
            with target.open("w", encoding="ascii") as stream:
                KINDS[kind](self, stream)
        return target.name

    def urls(self) -> list[str]:
        """Return all URLs."""
        return [url for url, _, _ in self._rows()]

    def _rows(self) -> Iterator[tuple[str, Files, int]]:
        number = 0
        for files in self._groups:
            for index in range(files.count):
                yield f"{self._bases[number % len(self._bases)]}{files.path(index)}", files, index
                number += 1

    def _digest(self, files: Files, index: int) -> str:
        name = files.name(index)
        if name not in self._digests:
            self._digests[name] = files.digest(index)
        return self._digests[name]

    def _write_txt(self, stream: IO[str]) -> None:
        stream.writelines(f"{url}\n" for url, _, _ in self._rows())

    def _write_curl(self, stream: IO[str]) -> None:
        for url, files, index in self._rows():
            stream.write(f'url = "{url}"\noutput = "{self._out}/{files.name(index)}"\n')

    def _write_aria2(self, stream: IO[str]) -> None:
        for url, files, index in self._rows():
            stream.write(f"{url}\n checksum=sha-256={self._digest(files, index)}\n")

    def _write_jsonl(self, stream: IO[str]) -> None:
        for url, files, index in self._rows():
            stream.write(json.dumps({"url": url, "sha256": self._digest(files, index)}) + "\n")

    def _write_sums(self, stream: IO[str]) -> None:
        for _, files, index in self._rows():
            stream.write(f"{self._digest(files, index)}  {self._out}/{files.name(index)}\n")


KINDS = {
    "txt": Lists._write_txt,
    "curl": Lists._write_curl,
    "aria2": Lists._write_aria2,
    "jsonl": Lists._write_jsonl,
    "sums": Lists._write_sums,
}
