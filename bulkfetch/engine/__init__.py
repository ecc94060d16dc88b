"""Where attempts run: one module per kind of engine."""

from bulkfetch.engine.base import Brought, Engine, Report, Tell, Worker, one_by_one
from bulkfetch.engine.processes import ProcessEngine, count_processes
from bulkfetch.engine.serial import SerialEngine
from bulkfetch.engine.threads import ThreadEngine

__all__ = [
    "Brought",
    "Engine",
    "ProcessEngine",
    "Report",
    "SerialEngine",
    "Tell",
    "ThreadEngine",
    "Worker",
    "count_processes",
    "one_by_one",
]
