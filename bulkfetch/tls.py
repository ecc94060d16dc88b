"""TLS settings, made once for each way of verifying: loading the roots costs more than a handshake."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import NamedTuple

from bulkfetch.auth import text_of
from bulkfetch.errors import CredentialsMissing, TlsFailed, UsageError
from bulkfetch.extras import load_extra
from bulkfetch.policy import ClientCert, HostPolicy

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class _Settings(NamedTuple):
    """What makes one context differ from another."""

    verify: bool | str
    tls_min: str
    client_cert: ClientCert | None


class TlsContexts:
    """The contexts of a run, shared by all connections whose policies agree. Safe for threads.

    Args:
        client_cert: shown whatever a policy says; None: what the policy says.
    """

    def __init__(self, client_cert: ClientCert | None = None) -> None:
        self._client_cert = client_cert
        self._made: dict[_Settings, ssl.SSLContext] = {}
        self._lock = threading.Lock()  # guards _made: the roots are read once, others wait for them

    def get(self, policy: HostPolicy) -> ssl.SSLContext:
        """Return the context of connections under `policy`.

        Raises:
            TlsFailed: the CA bundle cannot be read (fault S04), or the trust store is not installed.
            NotAuthorised: the client certificate cannot be used.
        """
        return self._get(_Settings(policy.verify, policy.tls_min, self._client_cert or policy.client_cert))

    def get_for_proxy(self, policy: HostPolicy) -> ssl.SSLContext:
        """Return the context of connections to a proxy: it is verified, and shown no client certificate.

        Raises:
            TlsFailed: as `get` does.
        """
        return self._get(_Settings(policy.verify or True, policy.tls_min, None))

    def _get(self, settings: _Settings) -> ssl.SSLContext:
        with self._lock:
            context = self._made.get(settings)
            if context is None:
                context = self._made[settings] = _make(settings)
            return context


def _make(settings: _Settings) -> ssl.SSLContext:
    context = _trusting(settings.verify)
    context.minimum_version = _VERSIONS[settings.tls_min]
    context.set_alpn_protocols(["http/1.1"])
    if settings.client_cert is not None:
        _show(settings.client_cert, context)
    return context


def _trusting(verify: bool | str) -> ssl.SSLContext:
    """Return a context that verifies names and certificates; only a host named for it does without."""
    if verify == "system":
        try:
            store: ssl.SSLContext = load_extra("truststore", 'verify = "system"').SSLContext(
                ssl.PROTOCOL_TLS_CLIENT
            )
        except UsageError as exc:
            raise TlsFailed(str(exc)) from exc
        return store
    roots = verify if isinstance(verify, str) else _public_roots()
    is_folder = Path(roots).is_dir()
    try:
        context = ssl.create_default_context(
            cafile=None if is_folder else roots, capath=roots if is_folder else None
        )
    except (OSError, ssl.SSLError) as exc:
        raise TlsFailed(f"the CA bundle {roots} cannot be read: {exc.strerror or exc}") from exc
    context.hostname_checks_common_name = False  # RFC 9110 section 4.3.4
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _public_roots() -> str:
    import certifi  # a run without TLS does not wait for it

    return certifi.where()


def _show(cert: ClientCert, context: ssl.SSLContext) -> None:
    try:
        password = "" if cert.password is None else text_of(cert.password)  # None would ask on a terminal
        context.load_cert_chain(cert.cert, cert.key, password)
    except (OSError, ssl.SSLError, UsageError) as exc:
        why = getattr(exc, "strerror", None) or exc
        raise CredentialsMissing(f"the client certificate {cert.cert} cannot be used: {why}") from exc
