"""From entry to task: where it goes, whether it is there already, what an earlier run left of it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence

from bulkfetch import naming
from bulkfetch.config import FetchConfig
from bulkfetch.errors import DestinationTaken, LineError, PathRefused, to_failure
from bulkfetch.journal import Interruption, Journal, PathOwner, PendingRow, Row, boot_time
from bulkfetch.models import NO_PART, Check, Entry, Failure, Outcome, Status, Task
from bulkfetch.nesting import BareFolders, NeededFolders, folders_above
from bulkfetch.revisits import Revisits
from bulkfetch.safetext import redact_url
from bulkfetch.standing import (
    ask_failed,
    declared,
    declares,
    in_the_way,
    is_as_promised,
    is_below,
    is_edited,
    is_intact,
    is_needed_as_folder,
    may_be_intact,
    taken_by,
)
from bulkfetch.store import LocalStore
from bulkfetch.urls import origin_of, split_userinfo

_CLOCK_SLACK = 1.0  # seconds; a file's time is taken from a coarser clock than ours
_BOOT_SLACK = 60.0  # seconds; a clock may have been set between two boots
_AFTER_CRASH = "verified after an unclean end"
_ENDED = (Status.FETCHED, Status.UNCHANGED, Status.FAILED)
_FAILED, _SKIPPED = Status.FAILED, Status.SKIPPED  # looking them up is slow before Python 3.12
_new = tuple.__new__  # one for every line, made in half the time
_UNTOUCHED = tuple(Task._field_defaults.values())  # of the fields behind `origin`


class Planner:
    """Settles names and looks up earlier runs, a batch of entries at a time."""

    def __init__(
        self,
        config: FetchConfig,
        journal: Journal,
        store: LocalStore,
        *,
        record: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._journal = journal
        self._store = store
        if config.layout not in ("flat", "tree"):
            naming.parse_layout(config.layout)  # a broken one is told at once
        self._record = record
        self._booted = boot_time()
        self._now = now
        self._index = 0
        self.edited = 0  # files that were changed after they were fetched, and are to be replaced
        self._folders = NeededFolders()
        self._bare = BareFolders(store.is_bare)

    def plan(self, entries: Sequence[Entry]) -> list[Task | Outcome]:
        """Return, in order, a task for what must be fetched and an outcome for what need not or cannot be."""
        batch = _Batch(self, entries, self._index)
        self._index += len(entries)
        planned = batch.run()
        if self._record:
            self._journal.add_pending(batch.pending)
            for key, holder in batch.taken_over:
                self._journal.take_over(key, holder)
            self._journal.touch_run(batch.touched)
            self._journal.commit()  # before any task starts: a killed run's files are known by these rows
        return planned


class _Batch:
    """The state of planning one batch."""

    def __init__(self, planner: Planner, entries: Sequence[Entry], index: int) -> None:
        self._planner = planner
        self._config = planner._config
        self._journal = planner._journal
        self._store = planner._store
        self._layout = planner._config.layout
        self._run = planner._journal.run
        self._is_quiet = planner._journal.interrupted is None  # every earlier run ended as it should
        self._entries = entries
        self._index = index
        self._folders = planner._folders
        self._bare = planner._bare
        self.pending: list[PendingRow] = []
        self.touched: list[bytes] = []
        self._taken: dict[str, bytes] = {}  # collision key -> entry key, within this batch
        self._seen: set[bytes] = set()
        self._renamed: set[bytes] = set()
        self.taken_over: list[tuple[bytes, bytes]] = []  # entry key, key of the one whose file it replaces

    def run(self) -> list[Task | Outcome]:
        wanted = [self._name(entry, index) for index, entry in enumerate(self._entries, self._index)]
        paths = {key: path for key, path, _, failure in wanted if failure is None}
        self._rows = rows = self._journal.find(paths, paths)
        new = [path_key for key, _, path_key, _ in wanted if (row := rows.get(key)) is None or not row.owns]
        folders = self._folders.unknown_above(path_key for *_, path_key, _ in wanted)
        self._owners = self._journal.find_paths([*new, *folders])
        self._parts = self._journal.find_parts(list(paths))
        if new:
            self._bare.look(paths.values())
        asked = paths if self._config.respect_cache else [key for key, row in rows.items() if ask_failed(row)]
        answers = self._journal.find_answers(list(asked)) if asked else {}
        self._revisits = Revisits(self._config, answers, self._planner._now())
        return [self._plan_line(entry, *row) for entry, row in zip(self._entries, wanted, strict=True)]

    def _name(self, entry: Entry, index: int) -> tuple[bytes, str, str, Failure | None]:
        """Return identity, wanted destination and its collision key, or why it can have none."""
        request = entry.request.identity() if entry.request else b""
        try:
            path, path_key = naming.plan_destination(entry, self._layout, index)
        except LineError as exc:
            return naming.identity(entry.urls[0], entry.path or "", request), "", "", to_failure(exc)
        return naming.identity(entry.urls[0], path, request), path, path_key, None

    def _plan_line(
        self, entry: Entry, key: bytes, wanted: str, path_key: str, failure: Failure | None
    ) -> Task | Outcome:
        if failure is not None:
            return self._refuse(entry, failure, key)
        if key in self._rows or not self._is_plainly_new(key, wanted, path_key):
            return self._plan(entry, key, wanted, path_key)
        self._seen.add(key)
        self._taken[path_key] = key
        self.pending.append(_new(PendingRow, (key, wanted, path_key, entry)))
        return self._task(entry, key, wanted)

    def _plan(self, entry: Entry, key: bytes, wanted: str, path_key: str) -> Task | Outcome:
        row = self._rows.get(key)
        if key in self._seen or (row is not None and row.run == self._run):
            return self._skip(entry, key, row.path if row else wanted, "listed before")
        self._seen.add(key)
        if row is not None and row.owns:
            path, holder = row.path, None
            if path != wanted:
                path_key = naming.collision_key(path)
            if self._taken.setdefault(path_key, key) != key:  # an earlier line of this batch got it
                return self._refuse(entry, in_the_way(path), key)
        else:
            row = None  # what an earlier run said of it holds for no file
            settled = self._settle_name(entry, key, wanted, path_key)
            if isinstance(settled, Failure):
                return self._refuse(entry, settled, key)
            path, path_key, holder = settled
        if (clash := self._clash(path, path_key)) is not None:
            return self._refuse(entry, clash, key)
        if "/" in path_key:
            self._folders.need(path_key)
        planned = self._decide(entry, key, path, row)
        if isinstance(planned, Task):
            self.pending.append(PendingRow(key, path, path_key, entry))
            if holder is not None:
                self.taken_over.append((key, holder))
        return planned

    def _is_plainly_new(self, key: bytes, wanted: str, path_key: str) -> bool:
        """Say whether an entry without a row gets the name it wants, in a folder where nothing stands."""
        if key in self._seen or path_key in self._taken or path_key in self._owners:
            return False
        if wanted.rpartition("/")[0] not in self._bare or path_key in self._folders:
            return False
        return "/" not in path_key or path_key.rpartition("/")[0] in self._folders

    def _settle_name(
        self, entry: Entry, key: bytes, wanted: str, path_key: str
    ) -> tuple[str, str, bytes | None] | Failure:
        """Give a new entry its destination: the one it wants, unless another entry has it (fault N13).

        Returns it and its collision key, with the key of the entry whose file is to be replaced
        there, if any.
        """
        owner = self._owners.get(path_key)
        holder = self._taken.get(path_key) or (owner.key if owner else None)
        gives_way = entry.path is None and path_key in self._folders
        if not gives_way and (holder is None or holder == key):
            self._taken[path_key] = key
            return wanted, path_key, None
        if entry.path is None:
            path = naming.with_suffix(wanted, key)
            self._renamed.add(key)
            path_key = naming.collision_key(path)
            self._taken[path_key] = key
            return path, path_key, None
        if path_key in self._taken or (owner is not None and owner.run == self._run):
            return in_the_way(wanted)
        has_file = owner is not None and self._has_file(owner)
        if has_file and owner is not None and not self._may_replace(entry):
            return taken_by(owner)
        assert holder is not None  # what gives way has no path
        self._journal.release_path(holder)  # an older run's entry: the manifest now names another URL for it
        self._taken[path_key] = key
        return wanted, path_key, holder if has_file else None

    def _clash(self, path: str, path_key: str) -> Failure | None:
        """Say why a destination cannot stand beside earlier ones: one is the folder of the other."""
        if path_key in self._folders:
            return is_needed_as_folder(path)
        if "/" not in path_key or path_key.rpartition("/")[0] in self._folders:
            return None
        return next(
            (is_below(path, above) for above in folders_above(path_key) if self._is_ours(above)), None
        )

    def _is_ours(self, path_key: str) -> bool:
        """Say whether an earlier line of this run has a destination."""
        owner = self._owners.get(path_key)
        return path_key in self._taken or (owner is not None and owner.run == self._run)

    def _has_file(self, owner: PathOwner) -> bool:
        """Say whether what stands at a destination is the file of the entry that has it."""
        found = self._store.find(owner.path)
        if found is None or owner.size is not None:
            return found is not None
        return owner.state is Status.PENDING and self._doubt(found.st_ctime) is not None

    def _may_replace(self, entry: Entry) -> bool:
        """Say whether the user lets go of what stands there unless it is what the entry declares."""
        policy = self._config.existing
        return policy == "overwrite" or (policy == "verify" and declares(entry))

    def _decide(self, entry: Entry, key: bytes, path: str, row: Row | None) -> Task | Outcome:
        """Weigh what stands at the destination."""
        if path.rpartition("/")[0] in self._bare:
            return self._task(entry, key, path)
        found = self._store.find(path)
        if found is None:
            return self._task(entry, key, path)
        if row is not None and self._is_kept(entry, row, found):
            held = self._revisits.held(entry, row, found)
            if held is not None:
                return self._task(entry, key, path)._replace(held=held, replace=True)
            if row.state is not _FAILED:
                return self._already(entry, row)
        return self._weigh(entry, self._task(entry, key, path), row, found)

    def _weigh(self, entry: Entry, task: Task, row: Row | None, found: os.stat_result) -> Task | Outcome:
        """Judge what stands at a destination and is not surely what the entry asks for."""
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            refusal = PathRefused(f"{task.path}: something that is no file has this name")
            return self._refuse(entry, to_failure(refusal), task.key)
        doubt = self._doubt(found.st_ctime)
        is_torn = self._is_torn(found.st_ctime)
        is_pending = row is not None and row.state is Status.PENDING
        is_sure = doubt is None or not (is_torn or is_pending)  # no run that broke off put it there
        if row is not None and may_be_intact(row, found.st_size, found.st_mtime_ns):
            task = self._recheck(entry, task, row, is_torn=is_torn)
            return self._revisits.after(task, row, found, is_sure=is_sure)
        if row is not None and row.state is Status.PENDING and doubt is not None and doubt.same_boot:
            # Renamed by a run that was killed before it could write so.
            return task._replace(check=declared(entry, "found complete"), replace=True)
        if is_torn:  # perhaps ours, and not all of it reached the disk before the machine went down
            check = declared(entry, _AFTER_CRASH) if entry.digests else None
            return task._replace(check=check, replace=True)
        if row is not None and (row.size is not None or (doubt and row.state is Status.PENDING)):
            if self._revisits.spares(entry, row, is_sure=is_sure):
                return self._judge_foreign(entry, task)
            if is_sure and is_edited(entry, row, found.st_size) and self._config.existing != "overwrite":
                self._planner.edited += 1
            return task._replace(replace=True)  # ours, and no longer what the manifest asks for
        return self._judge_foreign(entry, task)

    def _doubt(self, changed: float) -> Interruption | None:
        """Return the runs that did not end as they should, if one of them may have renamed a file then."""
        doubt = self._journal.interrupted
        if doubt is None or not doubt.started - _CLOCK_SLACK <= changed <= doubt.ended + _CLOCK_SLACK:
            return None
        return doubt

    def _is_older_than_boot(self, changed: float) -> bool:
        return changed <= self._planner._booted + _BOOT_SLACK

    def _is_kept(self, entry: Entry, row: Row, found: os.stat_result) -> bool:
        """Say whether the file is surely the one an earlier run finished, and what the manifest promises."""
        if row.state not in _ENDED or row.needs_check or not stat.S_ISREG(found.st_mode):
            return False
        if row.size is None or not is_intact(row, found.st_size, found.st_mtime_ns):
            return False
        if not self._is_quiet and self._is_torn(found.st_ctime):
            return False
        return is_as_promised(entry, row)

    def _is_torn(self, changed: float) -> bool:
        """Say whether the machine went down before all of a file changed then was surely on disk."""
        doubt = self._doubt(changed)
        return doubt is not None and not doubt.same_boot and self._is_older_than_boot(changed)

    def _already(self, entry: Entry, row: Row) -> Outcome:
        """Keep what an earlier run finished."""
        self.touched.append(row.key)
        key, path, _, size, _, digest, _, etag, last_modified = row[:9]
        return _new(Outcome, (
            entry, _SKIPPED, path, redact_url(entry.urls[0]), "", size, 0,
            digest[7:] if digest.startswith("sha256:") else "", digest, etag, last_modified, 0, 0, 0.0,
            None, "already fetched", (), key, None,
        ))  # fmt: skip

    def _recheck(self, entry: Entry, task: Task, row: Row, *, is_torn: bool) -> Task:
        """Have a file looked at that an earlier run left, unless the manifest now promises another."""
        if not is_as_promised(entry, row):
            return task._replace(replace=True)
        name, _, digest = row.digest.partition(":")
        digests = ((name, digest),) if digest else entry.digests
        reason = _AFTER_CRASH if is_torn or row.needs_check else "verified"
        check = Check(row.size, digests, reason) if digests else None  # without one only fetching tells
        return task._replace(check=check, replace=True)

    def _judge_foreign(self, entry: Entry, task: Task) -> Task | Outcome:
        """Apply `existing` to a file that no run of ours wrote."""
        policy = self._config.existing
        if policy == "overwrite":
            return task._replace(replace=True)
        if policy == "verify" and declares(entry):
            return task._replace(check=declared(entry, "verified"), replace=True)
        if policy == "fail":
            failure = to_failure(DestinationTaken("a file is already there"))
            return self._refuse(entry, failure, task.key)._replace(path=task.path)
        return self._skip(entry, task.key, task.path, "a file is already there")

    def _task(self, entry: Entry, key: bytes, path: str) -> Task:
        url = entry.urls[0]
        if "@" in url:
            url = split_userinfo(url)[0]
        task = _new(Task, (entry, key, path, url, origin_of(url), *_UNTOUCHED))
        if key in self._renamed or key in self._parts:
            task = task._replace(renamed=key in self._renamed, part=self._parts.get(key, NO_PART))
        return task

    def _skip(self, entry: Entry, key: bytes, path: str, reason: str) -> Outcome:
        return Outcome(entry, Status.SKIPPED, path, redact_url(entry.urls[0]), reason=reason, key=key)

    def _refuse(self, entry: Entry, failure: Failure, key: bytes) -> Outcome:
        return Outcome(entry, Status.FAILED, entry.path, redact_url(entry.urls[0]), failure=failure, key=key)
