"""Secrets looked for, in every form they travel in, in whatever a run has written or said."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, quote_plus


def forms_of(secret: str, users: Iterable[str] = ()) -> set[bytes]:
    """Return what a secret looks like: as it is, percent-encoded, in base64, with a user in front."""
    texts = {secret, quote(secret, safe=""), quote_plus(secret)}
    for text in (secret, *(f"{user}:{secret}" for user in users)):
        raw = text.encode()
        texts |= {encode(raw).decode().rstrip("=") for encode in (b64encode, urlsafe_b64encode)}
    return {text.encode() for text in texts}


def find_secrets(
    secrets: Iterable[str],
    texts: Iterable[str],
    folder: Path,
    *,
    users: Iterable[str] = (),
    skip: Iterable[Path] = (),
) -> list[str]:
    """Return where one of the secrets stands: in the texts, or in a file below a folder."""
    forms = set().union(*(forms_of(secret, users) for secret in secrets))
    kept = {Path(path) for path in skip}
    found = [f"text {n}: {form!r}" for n, text in enumerate(texts) for form in forms if form in text.encode()]
    for path in sorted(folder.rglob("*")):
        if path in kept:
            continue
        data = str(path).encode() + (path.read_bytes() if path.is_file() else b"")
        found += [f"{path}: {form!r}" for form in forms if form in data]
    return found
