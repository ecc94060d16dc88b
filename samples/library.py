"""Fetch a manifest from Python: `python library.py MANIFEST DEST`."""

import sys

import bulkfetch


def main(manifest: str, dest: str) -> int:
    config = bulkfetch.FetchConfig(dest=dest, jobs=8, retries=3)
    with bulkfetch.Fetcher(config) as fetcher:
        for outcome in fetcher.run(bulkfetch.read_manifest(manifest)):
            if outcome.failure is None:
                print(outcome.status, outcome.path, outcome.sha256[:12])
            else:
                print(outcome.status, outcome.url, outcome.failure.kind, outcome.failure.message)
    return fetcher.summary.exit_status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
