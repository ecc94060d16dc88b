"""A small, strict HTTP/1.1 connection of our own, for plain GETs without proxy, auth or cookies.

Sockets block; what bounds every wait is the attempt's lease, whose watchdog shuts the socket. A lease
that nobody watches is therefore not enough. Foreign exceptions end here.
"""

from bulkfetch.wire.client import Wire
from bulkfetch.wire.lane import Lane
from bulkfetch.wire.reply import Reply

__all__ = ["Lane", "Reply", "Wire"]
