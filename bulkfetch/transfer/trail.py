"""The requests of one attempt: from the task's URL along the redirects within its origin."""

from __future__ import annotations

from collections.abc import Mapping

from bulkfetch import errors
from bulkfetch.addresses import is_public
from bulkfetch.auth import basic_field
from bulkfetch.exchange import Reply
from bulkfetch.models import Head, RateLimit, Request, Task
from bulkfetch.retry import REDIRECTS
from bulkfetch.safetext import has_secret, redact_url, sounds_secret
from bulkfetch.screening import refuse_url
from bulkfetch.transfer.context import Context
from bulkfetch.transfer.gate import Gate
from bulkfetch.transfer.sending import fields_for, first_request, next_request
from bulkfetch.urls import join_redirect, origin_of, split_userinfo
from bulkfetch.wire import Lane

MOST_HOPS = 10

Fields = tuple[tuple[str, str], ...]


class Trail:
    """Follows redirects; one that leaves the origin ends the attempt, for the scheduler to go on there."""

    is_renewed = False  # it ends with a URL that `refresh_url` has given
    rate_limit: RateLimit | None = None  # told by the last answer
    crawl_delay: float | None = None  # told by robots.txt
    asked_change = False  # the last request was only for a file that differs from the one held

    def __init__(self, task: Task, context: Context, lane: Lane | None = None) -> None:
        self._lane = lane  # has sent the first request
        self._task = task
        self._context = context
        self.url = task.url  # asked last
        self.hops = task.hops
        self.is_public = task.came_from_public and task.hops > 0  # a public address has redirected us

    def follow(self, asked: Fields, condition: Fields = ()) -> Reply | str:
        """Return the final reply, or the URL under another origin that a redirect names.

        Args:
            asked: fields besides the user's.
            condition: fields for the one URL whose answer is held.

        Raises:
            TransferError: no final answer came.
        """
        task, context = self._task, self._context
        entry, origin = task.entry, task.origin
        manifest_url = entry.urls[task.mirror]
        named = task.url == manifest_url or origin_of(manifest_url) == origin
        headers = self._own_headers(manifest_url) if named else {}
        headers.update(asked)
        request = None
        if entry.request is not None:
            request = first_request(task)
            headers = fields_for(headers, task, request)
        while True:
            if context.gate is not None:
                self._pass_gate(context.gate, named)
            self.asked_change = bool(condition) and self._is_held()
            reply = self._open(
                {**headers, **dict(condition)} if self.asked_change else headers, request, named
            )
            head = reply.head
            self.rate_limit = head.rate_limit
            if head.status not in REDIRECTS:
                return reply
            reply.close()
            self.is_public = self.is_public or is_public(reply.peer or "")
            target = self._target(head)
            if request is not None:
                request = next_request(request, head.status, self.url, target)
                headers = fields_for(headers, self._task, request)
            if origin_of(target) != origin:
                return target
            self.url = target

    def _open(self, headers: Mapping[str, str], request: Request | None, named: bool) -> Reply:
        context, origin = self._context, self._task.origin
        lane, self._lane = self._lane, None
        if lane is not None:
            return context.exchange.open_lane(lane, origin, self.url)
        return context.exchange.open(
            origin,
            self.url,
            headers,
            context.lease,
            public_only=self.is_public,
            request=request,
            named=named,
        )

    def has_own_credentials(self) -> bool:
        """Say whether the entry brought what the server refuses, in its URL or its header fields."""
        entry = self._task.entry
        manifest_url = entry.urls[self._task.mirror]
        if has_secret(self.url):
            return True
        is_named = origin_of(manifest_url) == self._task.origin
        return is_named and (
            has_secret(manifest_url) or any(sounds_secret(name) for name, _ in entry.headers)
        )

    def _is_held(self) -> bool:
        """Say whether the file that is there came from this URL: a validator is of no use at another."""
        held = self._task.held
        return held is not None and held.url == redact_url(self.url)

    def _pass_gate(self, gate: Gate, named: bool) -> None:
        """Ask robots.txt where the policy wants that; raises `RobotsRefused`."""
        context, origin = self._context, self._task.origin
        mode = context.policies.for_origin(origin).robots
        if mode == "off":
            return
        how = {"public_only": self.is_public, "named": named}
        delay, reason = gate.check(origin, self.url, context.lease, **how)
        self.crawl_delay = delay if mode == "obey" else 0.0
        if reason and mode == "obey":
            raise errors.RobotsRefused(reason)
        if reason and (notice := gate.warning(origin, f"{self.url}: {reason}")):
            context.emit(notice)

    def _target(self, head: Head) -> str:
        """Return where a redirect leads; raises `RedirectRefused` when it is not followed."""
        self.hops += 1
        if self.hops > MOST_HOPS:
            raise _refused(head, f"more than {MOST_HOPS} redirects")
        if not head.location:
            raise _refused(head, f"a {head.status} answer names no location")
        try:
            target = join_redirect(self.url, head.location)
        except errors.LineError as exc:
            raise _refused(head, f"redirect not followed: {exc}") from exc
        if self.url.startswith("https:") and target.startswith("http:"):  # fault A05
            raise _refused(head, "redirect from https to http not followed")
        if self._context.config.untrusted and (reason := refuse_url(target)):
            raise _refused(head, f"redirect not followed: {reason} (--untrusted)")
        return target

    def _own_headers(self, manifest_url: str) -> dict[str, str]:
        """Return the user's headers, which are only for the origin the manifest names (promise 3)."""
        config, entry = self._context.config, self._task.entry
        if not (config.headers or entry.headers or "@" in manifest_url):
            return {}
        headers = {**dict(config.headers), **dict(entry.headers)}
        if "@" in manifest_url and not any(name.lower() == "authorization" for name in headers):
            _, user, password = split_userinfo(manifest_url)
            if user is not None:
                try:
                    headers["Authorization"] = basic_field(user, password or "")
                except errors.UsageError as exc:
                    raise errors.UrlRefused(str(exc)) from exc
        return headers


def _refused(head: Head, text: str) -> errors.RedirectRefused:
    return errors.RedirectRefused(text, status_code=head.status)
