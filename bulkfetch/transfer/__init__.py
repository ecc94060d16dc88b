"""One attempt, from request to committed file. It never sleeps for back-off, never retries, never draws."""

from bulkfetch.transfer.attempt import run_attempt
from bulkfetch.transfer.batch import run_attempts
from bulkfetch.transfer.beside import Cores
from bulkfetch.transfer.context import Context
from bulkfetch.transfer.gate import Gate

__all__ = ["Context", "Cores", "Gate", "run_attempt", "run_attempts"]
