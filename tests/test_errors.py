"""The exception tree and what becomes of an exception at the worker's border."""

from __future__ import annotations

import errno
import json
import pickle

import pytest

from bulkfetch import errors
from bulkfetch.errors import TransferError, from_os_error, to_failure


def all_subclasses(cls):
    for child in cls.__subclasses__():
        yield child
        yield from all_subclasses(child)


# Whether another attempt may help: what `faults.md` says of each kind.
KINDS = {
    "internal": False, "dns": True, "connect": True, "reset": True, "timeout": True, "slow": True,
    "truncated": True, "range": True, "throttled": True, "server": True, "not-http": True, "decode": True,
    "digest": True, "tls": False, "protocol": False, "status": False, "not-found": False, "auth": False,
    "redirect": False, "content": False, "size": False, "too-large": False, "path": False, "exists": False,
    "deadline": False, "host-down": False, "deferred": False, "login": False, "url": False, "stopped": False,
    "disk": False, "disk-full": False, "robots": False,
}  # fmt: skip
PUBLIC = [cls for cls in all_subclasses(TransferError) if not cls.__name__.startswith("_")]


def test_every_kind_is_known():
    assert {cls.kind for cls in PUBLIC} | {TransferError.kind} == set(KINDS)


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_a_transfer_error_becomes_its_failure(cls):
    failure = to_failure(cls("why", status_code=429, retry_after=2.0))
    assert (failure.kind, failure.retryable, failure.fatal) == (cls.kind, KINDS[cls.kind], cls.fatal)
    assert (failure.message, failure.status_code, failure.retry_after) == ("why", 429, 2.0)
    assert pickle.loads(pickle.dumps(failure)) == failure
    assert json.loads(json.dumps(failure.to_record()))["kind"] == cls.kind


def test_only_a_useless_disk_ends_the_run():
    assert {cls.__name__ for cls in PUBLIC if cls.fatal} == {"DiskFull", "DiskUnusable"}


@pytest.mark.parametrize(
    ("exc", "kind", "message"),
    [
        (errors.LineError("no host"), "path", "no host"),
        (errors.UnsafePath("leaves the folder"), "path", "leaves the folder"),
        (ValueError("odd"), "internal", "ValueError: odd"),
        (KeyboardInterrupt(), "internal", "KeyboardInterrupt: "),
    ],
)
def test_other_exceptions_are_never_retried(exc, kind, message):
    failure = to_failure(exc)
    assert (failure.kind, failure.message, failure.retryable) == (kind, message, False)


@pytest.mark.parametrize(
    ("number", "cls"),
    [
        (errno.ENOSPC, errors.DiskFull),  # F01
        (errno.EFBIG, errors.DiskFull),  # F05
        (getattr(errno, "EDQUOT", errno.ENOSPC), errors.DiskFull),
        (errno.EROFS, errors.DiskUnusable),
        (errno.EIO, errors.DiskUnusable),
        (errno.EMFILE, errors.DiskUnusable),  # X06
        (errno.EACCES, errors.DiskFailed),
        (errno.ENAMETOOLONG, errors.DiskFailed),
    ],
    ids=["ENOSPC", "EFBIG", "EDQUOT", "EROFS", "EIO", "EMFILE", "EACCES", "ENAMETOOLONG"],
)
def test_the_file_systems_errors_are_sorted(number, cls):
    exc = from_os_error(OSError(number, "no such luck"), "a.csv")
    assert type(exc) is cls
    assert str(exc) == "cannot write a.csv: no such luck"


def test_an_os_error_without_a_number_is_named():
    assert str(from_os_error(OSError("odd"), "a.csv")) == "cannot write a.csv: odd"


@pytest.mark.parametrize(
    "cls", [errors.ManifestError, errors.DestinationLocked, errors.UnsafePath, TransferError]
)
def test_everything_raised_on_purpose_has_one_base(cls):
    assert issubclass(cls, errors.BulkfetchError)


def test_a_bad_manifest_is_wrong_usage():
    assert issubclass(errors.ManifestError, errors.UsageError)  # exit status 2
