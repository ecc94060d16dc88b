"""A connection of ours whose bytes come in portions that a test chooses."""

from __future__ import annotations

from bulkfetch.watchdog import Lease
from bulkfetch.wire.buffers import Buffers
from bulkfetch.wire.connection import Connection


class Pieces:
    """A socket whose bytes come in the portions given, or fail, and then end."""

    def __init__(self, pieces):
        self._pieces = list(pieces)

    def fileno(self):
        return 0  # never looked at

    def gettimeout(self):
        return None

    def settimeout(self, seconds):
        assert seconds is None or seconds > 0

    def getpeername(self):
        return ("127.0.0.1", 80)

    def send(self, request):
        assert request.endswith(b"\r\n\r\n")
        return len(request)

    def recv_into(self, view, size):
        if not self._pieces:
            return 0
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        count = min(size, len(piece))
        view[:count] = piece[:count]
        return count


def connected(pieces):
    """Return a connection on which `pieces` come."""
    connection = Connection(Pieces(pieces), 1.0)
    connection.begin(Lease(), Buffers().take())
    return connection
