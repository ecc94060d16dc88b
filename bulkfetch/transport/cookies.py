"""The cookies of one origin: those it begins with, those its answers set, and no others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from email.message import Message
from http.cookiejar import Cookie
from pathlib import Path

import requests
from requests.cookies import MockRequest, RequestsCookieJar, create_cookie, get_cookie_header
from requests.structures import CaseInsensitiveDict

from bulkfetch.auth import text_of
from bulkfetch.errors import CredentialsMissing, UsageError
from bulkfetch.models import Origin
from bulkfetch.policy import Cookies
from bulkfetch.safetext import clean, register_secret

_MOST = 64  # cookies that answers may set (fault X07)
_LARGEST = 4 * 1024 * 1024  # bytes of a cookie file
_HTTP_ONLY = "#HttpOnly_"


class OriginCookies:
    """A jar that is used for one origin alone.

    Args:
        origin: whose cookies they are.
        cookies: those to begin with.
        jar: the session's, which takes what answers set.

    Raises:
        NotAuthorised: the cookies to begin with cannot be had.
    """

    def __init__(self, origin: Origin, cookies: Cookies, jar: RequestsCookieJar) -> None:
        self.jar = jar
        self._host = _effective_host(origin)
        try:
            self._given = [*_from_values(cookies, origin, self._host), *_from_file(cookies, self._host)]
        except UsageError as exc:
            raise CredentialsMissing(f"no cookies for {origin}: {exc}") from exc
        self._fill(self._given)

    @property
    def is_empty(self) -> bool:
        """Say that there is none; the jar itself would count those it has for every request."""
        return not self.jar._cookies  # type: ignore[attr-defined]

    def field_for(self, request: requests.PreparedRequest) -> str | None:
        """Return the value of the Cookie field for a request that has none."""
        if len(self.jar) > _MOST + len(self._given):
            self.jar.clear()
            self._fill(self._given)
        field: str | None = get_cookie_header(self.jar, request)  # type: ignore[no-untyped-call]
        return field

    def keep(self, url: str, values: Sequence[str]) -> None:
        """Take the values of Set-Cookie fields that came over another connection of this origin."""
        fields = Message()
        for value in values:
            fields["Set-Cookie"] = value
        request = requests.PreparedRequest()
        request.url, request.headers = url, CaseInsensitiveDict()
        self.jar.extract_cookies(_Fields(fields), MockRequest(request))  # type: ignore[arg-type]

    def adopt(self, others: RequestsCookieJar) -> bool:
        """Take those cookies that are for this host, also by name of a domain above; say whether any was."""
        ours = [cookie for cookie in others if _is_for(cookie, self._host)]
        for cookie in ours:
            register_secret(cookie.value or "")
        self._fill(ours)
        return bool(ours)

    def _fill(self, cookies: Iterable[Cookie]) -> None:
        for cookie in cookies:
            self.jar.set_cookie(cookie)


class _Fields:
    """An answer as the cookie jar wants it."""

    def __init__(self, fields: Message) -> None:
        self._fields = fields

    def info(self) -> Message:
        """Return the header fields."""
        return self._fields


def read_cookie_file(path: Path, now: float) -> Iterator[Cookie]:
    """Yield the cookies of a file in Netscape format that have not expired.

    `http.cookiejar.MozillaCookieJar` drops session cookies that are written with the time 0, refuses files
    whose second column does not fit the first, and puts the line, with its secret, into the error.

    Raises:
        UsageError: the file cannot be read, or a line of it is something else; it is not told what.
    """
    name = clean(str(path))
    try:
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST + 1)
    except OSError as exc:
        raise UsageError(f"the cookie file {name} cannot be read: {exc.strerror}") from exc
    if len(raw) > _LARGEST:
        raise UsageError(f"the cookie file {name} is larger than {_LARGEST} bytes")
    for number, line in enumerate(raw.decode("utf-8-sig", "replace").splitlines(), 1):
        line = line.removeprefix(_HTTP_ONLY)
        if not line.strip() or line.startswith("#"):
            continue
        cookie = _parse(line)
        if cookie is None:
            raise UsageError(f"the cookie file {name}, line {number}: not a cookie in Netscape format")
        if not cookie.expires or cookie.expires > now:
            yield cookie


def _parse(line: str) -> Cookie | None:
    fields = line.split("\t")
    if len(fields) != 7 or not fields[0] or not fields[5]:
        return None
    domain, for_all, path, secure, expires, name, value = fields
    try:
        until = int(float(expires or 0)) or None  # 0 and nothing: for a session
    except (ValueError, OverflowError):
        return None
    is_domain = for_all.upper() == "TRUE" or domain.startswith(".")
    return _make(
        f".{domain.lstrip('.')}" if is_domain else domain, name, value, path, secure.upper() == "TRUE", until
    )


def _make(domain: str, name: str, value: str, path: str, secure: bool, expires: int | None) -> Cookie:
    return create_cookie(  # type: ignore[no-any-return, no-untyped-call]
        name, value, domain=domain.lower(), path=path, secure=secure, expires=expires, discard=expires is None
    )


def _from_values(cookies: Cookies, origin: Origin, host: str) -> Iterator[Cookie]:
    for name, value in cookies.values:
        text = text_of(value)
        if not text.isprintable() or ";" in text:
            raise UsageError(f"the value of cookie {name} has a character no cookie may have")
        yield _make(host, name, text, "/", origin.scheme == "https", None)


def _from_file(cookies: Cookies, host: str) -> Iterator[Cookie]:
    if cookies.file is None:
        return
    for cookie in read_cookie_file(Path(cookies.file), time.time()):
        if _is_for(cookie, host):
            register_secret(cookie.value or "")
            if not cookie.domain.startswith("."):
                cookie.domain = host
            yield cookie


def _is_for(cookie: Cookie, host: str) -> bool:
    """Say whether the host gets the cookie (RFC 6265 section 5.1.3); without a dot in front, it alone."""
    if cookie.domain.startswith("."):
        return f".{host}".endswith(cookie.domain)
    return host in (cookie.domain, f"{cookie.domain}.local")


def _effective_host(origin: Origin) -> str:
    """Return the host's name as `http.cookiejar` has it, where a name without a dot gets one."""
    name = f"[{origin.host}]" if ":" in origin.host else origin.host
    return name if "." in name else f"{name}.local"
