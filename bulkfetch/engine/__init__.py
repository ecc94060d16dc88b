"""Where attempts run: one module per kind of engine."""

from bulkfetch.engine.base import Engine, Report, Tell, Worker
from bulkfetch.engine.serial import SerialEngine
from bulkfetch.engine.threads import ThreadEngine

__all__ = ["Engine", "Report", "SerialEngine", "Tell", "ThreadEngine", "Worker"]
