"""AWS signature version 4, computed by botocore (extra `aws`)."""

from __future__ import annotations

from typing import Any

import requests
from requests.auth import AuthBase

from bulkfetch.auth import SigV4, text_of
from bulkfetch.errors import UsageError
from bulkfetch.extras import load_extra
from bulkfetch.safetext import register_secret

_PURPOSE = "auth of type sigv4"


class SigV4Auth(AuthBase):
    """Signs each request as it is sent."""

    def __init__(self, policy: SigV4) -> None:
        signing = load_extra("botocore.auth", _PURPOSE)
        self._make_request: Any = load_extra("botocore.awsrequest", _PURPOSE).AWSRequest
        # S3 alone signs the path as it stands and wants the digest of the body in a field.
        self._signer: Any = signing.S3SigV4Auth if policy.service.startswith("s3") else signing.SigV4Auth
        self._scope = (policy.service, policy.region)
        self._credentials = _credentials(policy)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        keys = self._credentials.get_frozen_credentials()  # renewed by botocore when they expire
        register_secret(keys.secret_key)
        register_secret(keys.token or "")
        # Only what belongs to the signature: a proxy may change other fields.
        fields = {k: v for k, v in request.headers.items() if k.lower().startswith("x-amz-")}
        unsigned = self._make_request(
            method=request.method, url=request.url, data=request.body or b"", headers=fields
        )
        self._signer(keys, *self._scope).add_auth(unsigned)
        request.headers.update(dict(unsigned.headers.items()))
        return request


def _credentials(policy: SigV4) -> Any:
    if policy.access_key is not None and policy.secret_key is not None:
        token = text_of(policy.session_token) if policy.session_token is not None else None
        credentials = load_extra("botocore.credentials", _PURPOSE)
        return credentials.Credentials(text_of(policy.access_key), text_of(policy.secret_key), token)
    session = load_extra("botocore.session", _PURPOSE).Session(profile=policy.profile)
    try:
        found = session.get_credentials()
    except Exception as exc:  # botocore has dozens of its own
        raise UsageError(f"the AWS credentials cannot be read: {type(exc).__name__}") from exc
    if found is None:
        raise UsageError("no AWS credentials: name access_key and secret_key, or a profile")
    return found
