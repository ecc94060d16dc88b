"""What holds for which host: the policy files, and the options that go before them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bulkfetch.config import FetchConfig
from bulkfetch.models import BadLine, Entry
from bulkfetch.policy import Policies, PolicyFile, read_policy, user_policy_path
from bulkfetch.safetext import clean
from bulkfetch.urls import split_userinfo

_GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
_MOST_UNMATCHED = 5  # lines
_FIELDS = {"proxy": "proxies"}  # what a parameter is called in the configuration, where that differs


def build_policies(config: FetchConfig, options: dict[str, Any]) -> Policies:
    """Return what holds for each host under a command's options; what is doubtful is said on stderr.

    Raises:
        UsageError: a policy file cannot be read, or something in it is wrong.
    """
    insecure = {host: {"verify": False} for host in options["insecure"]}
    named = None
    if insecure:
        from bulkfetch.policy import from_table  # most runs read no policies

        named = from_table({"host": insecure}, "--insecure")
    policies = Policies(config, _read_files(options["config"]), given_options(), named)
    warnings = [f"the certificate of {host} is NOT verified (--insecure)" for host in insecure]
    for text in (*warnings, *policies.warnings):
        click.echo(f"bulkfetch: warning: {text}", err=True)
    return policies


def noted(entries: Iterator[Entry | BadLine], policies: Policies) -> Iterator[Entry | BadLine]:
    """Return `entries`, the sections that match them counted as such, also where nothing is fetched."""
    return entries if policies.is_uniform else _noted(entries, policies)


def _noted(entries: Iterator[Entry | BadLine], policies: Policies) -> Iterator[Entry | BadLine]:
    for entry in entries:
        for url in entry.urls if isinstance(entry, Entry) else ():
            policies.for_url(split_userinfo(url)[0])
        yield entry


def tell_unmatched(policies: Policies, where: str) -> None:
    """Say on stderr which sections matched nothing; the user's own file is for other lists too."""
    own = f"{clean(str(_own_file()))}, "
    lines = [f"{text} in {where}" for text in policies.unmatched() if not text.startswith(own)]
    if len(lines) > _MOST_UNMATCHED:
        rest = len(lines) - _MOST_UNMATCHED + 1
        lines[_MOST_UNMATCHED - 1 :] = [f"so do {rest} others"]
    for text in lines:
        with contextlib.suppress(OSError):  # stderr closed or full (faults P07, P08)
            click.echo(f"bulkfetch: warning: {text}", err=True)


def _own_file() -> Path | None:
    return user_policy_path(sys.platform, os.environ, _home())


def _read_files(named: str | None) -> list[PolicyFile]:
    """Return the policy files, the most important first; none of them is in the current folder by itself."""
    if named == "none":
        return []
    files = [Path(named)] if named else []
    own = _own_file()
    if own is not None and own.exists():
        files.append(own)
    return [read_policy(path) for path in files]


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # an empty environment, and a user that the system does not know
        return Path()


def given_options() -> dict[str, str]:
    """Return the options that were given, by the fields of the configuration they set, and by what."""
    given = {}
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source in _GIVEN and isinstance(parameter, click.Option):
            is_typed = source is ParameterSource.COMMANDLINE
            given[_FIELDS.get(name, name)] = parameter.opts[-1] if is_typed else f"${_variable(parameter)}"
    return given


def _variable(option: click.Option) -> str:
    """Return the variable that stands for an option: its own, or the one of its name."""
    return str(option.envvar) if option.envvar else f"BULKFETCH_{(option.name or '').upper()}"
