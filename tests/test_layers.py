"""Imports go down only: the table of `design.md`, read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bulkfetch

ROOT = Path(bulkfetch.__file__).parent
PACKAGE = ROOT.name

# Every module or folder under bulkfetch/ and its layer. It may import lower numbers only.
LAYERS: dict[str, float] = {
    # how a value is made; expressions compiled late
    "expressions": -1, "values": -1,
    # frozen values; what is known to be secret
    "_version": 0, "masking": 0, "models": 0,
    # exceptions; text made safe; fields that tell a limit; the usual task
    "errors": 1, "fresh": 1, "freshness": 1, "ratelimit": 1, "safetext": 1,
    # pure: text to value and back
    "addresses": 2, "checksums": 2, "codings": 2, "extras": 2, "formatting": 2, "headers": 2, "naming": 2,
    "asking": 2, "quantities": 2, "settings": 2.5, "urls": 2,
    # the one configuration; what a host allows by its own words and by its refusals
    "allowance": 3, "config": 3, "pacing": 3, "robots": 3, "screening": 3, "spacing": 3, "tuning": 3,
    # pure decisions and totals
    "nesting": 4, "outcomes": 4, "resume": 4, "retry": 4, "segments": 4, "summary": 4,
    # event values; one host's state
    "events": 5, "groups": 5, "hosts": 5,
    # which task may start: still pure
    "scheduler": 6,
    # between threads, in real time, from the environment
    "dns": 7, "ending": 7, "inbox": 7, "limits": 7, "loading": 7, "openfiles": 7,
    "secrets": 7, "streams": 7, "watchdog": 7,
    # what a worker's lease may remember
    "tracing": 7.5,
    # credentials; what holds for a host
    "auth": 8, "netrcfile": 8, "refreshing": 8, "policy": 8.5, "tls": 8.7,
    # plain requests over connections of our own
    "wire": 8.9,
    # each owns one kind of I/O or state
    "backlog": 9, "display": 9, "intake": 9, "journal": 9, "lock": 9, "manifest": 9,
    "printing": 9, "store": 9, "transport": 9,
    # each request by the transport that serves it; how each host may be asked; whose file it is
    "exchange": 9.5, "governing": 9.5, "standing": 9.5, "revisits": 9.7,
    # one attempt; one entry's plan
    "chronicle": 10, "ledger": 10, "planner": 10, "transfer": 10,
    # where attempts run
    "engine": 11,
    # the coordinator; the one of sizes
    "run": 12, "sizing": 12,
    # wiring; the library entry point
    "fetcher": 13,
    # the demo's server
    "tour": 14,
    # options in, exit status out
    "cli": 15,
    # the doors
    "__init__": 16, "__main__": 16,
}  # fmt: skip
LAST_PURE = LAYERS["scheduler"]
OWNERS = {"requests": "transport", "urllib3": "transport", "tqdm": "display", "click": "cli"}
IMPURE = {"click", "requests", "socket", "threading", "time", "tqdm", "urllib3"}

SOURCES = sorted(ROOT.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]
each_source = pytest.mark.parametrize("path", SOURCES, ids=NAMES)


def owner_of(path: Path) -> str:
    """Return the module or folder directly under bulkfetch/ that `path` belongs to."""
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Yield every module a file imports, also inside functions and under TYPE_CHECKING, as a dotted name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            yield from (f"{module}.{alias.name}" if module == PACKAGE else module for alias in node.names)


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """Return the module of a `from` import, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    folder = (PACKAGE, *path.relative_to(ROOT).parts[:-1])
    base = ".".join(folder[: len(folder) - node.level + 1])
    return f"{base}.{node.module}" if node.module else base


def test_the_table_names_every_module_and_no_other():
    assert {owner_of(path) for path in SOURCES} == set(LAYERS), "give each module its row in LAYERS"


@each_source
def test_imports_go_down(path):
    owner = owner_of(path)
    assert owner in LAYERS, f"give {owner} its row in LAYERS"
    for name in imported(path):
        first, _, rest = name.partition(".")
        if first != PACKAGE:
            continue
        target = rest.partition(".")[0]
        assert target in LAYERS, f"{owner} imports {name}: the package root"
        inside = target == owner and path.parent != ROOT
        assert inside or LAYERS[target] < LAYERS[owner], f"{owner} imports {name}, which is not below it"


@each_source
def test_foreign_libraries_have_one_owner(path):
    foreign = {name.partition(".")[0] for name in imported(path)} & set(OWNERS)
    assert {OWNERS[name] for name in foreign} <= {owner_of(path)}


@each_source
def test_decisions_touch_nothing_outside(path):
    if LAYERS.get(owner_of(path), LAST_PURE) <= LAST_PURE:
        assert not {name.partition(".")[0] for name in imported(path)} & IMPURE


@pytest.mark.parametrize(
    ("folder", "line", "found"),
    [
        (".", "import bulkfetch", ["bulkfetch"]),
        (".", "from bulkfetch import fetch", ["bulkfetch.fetch"]),
        (".", "from bulkfetch.models import Task, Entry", ["bulkfetch.models"] * 2),
        (".", "def f():\n    from requests.adapters import HTTPAdapter", ["requests.adapters"]),
        (".", "if TYPE_CHECKING:\n    import tqdm.std", ["tqdm.std"]),
        ("store", "from .local import Part", ["bulkfetch.store.local"]),
        ("store", "from ..models import Task", ["bulkfetch.models"]),
        ("store", "from .. import models", ["bulkfetch.models"]),
    ],
)
def test_every_way_to_import_is_seen(tmp_path, monkeypatch, folder, line, found):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / folder / "module.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    assert list(imported(path)) == found
