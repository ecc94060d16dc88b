"""Folders of a run: which of them destinations need, and in which only files of its own can stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

_MOST = 50_000  # folders known at once: some 8 MiB


def folders_above(path_key: str) -> Iterator[str]:
    """Yield every folder above a destination, the nearest first; all by collision key."""
    end = path_key.rfind("/")
    while end > 0:
        yield path_key[:end]
        end = path_key.rfind("/", 0, end)


class NeededFolders:
    """The folders that destinations of a run need; past `most`, no further ones."""

    def __init__(self, most: int = _MOST) -> None:
        self._known: set[str] = set()
        self._most = most

    def __contains__(self, path_key: str) -> bool:
        return path_key in self._known

    def need(self, path_key: str) -> None:
        """Note the folders above a destination that an entry was given."""
        for folder in folders_above(path_key):
            if folder in self._known:  # and with it those above
                return
            if len(self._known) < self._most:
                self._known.add(folder)

    def unknown_above(self, path_keys: Iterable[str]) -> set[str]:
        """Return the folders above destinations that are not known to be needed, so may be files."""
        known = self._known
        parents = {key.rpartition("/")[0] for key in path_keys if "/" in key} - known
        return {folder for parent in parents for folder in folders_above(f"{parent}/") if folder not in known}


class BareFolders:
    """The folders that held nothing when the run first came to them: nothing is looked for there.

    What another program puts there later stays, whatever `existing` says: no task may replace it.

    Args:
        is_bare: looks at a folder.
        most: folders known at once.
    """

    def __init__(self, is_bare: Callable[[str], bool], most: int = _MOST) -> None:
        self._is_bare = is_bare
        self._known: dict[str, bool] = {}
        self._most = most

    def __contains__(self, folder: str) -> bool:
        return self._known.get(folder, False)

    def look(self, paths: Iterable[str]) -> None:
        """Look at the folders of several destinations; for a single one in its folder that does not pay."""
        folders = Counter([path.rpartition("/")[0] if "/" in path else "" for path in paths])
        for folder, count in folders.items():
            if count > 1 and folder not in self._known:
                if len(self._known) >= self._most:
                    self._known.clear()
                self._known[folder] = self._is_bare(folder)
