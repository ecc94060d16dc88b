"""Lint, format, types and tests, in that order; the first failure ends it.

What one attempt must survive is run on both transports: first on our own connections, then, with everything
else, on those of `requests`.

A test that fails is run once more, and the summary names it with RERUN: they drive real processes and
sockets in parallel, and a machine may stall any of them. Properties are tried on the same examples each
time. `pytest` by hand shows every failure at once, and tries other examples.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
AGAIN = ["--reruns=1", "--reruns-delay=2", "-raR", "--hypothesis-profile=same"]
ATTEMPTS = [str(path) for path in sorted(HERE.glob("test_attempt_*.py"))]
CORES = os.cpu_count() or 2
MORE_WORKERS = {"PYTEST_XDIST_AUTO_NUM_WORKERS": str(CORES * 3 // 2)}  # tests wait for half of their time
STEPS = (
    ("requests", ["ruff", "check", "."]),
    ("requests", ["ruff", "format", "--check", "-q", "."]),
    ("requests", ["mypy"]),
    ("fast", ["pytest", "-q", *AGAIN, str(HERE / "test_transfer.py"), *ATTEMPTS]),
    ("requests", ["pytest", *AGAIN, *sys.argv[1:]]),
)

for transport, step in STEPS:
    print("$", *step, flush=True)
    environment = {**MORE_WORKERS, **os.environ, "BULKFETCH_TEST_TRANSPORT": transport}
    code = subprocess.run([sys.executable, "-m", *step], cwd=HERE.parent, env=environment).returncode
    if code:
        sys.exit(code)
