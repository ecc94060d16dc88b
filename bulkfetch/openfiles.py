"""What a run may keep open: the system allows a program only so many files (fault X06)."""

from __future__ import annotations

import sys

from bulkfetch.config import FetchConfig

if sys.platform != "win32":
    import resource

_OWN = 20  # besides those of workers: journal, lock, manifest, streams, folders
_OF_A_WORKER = 4  # part, socket, its duplicate during a handshake, name look-up
_FEW = 256  # below, no folder is kept open
_MOST_ORIGINS = 256  # hosts whose idle connections are kept


def count_workers() -> int:
    """Return how many workers there may be, at least one."""
    return max(1, (_limit() - _OWN) // _OF_A_WORKER)


def count_origins(config: FetchConfig) -> int:
    """Return of how many origins idle connections may be kept, at least one."""
    left = _limit() - _OWN - config.most_jobs * _OF_A_WORKER
    return max(1, min(_MOST_ORIGINS, left // config.most_per_host))


def may_keep_folders() -> bool:
    """Say whether folders may be kept open besides."""
    return _limit() >= _FEW


def _limit() -> int:
    """Return how many files may be open."""
    if sys.platform == "win32":
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
