"""Which values hold for a URL: the command line, the files and the defaults, met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bulkfetch.auth import Netrc
from bulkfetch.config import FetchConfig
from bulkfetch.models import NOTHING, Origin
from bulkfetch.policy.found import FIELD_TABLES, Found, PolicyFile
from bulkfetch.policy.hostpolicy import NO_COOKIES, HostPolicy
from bulkfetch.screening import MOST_BYTES
from bulkfetch.urls import origin_of

if TYPE_CHECKING:
    from bulkfetch.policy.explaining import Explained

# Policy keys that are also options of a run, and what holds them. `limit_rate` is not among them: as an
# option it is for the whole run, in a section for one host; both hold.
_FROM_CONFIG = {
    "allow_html": "allow_html", "backoff": "backoff", "backoff_cap": "backoff_cap",
    "connect_timeout": "connect_timeout", "entry_deadline": "entry_deadline", "idle_timeout": "idle_timeout",
    "max_size": "max_size", "max_wait": "max_wait", "min_speed": "min_speed", "per_host": "per_host",
    "rate": "host_rate", "retries": "retries", "strict": "strict", "user_agent": "user_agent",
    "transport": "transport", "refresh_url": "refresh_url",
    "verify": "ca_bundle",
}  # fmt: skip
_DEFAULT, _BARE = FetchConfig(), HostPolicy()
_UNTRUSTED = {"cookies": NO_COOKIES, "keep_cookies": False, "login": None}  # nothing overrides these
_FIELDS = frozenset(HostPolicy.__match_args__).difference(FIELD_TABLES)
_MOST_ORIGINS = 4096  # looked up and remembered

Chosen = tuple[int, ...]  # indices of sections, the later ones winning


class Policies:
    """Answers what holds for a URL. Safe for threads.

    Args:
        config: the run's configuration; its values hold where no file says otherwise.
        files: the most important first.
        given: fields of `config` that no file may override, and the name of what gave them, such as
            "--per-host" or "$BULKFETCH_PER_HOST".
        named: what the command line says of single hosts; nothing overrides it.
    """

    def __init__(
        self,
        config: FetchConfig,
        files: Sequence[PolicyFile] = (),
        given: Mapping[str, str] = NOTHING,
        named: PolicyFile | None = None,
    ) -> None:
        self._untrusted = config.untrusted
        self._weak, self._strong = _from_config(config, given)
        self._origins: dict[Origin, tuple[Chosen, Chosen]] = {}
        self._merged: dict[Chosen, HostPolicy] = {}
        self._sections = [section for file in reversed(files) for section in file.sections]
        self._first_named = len(self._sections)
        for table in (named, _from_auth(config)):
            self._sections += table.sections if table else ()
        self._single = None if self._sections else self._merge(())
        self.warnings = tuple(text for file in files for text in file.warnings)

    @property
    def is_uniform(self) -> bool:
        """Whether the same holds for every URL: there are no sections."""
        return self._single is not None

    def for_url(self, url: str) -> HostPolicy:
        """Return what holds for a canonical URL."""
        return self._single or self._merge(self._choose(url))

    def for_origin(self, origin: Origin) -> HostPolicy:
        """Return what holds for an origin as a whole; sections for a path of it are left out."""
        return self._single or self._merge(self._look_up(origin)[0])

    def below_origin(self, origin: Origin) -> list[HostPolicy]:
        """Return what each section for a path of an origin makes of what holds for the whole of it."""
        whole, below = self._look_up(origin)
        return [_build(self._gather(tuple(sorted((*whole, index))))) for index in below]

    def explain(self, url: str) -> list[Explained]:
        """Return every value that holds for a canonical URL, and where it comes from."""
        from bulkfetch.policy.explaining import explain

        found = self._gather(self._choose(url))
        return [explain(key, found[key].value, found[key].where) for key in sorted(found)]

    def settings(self, key: str) -> set[Any]:
        """Return every value that some section gives `key`."""
        return {section.values[key].value for section in self._sections if key in section.values}

    def unmatched(self) -> list[str]:
        """Return the sections that no URL asked about so far was in, one line each."""
        used = {index for chosen in list(self._merged) for index in chosen}
        rest = (s for i, s in enumerate(self._sections) if s.pattern is not None and i not in used)
        return [f"{section.where}: {section.title} matches nothing" for section in rest]

    def _look_up(self, origin: Origin) -> tuple[Chosen, Chosen]:
        """Return the sections for a whole origin, and those for a path of it."""
        known = self._origins.get(origin)
        if known is not None:
            return known
        whole: list[int] = []
        below: list[int] = []
        for index, section in enumerate(self._sections):
            if section.pattern is None:
                whole.append(index)
            elif section.pattern.matches(origin):
                (below if section.pattern.prefix else whole).append(index)
        if len(self._origins) >= _MOST_ORIGINS:
            self._origins.clear()
        return self._origins.setdefault(origin, (tuple(whole), tuple(below)))

    def _choose(self, url: str) -> Chosen:
        whole, below = self._look_up(origin_of(url))
        if not below:
            return whole
        path = "/" + url.split("/", 3)[3]
        return tuple(sorted((*whole, *(index for index in below if self._covers(index, path)))))

    def _covers(self, index: int, path: str) -> bool:
        pattern = self._sections[index].pattern
        return pattern is not None and pattern.covers(path)

    def _merge(self, chosen: Chosen) -> HostPolicy:
        policy = self._merged.get(chosen)
        if policy is None:  # another thread may be at it too: one object wins
            policy = self._merged.setdefault(chosen, _build(self._gather(chosen)))
        return policy

    def _gather(self, chosen: Chosen) -> dict[str, Found]:
        """Return the values of the sections chosen, laid over one another."""
        found = dict(self._weak)
        for index in chosen:
            if index < self._first_named:
                found.update(self._sections[index].values)
        found.update(self._strong)
        for index in chosen:
            if index >= self._first_named:
                found.update(self._sections[index].values)
        if self._untrusted and isinstance(found["auth"].value, Netrc):
            found["auth"] = Found(None, "--untrusted")
        return found


def _from_config(config: FetchConfig, given: Mapping[str, str]) -> tuple[dict[str, Found], dict[str, Found]]:
    """Return the configuration's values that files may override, and those they may not."""
    weak = {name: Found(getattr(_BARE, name), "default") for name in _FIELDS}
    strong: dict[str, Found] = {}
    for key, name in _FROM_CONFIG.items():
        value = getattr(config, name)
        shown = True if key == "verify" and value is None else value
        if name in given:
            strong[key] = Found(shown, given[name])
        else:
            weak[key] = Found(shown, "default" if value == getattr(_DEFAULT, name) else "configuration")
    if config.untrusted:
        for name, value in _UNTRUSTED.items():
            strong[name] = Found(value, "--untrusted")
        if config.max_size is None:
            weak["max_size"] = Found(MOST_BYTES, "--untrusted")
    if "proxies" in given:  # None is: as the whole run
        strong["proxy"] = Found(None, given["proxies"])
    return weak, strong


def _from_auth(config: FetchConfig) -> PolicyFile | None:
    """Return what the program says of single hosts by `FetchConfig.auth`."""
    if not config.auth:
        return None
    from bulkfetch.policy.sections import from_table  # most runs read no policies

    # Any callable is an auth object to `requests`; in a table it would be what makes one.
    sections = {host: {"auth": partial(_same, auth)} for host, auth in config.auth.items()}
    return from_table({"host": sections}, "FetchConfig.auth")


def _same(auth: Any, _: Origin) -> Any:
    return auth


def _build(found: Mapping[str, Found]) -> HostPolicy:
    values: dict[str, Any] = {key: one.value for key, one in found.items() if key in _FIELDS}
    for table in FIELD_TABLES:
        named = (one.value for key, one in found.items() if key.startswith(f"{table}."))
        values[table] = tuple(value for value in named if value is not None)
    return HostPolicy(**values)
