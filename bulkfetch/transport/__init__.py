"""One `requests` session per origin; the only package that knows `requests` and `urllib3`.

Sessions follow no redirects, read no environment and share nothing. Foreign exceptions end here.
"""

import logging

from bulkfetch.transport.mapping import map_error
from bulkfetch.transport.origins import Transport
from bulkfetch.transport.reply import Reply
from bulkfetch.transport.versions import versions

__all__ = ["Reply", "Transport", "map_error", "versions"]

logging.getLogger("urllib3").addHandler(logging.NullHandler())  # not on stderr unless the caller logs
