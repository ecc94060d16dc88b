"""Policy files: where they are, and how they are read."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from bulkfetch.errors import UsageError
from bulkfetch.expressions import late
from bulkfetch.policy.found import PolicyFile
from bulkfetch.safetext import clean
from bulkfetch.secrets import is_exposed

FILE_NAME = "config.toml"
_LARGEST = 1024 * 1024  # bytes
_POSITION = late(r"(.*) \(at line ([0-9]+), column [0-9]+\)", re.DOTALL)


def user_policy_path(platform: str, environ: Mapping[str, str], home: Path) -> Path | None:
    """Return where the user's own policy file would be: where `platformdirs` says, and never a relative path.

    Args:
        platform: as in `sys.platform`.
        environ: the environment.
        home: the user's home folder.
    """
    if platform == "win32":
        named, usual = environ.get("LOCALAPPDATA", ""), home / "AppData" / "Local"
    elif platform == "darwin":
        named, usual = "", home / "Library" / "Application Support"
    else:
        named, usual = environ.get("XDG_CONFIG_HOME", ""), home / ".config"
    folder = Path(named) if named and Path(named).is_absolute() else usual
    return folder / "bulkfetch" / FILE_NAME if folder.is_absolute() else None


def read_policy(path: str | Path) -> PolicyFile:
    """Read a policy file.

    Raises:
        UsageError: it cannot be read, or something in it is wrong.
    """
    path, name = Path(path), str(path)
    if is_exposed(path, stat.S_IWOTH):  # whoever writes it decides which commands are run
        raise UsageError(f"every user may change {clean(name)}, so it is not used: chmod o-w it")
    try:
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST + 1)
    except OSError as exc:
        raise UsageError(f"the policy file {clean(name)} cannot be read: {exc.strerror}") from exc
    if len(raw) > _LARGEST:
        raise UsageError(f"the policy file {clean(name)} is larger than {_LARGEST} bytes")
    exposed = is_exposed(path, stat.S_IROTH)
    return parse_policy(_decode(raw, name), name, path.absolute().parent, is_exposed=exposed)


def parse_policy(
    text: str, name: str = "the policy", folder: str | Path = ".", *, is_exposed: bool = False
) -> PolicyFile:
    """Return the policies of a TOML text; for the arguments see `from_table`.

    Raises:
        UsageError: something in it is wrong; the message has one line for each mistake.
    """
    import tomllib  # most runs have no file

    from bulkfetch.policy.lines import find_lines
    from bulkfetch.policy.sections import from_table

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"{clean(name)}, line {_explain(str(exc), text)}") from None
    return from_table(table, name, folder=folder, lines=find_lines(text), is_exposed=is_exposed)


def _decode(raw: bytes, name: str) -> str:
    text = raw.decode("utf-8-sig", "replace")
    if "\ufffd" in text:
        line = text[: text.index("\ufffd")].count("\n") + 1
        raise UsageError(f"{clean(name)}, line {line}: not UTF-8 text")
    return text


def _explain(message: str, text: str) -> str:
    """Return the line and the message of a TOML error."""
    match = _POSITION.fullmatch(message)
    last = text.rstrip().count("\n") + 1  # of "at end of document"
    return f"{match[2]}: {clean(match[1])}" if match else f"{last}: {clean(message)}"
