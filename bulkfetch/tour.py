"""A loopback server with healthy, slow, throttling, cutting, redirecting and missing routes, for `demo`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from bulkfetch.expressions import late

MEBIBYTE = 1024 * 1024
_NOISE = random.Random(7).randbytes(2 * MEBIBYTE)
_RANGE = late(r"bytes=([0-9]+)-")
MISSING = 5  # files of the route `missing`
_BUSY_RATE = 15  # requests a second that the throttling route answers
_SLOW_RATE = MEBIBYTE  # bytes a second of a slow body

# route -> (how many, size of the nth in bytes); some 200 files and 100 MB in all
_FILES: dict[str, tuple[int, Any]] = {
    "healthy": (130, lambda n: 20_000 + 1_000 * n),
    "large": (5, lambda n: 8 * MEBIBYTE + 1000 * n),
    "slow": (4, lambda n: 4 * MEBIBYTE),
    "busy": (40, lambda n: 30_000 + n),
    "cut": (6, lambda n: 3 * MEBIBYTE + n),
    "moved": (10, lambda n: 150_000 + n),
    "missing": (MISSING, lambda n: 10_000),
}


def body_of(route: str, number: int) -> bytes:
    """Return the bytes of one file; the same ones every time."""
    size: int = _FILES[route][1](number)
    start = (number * 7919) % MEBIBYTE
    return (_NOISE[start : start + MEBIBYTE] * (size // MEBIBYTE + 1))[:size]


class Tour:
    """The running servers, two origins, and the manifest that goes with them."""

    def __init__(self) -> None:
        self.servers = [_Server(("127.0.0.1", 0), _Answers) for _ in range(2)]
        first, second = self.servers
        first.other, second.other, first.is_first = second, first, True
        for server in self.servers:
            threading.Thread(target=server.serve_forever, name="bulkfetch-demo", daemon=True).start()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the manifest's rows; the digest is declared for every file that is there."""
        for route, (count, _) in _FILES.items():
            server = self.servers[1 if route == "busy" else 0]
            for number in range(count):
                row: dict[str, Any] = {"url": f"{server.base}/{route}/{number:03d}.bin", "kind": route}
                row["path"] = f"{route}/{number:03d}.bin"
                if route != "missing":
                    body = body_of(route, number)
                    row.update(size=len(body), sha256=hashlib.sha256(body).hexdigest())
                yield row

    def write_manifest(self, path: Path) -> int:
        """Write the rows as JSON Lines, in an order that mixes the routes; returns how many."""
        rows = list(self.rows())
        random.Random(3).shuffle(rows)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return len(rows)

    def close(self) -> None:
        """Stop serving."""
        for server in self.servers:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    other: _Server
    is_first = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.base = f"http://127.0.0.1:{self.server_address[1]}"
        self.seen: set[str] = set()  # paths asked for before
        self.recent: list[float] = []  # when the throttling route answered
        self.lock = threading.Lock()  # guards seen and recent

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the client may leave when it likes."""


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True
    _ROUTES: ClassVar[dict[str, str]] = {"busy": "_busy", "moved": "_moved", "missing": "_missing"}

    def do_GET(self) -> None:
        """Answer as the route's name says."""
        match = re.fullmatch(r"/(\w+)/(\d{3})\.bin", self.path)
        if match is None or match[1] not in _FILES:
            self._end(404)
            return
        route, number = match[1], int(match[2])
        special = self._ROUTES.get(route)
        if special is None or not getattr(self, special)():
            self._send(route, number)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr: the bar is there."""

    def _missing(self) -> bool:
        self._end(404)
        return True

    def _moved(self) -> bool:
        """Redirect to the other origin, which has the file."""
        if self.server.is_first:
            self._end(302, Location=f"{self.server.other.base}{self.path}")
        return self.server.is_first

    def _busy(self) -> bool:
        """Answer 429 to what comes faster than the rate."""
        now = time.monotonic()
        with self.server.lock:
            recent = self.server.recent = [t for t in self.server.recent if now - t < 1.0]
            is_over = len(recent) >= _BUSY_RATE
            if not is_over:
                recent.append(now)
        if is_over:
            self._end(429, Retry_After="1")
        return is_over

    def _send(self, route: str, number: int) -> None:
        body = body_of(route, number)
        etag = f'"{route}-{number}"'
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(match[1]) if match and self.headers.get("If-Range") == etag else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("ETag", etag)
        self.end_headers()
        end = len(body)
        if route == "cut" and self._is_first_time():
            end = end * 6 // 10
            self.close_connection = True
        with contextlib.suppress(OSError):
            self._write(memoryview(body)[start:end], slowly=route == "slow")

    def _write(self, body: memoryview, *, slowly: bool) -> None:
        step = 64 * 1024
        for at in range(0, len(body), step):
            self.wfile.write(body[at : at + step])
            if slowly:
                time.sleep(step / _SLOW_RATE)

    def _is_first_time(self) -> bool:
        with self.server.lock:
            is_first = self.path not in self.server.seen
            self.server.seen.add(self.path)
        return is_first

    def _end(self, status: int, **fields: str) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()
