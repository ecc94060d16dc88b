"""URLs made canonical once, at the edge, so that everything behind it may compare and split them as text."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from urllib.parse import quote, unquote

from bulkfetch.errors import LineError
from bulkfetch.expressions import late
from bulkfetch.models import Origin
from bulkfetch.safetext import clean

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEX2 = "%[0-9A-Fa-f]{2}"
_PATH = r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?]*+"  # RFC 3986 sections 3.3 and 3.4
_LABEL = r"[a-z0-9_-]{1,63}+"  # "_" is in no host name by RFC 952, and in many by practice

# Most manifests are canonical already: one match settles them.
_CANONICAL = re.compile(
    rf"https?://(?=[^/]{{1,253}}/){_LABEL}(?:\.{_LABEL})*+"
    rf"(?::(?!(?:80|443)/)(?:[1-5][0-9]{{4}}|[1-9][0-9]{{0,3}}))?+"
    rf"/{_PATH}(?:{_HEX2}{_PATH})*+"
)
_ABSOLUTE = late(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_SCHEME = late(r"([A-Za-z][A-Za-z0-9+.-]*):(?![0-9])")
_REFERENCE = late(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?", re.DOTALL)
_FORBIDDEN = late("[\x00-\x1f\x7f-\x9f\\\\\ud800-\udfff]")
_SECOND_URL = late(r"\shttps?://", re.IGNORECASE)
_HOST = late(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_IPV6 = late(r"\[([0-9a-f:.]*)\](?::([0-9]*))?")
_TO_ENCODE = late(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%]+")
_USERINFO_TO_ENCODE = late(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~!$&'()*+,;=:%]+")
_USERINFO = late(r"(https?://)([^/?#@]*)@")


def parse_url(text: str) -> str:
    """Return `text` as a canonical absolute http(s) URL.

    Scheme and host come in lower case, the host as ASCII, the default port and the fragment left
    out, and what RFC 3986 does not allow percent-encoded. Everything else stays as it is, an
    existing %XX too: signatures are computed over it.

    Raises:
        LineError: it is not one; the message is one clause.
    """
    return text if _CANONICAL.fullmatch(text) else _parse_slowly(text)


def origin_of(url: str) -> Origin:
    """Return the origin of a canonical URL; userinfo is no part of it."""
    return _origin(url[: url.index("/", 8)])  # the first "/" past "http://" and a character


def split_userinfo(url: str) -> tuple[str, str | None, str | None]:
    """Return a canonical URL without its userinfo, then user and password, decoded (fault A11)."""
    match = _USERINFO.match(url) if "@" in url else None
    if match is None:
        return url, None, None
    user, colon, password = match[2].partition(":")
    return match[1] + url[match.end() :], unquote(user), unquote(password) if colon else None


def add_query(url: str, query: str) -> str:
    """Return a canonical URL with an encoded query behind its own."""
    separator = "" if url.endswith(("?", "&")) else "&" if "?" in url else "?"
    return f"{url}{separator}{query}"


def join_url(base: str, reference: str) -> str:
    """Return `reference`, relative or not, as a canonical URL, resolved against a canonical base."""
    return parse_url(_resolve(base, reference.strip(" \t")))


def join_redirect(base: str, location: str) -> str:
    """Return where a `Location` leads (RFC 9110 section 10.2.2), without userinfo.

    Args:
        base: the canonical URL that was asked for.
        location: the field value, its bytes as latin-1 characters.

    Raises:
        LineError: it leads nowhere, or to something other than http(s).
    """
    if not location.strip(" \t"):
        raise LineError("the redirect names no location")
    return split_userinfo(join_url(base, _decode_field(location)))[0]


@lru_cache(maxsize=4096)
def _origin(start: str) -> Origin:
    scheme, _, authority = start.partition("://")
    authority = authority.rpartition("@")[2]
    host, _, port = authority.rpartition(":") if _has_port(authority) else (authority, "", "")
    return Origin(scheme, host.strip("[]"), int(port) if port else _DEFAULT_PORTS[scheme])


def _has_port(authority: str) -> bool:
    return ":" in authority.rpartition("]")[2]


def _parse_slowly(text: str) -> str:
    text = text.strip(" \t")
    _check_characters(text)
    match = _ABSOLUTE.match(text)
    if match is None:
        raise LineError(_why_not_absolute(text))
    scheme, authority, rest = match[1].lower(), match[2], match[3]
    if " " in authority:
        raise LineError("a space in the host name")
    userinfo, at, host_and_port = authority.rpartition("@")
    host, port = _split_port(host_and_port)
    if port == _DEFAULT_PORTS[scheme]:
        port = None
    prefix = f"{_encode_userinfo(userinfo)}@" if at and userinfo else ""
    suffix = "" if port is None else f":{port}"
    slash = "" if rest.startswith("/") else "/"
    return f"{scheme}://{prefix}{host}{suffix}{slash}{_TO_ENCODE.sub(_encode, rest)}"


def _check_characters(text: str) -> None:
    bad = _FORBIDDEN.search(text)
    if bad is None:
        if _SECOND_URL.search(text):
            raise LineError("two URLs in one place; mirrors are separated by a tab")
    elif bad[0] == "\\":
        raise LineError("a backslash in the URL; write it as %5C")
    elif bad[0] >= "\ud800":
        raise LineError("the URL is not valid text")
    else:
        raise LineError(f"a control character (U+{ord(bad[0]):04X}) in the URL")


def _why_not_absolute(text: str) -> str:
    if not text:
        return "no URL"
    scheme = _SCHEME.match(text)
    if scheme is None:
        return 'not a URL: it does not begin with "http://" or "https://"'
    if scheme[1].lower() in _DEFAULT_PORTS:
        return 'not a URL: "//" is missing after the scheme'
    return f'the scheme "{scheme[1][:20]}" is not http or https'


def _split_port(text: str) -> tuple[str, int | None]:
    """Return the host in its canonical form, and the port if one is given."""
    if text.startswith("["):
        match = _IPV6.fullmatch(text.lower())
        if match is None or not _is_ipv6(match[1]):
            raise LineError("the IPv6 address is broken")
        return f"[{match[1]}]", _parse_port(match[2] or "")
    host, _, port = text.partition(":")
    return _parse_host(host), _parse_port(port)


def _parse_port(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise LineError("the port is not a number")  # not told: it may be the start of a password
    digits = text.lstrip("0")
    if digits and len(digits) <= 5 and int(digits) <= 65535:
        return int(digits)
    raise LineError(f"the port {text[:12]} is not between 1 and 65535")


def _parse_host(host: str) -> str:
    if not host.isascii():
        host = _to_punycode(host)
    host = host.lower()
    if _HOST.fullmatch(host) and len(host.rstrip(".")) <= 253:
        return host
    raise LineError(_why_no_host(host))


def _why_no_host(host: str) -> str:
    labels = host.removesuffix(".").split(".")
    if not host:
        return "no host"
    if "" in labels:
        return "the host name has an empty label"
    if not re.fullmatch(r"[a-z0-9_.-]+", host):
        return "the host name has a character no host name may have"
    if max(map(len, labels)) > 63:
        return "a label of the host name is longer than 63 characters"
    return "the host name is longer than 253 characters"


@lru_cache(maxsize=1024)
def _to_punycode(host: str) -> str:
    import idna  # with tables that few lists need

    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except UnicodeError as exc:  # idna.IDNAError is one
        raise LineError(f"the host name is not a valid international name ({clean(str(exc), 80)})") from exc


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _encode_userinfo(userinfo: str) -> str:
    if "@" in userinfo:  # parsers disagree on which "@" ends it (fault A12)
        raise LineError('two "@" before the host; write one in a password as %40')
    return _USERINFO_TO_ENCODE.sub(_encode, userinfo)


def _encode(match: re.Match[str]) -> str:
    return quote(match[0], safe="")


def _decode_field(value: str) -> str:
    """Undo the latin-1 reading of a field whose bytes are UTF-8; other bytes become %XX as they are."""
    try:
        raw = value.encode("latin-1")
    except UnicodeEncodeError:
        return value
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(c if c.isascii() else f"%{ord(c):02X}" for c in value)


def _resolve(base: str, reference: str) -> str:
    """Return `reference` resolved against `base` (RFC 3986 section 5.2); the fragment is left out."""
    scheme, authority, path, query = _split(reference)
    if scheme is not None:
        return reference
    base_scheme, base_authority, base_path, base_query = _split(base)
    if authority is not None:
        return f"{base_scheme}:{reference}"
    if not path:
        path, query = base_path, base_query if query is None else query
    elif not path.startswith("/"):
        path = _remove_dots(f"{base_path.rpartition('/')[0]}/{path}")
    else:
        path = _remove_dots(path)
    tail = "" if query is None else f"?{query}"
    return f"{base_scheme}://{base_authority}{path}{tail}"


def _split(url: str) -> tuple[str | None, str | None, str, str | None]:
    match = _REFERENCE.match(url)
    assert match is not None  # every part is optional
    return match[1], match[2], match[3], match[4]


def _remove_dots(path: str) -> str:
    """Return an absolute path without "." and ".." segments (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if path.endswith(("/.", "/..")):
        kept.append("")
    return "/" + "/".join(kept)
