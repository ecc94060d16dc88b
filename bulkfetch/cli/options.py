"""The options that `get` and `plan` share, and the configuration they make."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from bulkfetch.checksums import ALGORITHMS
from bulkfetch.cli.params import COUNT, COUNT_OR_NONE, DURATION, FOLDER, HEADER, LIMIT, LINE, RATE, SIZE
from bulkfetch.config import AUTO, EXISTING, TRANSPORTS, USER_AGENT, FetchConfig
from bulkfetch.manifest import READERS
from bulkfetch.safetext import register_secret, sounds_secret

Command = Callable[..., Any]
SETTINGS = {"auto_envvar_prefix": "BULKFETCH"}  # $BULKFETCH_PER_HOST stands for --per-host; others are named
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

_SOURCES = (
    click.argument("sources", nargs=-1, metavar="[SOURCE]..."),
    click.option("-d", "--dest", type=FOLDER, default=".", help="Destination folder (default: .)."),
    click.option("-i", "--manifest", "manifests", type=LINE, multiple=True, metavar="PATH|URL", envvar="BULKFETCH_MANIFEST", help="A manifest, also a remote one; repeatable."),
    click.option("-f", "--format", type=click.Choice(sorted(READERS)), help="Manifest format; default: by name, then content."),
    click.option("--url-column", metavar="NAME", help="Column of a csv or jsonl manifest that holds the URL."),
    click.option("--base-url", metavar="URL", help="What relative URLs of a manifest are relative to."),
    click.option("--layout", default="flat", metavar="TEMPLATE", help="flat (default), tree, or a template such as '{host}/{stem}{ext}', '{index:06d}{ext}', '{column}'."),
    click.option("--existing", type=click.Choice(EXISTING), default="skip", help="A file there that no earlier run of ours wrote (default: skip)."),
)  # fmt: skip

_POLICY = (
    click.option("-j", "--jobs", type=COUNT, metavar="N|auto", default=16, help="Worker threads (default 16); auto: as many as pay, at most 64."),
    click.option("--per-host", type=COUNT, metavar="N|auto", default=6, help="Connections per host (default 6); auto: as many as pay, at most 16."),
    click.option("--processes", type=COUNT_OR_NONE, metavar="N|auto", default=AUTO, help="Further processes for small files (0: none); auto (default): where the processor is what they wait for."),
    click.option("--rate", type=RATE, help="Requests of the whole run, e.g. 50/s (default: none)."),
    click.option("--host-rate", type=RATE, help="Requests per host, e.g. 5/s, 100/m (default: none)."),
    click.option("--limit-rate", type=SIZE, help="Bytes per second for the whole run, e.g. 20M (default: none)."),
    click.option("--segments", type=COUNT, metavar="N|auto", default=1, help="Ranges in flight for one large file, within --per-host; or auto (default 1)."),
    click.option("--retries", type=click.IntRange(0, 99), default=5, help="Further attempts per entry after the first (default 5)."),
    click.option("--backoff", type=DURATION, default=1.0, help="Base of the full-jitter exponential back-off (default 1; cap 60)."),
    click.option("--max-wait", type=DURATION, default=3600.0, help="Longest Retry-After obeyed within a run (default 3600)."),
    click.option("--connect-timeout", type=DURATION, default=10.0, help="Bound of one connect, name look-up included (default 10)."),
    click.option("--idle-timeout", type=DURATION, default=60.0, help="No byte for this long ends the attempt (default 60)."),
    click.option("--min-speed", type=SIZE, default=1024, help="Slower than this over 30 s ends the attempt (default 1K; 0: off)."),
    click.option("--entry-deadline", type=DURATION, help="Bound per entry, from its first attempt."),
    click.option("--deadline", type=DURATION, help="Bound for the whole run; it can be resumed."),
    click.option("--max-size", type=SIZE, help="Per file; checked before and while streaming."),
    click.option("--max-failures", type=LIMIT, help="Stop starting new work past this many failures, or this share (such as 5%) once 100 entries have ended."),
    click.option("--digest", type=click.Choice([*ALGORITHMS, "none"]), default="sha256", help="Digest recorded for every file (default sha256)."),
    click.option("--fsync", is_flag=True, help="Each file durable against power loss before its outcome is told."),
    click.option("--respect-cache", is_flag=True, help="Ask again for files that are there once Cache-Control or Expires say so."),
    click.option("--transport", type=click.Choice(TRANSPORTS), default="auto", help="Default auto: our own connections for plain requests, requests for all others."),
    click.option("--strict", is_flag=True, help="A body whose length nothing tells is a failure."),
    click.option("--allow-html", is_flag=True, help="Keep an HTML page that comes under the name of another type."),
    click.option("-H", "--header", "headers", type=HEADER, multiple=True, envvar="BULKFETCH_HEADER", help="Only ever sent to origins the manifest names; repeatable."),
    click.option("--user-agent", metavar="S", help="Added to the honest User-Agent: a name, a contact."),
    click.option("--ca-bundle", type=click.Path(exists=True), help="Certificates to trust instead of the usual ones."),
    click.option("--client-cert", type=click.Path(exists=True, dir_okay=False), help="Certificate and key (PEM) that show who we are, to origins the manifest names only."),
    click.option("--insecure", type=LINE, multiple=True, metavar="HOST", help="Do not verify the certificate of this one host; repeatable."),
    click.option("--untrusted", is_flag=True, help="The list is a stranger's: public addresses and plain GETs only, no cookies, netrc, -H or proxy of the environment; 10 GiB per file, 1,000,000 entries."),
    click.option("--config", metavar="FILE", help="What holds for which host, as TOML; default: $BULKFETCH_CONFIG, then the user's config folder."),
    click.option("--proxy", metavar="URL", help="For all hosts; default: the environment; 'none' for no proxy at all."),
)  # fmt: skip


def source_options(command: Command) -> Command:
    """Add what says where entries come from and go."""
    return _add(command, _SOURCES)


def policy_options(command: Command) -> Command:
    """Add what says how they are fetched."""
    return _add(command, _POLICY)


def build_config(options: dict[str, Any]) -> FetchConfig:
    """Return the configuration that command-line options make, the environment's proxies and CA included."""
    fields: tuple[str, ...] = FetchConfig.__match_args__
    known = {name: value for name, value in options.items() if name in fields}
    count, percent = options.get("max_failures") or (None, None)
    known.update(max_failures=count, max_failures_percent=percent)
    agent = options.get("user_agent")
    known["user_agent"] = f"{USER_AGENT} ({agent})" if agent else USER_AGENT
    known["ca_bundle"] = options.get("ca_bundle")
    if known["ca_bundle"] is None and (name := first_set(*CA_VARIABLES)):
        known["ca_bundle"] = os.environ[name]
    proxy = options.get("proxy")
    if proxy is None and not known["untrusted"]:
        known["proxies"] = _environment_proxies()
        known["no_proxy"] = os.environ.get(first_set("no_proxy", "NO_PROXY"), "")
    else:
        known["proxies"] = () if proxy in (None, "none") else (("all", proxy),)
    for name, value in known.get("headers", ()):
        if sounds_secret(name):
            register_secret(value.removeprefix("Bearer "))
    known["trace"] = options.get("verbose", 0) > 1
    config = FetchConfig(**known)
    config.validate()
    return config


def _environment_proxies() -> tuple[tuple[str, str], ...]:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ()
    from urllib.request import getproxies_environment  # loads an HTTP client and a mail parser

    return tuple(getproxies_environment().items())


def first_set(*names: str) -> str:
    """Return the first of these variables that says something, or ""."""
    return next(filter(os.environ.get, names), "")


def _add(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
