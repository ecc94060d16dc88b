"""Throw-away certificates, made once per process."""

from __future__ import annotations

import atexit
import datetime
import ipaddress
import shutil
import ssl
import tempfile
import threading
from functools import lru_cache
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KINDS = ("good", "self-signed", "expired", "wrong-name", "unknown-ca")
_LOCK = threading.RLock()  # one CA per process, whoever asks first
_PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@lru_cache(maxsize=1)
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="faultserver-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@lru_cache(maxsize=1)
def _authority() -> trustme.CA:
    return trustme.CA()


def ca_file() -> str:
    """Return a PEM file holding the CA that signed every good certificate."""
    with _LOCK:
        return _written("ca.pem", _authority().cert_pem.bytes())


def client_cert_file() -> str:
    """Return a PEM file holding a client certificate and its key."""
    with _LOCK:
        cert = _client_cert()
        return _written("client.pem", cert.private_key_and_cert_chain_pem.bytes())


@lru_cache(maxsize=1)
def _client_cert() -> trustme.LeafCert:
    return _authority().issue_cert("client@faultserver.example")


def _written(name: str, data: bytes) -> str:
    path = _folder() / name
    if not path.exists():
        path.write_bytes(data)
    return str(path)


def server_cert_file(kind: str, host: str) -> str:
    """Return a PEM file holding a server's certificate chain and key."""
    if kind not in KINDS:
        raise ValueError(f"cert={kind!r}: not one of {', '.join(KINDS)}")
    with _LOCK:
        return _written(f"{kind}-{host.replace(':', '_')}.pem", _server_pem(kind, host))


@lru_cache(maxsize=64)
def _server_pem(kind: str, host: str) -> bytes:
    if kind == "self-signed":
        return _self_signed(host)
    authority = trustme.CA() if kind == "unknown-ca" else _authority()
    names = ["wrong.example"] if kind == "wrong-name" else sorted({host, "localhost", "127.0.0.1", "::1"})
    after = _PAST + datetime.timedelta(days=30) if kind == "expired" else None
    cert = authority.issue_cert(*names, not_before=_PAST if after else None, not_after=after)
    return cert.private_key_and_cert_chain_pem.bytes()


def _self_signed(host: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(address, critical=False)
    )
    cert = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + cert.public_bytes(serialization.Encoding.PEM)


def server_context(kind: str, host: str, *, client_cert: bool) -> ssl.SSLContext:
    """Return the TLS settings of a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_cert_file(kind, host))
    if client_cert:
        context.load_verify_locations(ca_file())
        context.verify_mode = ssl.CERT_REQUIRED
    return context
