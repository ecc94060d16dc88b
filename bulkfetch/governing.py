"""How each host may be asked, by what holds for it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from bulkfetch.config import AUTO, FetchConfig
from bulkfetch.extras import load_extra
from bulkfetch.hosts import HostLimits, HostSlot
from bulkfetch.models import Origin, Task
from bulkfetch.policy import NO_COOKIES, HostPolicy, Policies
from bulkfetch.retry import RetryPolicy
from bulkfetch.safetext import redact, sounds_secret
from bulkfetch.secrets import Secret

_MOST_TOLD = 1000  # hosts


def make_limits(config: FetchConfig, policies: Policies) -> Callable[[Origin], HostLimits]:
    """Return a function that says how an origin may be asked."""
    shows_itself = any(sounds_secret(name) for name, _ in config.headers)

    def limits_of(origin: Origin) -> HostLimits:
        policy = policies.for_origin(origin)
        all_of_it = (policy, *policies.below_origin(origin))
        return HostLimits(
            retry=RetryPolicy(policy.retries, policy.backoff, policy.backoff_cap, policy.max_wait),
            per_host=policy.most_per_host,
            spacing=1.0 / policy.rate if policy.rate else 0.0,
            tell_time=_tell_time,
            has_credentials=shows_itself or any(map(has_credentials, all_of_it)),
            asks_first=policy.robots != "off",
            adapts=policy.per_host == AUTO,
        )

    return limits_of


def describe(slots: Iterable[HostSlot]) -> list[dict[str, Any]]:
    """Return JSON-ready records of how hosts were asked last; no more than a journal has room for."""
    now = time.monotonic()
    return [_record(slot, now) for slot in itertools.islice(slots, _MOST_TOLD)]


def _record(slot: HostSlot, now: float) -> dict[str, Any]:
    refusal = slot.refused(now)
    until = slot.ready_at(now) if refusal is None else slot.refused_until
    waits = now < until < float("inf")
    return {
        "host": str(slot.origin), "connections": slot.limit, "per_host": slot.limits.per_host,
        "rate": round(1.0 / slot.spacing, 3) if slot.spacing else None, "refused": slot.refusals,
        "until": round(time.time() + until - now) if waits else None,
        "reason": redact(refusal.message) if refusal else None,
    }  # fmt: skip


def asks_robots(policies: Policies) -> bool:
    """Say whether any policy wants robots.txt to be asked for.

    Raises:
        UsageError: one does, and what reads it is not installed.
    """
    if not policies.settings("robots") - {"off"}:
        return False
    load_extra("protego", "obeying robots.txt")
    return True


def has_deadlines(config: FetchConfig, policies: Policies) -> bool:
    """Say whether any entry may have a deadline."""
    return config.entry_deadline is not None or bool(policies.settings("entry_deadline"))


def as_it_starts(task: Task, now: float, policies: Policies | None) -> Task:
    """Return a task as it starts: a deadline counts from the first attempt; no `policies`: none has one."""
    if task.started:
        return task
    bound = policies.for_url(task.url).entry_deadline if policies is not None else None
    return task.begun(now, now + bound if bound else None)


def has_credentials(policy: HostPolicy) -> bool:
    """Say whether requests under `policy` show the host who we are."""
    fields = (*policy.headers, *policy.params)
    return (
        policy.auth is not None
        or policy.login is not None
        or policy.client_cert is not None
        or policy.cookies != NO_COOKIES
        or any(isinstance(value, Secret) or sounds_secret(name) for name, value in fields)
    )


def _tell_time(when: float) -> str:
    """Return a monotonic time as the user's clock has it."""
    then = datetime.fromtimestamp(time.time() + when - time.monotonic(), UTC).astimezone()
    return then.isoformat(" ", "seconds")
