"""One attempt, from request to committed file. It never sleeps for back-off, never retries, never draws."""

from __future__ import annotations

import base64
import mimetypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from bulkfetch import errors
from bulkfetch.checksums import Digests
from bulkfetch.codings import Decoder, choose_decoder
from bulkfetch.config import FetchConfig
from bulkfetch.events import Progress
from bulkfetch.headers import parse_date
from bulkfetch.limits import NoLimit, TokenBucket
from bulkfetch.models import Action, Attempt, BodyPlan, Done, Failure, Head, PartInfo, Task
from bulkfetch.resume import plan_body, plan_request
from bulkfetch.retry import REDIRECTS, refuse_status
from bulkfetch.store import LocalStore, Part
from bulkfetch.transport import Reply, Transport
from bulkfetch.urls import join_redirect, origin_of, split_userinfo
from bulkfetch.watchdog import Lease

MOST_HOPS = 10
_CHUNK = 1024 * 1024  # largest read
_SMALL = 64 * 1024  # first read when the length is not known
_EVENT_EVERY = 0.1  # seconds between progress events of one body
_JOURNALLED = 1024 * 1024  # bytes of a body that may be missing in the journal
_SYNC_EVERY = 64 * 1024 * 1024  # bytes between durable points of one part
_DISCARDING = frozenset({"range", "digest", "decode", "content", "size", "too-large"})
_HTML_NAMES = frozenset({"text/html", "application/xhtml+xml"})


@dataclass(frozen=True, slots=True)
class Context:
    """What the attempts of one worker share."""

    config: FetchConfig
    store: LocalStore
    transport: Transport
    bucket: TokenBucket | NoLimit
    stop: threading.Event
    lease: Lease
    emit: Callable[[Progress], None]  # never blocks


def run_attempt(task: Task, context: Context) -> Attempt:
    """Make one attempt at `task`; every error becomes the attempt's failure."""
    return _Transfer(task, context).run()


class _Transfer:
    """The state of one attempt."""

    def __init__(self, task: Task, context: Context) -> None:
        self.task = task
        self.entry = task.entry
        self.context = context
        self.config = context.config
        self.lease = context.lease
        self.part: Part | None = None
        self.kept = task.part  # what the next attempt may rely on
        self.received = 0
        self.url = task.url
        self.hops = task.hops
        self.answered = False
        self.warnings: list[str] = []
        self.digests = self._new_digests()

    def run(self) -> Attempt:
        started = time.monotonic()
        done: Done | None = None
        redirect: str | None = None
        failure: Failure | None = None
        self.lease.begin(self.task.deadline or float("inf"))
        try:
            if self.context.stop.is_set():
                raise errors.Stopped("the run was stopped")
            done = self._judge_existing() if self.task.check else None
            if done is None:
                redirect, done = self._fetch()
        except Exception as exc:  # noqa: BLE001 - the worker's border: a bug fails one entry, not the run
            failure = errors.to_failure(exc)
            self._keep_or_discard(failure)
        finally:
            self.lease.end()
        reused = failure is not None and failure.kind == "reset" and self.lease.reused and not self.answered
        seconds = time.monotonic() - started
        return Attempt(
            self.task.attempt,
            self.received,
            seconds,
            failure,
            redirect,
            done,
            self.kept,
            reused,
            self.url,
            self.hops,
        )

    # -- a file that is there already ------------------------------------------------------------

    def _judge_existing(self) -> Done | None:
        """Return the file that is there as done, or None when it must be fetched."""
        check = self.task.check
        found = self.context.store.find(self.task.path)
        if check is None or found is None or (check.size is not None and check.size != found.st_size):
            return None
        digests = Digests({self.config.digest, *(name for name, _ in check.digests)} - {"none"})
        try:
            for data in self.context.store.read(self.task.path):
                self.lease.check()
                digests.update(data)
        except errors.DiskFailed:
            return None
        if any(digests.hexdigest(name) != wanted for name, wanted in check.digests):
            return None
        name = self.config.digest
        digest = "" if name == "none" else digests.hexdigest(name)
        return Done(found.st_size, digest, name, mtime_ns=found.st_mtime_ns, kept=check.reason)

    # -- fetching --------------------------------------------------------------------------------

    def _fetch(self) -> tuple[str | None, Done | None]:
        asked = self._prepare_part()
        reply = self._follow(asked)
        if isinstance(reply, str):
            return reply, None
        try:
            plan = self._plan(reply.head, asked_range=bool(asked))
            self._receive(reply, plan)
        finally:
            reply.close()
        return None, self._finish(reply.head, plan)

    def _prepare_part(self) -> tuple[tuple[str, str], ...]:
        """Open what an earlier attempt kept and return the fields that ask for the rest."""
        known = self.task.part
        fields = plan_request(known, digest_known=bool(self.entry.digests))
        if not known.token or not fields:
            return ()
        self.part = self.context.store.adopt_part(self.task.key, known.token, known.offset, self.task.path)
        if self.part is None:
            self.kept = PartInfo()
            return ()
        self.kept = PartInfo(self.part.offset, known.validator, known.total, known.token)
        for data in self.part.read_back():
            self.lease.check()
            self.digests.update(data)
        return plan_request(self.kept, digest_known=bool(self.entry.digests))

    def _follow(self, asked: tuple[tuple[str, str], ...]) -> Reply | str:
        """Return the final reply, or the URL under another origin that a redirect names."""
        headers = {**self._own_headers(), **dict(asked)}
        origin = self.task.origin
        while True:
            reply = self.context.transport.open(origin, self.url, headers, self.lease)
            self.answered = True
            if reply.head.status not in REDIRECTS:
                return reply
            reply.close()
            target = self._redirect_target(reply.head)
            if origin_of(target) != origin:
                return target
            self.url = target

    def _redirect_target(self, head: Head) -> str:
        self.hops += 1
        if self.hops > MOST_HOPS:
            raise errors.RedirectRefused(f"more than {MOST_HOPS} redirects", status_code=head.status)
        if not head.location:
            raise errors.RedirectRefused(f"a {head.status} answer names no location", status_code=head.status)
        try:
            target = join_redirect(self.url, head.location)
        except errors.LineError as exc:
            raise errors.RedirectRefused(f"redirect not followed: {exc}", status_code=head.status) from exc
        if self.url.startswith("https:") and target.startswith("http:"):  # fault A05
            raise errors.RedirectRefused("redirect from https to http not followed", status_code=head.status)
        return target

    def _own_headers(self) -> dict[str, str]:
        """Return the user's headers, only for the origin the manifest names (promise 3)."""
        manifest_url = self.entry.urls[self.task.mirror]
        if origin_of(manifest_url) != self.task.origin:
            return {}
        headers = {**dict(self.config.headers), **dict(self.entry.headers)}
        if "@" in manifest_url:
            _, user, password = split_userinfo(manifest_url)
            if user is not None:
                pair = f"{user}:{password or ''}".encode()
                headers.setdefault("Authorization", f"Basic {base64.b64encode(pair).decode()}")
        return headers

    # -- the answer ------------------------------------------------------------------------------

    def _plan(self, head: Head, *, asked_range: bool) -> BodyPlan:
        """Decide where the body goes, before anything stored is touched."""
        refused = refuse_status(head)
        if refused is not None:
            raise refused
        plan = plan_body(self.kept, head, asked_range=asked_range)
        self._check_size(plan.size)
        if plan.action is Action.RESTART:
            self._check_replacing(plan)
        return plan

    def _check_size(self, size: int | None) -> None:
        declared, most = self.entry.size, self.config.max_size
        if size is None:
            return
        if declared is not None and size != declared:
            raise errors.SizeMismatch(f"the server has {size} bytes, the manifest declares {declared}")
        if most is not None and size > most:
            raise errors.TooLarge(f"{size} bytes is over --max-size {most}")

    def _check_replacing(self, plan: BodyPlan) -> None:
        """An empty answer never replaces a file that holds something (fault B25)."""
        if plan.size != 0 or not self.task.replace or self.entry.size == 0:
            return
        found = self.context.store.find(self.task.path)
        if found is not None and found.st_size > 0:
            raise errors.WrongContent("an empty answer does not replace the file that is there")

    def _check_html(self, head: Head, first: bytes) -> None:
        """Refuse a page under a name that promises something else (fault B26)."""
        if self.config.allow_html or head.content_type not in _HTML_NAMES or self.entry.digests:
            return
        promised, _ = mimetypes.guess_type(self.task.path, strict=False)
        if promised is None or promised in _HTML_NAMES:
            return
        if first.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
            text = f"an HTML page came where {promised} was expected; --allow-html keeps it"
            raise errors.WrongContent(text, status_code=head.status)

    # -- the body --------------------------------------------------------------------------------

    def _receive(self, reply: Reply, plan: BodyPlan) -> None:
        if plan.action is Action.COMPLETE:
            return
        head = reply.head
        decoder = choose_decoder(head.codings, self.task.path)
        if plan.action is Action.RESTART:
            self._restart()
        try:
            self._read_all(reply, plan, decoder)
        except errors.Truncated as exc:
            raise self._truncated(plan, str(exc)) from exc
        if decoder is not None:
            decoder.finish()
        elif plan.size is not None and self._offset < plan.size:
            raise self._truncated(plan, "")
        if plan.size is None and not head.chunked and head.length is None:
            self._accept_unverified()

    def _read_all(self, reply: Reply, plan: BodyPlan, decoder: Decoder | None) -> None:
        bucket, lease = self.context.bucket, self.lease
        size = min(_CHUNK if plan.size is None else max(plan.size - plan.start, 1), _CHUNK, bucket.chunk)
        is_large = plan.size is not None and plan.size >= _JOURNALLED
        next_event = 0.0 if is_large else time.monotonic() + _EVENT_EVERY
        reported = plan.start
        while data := reply.read(size):
            if not self.received and plan.start == 0:
                self._check_html(reply.head, data)
            self.received += len(data)
            lease.received = self.received
            bucket.take(len(data))
            if decoder is None:
                self._store(data, plan)
            else:
                for piece in decoder.decode(data):
                    self._store(piece, plan)
            now = time.monotonic()
            if now >= next_event or self._offset - reported >= _JOURNALLED:  # what a kill may cost
                next_event, reported = now + _EVENT_EVERY, self._offset
                self._report(plan)
            lease.check()

    def _store(self, data: bytes, plan: BodyPlan) -> None:
        if self.part is None:
            self.part = self.context.store.new_part(self.task.key, self.task.path)
        self.part.write(data)
        self.digests.update(data)
        if plan.size is None:
            self._check_growth()
        self.kept = PartInfo(self.part.offset, plan.validator, plan.size, self.part.token)

    def _check_growth(self) -> None:
        declared, most = self.entry.size, self.config.max_size
        if declared is not None and self._offset > declared:
            raise errors.SizeMismatch(f"the body is longer than the {declared} bytes the manifest declares")
        if most is not None and self._offset > most:
            raise errors.TooLarge(f"the body is over --max-size {most}")

    def _report(self, plan: BodyPlan) -> None:
        part = self.kept if plan.validator is not None or self.entry.digests else PartInfo()
        self.context.emit(
            Progress(self.task.key, self.task.path, self._offset, plan.size, self.received, part=part)
        )

    def _accept_unverified(self) -> None:
        """Nothing said how long the body is, so a cut would look like this too (fault B06)."""
        if self.config.strict and self.entry.size is None and not self.entry.digests:
            raise errors.Truncated("the server did not say how long the body is (--strict)")
        if not self.entry.digests:
            self.warnings.append("length unverified")

    def _truncated(self, plan: BodyPlan, why: str) -> errors.Truncated:
        if plan.size is None:
            return errors.Truncated(f"{why or 'the body ended early'} after {self._offset} bytes")
        return errors.Truncated(f"the body ended after {self._offset} of {plan.size} bytes")

    # -- the file --------------------------------------------------------------------------------

    def _finish(self, head: Head, plan: BodyPlan) -> Done:
        """Verify, close and commit."""
        if self.part is None:
            self.part = self.context.store.new_part(self.task.key, self.task.path)
        part = self.part
        self._verify(part.offset)
        self.lease.check()
        modified = parse_date(head.last_modified) if head.last_modified else None
        mtime_ns = part.finish(modified, durable=self.config.fsync)
        self.context.store.commit(part, self.task.path, replace=self.task.replace)
        self.kept, self.part = PartInfo(), None
        name = self.config.digest
        digest = "" if name == "none" else self.digests.hexdigest(name)
        if part.offset == 0 and self.entry.size is None:
            self.warnings.append("empty")
        etag = head.etag or (plan.validator if (plan.validator or "").startswith('"') else None)
        return Done(part.offset, digest, name, etag, head.last_modified, mtime_ns, tuple(self.warnings))

    def _verify(self, size: int) -> None:
        if self.entry.size is not None and size != self.entry.size:
            raise errors.SizeMismatch(f"{size} bytes came, the manifest declares {self.entry.size}")
        for name, wanted in self.entry.digests:
            got = self.digests.hexdigest(name)
            if got != wanted:
                raise errors.DigestMismatch(f"{name} is {got}, the manifest declares {wanted}")

    def _restart(self) -> None:
        """Throw away what is stored: this body is the whole file."""
        if self.part is not None:
            self.part.restart()
        self.kept = PartInfo()
        self.digests = self._new_digests()

    def _keep_or_discard(self, failure: Failure) -> None:
        """Keep the bytes that another attempt can continue, remove all others."""
        part, self.part = self.part, None
        if part is None:
            return
        resumable = self.kept.validator is not None or self.entry.digests
        if self.kept.offset > 0 and resumable and failure.kind not in _DISCARDING:
            part.close()
        else:
            self.context.store.discard(part)
            self.kept = PartInfo()

    @property
    def _offset(self) -> int:
        return self.part.offset if self.part is not None else 0

    def _new_digests(self) -> Digests:
        return Digests({self.config.digest, *(name for name, _ in self.entry.digests)} - {"none"})
