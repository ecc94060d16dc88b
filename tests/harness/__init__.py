"""Proof by breaking things: bulkfetch as a real process, killed, starved and cut off at chosen points.

    python -m tests.harness.kill --kills 500        SIGKILL at random moments and at every named point
    python -m tests.harness.power --cuts 500        power loss, by replaying what had been synced
    python -m tests.harness.guards                  each guard taken out of a copy: a test must notice
    python -m tests.harness.fuzz                    the parsers under atheris, where that is installed

Nothing of this is known to the product: `child.py` wraps calls of the standard library around the real
command, and what a kill leaves behind is judged from outside.
"""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
if str(TESTS) not in sys.path:  # as a command from the repository's root
    sys.path.insert(0, str(TESTS))
