"""One `clean` for everything shown, one `redact` for everything stored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote, urlsplit

from bulkfetch.expressions import late
from bulkfetch.masking import MASK, SHORTEST, KnownSecrets

# C0, DEL, C1, line separators, bidi controls, zero-width and tag characters, lone surrogates:
# none of them may reach a terminal or forge a log line.
_UNSAFE = late(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)

# Query parameters that carry a credential or a signature, by name (lower case).
_SECRET_WORDS = (
    "access_token api-key api_key apikey auth auth_token authorization awsaccesskeyid bearer "
    "client_secret code hmac id_token jsessionid jwt key key-pair-id oauth_signature oauth_token otp pass "
    "password passwd phpsessid pin policy private_token pwd refresh_token secret sas session sessionid "
    "sid sig sign signature subscription-key ticket tok token x-amz-credential x-amz-security-token "
    "x-amz-signature x-goog-credential x-goog-signature"
)
SECRET_PARAMS = frozenset(_SECRET_WORDS.split())

# Servers differ on what separates parameters, and a URL inside a parameter is itself percent-encoded.
_NAME = late(r"(?:[?&;#]|%(?:3f|26|3b|23))((?:(?!%(?:3[fbd]|2[36]))[^=?&;#\s])*)(?:=|%3d)", re.IGNORECASE)
_USERINFO = late(r"://[^/?#\s]*@")
_URL_VALUE = late(r"[^&]+")
_TEXT_VALUE = late(r"[^&\s\"<>]+")
_SECRET_NAME = late(
    r"auth|cookie|credential|key|nonce|passw|secret|session|signature|token|^(?:pass|pin|pwd?)$",
    re.IGNORECASE,
)
# Request fields that are shown; the user gives the others, and any of them may be a credential.
_SHOWN_WORDS = (
    "accept accept-charset accept-encoding accept-language cache-control connection content-length "
    "content-type dnt expect from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since origin pragma range referer te upgrade-insecure-requests user-agent"
)
_SHOWN_FIELDS = frozenset(_SHOWN_WORDS.split())
_KNOWN = KnownSecrets()  # of this process: whoever learns a secret registers it, whoever shows text asks
_FORMS = _KNOWN.forms  # asked for every line


def clean(text: str, limit: int = 0) -> str:
    """Return `text` with everything a terminal would act on escaped, cut to `limit` characters if given."""
    if not limit:
        return _escape(text)
    shown = _escape(text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def register_secret(value: str, user: str | None = None) -> None:
    """Have `redact` and `redact_url` mask `value`, and its basic authentication with `user`, from now on."""
    _KNOWN.add(value, user)


def redact_url(url: str) -> str:
    """Return `url` without userinfo, registered secrets and the values of secret parameters."""
    if not (_FORMS or "=" in url or "%3" in url or "@" in url):
        return url
    return _redact_all(url, _URL_VALUE)


def redact(text: str) -> str:
    """Return `text` without registered secrets and with every URL in it redacted, also a URL's end alone."""
    return _redact_all(text, _TEXT_VALUE)


def sounds_secret(name: str) -> bool:
    """Say whether a header field, parameter or form field of that name is likely to hold a secret."""
    return _SECRET_NAME.search(name) is not None or name.lower() in SECRET_PARAMS


def redact_head(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a request's or an answer's head without what is secret in them."""
    for line in lines:
        name, colon, _ = line.partition(":")
        is_secret = colon and " " not in name and sounds_secret(name)
        yield f"{name}: {MASK}" if is_secret else redact(line)


def redact_request(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a request's head, the values of all but a few harmless fields masked."""
    for number, line in enumerate(redact_head(lines)):
        name, _, _ = line.partition(":")
        is_shown = number == 0 or name.lower() in _SHOWN_FIELDS
        yield line if is_shown else f"{name}: {MASK}"


def given_values(lines: Sequence[str]) -> list[str]:
    """Return the values that `redact_request` masks; short ones are left out, as they are in any text."""
    fields = (line.partition(":") for line in lines[1:])
    values = {text.strip() for name, _, text in fields if name.lower() not in _SHOWN_FIELDS}
    return sorted((text for text in values if len(text) >= SHORTEST), key=len, reverse=True)


def hide_query(url: str) -> str:
    """Return `url` with its query masked as a whole."""
    start, mark, query = url.partition("?")
    return f"{start}?{MASK}" if query else f"{start}{mark}"


def has_secret(url: str) -> bool:
    """Say whether `url` has userinfo or secret parameters; what is registered makes no difference."""
    return _redact(url, _URL_VALUE) != url


def host_of(url: str) -> str:
    """Return the host of `url` for showing, or "" where there is none."""
    try:
        return clean(urlsplit(url).hostname or "")
    except ValueError:
        return ""


def _escape(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_escape_one, text)


def _escape_one(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _redact_all(text: str, value: re.Pattern[str]) -> str:
    masked = _KNOWN.mask(text)
    redacted = _redact(masked, value)
    return masked if redacted == masked else _KNOWN.mask(redacted)  # what is joined anew is looked at again


def _redact(text: str, value: re.Pattern[str]) -> str:
    if "=" in text or "%3" in text:
        text = _mask(text, value)
    return _USERINFO.sub("://", text) if "@" in text else text


def _mask(text: str, value: re.Pattern[str]) -> str:
    """Replace the values of secret parameters; a value ends where `value` says, not at the next separator."""
    kept: list[str] = []
    done = 0
    for match in _NAME.finditer(text):
        if match.start() < done or unquote(match[1]).lower() not in SECRET_PARAMS:
            continue
        if secret := value.match(text, match.end()):
            kept += (text[done : match.end()], MASK)
            done = secret.end()
    return "".join((*kept, text[done:])) if done else text
