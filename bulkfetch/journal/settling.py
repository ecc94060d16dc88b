"""Outcomes into rows, with as little work as each allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bulkfetch.journal import schema
from bulkfetch.journal.database import Database
from bulkfetch.journal.records import finished_values, other_values, plain_values
from bulkfetch.models import Outcome, Status

FINISHED = (Status.FETCHED, Status.UNCHANGED)
Numbers = Mapping[bytes, int]  # the row of each key


def settle_known(
    database: Database, outcomes: Sequence[Outcome], numbers: Numbers, run: int, now: float
) -> None:
    """Write outcomes, each of an entry of its own that has a row."""
    rows, rest = [], []
    for outcome in outcomes:
        values = plain_values(outcome, numbers[outcome.key], run, now)
        if values is None:
            rest.append(outcome)
        else:
            rows.append(values)
    if rows and not _settle_plain(database, rows):
        settle(database, outcomes, numbers, run, now)
    elif rest:
        settle(database, rest, numbers, run, now)


def settle(database: Database, outcomes: Sequence[Outcome], numbers: Numbers, run: int, now: float) -> None:
    """Write outcomes, whatever their rows are."""
    finished = [outcome for outcome in outcomes if outcome.status in FINISHED]
    checked = [outcome for outcome in finished if not outcome.final_url]
    answered = finished if not checked else [outcome for outcome in finished if outcome.final_url]
    for statement, some in ((schema.SETTLE_FINISHED, answered), (schema.SETTLE_CHECKED, checked)):
        values = [finished_values(outcome, numbers[outcome.key], run, now) for outcome in some]
        database.write_many(statement, values)
    others = [outcome for outcome in outcomes if outcome.status not in FINISHED]
    values = [other_values(outcome, numbers[outcome.key], run, now) for outcome in others]
    database.write_many(schema.SETTLE_OTHER, values)


def _settle_plain(database: Database, rows: Sequence[Sequence[object]]) -> bool:
    """Write rows of SETTLE_PLAIN; False where one of them was not as this run had added it."""
    before = database.changes
    database.write_many(schema.SETTLE_PLAIN, rows)
    return database.changes - before == len(rows)
