"""What was read of policies: values, and where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkfetch.values import frozen

if TYPE_CHECKING:  # only who has policies needs it
    from bulkfetch.policy.patterns import Pattern

FIELD_TABLES = ("headers", "params")  # tables of a section: each name in them is merged by itself


class Found(NamedTuple):
    """A value and where it was found."""

    value: Any
    where: str


class Section(NamedTuple):
    """What one section sets, by key; names in `headers` and `params` have keys of their own."""

    title: str
    pattern: Pattern | None  # None: [defaults]
    values: Mapping[str, Found]
    where: str


@frozen
class PolicyFile:
    """One source of policies: a file, or a table given by the program."""

    name: str
    sections: tuple[Section, ...]  # from the least to the most specific
    warnings: tuple[str, ...] = ()
