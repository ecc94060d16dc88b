"""What a run did to the disk, in order, with the journal as it was after each commit."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

from harness.intercept import Call, Observer

_MOVES = frozenset({"rename", "replace", "link"})  # a link, and the first name goes
_lseek = os.lseek


class Recorder(Observer):
    """Writes a JSON line per operation into FOLDER/log, and the journal after commit n into FOLDER/n."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._log = open(self._folder / "log", "a", encoding="utf-8", buffering=1)  # noqa: PTH123, SIM115 - as long as the process
        self._lock = threading.RLock()  # guards _log and _commits: the order of lines is that of the calls
        self._commits = 0

    def after(self, call: Call, result: Any) -> None:
        with self._lock:
            if call.name == "commit":
                self._commit(call)
            elif call.name == "sql" and "wal_checkpoint" in call.sql:
                self._add(op="checkpoint")
            elif call.name == "sync":
                self._add(op="sync")
            elif call.name in _MOVES:
                self._add(op="rename", path=call.path, target=call.target)
            elif call.name == "ftruncate" and call.path:
                self._add(op="cut", path=call.path, end=call.size)
            elif call.name == "write" and call.path:
                self._add(op="write", path=call.path, end=_lseek(call.fd, 0, os.SEEK_CUR))
            elif call.name in ("fsync", "unlink") and call.path:
                self._add(op=call.name, path=call.path)

    def _commit(self, call: Call) -> None:
        journal = Path(call.path)
        if journal.name != "journal.sqlite3":
            return
        self._commits += 1
        copy = self._folder / str(self._commits)
        copy.mkdir()
        for name in (journal.name, f"{journal.name}-wal"):
            if (journal.parent / name).exists():
                shutil.copy2(journal.parent / name, copy / name)
        self._add(op="commit", number=self._commits)

    def _add(self, **fields: Any) -> None:
        self._log.write(json.dumps(fields) + "\n")
