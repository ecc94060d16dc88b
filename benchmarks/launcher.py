"""Run one command and write what it cost: RESULT COMMAND...

A program of its own, started with `python -I -S`: on Linux the peak memory of a child is never told lower
than that of the process it was forked from, so that one must be small.
"""

import os
import sys
import time


def main(result: str, command: list[str]) -> None:
    """Write `status seconds cpu_seconds peak_bytes` to the file `result`."""
    began = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - began
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with open(result, "w", encoding="ascii") as stream:  # noqa: PTH123 - pathlib would make this program larger
        cpu = usage.ru_utime + usage.ru_stime
        stream.write(f"{os.waitstatus_to_exitcode(status)} {seconds:.6f} {cpu:.6f} {peak}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
