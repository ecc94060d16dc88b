"""bulkfetch beside other fetchers on this machine: `python -m benchmarks --help`."""
