"""The script one would write with parfive: LIST OUT CONNECTIONS MODE."""

from __future__ import annotations

import sys
from pathlib import Path

from parfive import Downloader

source, out, connections, mode = sys.argv[1:]
splits = int(connections) if mode == "segments" else 1
downloader = Downloader(max_conn=int(connections), max_splits=splits, progress=False, overwrite=False)
for url in Path(source).read_text(encoding="ascii").split():
    downloader.enqueue_file(url, path=out)
results = downloader.download()
for error in results.errors:
    print(error, file=sys.stderr)
sys.exit(1 if results.errors else 0)
