"""What a policy adds to the requests of one origin, its secrets revealed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from requests.auth import AuthBase

from bulkfetch.auth import Value, add_params, field_text
from bulkfetch.errors import CredentialsMissing, UsageError
from bulkfetch.models import Origin
from bulkfetch.policy import HostPolicy
from bulkfetch.transport.auth import HeaderAuth, QueryAuth, make_auth
from bulkfetch.transport.route import Route


class Applied(NamedTuple):
    """Header fields, query parameters, and what must look at each request and answer besides."""

    fields: Mapping[str, str]
    params: tuple[tuple[str, Value], ...]
    auth: AuthBase | None  # None where fields and parameters say it all

    def sent_url(self, url: str) -> str:
        """Return the URL as it is asked for; that one is kept nowhere."""
        return add_params(url, self.params) if self.params else url


def apply_policy(
    policy: HostPolicy,
    usual: HostPolicy,
    origin: Origin,
    route_to: Callable[[Origin], Route],
    check: Callable[[], None],
) -> Applied:
    """Return what `policy` adds, where `usual` holds for the origin as a whole; for the rest see `make_auth`.

    Raises:
        NotAuthorised: a secret cannot be had, or a library is missing.
    """
    auth = make_auth(policy.auth, origin, route_to, check)
    try:
        fields = {name: field_text(name, value) for name, value in policy.headers}
    except UsageError as exc:
        raise CredentialsMissing(f"no credentials for {origin}: {exc}") from exc
    if policy.user_agent != usual.user_agent:
        fields["User-Agent"] = policy.user_agent
    if isinstance(auth, HeaderAuth):
        return Applied({**fields, auth.name: auth.value}, policy.params, None)
    if isinstance(auth, QueryAuth):
        return Applied(fields, (*policy.params, *auth.params), None)
    return Applied(fields, policy.params, auth)
