"""What is fetched, from which kind of server, and how: one literal table."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.payloads import Files

KB, MB, GB = 10**3, 10**6, 10**9
MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the table; `scaled` makes it smaller."""

    name: str
    about: str
    groups: tuple[Files, ...]
    grows: tuple[str, ...] = ("count",)  # what of each group a scale changes: count | size
    server: str = "plain"  # plain | tls | limited | delayed | hosts
    mode: str = "get"  # get | pipe | digest | segments | again | resume
    connections: int = 16
    origins: int = 1
    contenders: tuple[str, ...] = ()  # () is every one that can do the mode
    unfit: tuple[str, ...] = ()  # ask one thing at a time here: their time would only be the delay
    quick: float = 0.02  # the scale of --quick
    in_quick: bool = False  # part of the set that runs when no workload is named

    def scaled(self, scale: float) -> Workload:
        """Return the workload with its counts or sizes multiplied."""
        pairs = zip(self.groups, self.grows, strict=True)
        groups = tuple(_scaled(files, what, scale) for files, what in pairs)
        return replace(self, groups=groups, origins=max(1, round(self.origins * scale)))

    @property
    def files(self) -> int:
        """How many files there are."""
        return sum(files.count for files in self.groups)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(files.total for files in self.groups)

    @property
    def space(self) -> int:
        """Bytes the served files, one output folder and the lists take."""
        served = sum(files.space for files in self.groups if files.stored)
        return served + sum(files.space for files in self.groups) + 1000 * self.files


def _scaled(files: Files, what: str, scale: float) -> Files:
    amount = max(1, round(getattr(files, what) * scale))
    return replace(files, count=amount) if what == "count" else replace(files, size=amount)


_SMALL = Files("small", 50_000, 10 * KB)

WORKLOADS: dict[str, Workload] = {
    row.name: row
    for row in (
        Workload("small", "small files over kept connections", (_SMALL,), in_quick=True),
        Workload(
            "tiny",
            "tiny bodies, the list comes through a pipe",
            (Files("tiny", 1_000_000, 0, stored=False),),
            mode="pipe",
            quick=0.002,
        ),
        Workload(
            "large", "large files", (Files("large", 2, GIB),), grows=("size",), quick=0.125, in_quick=True
        ),
        Workload(
            "digest",
            "large files, checked against the SHA-256 that the list gives",
            (Files("large", 2, GIB),),
            grows=("size",),
            mode="digest",
            quick=0.125,
        ),
        Workload(
            "segmented",
            "one file in ranges, the server gives 10 MB/s per connection",
            (Files("segmented", 1, 200 * MB),),
            grows=("size",),
            server="limited",
            mode="segments",
            quick=0.1,
            in_quick=True,
        ),
        Workload(
            "latency",
            "small files, every answer waits 50 ms",
            (Files("latency", 5_000, 10 * KB),),
            server="delayed",
            connections=64,
            unfit=("wget", "pypdl"),
            quick=0.1,
            in_quick=True,
        ),
        Workload("tls", "small files over TLS", (_SMALL,), server="tls"),
        Workload(
            "hosts",
            "small files, line by line from another origin",
            (Files("hosts", 10_000, 10 * KB),),
            server="hosts",
            origins=1000,
            quick=0.1,
        ),
        Workload(
            "again", "a second run, everything is there already", (_SMALL,), mode="again", in_quick=True
        ),
        Workload(
            "resume",
            "a run killed half way, run again",
            (Files("resume", 8, 128 * MIB),),
            grows=("size",),
            mode="resume",
            quick=0.25,
            in_quick=True,
        ),
        Workload(
            "start",
            "small files and one large one",
            (Files("small", 2_000, 10 * KB), Files("large", 1, GB)),
            grows=("count", "size"),
            contenders=("bulkfetch", "bulkfetch-nodigest", "curl", "aiohttp"),
            quick=0.25,
        ),
    )
}
