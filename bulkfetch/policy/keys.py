"""Every key a section may hold: how it is read, and in which sections it makes sense."""

from __future__ import annotations

from typing import NamedTuple

from bulkfetch.config import AUTO, USER_AGENT
from bulkfetch.policy.credentials import (
    read_auth,
    read_client_cert,
    read_cookies,
    read_login,
    read_proxy,
    read_verify,
)
from bulkfetch.policy.values import (
    Reader,
    Reading,
    a_text,
    choice,
    read_bound,
    read_byte_rate,
    read_flag,
    read_methods,
    read_rate,
    read_refresh,
    read_seconds,
    read_size,
    read_speed,
    statuses,
    whole,
)


class Key(NamedTuple):
    """One key of a section."""

    read: Reader
    per_origin: bool = False  # connections or limits of a whole origin: makes no sense below a path
    personal: bool = False  # credentials: under [defaults] every host would get them


def _read_agent(value: object, _: Reading) -> str:
    agent = a_text(value)
    return f"{USER_AGENT} ({agent})" if agent else USER_AGENT


def _read_tries(value: object, reading: Reading) -> int:
    return int(whole(1, 100)(value, reading)) - 1


KEYS: dict[str, Key] = {
    "allow_html": Key(read_flag),
    "auth": Key(read_auth, personal=True),
    "backoff": Key(read_seconds, per_origin=True),
    "backoff_cap": Key(read_seconds, per_origin=True),
    "client_cert": Key(read_client_cert, per_origin=True, personal=True),
    "connect_timeout": Key(read_bound, per_origin=True),
    "cookies": Key(read_cookies, per_origin=True, personal=True),
    "entry_deadline": Key(read_bound),
    "idle_timeout": Key(read_bound, per_origin=True),
    "limit_rate": Key(read_byte_rate, per_origin=True),
    "login": Key(read_login, per_origin=True, personal=True),
    "max_size": Key(read_size),
    "max_wait": Key(read_seconds, per_origin=True),
    "min_speed": Key(read_speed),
    "per_host": Key(whole(1, 1024, AUTO), per_origin=True),
    "proxy": Key(read_proxy, per_origin=True),
    "rate": Key(read_rate, per_origin=True),
    "refresh_url": Key(read_refresh),
    "retries": Key(whole(0, 99), per_origin=True),
    "robots": Key(choice("off", "warn", "obey"), per_origin=True),
    "strict": Key(read_flag),
    "tls_min": Key(choice("1.2", "1.3"), per_origin=True),
    "transport": Key(choice("auto", "requests", "fast"), per_origin=True),
    "user_agent": Key(_read_agent),
    "verify": Key(read_verify, per_origin=True),
}

# Tables that group keys: what each name in them sets, and how it is read.
GROUPS: dict[str, dict[str, tuple[str, Reader]]] = {
    "retry": {
        "backoff": ("backoff", read_seconds),
        "backoff_cap": ("backoff_cap", read_seconds),
        "max_wait": ("max_wait", read_seconds),
        "methods": ("retry_methods", read_methods),
        "statuses": ("retry_statuses", statuses(400)),
        "tries": ("retries", _read_tries),  # all attempts, the first included
    },
    "timeouts": {
        "connect": ("connect_timeout", read_bound),
        "idle": ("idle_timeout", read_bound),
    },
}

RUN_OPTIONS = frozenset({  # options of `get` that no host can have for itself
    "base_url", "deadline", "dest", "digest", "existing", "format", "fsync", "jobs", "layout", "manifest",
    "max_failures", "progress", "segments", "untrusted",
})  # fmt: skip

# What an option of `get` is called here, where that differs.
RENAMED = {"ca_bundle": "verify", "header": "headers", "host_rate": "rate", "insecure": "verify = false"}
