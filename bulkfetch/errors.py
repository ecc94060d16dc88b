"""The exception tree, and how an exception becomes a `Failure`."""

from __future__ import annotations

import errno
from typing import ClassVar

from bulkfetch.models import Failure


class BulkfetchError(Exception):
    """Base of everything bulkfetch raises on purpose."""


class UsageError(BulkfetchError):
    """The configuration cannot be carried out; nothing was fetched."""


class ManifestError(UsageError):
    """A manifest as a whole cannot be read."""


class ManifestCut(ManifestError):
    """A manifest could not be read to its end this time."""


class OutputLost(BulkfetchError):
    """Results could not be written; what was done is kept."""


class DestinationLocked(BulkfetchError):
    """Another run holds this destination."""


class LineError(BulkfetchError):
    """One manifest line cannot become an entry or a destination."""


class UnsafePath(LineError):
    """A destination that would leave the folder or is not a portable name."""


class TransferError(BulkfetchError):
    """An attempt failed; `kind` groups failures, `retryable` says whether another attempt may help."""

    kind: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    fatal: ClassVar[bool] = False

    def __init__(
        self, message: str, *, status_code: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after


class _Retryable(TransferError):
    retryable = True


class DnsFailed(_Retryable):
    """The host name has no address, or the resolver did not answer."""

    kind = "dns"


class ConnectFailed(_Retryable):
    """No connection could be made."""

    kind = "connect"


class ConnectionLost(_Retryable):
    """The connection was reset or closed before an answer."""

    kind = "reset"


class TimedOut(_Retryable):
    """Nothing came within a bound."""

    kind = "timeout"


class TooSlow(_Retryable):
    """The body came slower than `min_speed`."""

    kind = "slow"


class Truncated(_Retryable):
    """The body ended before its length."""

    kind = "truncated"


class RangeMismatch(_Retryable):
    """The server answered another range than the one asked for; the part cannot be continued."""

    kind = "range"


class ServerBusy(_Retryable):
    """429 or 503: the origin asks to be left alone for a while."""

    kind = "throttled"


class ServerFailed(_Retryable):
    """A status that may pass: 408, 425, 500, 502, 504, 522, 524."""

    kind = "server"


class NotHttp(_Retryable):
    """The answer is not HTTP."""

    kind = "not-http"


class DecodeFailed(_Retryable):
    """A content coding is damaged or incomplete."""

    kind = "decode"


class DigestMismatch(_Retryable):
    """The bytes are not the ones the manifest promised."""

    kind = "digest"


class TlsFailed(TransferError):
    """The certificate or the handshake was refused."""

    kind = "tls"


class ProtocolViolation(TransferError):
    """The answer breaks HTTP in a way that makes its body untrustworthy."""

    kind = "protocol"


class StatusRefused(TransferError):
    """A final status that no retry mends."""

    kind = "status"


class NotFound(StatusRefused):
    """404 or 410."""

    kind = "not-found"


class NotAuthorised(StatusRefused):
    """401, 403 or 407."""

    kind = "auth"


class CredentialsMissing(NotAuthorised):
    """What to show the server cannot be had here, such as a variable that is not set: nobody was asked."""


class LoginWanted(TransferError):
    """511: not the host answered but the network, which wants a login first (RFC 6585 section 6)."""

    kind = "login"


class RedirectRefused(TransferError):
    """A redirect that is not followed."""

    kind = "redirect"


class WrongContent(TransferError):
    """The answer is a page, or nothing, where a file was expected."""

    kind = "content"


class SizeMismatch(TransferError):
    """The length is not the one the manifest declares."""

    kind = "size"


class TooLarge(TransferError):
    """The body is over `max_size`."""

    kind = "too-large"


class PathRefused(TransferError):
    """The destination cannot be written: a folder, a device, a link that leads outside."""

    kind = "path"


class DestinationTaken(TransferError):
    """A file is there that this run may not replace."""

    kind = "exists"


class DeadlinePassed(TransferError):
    """The entry's own deadline passed."""

    kind = "deadline"


class HostDown(TransferError):
    """The circuit breaker is open: the host did not answer the probes."""

    kind = "host-down"


class Deferred(TransferError):
    """The host asks for a longer wait than `max_wait` allows."""

    kind = "deferred"


class RobotsRefused(TransferError):
    """The host's robots.txt does not allow the request, and the policy is to obey it."""

    kind = "robots"


class UrlRefused(TransferError):
    """The URL cannot be asked for."""

    kind = "url"


class Stopped(TransferError):
    """The run ended while the attempt was under way; what was received is kept."""

    kind = "stopped"


class DiskFailed(TransferError):
    """A local file could not be written."""

    kind = "disk"


class DiskFull(DiskFailed):
    """No space, quota or file size left: the run cannot go on."""

    kind = "disk-full"
    fatal = True


class DiskUnusable(DiskFailed):
    """The destination's file system refuses all writing: the run cannot go on."""

    fatal = True


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC})
_UNUSABLE = frozenset({errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})


def from_os_error(exc: OSError, name: str) -> DiskFailed:
    """Say what an error from the local file system means for the file `name`."""
    text = f"cannot write {name}: {exc.strerror or exc}"
    if exc.errno in _FULL:
        return DiskFull(text)
    if exc.errno in _UNUSABLE:
        return DiskUnusable(text)
    return DiskFailed(text)


def to_failure(exc: BaseException) -> Failure:
    """Turn any exception into a `Failure`; one we did not foresee is of kind `internal`."""
    if isinstance(exc, TransferError):
        return Failure(
            kind=exc.kind, message=str(exc), status_code=exc.status_code,
            retry_after=exc.retry_after, retryable=exc.retryable, fatal=exc.fatal,
            unasked=isinstance(exc, CredentialsMissing),
        )  # fmt: skip
    if isinstance(exc, LineError):
        return Failure(kind="path", message=str(exc))
    return Failure(kind="internal", message=f"{type(exc).__name__}: {exc}")
