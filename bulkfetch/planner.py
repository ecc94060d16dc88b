"""From entry to task: where it goes, whether it is there already, what an earlier run left of it."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from bulkfetch import naming
from bulkfetch.config import FetchConfig
from bulkfetch.errors import DestinationTaken, LineError, PathRefused, to_failure
from bulkfetch.journal import Journal, PathOwner, PendingRow, Row
from bulkfetch.models import NO_PART, Check, Entry, Failure, Outcome, Status, Task
from bulkfetch.safetext import redact_url
from bulkfetch.store import LocalStore
from bulkfetch.urls import origin_of, split_userinfo

_MTIME_SLACK = 2_000_000_000  # nanoseconds; the coarsest file systems keep two seconds
_FINISHED = (Status.FETCHED, Status.UNCHANGED)


class Planner:
    """Settles names and looks up earlier runs, a batch of entries at a time."""

    def __init__(
        self, config: FetchConfig, journal: Journal, store: LocalStore, *, record: bool = True
    ) -> None:
        self._config = config
        self._journal = journal
        self._store = store
        self._layout = config.layout
        if config.layout not in ("flat", "tree"):
            naming.parse_layout(config.layout)  # a broken one is told at once
        self._record = record
        self._index = 0

    def plan(self, entries: Sequence[Entry]) -> list[Task | Outcome]:
        """Return, in order, a task for what must be fetched and an outcome for what need not or cannot be."""
        batch = _Batch(self, entries, self._index)
        self._index += len(entries)
        planned = batch.run()
        if self._record:
            self._journal.add_pending(batch.pending)
            self._journal.touch_run(batch.touched)
        return planned


class _Batch:
    """The state of planning one batch."""

    def __init__(self, planner: Planner, entries: Sequence[Entry], index: int) -> None:
        self._planner = planner
        self._config = planner._config
        self._journal = planner._journal
        self._store = planner._store
        self._entries = entries
        self._index = index
        self.pending: list[PendingRow] = []
        self.touched: list[bytes] = []
        self._taken: dict[str, bytes] = {}  # collision key -> entry key, within this batch
        self._seen: set[bytes] = set()
        self._renamed: set[bytes] = set()

    def run(self) -> list[Task | Outcome]:
        wanted = [self._name(entry, self._index + i) for i, entry in enumerate(self._entries)]
        keys = [w[0] for w in wanted if not isinstance(w, Failure)]
        paths = [w[2] for w in wanted if not isinstance(w, Failure)]
        self._rows = self._journal.find(keys)
        self._owners = self._journal.find_paths(paths)
        self._parts = self._journal.find_parts(keys)
        return [
            self._refuse(entry, named) if isinstance(named, Failure) else self._plan(entry, *named)
            for entry, named in zip(self._entries, wanted, strict=True)
        ]

    def _name(self, entry: Entry, index: int) -> tuple[bytes, str, str] | Failure:
        """Return identity, wanted destination and its collision key."""
        try:
            path = naming.plan_path(entry, self._planner._layout, index)
        except LineError as exc:
            return to_failure(exc)
        return naming.identity(entry.urls[0], path), path, naming.collision_key(path)

    def _plan(self, entry: Entry, key: bytes, wanted: str, path_key: str) -> Task | Outcome:
        row = self._rows.get(key)
        if key in self._seen or (row is not None and row.run == self._journal.run):
            return self._skip(entry, key, row.path if row else wanted, "listed before")
        self._seen.add(key)
        owner: Row | PathOwner | None = row
        path = row.path if row is not None else wanted
        if row is None:
            settled = self._settle_name(entry, key, wanted, path_key)
            if isinstance(settled, Failure):
                return self._refuse(entry, settled, key)
            path, owner = settled
        else:
            self._taken[naming.collision_key(path)] = key
        planned = self._decide(entry, key, path, row, owner)
        if isinstance(planned, Task) and self._planner._record:
            self.pending.append(PendingRow(key, path, naming.collision_key(path), entry))
        return planned

    def _settle_name(
        self, entry: Entry, key: bytes, wanted: str, path_key: str
    ) -> tuple[str, PathOwner | None] | Failure:
        """Give a new entry its destination: the one it wants, unless another entry has it (fault N13)."""
        owner = self._owners.get(path_key)
        holder = self._taken.get(path_key) or (owner.key if owner else None)
        if holder is None or holder == key:
            self._taken[path_key] = key
            return wanted, None
        if entry.path is None:
            path = naming.with_suffix(wanted, key)
            self._renamed.add(key)
            self._taken[naming.collision_key(path)] = key
            return path, None
        if path_key in self._taken or (owner is not None and owner.run == self._journal.run):
            return Failure("path", f"an earlier line has the destination {wanted} already")
        self._journal.release_path(holder)  # an older run's entry: the manifest now names another URL for it
        self._taken[path_key] = key
        return wanted, owner

    def _decide(
        self, entry: Entry, key: bytes, path: str, row: Row | None, owner: Row | PathOwner | None
    ) -> Task | Outcome:
        """Weigh what stands at the destination."""
        task = self._task(entry, key, path)
        found = self._store.find(path)
        if found is None:
            return task._replace(part=self._parts.get(key, NO_PART))
        if stat.S_ISDIR(found.st_mode) or not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            return self._refuse(
                entry, to_failure(PathRefused(f"{path}: something that is no file has this name")), key
            )
        task = task._replace(part=self._parts.get(key, NO_PART))
        if row is not None and row.state in _FINISHED and _is_intact(row, found.st_size, found.st_mtime_ns):
            return self._keep(entry, task, row)
        if owner is not None and owner.state in _FINISHED:
            return task._replace(replace=True)  # ours, and no longer what the manifest asks for
        if (doubt := self._journal.interrupted) is not None and found.st_ctime >= doubt.started - 1.0:
            if not doubt.same_boot:  # power may have been lost: the file can be torn
                return task._replace(replace=True)
            if row is not None:  # renamed by a run that was killed before it could write so
                return task._replace(check=_declared(entry, "found complete"), replace=True)
        return self._judge_foreign(entry, task, key)

    def _keep(self, entry: Entry, task: Task, row: Row) -> Task | Outcome:
        """Keep what an earlier run finished, unless the manifest now promises something else."""
        recorded = row.digest.partition(":")
        differs = any(name == recorded[0] and wanted != recorded[2] for name, wanted in entry.digests)
        if differs or (entry.size is not None and entry.size != row.size):
            return task._replace(replace=True)
        if row.needs_check:  # the machine went down before that run was marked clean
            digests = ((recorded[0], recorded[2]),) if recorded[2] else ()
            return task._replace(
                check=Check(row.size, digests, "verified after an unclean end"), replace=True
            )
        self.touched.append(task.key)
        return Outcome(
            entry, Status.SKIPPED, row.path, redact_url(entry.urls[0]), size=row.size,
            sha256=recorded[2] if recorded[0] == "sha256" else "", digest=row.digest,
            etag=row.etag, last_modified=row.last_modified, reason="already fetched", key=task.key,
        )  # fmt: skip

    def _judge_foreign(self, entry: Entry, task: Task, key: bytes) -> Task | Outcome:
        """Apply `existing` to a file that no run of ours wrote."""
        policy = self._config.existing
        if policy == "overwrite":
            return task._replace(replace=True)
        if policy == "verify" and (entry.digests or entry.size is not None):
            return task._replace(check=_declared(entry, "verified"), replace=True)
        if policy == "fail":
            return self._refuse(entry, to_failure(DestinationTaken("a file is already there")), key)
        return self._skip(entry, key, task.path, "a file is already there")

    def _task(self, entry: Entry, key: bytes, path: str) -> Task:
        url = entry.urls[0]
        if "@" in url:
            url = split_userinfo(url)[0]
        renamed = key in self._renamed
        return Task(entry, key, path, url, origin_of(url), renamed=renamed)

    def _skip(self, entry: Entry, key: bytes, path: str, reason: str) -> Outcome:
        return Outcome(entry, Status.SKIPPED, path, redact_url(entry.urls[0]), reason=reason, key=key)

    def _refuse(self, entry: Entry, failure: Failure, key: bytes = b"") -> Outcome:
        return Outcome(entry, Status.FAILED, entry.path, redact_url(entry.urls[0]), failure=failure, key=key)


def _is_intact(row: Row, size: int, mtime_ns: int) -> bool:
    return size == row.size and (not row.mtime_ns or abs(mtime_ns - row.mtime_ns) <= _MTIME_SLACK)


def _declared(entry: Entry, reason: str) -> Check:
    return Check(entry.size, entry.digests, reason)
