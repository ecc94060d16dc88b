"""The columns that say what is sent: `method`, `body`, `json`, `form` and `params`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from bulkfetch.errors import LineError
from bulkfetch.expressions import late
from bulkfetch.models import Request

METHODS = ("GET", "POST")  # HEAD fetches nothing, and the others change what a server has
JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"
_TEXT_TYPE = "text/plain; charset=utf-8"
_ENCODED = late(r"(?:[!-$&-~]|%[0-9A-Fa-f]{2})*")  # what a query or a form may look like, encoded
_FIELD_VALUE = late(r"[\t\x20-\x7e]*")


class Asked:
    """What the columns of one record say of its request."""

    def __init__(self) -> None:
        self._method = ""
        self._column = ""  # the one that gave the body
        self._body = b""
        self._type = ""
        self._wanted = ""  # digest of a body that is kept elsewhere

    def take(self, name: str, value: Any) -> None:
        """Read one column, or raise `LineError`."""
        if name == "method":
            self._method = _method(value)
        elif name == "body_sha256":
            self._wanted = str(value).lower()
        elif name == "form" and not value:
            return
        elif self._column:
            raise LineError(f"both {self._column} and {name}: a request has one body")
        else:
            self._column = name
            self._body, self._type = _BODIES[name](value)

    def finish(self, urls: int) -> Request | None:
        """Return the request for an entry of that many URLs; None for a plain GET."""
        if self._wanted and hashlib.sha256(self._body).hexdigest() != self._wanted:
            raise LineError("the body of this request is not here: a list by `get --failed` has it")
        method = self._method or ("POST" if self._column else "GET")
        if method == "GET" and not self._column:
            return None
        return check_request(Request(method, self._body, self._type), urls)


def check_request(request: Request, urls: int) -> Request:
    """Return a request that can be sent for an entry of that many URLs, or raise `LineError`."""
    _method(request.method)
    if request.method == "GET":
        raise LineError("a GET has no body: leave the method out, or write POST")
    if urls > 1:
        raise LineError(f"a {request.method} is sent to one URL: mirrors are for plain GETs")
    if not isinstance(request.body, bytes) or not _FIELD_VALUE.fullmatch(request.content_type):
        raise LineError("the body of the request is not bytes, or its type is not text")
    return request


def read_params(value: Any) -> str:
    """Return the query that `params` stands for: a table, JSON text of one, or encoded text."""
    if isinstance(value, str):
        value = value.strip().removeprefix("?")
    return _encode(value, "params", quote) if value else ""


def body_columns(request: Request) -> dict[str, Any]:
    """Return the columns that a request is read from, so that a list of failures can be fetched."""
    columns: dict[str, Any] = {"method": request.method}
    if not request.body:
        return columns
    try:
        text = request.body.decode()
    except UnicodeDecodeError:  # a program's own; no column holds bytes
        return {**columns, "body_sha256": body_digest(request)}
    if request.content_type == FORM_TYPE and _ENCODED.fullmatch(text):
        return {**columns, "form": text}
    if request.content_type == JSON_TYPE and _is_our_json(text):
        value = json.loads(text)
        return {**columns, "json": text if isinstance(value, str) else value}
    columns["body"] = text
    if request.content_type not in ("", _TEXT_TYPE):
        columns["header.Content-Type"] = request.content_type
    return columns


def body_digest(request: Request) -> str:
    """Return what stands for the body where the body itself must not stand."""
    return hashlib.sha256(request.body).hexdigest()


def _is_our_json(text: str) -> bool:
    try:
        return _json_body(text)[0] == text.encode()
    except LineError:
        return False


def _method(value: Any) -> str:
    method = value.strip().upper() if isinstance(value, str) else ""
    if method not in METHODS:
        shown = f"the method {method[:12]}" if method.isalpha() and method.isascii() else "this method"
        raise LineError(f"{shown} is not sent: GET and POST are")
    return method


def _text_body(value: Any) -> tuple[bytes, str]:
    if not isinstance(value, str):
        raise LineError("the column body is not text")
    try:
        return value.encode(), _TEXT_TYPE
    except UnicodeEncodeError as exc:
        raise LineError("the column body is not valid text") from exc


def _json_body(value: Any) -> tuple[bytes, str]:
    if isinstance(value, str):
        value = _from_json(value, "json")
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode(), JSON_TYPE
    except (TypeError, ValueError, RecursionError) as exc:
        raise LineError("the column json is not JSON") from exc


def _form_body(value: Any) -> tuple[bytes, str]:
    return _encode(value, "form").encode(), FORM_TYPE


_BODIES = {"body": _text_body, "json": _json_body, "form": _form_body}


def _encode(value: Any, column: str, encode: Any = None) -> str:
    """Return fields as `a=1&b=2`; `encode` quotes a name or value, by default with "+" for a space."""
    if isinstance(value, str):
        if not value.lstrip().startswith("{"):
            if not _ENCODED.fullmatch(value):
                raise LineError(f"the column {column} is neither encoded (a=1&b=2) nor a JSON object")
            return value
        value = _from_json(value, column)
    if not isinstance(value, Mapping):
        raise LineError(f"the column {column} is not an object of names and values")
    pairs = [(str(name), text) for name, given in value.items() for text in _field_texts(given, column)]
    try:
        return urlencode(pairs, quote_via=encode, safe="") if encode else urlencode(pairs)
    except UnicodeEncodeError as exc:
        raise LineError(f"the column {column} is not valid text") from exc


def _field_texts(value: Any, column: str) -> list[str]:
    """Return the texts that a field is sent with, one after another; null is none."""
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [text for each in value for text in _field_texts(each, column)]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, str | int | float):
        return [str(value)]
    raise LineError(f"the column {column} has a value that is neither text nor a number")


def _from_json(text: str, column: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise LineError(f"the column {column} is not JSON") from exc
