"""Run bulkfetch inside this program, traced or not: RESULT TRACED LIST OUT CONNECTIONS [CA]."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from benchmarks.layers import Tracer, measure_residue
from bulkfetch import BadLine, Entry, FetchConfig, Fetcher, read_manifest


def main(result: str, traced: str, source: str, out: str, connections: str, ca_file: str = "") -> None:
    """Write the CPU seconds of the run and its rows to the file `result`."""
    config = FetchConfig(
        dest=out, jobs=int(connections), per_host=int(connections), ca_bundle=ca_file or None
    )
    first = itertools.islice(read_manifest(source), 1)
    _run(replace(config, dest=f"{out}-warm"), first)  # what is imported or made once does not count
    tracer, residue = Tracer(), measure_residue()
    before = time.process_time()
    if traced == "traced":
        tracer.install()
    _run(config, read_manifest(source))
    tracer.remove()
    record = {"cpu": time.process_time() - before, "residue": residue, "rows": tracer.rows()}
    Path(result).write_text(json.dumps(record), encoding="ascii")


def _run(config: FetchConfig, entries: Iterable[Entry | BadLine]) -> None:
    with Fetcher(config) as fetcher:
        for _ in fetcher.run(entries):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
