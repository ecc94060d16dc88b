"""What `status --by-host` shows of each host."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from bulkfetch.formatting import format_count, format_number_of
from bulkfetch.journal import Journal
from bulkfetch.safetext import clean

_MOST = 50  # hosts shown as text; --json has all


def hosts_of(journal: Journal) -> list[dict[str, Any]]:
    """Return a record for each host, those with the most entries first."""
    hosts: dict[str, dict[str, Any]] = {}
    for host, state, kind, count in journal.host_counts():
        record = hosts.setdefault(host, {"host": host, "entries": 0, "states": {}, "failures": {}})
        record["entries"] += count
        record["states"][state] = record["states"].get(state, 0) + count
        if state == "failed":
            record["failures"][kind] = record["failures"].get(kind, 0) + count
    for told in _told(journal.last_run()):
        if isinstance(told, dict) and told.get("host") in hosts:
            hosts[told["host"]]["last_run"] = told
    return sorted(hosts.values(), key=lambda record: -record["entries"])


def _told(last_run: Mapping[str, Any] | None) -> list[Any]:
    hosts = last_run["summary"].get("hosts") if last_run else None
    return hosts if isinstance(hosts, list) else []  # it may have been edited


def host_lines(hosts: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the records as lines of text."""
    for record in hosts[:_MOST]:
        yield f"{clean(record['host'])}: {format_number_of(record['entries'], 'entry', 'entries')}"
        for state, count in sorted(record["states"].items()):
            kinds = _kinds(record["failures"]) if state == "failed" else ""
            yield f"  {format_count(count):>9}  {state}{kinds}"
        if words := _last(record.get("last_run", {})):
            yield f"  last run: {', '.join(words)}"
    if len(hosts) > _MOST:
        yield f"and {format_number_of(len(hosts) - _MOST, 'more host', 'more hosts')}; --json has them all"


def _kinds(failures: Mapping[str, int]) -> str:
    return ": " + ", ".join(f"{clean(kind)} {format_count(count)}" for kind, count in failures.items())


def _last(told: Mapping[str, Any]) -> list[str]:
    words = []
    if told.get("refused"):
        noun = "request" if told["refused"] == 1 else "requests"
        words.append(f"{told['refused']} {noun} refused")
    if told.get("connections"):
        words.append(f"{told['connections']} of {told.get('per_host')} connections")
    if told.get("rate"):
        words.append(f"{told['rate']} requests/s")
    until = told.get("until")
    if isinstance(until, int | float) and until > time.time():
        words.append(f"not to be asked before {_shown(until)}")
    if told.get("reason"):
        words.append(clean(str(told["reason"]), 300))
    return words


def _shown(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).astimezone().isoformat(" ", "seconds")
