"""A way from a socket into a file that does not lead through this program's memory (Linux)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import sys

SIZE = 1024 * 1024  # bytes under way; also the most that Linux gives to everyone


class Pipe:
    """Holds what has left the socket and is not in the file yet."""

    __slots__ = ("_end", "start")

    def __init__(self) -> None:
        self._end, self.start = os.pipe()
        if sys.platform == "linux":
            import fcntl

            with contextlib.suppress(OSError):  # one user's pipes together have a limit
                fcntl.fcntl(self.start, fcntl.F_SETPIPE_SZ, SIZE)

    def leads_to(self, file: int) -> bool:
        """Say whether the file system of an open file takes bytes from a pipe."""
        try:
            os.splice(self._end, file, 1, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:  # it would, if there were any
            return True
        except OSError:
            return False
        return False

    def empty(self, file: int, size: int) -> None:
        """Move `size` bytes that are here into the file."""
        while size:
            moved = os.splice(self._end, file, size)
            if not moved:
                raise OSError(errno.EIO, "the system takes no more bytes")
            size -= moved

    def close(self) -> None:
        """Close both ends, and lose what is in between."""
        os.close(self._end)
        os.close(self.start)


def open_pipe(sock: socket.socket, file: int) -> Pipe | None:
    """Return a pipe from `sock` to `file`; None where the system has none, or TLS must be taken off first."""
    if not hasattr(os, "splice") or isinstance(sock, ssl.SSLSocket):
        return None
    try:
        pipe = Pipe()
    except OSError:  # no more files may be open
        return None
    if pipe.leads_to(file):
        return pipe
    pipe.close()
    return None
