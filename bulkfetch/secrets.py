"""Secrets: where they come from, and values that never show themselves."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

from bulkfetch.errors import UsageError
from bulkfetch.extras import load_extra
from bulkfetch.masking import MASK
from bulkfetch.safetext import clean, redact, register_secret

LITERAL = "literal"
_LARGEST = 64 * 1024  # characters or bytes
_READABLE_BY_OTHERS = 0o077


class SecretMissing(UsageError):
    """A secret cannot be had from its source."""


class Secret:
    """A value that is told only by `reveal`; text, logs, pickles and JSON show where it comes from at most.

    Args:
        text: "env:NAME", "file:PATH", "keyring:SERVICE/USER" or "cmd:COMMAND ARGUMENT..."; anything
            else is the secret itself, as is what follows "literal:".
        folder: what a relative PATH is relative to.

    Raises:
        UsageError: a source without a name.
    """

    __slots__ = ("_folder", "_lock", "_source", "_value", "kind")

    def __init__(self, text: str, folder: str | Path = ".") -> None:
        kind, rest = _split(text)
        self.kind: Final = kind  # "env", "file", "keyring", "cmd" or "literal"
        self._source = "" if kind == LITERAL else rest
        self._folder = Path(folder)
        self._value = rest if kind == LITERAL else None
        # Guards _value; held while the source is asked, as one asking is enough.
        self._lock = threading.Lock()
        if kind == LITERAL:
            register_secret(rest)

    def reveal(self) -> str:
        """Return the secret, asking its source the first time.

        Raises:
            SecretMissing: the source does not have it.
        """
        with self._lock:
            if self._value is None:
                value = _SOURCES[self.kind](self._source, self._folder)
                register_secret(value)
                self._value = value
            return self._value

    def warning(self) -> str:
        """Return what is unsafe about the source, or ""; the source is not asked."""
        if self.kind != "file":
            return ""
        path = _resolve(self._source, self._folder)
        if is_exposed(path, _READABLE_BY_OTHERS):
            return f"other users may read the secret in {clean(str(path))}: chmod 600 it"
        return ""

    def __repr__(self) -> str:
        return f"Secret({self})"

    def __str__(self) -> str:
        if self.kind == LITERAL:
            return MASK
        if self.kind == "cmd":  # arguments may be secrets themselves
            return f"cmd:{_name_of(self._source)} …"
        return clean(f"{self.kind}:{self._source}")

    def __reduce__(self) -> tuple[Any, ...]:
        if self.kind == LITERAL:
            raise TypeError("a literal secret cannot be pickled; name its source, such as env:NAME")
        return Secret, (f"{self.kind}:{self._source}", self._folder)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


def is_secret_source(text: str) -> bool:
    """Say whether `text` names where a secret is, or is marked as one."""
    return text.partition(":")[0] in _FORMS and ":" in text


def is_exposed(path: Path, bits: int) -> bool:
    """Say whether the file's mode has one of `bits`; without POSIX modes nothing is known."""
    if os.name != "posix":
        return False
    try:
        return bool(path.stat().st_mode & bits)
    except OSError:
        return False


def _split(text: str) -> tuple[str, str]:
    """Return the kind of source and its name; for a literal, the secret."""
    if not is_secret_source(text):
        return LITERAL, text
    kind, _, rest = text.partition(":")
    if not rest.strip() or (kind == "keyring" and "/" not in rest):
        raise UsageError(f"a secret is written {_FORMS[kind]}")
    return kind, rest


def _read_variable(name: str, folder: Path) -> str:
    value = os.environ.get(name)
    if not value:
        raise SecretMissing(f"the variable {clean(name)} is {'not set' if value is None else 'empty'}")
    return value


def _read_file(name: str, folder: Path) -> str:
    path = _resolve(name, folder)
    try:
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST + 1)
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or exc
        raise SecretMissing(f"the secret file {clean(str(path))} cannot be read: {why}") from exc
    return _decode(raw, f"the secret file {clean(str(path))}")


def _read_keyring(name: str, folder: Path) -> str:
    service, _, user = name.rpartition("/")
    keyring = load_extra("keyring", f"keyring:{clean(name)}")
    try:
        value = keyring.get_password(service, user)
    except Exception as exc:  # each backend of the keyring has exceptions of its own
        why = f"{type(exc).__name__}: {clean(redact(str(exc)), 200)}"
        raise SecretMissing(f"the keyring cannot be asked for {clean(name)}: {why}") from exc
    if not value:
        raise SecretMissing(f"the keyring has no password for {clean(user)} of {clean(service)}")
    return str(value)


def read_command(command: str, seconds: float = 30.0) -> str:
    """Return what a command prints; no shell reads it, and `seconds` end it.

    Raises:
        SecretMissing: it printed nothing, or failed.
    """
    import subprocess  # few runs need it, and it costs every start some milliseconds

    try:
        # Windows programs split their command line themselves.
        arguments = command if os.name == "nt" else shlex.split(command)
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        _refuse_command(command, f"did not end within {seconds:g} s")
    except (OSError, ValueError) as exc:
        _refuse_command(command, f"cannot be run: {getattr(exc, 'strerror', None) or type(exc).__name__}")
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = f": {clean(redact(lines[-1]), 200)}" if lines else ""
        _refuse_command(command, f"ended with status {done.returncode}{why}")
    return _decode(done.stdout, f"the output of the secret command {_name_of(command)}")


def _refuse_command(command: str, why: str) -> NoReturn:
    raise SecretMissing(f"the secret command {_name_of(command)} {why}") from None


def _name_of(command: str) -> str:
    return clean(command.split()[0])


def _decode(raw: bytes, name: str) -> str:
    if len(raw) > _LARGEST:
        raise SecretMissing(f"{name} is longer than {_LARGEST} bytes")
    text = raw.decode("utf-8", "replace")  # a strict reading would raise an error with the bytes in it
    if "\ufffd" in text:
        raise SecretMissing(f"{name} is not UTF-8 text")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SecretMissing(f"{name} is empty")
    return text


def _resolve(name: str, folder: Path) -> Path:
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:  # nobody knows this user's home
        return folder / name


_FORMS = {
    "env": "env:NAME",
    "file": "file:PATH",
    "keyring": "keyring:SERVICE/USER",
    "cmd": "cmd:COMMAND ARGUMENT...",
    LITERAL: "literal:TEXT",
}
_SOURCES: dict[str, Callable[[str, Path], str]] = {
    "env": _read_variable,
    "file": _read_file,
    "keyring": _read_keyring,
    "cmd": lambda command, _: read_command(command),
}
