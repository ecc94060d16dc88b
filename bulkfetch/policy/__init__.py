"""What holds for a host: the policy file, and how it meets the command line."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bulkfetch.policy.files import parse_policy, read_policy, user_policy_path
from bulkfetch.policy.found import PolicyFile
from bulkfetch.policy.hostpolicy import NO_COOKIES, ClientCert, Cookies, Expiry, HostPolicy, Login
from bulkfetch.policy.policies import Policies
from bulkfetch.policy.proxies import split_proxy

if TYPE_CHECKING:
    from bulkfetch.policy.explaining import Explained, explain
    from bulkfetch.policy.patterns import Pattern
    from bulkfetch.policy.sections import from_table

    policy_from_table = from_table  # its name at the package's root, where "table" alone would say little

# What reads and shows policies, which most runs do not have: name -> module and name there.
_LATE = {
    "Explained": ("explaining", "Explained"),
    "Pattern": ("patterns", "Pattern"),
    "explain": ("explaining", "explain"),
    "from_table": ("sections", "from_table"),
    "policy_from_table": ("sections", "from_table"),
}

__all__ = [
    "NO_COOKIES",
    "ClientCert",
    "Cookies",
    "Expiry",
    "Explained",
    "HostPolicy",
    "Login",
    "Pattern",
    "Policies",
    "PolicyFile",
    "explain",
    "from_table",
    "parse_policy",
    "policy_from_table",
    "read_policy",
    "split_proxy",
    "user_policy_path",
]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'bulkfetch.policy' has no attribute {name!r}")
    module, there = _LATE[name]
    return getattr(import_module(f"bulkfetch.policy.{module}"), there)
