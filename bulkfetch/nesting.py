"""Whether a destination lies below the file of another entry, or is a folder that another one needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
