"""Lint, format, types and tests, in that order; the first failure ends it."""

import subprocess
import sys

STEPS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "-q", "."),
    ("mypy",),
    ("pytest", *sys.argv[1:]),
)

for step in STEPS:
    print("$", *step, flush=True)
    code = subprocess.run([sys.executable, "-m", *step]).returncode
    if code:
        sys.exit(code)
