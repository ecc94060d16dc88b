"""The sections of one policy file, checked as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bulkfetch.errors import UsageError
from bulkfetch.policy.found import FIELD_TABLES, Found, PolicyFile, Section
from bulkfetch.policy.keys import GROUPS, KEYS, RENAMED, RUN_OPTIONS
from bulkfetch.policy.lines import KeyPath
from bulkfetch.policy.patterns import Pattern, parse_pattern
from bulkfetch.policy.scope import check_scope, read_field
from bulkfetch.policy.values import Reader, Reading, did_you_mean
from bulkfetch.safetext import clean
from bulkfetch.secrets import LITERAL, Secret
from bulkfetch.secrets import is_exposed as _is_exposed

_NAMES = (*KEYS, *GROUPS, *FIELD_TABLES)


def from_table(
    table: Mapping[str, Any],
    name: str = "the program",
    *,
    folder: str | Path = ".",
    lines: Mapping[KeyPath, int] | None = None,
    is_exposed: bool = False,
) -> PolicyFile:
    """Return the policies of a table shaped like a policy file.

    Args:
        table: "defaults" and "host", as `tomllib` returns them; `auth` may also be a `requests` auth
            object, or a callable that makes one from an origin.
        name: where the table is from, for messages.
        folder: what relative paths in it are relative to.
        lines: the line of each key.
        is_exposed: other users may read it.

    Raises:
        UsageError: something in it is wrong; the message has one line for each mistake.
    """
    reader = _Reader(clean(name), lines or {}, Reading(Path(folder)))
    sections = sorted(reader.read(table), key=_order)
    if reader.problems:
        raise UsageError("\n".join(reader.problems))
    return PolicyFile(reader.name, tuple(sections), tuple(_warnings(reader, sections, is_exposed)))


def _order(section: Section) -> tuple[Any, ...]:
    return () if section.pattern is None else section.pattern.rank


def _warnings(reader: _Reader, sections: list[Section], is_exposed: bool) -> Iterator[str]:
    secrets: list[Secret] = reader.reading.secrets
    if is_exposed and any(secret.kind == LITERAL for secret in secrets):
        yield f"other users may read {reader.name}, and secrets stand in it: chmod 600 it, or use env:NAME"
    yield from dict.fromkeys(text for secret in secrets if (text := secret.warning()))
    for path in dict.fromkeys(reader.reading.private):
        if _is_exposed(path, 0o077):
            yield f"other users may read {clean(str(path))}: chmod 600 it"
    for section in sections:
        found = section.values.get("verify")
        if found is not None and found.value is False:
            yield f"the certificate is NOT verified: verify = false in {found.where}"


# Where it stands, the key it sets, how it is read, and what stands there.
_Setting = tuple[KeyPath, str, Reader, Any]


class _Reader:
    """Reads a table and collects what is wrong with it."""

    def __init__(self, name: str, lines: Mapping[KeyPath, int], reading: Reading) -> None:
        self.name = name
        self.lines = lines
        self.reading = reading
        self.problems: list[str] = []

    def read(self, table: Mapping[str, Any]) -> Iterator[Section]:
        """Yield the sections, in the order they stand."""
        seen: dict[Pattern, str] = {}
        for path, content in self._tables(table):
            title = _title(path)
            try:
                if not isinstance(content, Mapping):
                    raise ValueError("a section is wanted, not a value")
                pattern = parse_pattern(path[1]) if len(path) > 1 else None
                if pattern is not None and seen.setdefault(pattern, title) is not title:
                    raise ValueError(f"the same as {seen[pattern]}")
            except ValueError as exc:
                self._refuse(path, f"{title}: {exc}")
                continue
            yield Section(title, pattern, dict(self._values(path, content, pattern)), self._where(path))

    def _tables(self, table: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
        for key, content in table.items():
            if key == "defaults":
                yield (key,), content
            elif key == "host" and isinstance(content, Mapping):
                yield from (((key, pattern), section) for pattern, section in content.items())
            else:
                hint = did_you_mean(key, ("defaults", "host"))
                self._refuse((key,), f'unknown "{clean(key, 40)}" outside [defaults] and [host."..."]{hint}')

    def _values(
        self, path: KeyPath, content: Mapping[str, Any], pattern: Pattern | None
    ) -> Iterator[tuple[str, Found]]:
        """Yield what a section sets; each mistake is noted and the rest goes on."""
        taken: set[str] = set()
        for place, target, read, raw in self._settings(path, content):
            try:
                value = read(raw, self.reading)
                check_scope(target, value, pattern)
                if target in taken:
                    raise ValueError(f"{target} is set twice")
            except ValueError as exc:
                self._refuse(place, f"{_title(path)} {'.'.join(place[len(path) :])}: {exc}")
                continue
            taken.add(target)
            yield target, Found(value, f"{self._where(place)}, {_title(path)}")

    def _settings(self, path: KeyPath, content: Mapping[str, Any]) -> Iterator[_Setting]:
        for name, raw in content.items():
            place = (*path, name)
            if name in KEYS:
                yield place, name, KEYS[name].read, raw
            elif name not in _NAMES:
                self._refuse(place, f"{_title(path)} {_unknown(name)}")
            elif not isinstance(raw, Mapping):
                self._refuse(place, f"{_title(path)} {name}: a table is wanted")
            elif name in FIELD_TABLES:
                for field, text in raw.items():
                    yield (*place, field), f"{name}.{field.lower()}", read_field(name, field), text
            else:
                yield from self._group(place, raw)

    def _group(self, place: KeyPath, table: Mapping[str, Any]) -> Iterator[_Setting]:
        known = GROUPS[place[-1]]
        for name, raw in table.items():
            if name in known:
                target, read = known[name]
                yield (*place, name), target, read, raw
            else:
                text = f'unknown key "{clean(name, 40)}" in {place[-1]}{did_you_mean(name, known)}'
                self._refuse((*place, name), f"{_title(place[:-1])} {text}")

    def _where(self, path: KeyPath) -> str:
        line = self.lines.get(path)
        return f"{self.name}, line {line}" if line else self.name

    def _refuse(self, path: KeyPath, text: str) -> None:
        self.problems.append(f"{self._where(path)}: {text}")


def _title(path: KeyPath) -> str:
    return f'[host."{clean(path[1], 80)}"]' if len(path) > 1 else "[defaults]"


def _unknown(name: str) -> str:
    if name in RUN_OPTIONS:
        return f"{name}: belongs to the whole run, not to a host"
    if name in RENAMED:
        return f"{name}: is written {RENAMED[name]} here"
    return f'unknown key "{clean(name, 40)}"{did_you_mean(name, _NAMES)}'
