"""Results for other programs: records on stdout, and files of events and failures."""

from bulkfetch.printing.files import EventsFile, FailedFile, LineFile, failed_record
from bulkfetch.printing.stdout import ResultWriter
from bulkfetch.printing.template import Printer, parse_print, path_prefix

__all__ = [
    "EventsFile",
    "FailedFile",
    "LineFile",
    "Printer",
    "ResultWriter",
    "failed_record",
    "parse_print",
    "path_prefix",
]
