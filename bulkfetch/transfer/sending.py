"""What is sent where a plain GET is not all: which hop gets the body, and whether it may be sent twice."""

from __future__ import annotations

from dataclasses import replace

from bulkfetch.errors import RedirectRefused
from bulkfetch.models import Failure, Request, Task
from bulkfetch.transfer.context import Context
from bulkfetch.urls import origin_of

_KEEPING = frozenset({307, 308})  # RFC 9110 section 15.4: the method and the body stay
_FINAL_ANYHOW = frozenset({"stopped", "deadline"})

Fields = dict[str, str]


def first_request(task: Task) -> Request | None:
    """Return what the first request of an attempt sends; after a redirect to another origin no POST."""
    request = task.entry.request
    return request if task.hops == 0 or (request is not None and request.method == "HEAD") else None


def next_request(request: Request, status: int, url: str, target: str) -> Request | None:
    """Return what is sent along a redirect from `url` to `target`; None is a GET.

    Raises:
        RedirectRefused: the body would go to another origin.
    """
    if request.method == "HEAD":
        return request
    if status not in _KEEPING:
        return None
    if origin_of(url) != origin_of(target):
        text = f"a {status} redirect to {origin_of(target)} not followed: the {request.method} is not for it"
        raise RedirectRefused(text, status_code=status)
    return request


def fields_for(headers: Fields, task: Task, request: Request | None) -> Fields:
    """Return the header fields that go with `request`: its type where nobody else names one."""
    if task.entry.request is None:
        return headers
    if request is None:  # RFC 9110 section 15.4: what describes the body goes with it
        return {name: text for name, text in headers.items() if name.lower() != "content-type"}
    if not request.content_type or any(name.lower() == "content-type" for name in headers):
        return headers
    return {"Content-Type": request.content_type, **headers}


def judge_repeat(failure: Failure, task: Task, context: Context) -> Failure:
    """Make a failure final where the request may have arrived and must not be sent twice (RFC 9110 9.2.2)."""
    method = task.entry.request.method if task.entry.request else "GET"
    was_sent = context.lease.sent or task.hops > 0
    if failure.kind in _FINAL_ANYHOW or failure.fatal or not was_sent:
        return failure
    if not failure.retryable or method in context.policies.for_url(task.entry.urls[0]).retry_methods:
        return failure
    text = f"{failure.message}; a {method} that may have arrived is not sent again (retry.methods)"
    return replace(failure, message=text, retryable=False)
