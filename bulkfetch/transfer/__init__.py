"""One attempt, from request to committed file. It never sleeps for back-off, never retries, never draws."""

from bulkfetch.transfer.attempt import run_attempt
from bulkfetch.transfer.beside import Cores
from bulkfetch.transfer.context import Context

__all__ = ["Context", "Cores", "run_attempt"]
