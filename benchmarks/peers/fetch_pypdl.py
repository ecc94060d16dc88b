"""The script one would write with pypdl: LIST OUT CONNECTIONS MODE."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from pypdl import Pypdl

if __name__ == "__main__":
    source, out, connections, mode = sys.argv[1:]
    Path(out).mkdir(exist_ok=True)
    urls = Path(source).read_text(encoding="ascii").split()
    tasks = [{"url": url, "file_path": f"{out}/{url.rpartition('/')[2]}"} for url in urls]
    in_ranges = mode == "segments"
    fetcher = Pypdl(max_concurrent=1 if in_ranges else int(connections), logger=logging.getLogger("quiet"))
    options = {"multisegment": in_ranges, "segments": int(connections), "overwrite": mode != "again"}
    results = fetcher.start(tasks=tasks, display=False, block=True, **options)
    sys.exit(0 if len(results) == len(urls) else 1)
