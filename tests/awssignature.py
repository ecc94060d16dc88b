"""The signature of a request to AWS, computed anew from what was sent."""

from __future__ import annotations

import hashlib
import hmac
import re
from urllib.parse import quote


def signature(request, service: str, key: str) -> str:
    """Return what the signature of a request must be, by the AWS documentation of version 4."""
    fields = dict(re.findall(r"(\w+)=([^, ]+)", request.headers["Authorization"]))
    names = fields["SignedHeaders"].split(";")
    path, _, query = request.target.partition("?")
    canonical = [
        request.method,
        path if service == "s3" else quote(path, safe="/~"),
        "&".join(sorted(query.split("&"))),
        *(f"{name}:{request.headers[name]}" for name in names),
        "",
        fields["SignedHeaders"],
        hashlib.sha256(request.body).hexdigest(),
    ]
    scope = fields["Credential"].partition("/")[2]
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["X-Amz-Date"], scope, digest])
    signing = f"AWS4{key}".encode()
    for part in scope.split("/"):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    assert scope.split("/")[1:] == ["eu-central-1", service, "aws4_request"]
    return hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
