"""Who fetches: one literal table of contenders and the command line each gets.

All get the same number of connections, keep-alive and no output; what one cannot do is not in its modes.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lists import Lists

PEERS = Path(__file__).parent / "peers"
ROOT = Path(__file__).parent.parent
OPTIONS_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a contender is asked to do; names are relative to the working folder."""

    lists: Lists
    out: str
    connections: int
    mode: str = "get"  # a workload's, or "first": what comes before again and resume
    ca_file: str = ""
    size: int = 0  # bytes of all files

    def ca(self, option: str) -> list[str]:
        """Return the option that names the certificate to trust, for a TLS server."""
        return [option, self.ca_file] if self.ca_file else []

    def when(self, mode: str, *options: str) -> list[str]:
        """Return the options if that is the mode."""
        return list(options) if self.mode == mode else []


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the table."""

    name: str
    command: Callable[[Order], list[str]]
    modes: str
    program: str = ""  # executable it needs
    module: str = ""  # Python module it needs
    stdin: str = "txt"  # kind of list it reads from a pipe

    def is_present(self) -> bool:
        """Say whether this machine has it."""
        if self.program:
            return shutil.which(self.program) is not None
        return importlib.util.find_spec(self.module) is not None

    def version(self) -> str:
        """Return its version, or "" for none told."""
        if self.module:
            try:
                return importlib.metadata.version(self.module)
            except importlib.metadata.PackageNotFoundError:  # run from the tree, not installed
                return ""
        return program_version(self.program, "--version")


def program_version(program: str, option: str) -> str:
    """Return the first number with a dot in it that a program tells about itself."""
    told = subprocess.run([program, option], capture_output=True, text=True, check=False, errors="replace")
    found = re.search(r"\d+(\.\d+)+", told.stdout + told.stderr)
    return found[0] if found else ""


@functools.cache
def _options_of(*command: str) -> str:
    told = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=OPTIONS_SECONDS
    )
    return told.stdout


def _bulkfetch(order: Order, *options: str) -> list[str]:
    count = str(order.connections)
    source = "-" if order.mode == "pipe" else order.lists.write("jsonl" if order.mode == "digest" else "txt")
    command = [sys.executable, "-m", "bulkfetch", "get", source, "-d", order.out, "-j", count]
    command += ["--per-host", count, "--progress", "none", *options, *order.ca("--ca-bundle")]
    if order.mode == "segments" and "--segments" in _options_of(*command[:4], "--help"):
        command += ["--segments", count]
    return command


def _bulkfetch_undigested(order: Order) -> list[str]:
    return _bulkfetch(order, "--digest", "none")


def _bulkfetch_requests(order: Order) -> list[str]:
    return _bulkfetch(order, "--transport", "requests")


def _curl(order: Order) -> list[str]:
    source = "-" if order.mode == "pipe" else order.lists.write("curl")
    command = [
        "curl",
        "-sS",
        "--no-progress-meter",
        "--fail",
        "-Z",
        "--parallel-max",
        str(order.connections),
        *order.ca("--cacert"),
    ]
    command += [*order.when("resume", "-C", "-"), *order.when("again", "--skip-existing"), "--config", source]
    if order.mode != "digest":
        return command
    return ["sh", "-c", '"$@" && sha256sum --quiet -c ' + order.lists.write("sums"), "sh", *command]


def _curl_modes() -> str:
    can_skip = shutil.which("curl") and "--skip-existing" in _options_of("curl", "--help", "all")
    return "get pipe digest segments resume" + (" again" if can_skip else "")


def _wget(order: Order) -> list[str]:
    options = [*order.when("again", "-nc"), *order.when("resume", "-c"), *order.ca("--ca-certificate")]
    return ["wget", "-q", *options, "-P", order.out, "-i", order.lists.write("txt")]


def _wget2(order: Order) -> list[str]:
    # Some versions wait for ever on "-".
    source = "/dev/stdin" if order.mode == "pipe" else order.lists.write("txt")
    command = ["wget2", "-q", f"--max-threads={order.connections}", *order.ca("--ca-certificate")]
    command += [*order.when("again", "-N"), *order.when("resume", "-c")]  # some versions stall on -nc
    command += order.when("segments", f"--chunk-size={-(-order.size // order.connections)}")
    return [*command, "-P", order.out, "-i", source]


def _aria2c(order: Order) -> list[str]:
    count = str(order.connections)
    source = "-" if order.mode == "pipe" else order.lists.write("aria2" if order.mode == "digest" else "txt")
    ranges = f"-x{count} -s{count} -k1M".split() if order.mode == "segments" else ["-x1"]
    command = ["aria2c", "--no-conf", "--quiet", f"-j{count}", *ranges, "--file-allocation=none"]
    command += ["--auto-file-renaming=false", *order.ca("--ca-certificate")]
    command += [*order.when("first", "-R"), *order.when("resume", "-c")]
    command += order.when("again", "-R", "--conditional-get", "--allow-overwrite")
    return [*command, "-d", order.out, "-i", source]


def _axel(order: Order) -> list[str]:
    (url,) = order.lists.urls()
    return ["axel", "-q", "-n", str(order.connections), "-o", f"{order.out}/{url.rpartition('/')[2]}", url]


def _script(name: str, order: Order) -> list[str]:
    kind = "jsonl" if order.mode == "digest" else "txt"
    source = "-" if order.mode == "pipe" else order.lists.write(kind)
    return [sys.executable, str(PEERS / name), source, order.out, str(order.connections), order.mode]


def _uvloop(order: Order) -> list[str]:
    return [*_script("fetch_aiohttp.py", order), "uvloop"]


CONTENDERS: dict[str, Contender] = {
    row.name: row
    for row in (
        Contender("bulkfetch", _bulkfetch, "get pipe digest segments again resume", module="bulkfetch"),
        Contender("bulkfetch-nodigest", _bulkfetch_undigested, "get pipe segments", module="bulkfetch"),
        Contender("bulkfetch-requests", _bulkfetch_requests, "get pipe", module="requests"),
        Contender("curl", _curl, _curl_modes(), program="curl", stdin="curl"),
        Contender("wget2", _wget2, "get pipe segments again resume", program="wget2"),
        Contender("wget", _wget, "get segments again resume", program="wget"),
        Contender("aria2c", _aria2c, "get pipe digest segments again resume", program="aria2c"),
        Contender("axel", _axel, "segments", program="axel"),
        Contender(
            "aiohttp",
            functools.partial(_script, "fetch_aiohttp.py"),
            "get pipe digest again resume",
            module="aiohttp",
        ),
        Contender("aiohttp-uvloop", _uvloop, "get pipe", module="uvloop"),
        Contender(
            "parfive", functools.partial(_script, "fetch_parfive.py"), "get segments again", module="parfive"
        ),
        Contender(
            "pypdl", functools.partial(_script, "fetch_pypdl.py"), "get segments again", module="pypdl"
        ),
    )
}
