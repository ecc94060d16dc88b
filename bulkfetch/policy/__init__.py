"""What holds for a host: the policy file, and how it meets the command line."""

from bulkfetch.policy.credentials import split_proxy
from bulkfetch.policy.explaining import Explained, explain
from bulkfetch.policy.files import parse_policy, read_policy, user_policy_path
from bulkfetch.policy.hostpolicy import NO_COOKIES, ClientCert, Cookies, Expiry, HostPolicy, Login
from bulkfetch.policy.patterns import Pattern
from bulkfetch.policy.policies import Policies
from bulkfetch.policy.sections import PolicyFile, from_table

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

policy_from_table = from_table  # its name at the package's root, where "table" alone would say little
