"""A link that has expired is replaced by a new one, once for each failure."""

from __future__ import annotations

from bulkfetch.errors import TransferError
from bulkfetch.models import Task
from bulkfetch.refreshing import SECONDS, RefreshFailed, ask_new_url
from bulkfetch.screening import refuse_url
from bulkfetch.transfer.context import Context
from bulkfetch.urls import split_userinfo

_EXPIRED = frozenset({401, 403, 410})
_SLACK = 5.0  # seconds the watchdog waits longer, as the other side has the better words


def renew(task: Task, context: Context, refusal: TransferError) -> str | None:
    """Return the URL to go on under, or None where nobody is to be asked for one.

    Raises:
        TransferError: the refusal again, with what came of asking.
    """
    if refusal.status_code not in _EXPIRED or task.refreshed or task.entry.request is not None:
        return None
    old = split_userinfo(task.entry.urls[task.mirror])[0]
    source = context.policies.for_url(old).refresh_url
    if source is None:
        return None
    context.lease.enter("refresh_url", SECONDS + _SLACK)
    try:
        new = ask_new_url(source, old, context.lease.check)
        reason = refuse_url(new) if context.config.untrusted else None
        if reason is not None:
            raise RefreshFailed(f"{reason} (--untrusted)")
    except RefreshFailed as exc:
        raise type(refusal)(f"{refusal}; refresh_url: {exc}", status_code=refusal.status_code) from exc
    return new
