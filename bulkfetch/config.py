"""The one frozen configuration of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bulkfetch._version import __version__
from bulkfetch.checksums import ALGORITHMS
from bulkfetch.errors import UsageError
from bulkfetch.settings import read_setting
from bulkfetch.values import defaults_of, field, frozen

EXISTING = ("skip", "verify", "overwrite", "fail")
TRANSPORTS = ("auto", "requests", "fast")
AUTO = "auto"
MOST_JOBS, MOST_PER_HOST = 64, 16  # where "auto" is wanted; aria2 allows itself 16 connections to a server
USER_AGENT = f"bulkfetch/{__version__}"


def most_of(value: int | str, most: int) -> int:
    """Return the number that `value` is, or the `most` that "auto" allows itself."""
    return most if value == AUTO else int(value)


_BOUNDS: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (("window",), lambda value: value >= 1, "be at least 1"),
    (
        ("connect_timeout", "idle_timeout", "rate", "host_rate", "limit_rate", "deadline", "entry_deadline"),
        lambda value: value > 0,
        "be more than 0",
    ),
    (
        ("retries", "backoff", "backoff_cap", "max_wait", "min_speed", "max_failures", "max_size"),
        lambda value: value >= 0,
        "not be less than 0",
    ),
)


@frozen
class FetchConfig:
    """How a run behaves; built once, passed whole. Sizes in bytes, times in seconds, rates per second.

    Sizes, times and rates may be given as text too, as the command line takes them: "20M", "10m", "5/s".
    """

    dest: str | Path = "."
    layout: str = "flat"  # flat | tree | a template such as "{host}/{stem}{ext}"
    existing: str = "skip"  # for a file there that no earlier run of ours wrote
    jobs: int | str = 16  # "auto": as many as pay, up to MOST_JOBS
    per_host: int | str = 6  # "auto": as many as pay, up to MOST_PER_HOST
    processes: int | str = 0  # further ones, for small files; "auto": as soon as they pay
    rate: float | None = None  # requests per second for the whole run
    host_rate: float | None = None  # requests per second and host
    limit_rate: float | None = None  # bytes per second for the whole run
    segments: int | str = 1  # ranges of one large file in flight at once; "auto": as many as seem to pay
    retries: int = 5  # further attempts after the first
    backoff: float = 1.0
    backoff_cap: float = 60.0
    max_wait: float = 3600.0  # longest Retry-After obeyed within a run
    connect_timeout: float = 10.0
    idle_timeout: float = 60.0
    min_speed: float = 1024.0  # bytes per second over 30 s; 0 is off
    entry_deadline: float | None = None
    deadline: float | None = None
    max_size: int | None = None
    digest: str = "sha256"  # recorded for every file; "none" is off
    fsync: bool = False
    respect_cache: bool = False  # ask again for files that are there, once their answers are not fresh
    transport: str = "auto"  # auto | requests | fast
    headers: tuple[tuple[str, str], ...] = ()  # sent to origins the manifest names, not to redirect targets
    user_agent: str = USER_AGENT
    ca_bundle: str | None = None
    client_cert: str | None = None  # with its key; for origins the manifest names, not for redirect targets
    proxies: tuple[tuple[str, str], ...] = ()  # (scheme, proxy URL)
    no_proxy: str = ""
    max_failures: int | None = None
    max_failures_percent: float | None = None
    strict: bool = False  # a body without any declared length is a failure
    allow_html: bool = False  # an HTML page may be stored under a name that promises something else
    untrusted: bool = False  # the list is a stranger's: public addresses, no cookies, no netrc, no headers
    refresh_url: Callable[[str], str] | None = field(default=None, repr=False)  # a new URL for an expired one
    auth: Any = field(default=None, repr=False)  # host -> requests auth object
    trace: bool = False  # an event for every request and answer, secrets removed
    window: int = 8192  # tasks held in memory

    def __post_init__(self) -> None:
        """Read what a program gave as text; raises `UsageError` for a value of a wrong type."""
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value is not default:
                given = None if value is None and default is None else read_setting(name, value)
                object.__setattr__(self, name, given)

    @property
    def most_jobs(self) -> int:
        """Workers, at most."""
        return most_of(self.jobs, MOST_JOBS)

    @property
    def most_per_host(self) -> int:
        """Connections to one host, at most."""
        return most_of(self.per_host, MOST_PER_HOST)

    def validate(self) -> None:
        """Raise `UsageError` for what no run could carry out."""
        for names, is_good, text in _BOUNDS:
            for name in names:
                value = getattr(self, name)
                if value is not None and not is_good(value):
                    raise UsageError(f"{name} must {text}, not {value!r}")
        if self.existing not in EXISTING:
            raise UsageError(f"existing is one of {', '.join(EXISTING)}, not {self.existing!r}")
        if self.transport not in TRANSPORTS:
            raise UsageError(f"transport is one of {', '.join(TRANSPORTS)}, not {self.transport!r}")
        for name, least in (("jobs", 1), ("per_host", 1), ("segments", 1), ("processes", 0)):
            value = getattr(self, name)
            if value != AUTO and (not isinstance(value, int) or value < least):
                raise UsageError(f"{name} must be at least {least} or auto, not {value!r}")
        if self.digest != "none" and self.digest not in ALGORITHMS:
            raise UsageError(f"digest is one of {', '.join(ALGORITHMS)} or none, not {self.digest!r}")
        if self.untrusted and self.headers:
            raise UsageError("a header for every host does not go with untrusted: put it into a host section")
        self._check_files()

    def _check_files(self) -> None:
        for name, path in (("CA bundle", self.ca_bundle), ("client certificate", self.client_cert)):
            if path is not None and not Path(path).exists():
                raise UsageError(f"the {name} {path} does not exist")


_DEFAULTS = defaults_of(FetchConfig)
