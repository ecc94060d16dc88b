"""The facts that numbers mean nothing without."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS, program_version
from benchmarks.scratch import Scratch

BENEATH = ("requests", "urllib3", "tqdm")  # what bulkfetch stands on


def describe_machine(scratch: Scratch) -> dict[str, Any]:
    """Return what this machine is."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load": round(os.getloadavg()[0], 2),  # before the first run
        "files_in": scratch.kind,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": ssl.OPENSSL_VERSION.split()[1],
        "nginx": program_version("nginx", "-v"),
    } | {name: _version(name) for name in BENEATH}


def describe_contenders(names: Iterable[str]) -> dict[str, str]:
    """Return each contender's version, or "absent"."""
    rows = {name: CONTENDERS[name] for name in names}
    return {name: row.version() or "?" if row.is_present() else "absent" for name, row in rows.items()}


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "?"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
