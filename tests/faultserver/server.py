"""The server: routes, listener, threads and records."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from . import certificates
from .answers import answer
from .connection import Connection
from .ledger import Ledger
from .listener import Listener, check_mode, refuse_at_once
from .routes import Route, route
from .steps import CLOSE, Step
from .table import RouteTable
from .throttle import Throttle
from .tunnel import open_tunnel
from .wire import Request

CLOSE_SECONDS = 30.0  # threads end within milliseconds; a loaded machine may be late to run them
PATIENCE = 30.0  # seconds; waited for what does come, as late as a loaded machine brings it


class Server:
    """A scripted HTTP server on the loopback; the package's docstring lists the options."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool = False,
        cert: str = "good",
        client_cert: bool = False,
        accept: str = "serve",
        tunnel: bool = False,
        backlog: int = 512,
    ) -> None:
        check_mode(accept, None)
        if tunnel and tls:
            raise ValueError("tunnel excludes tls")
        if (cert != "good" or client_cert) and not tls:
            raise ValueError("cert and client_cert need tls=True")
        self.host = host
        self.tls = tls
        self._tunnel = tunnel
        self._context = certificates.server_context(cert, host, client_cert=client_cert) if tls else None
        self._ledger = Ledger()
        self._table = RouteTable()
        self._throttle: Throttle | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._live: dict[Connection, threading.Thread] = {}
        self._listener = Listener((host, port), backlog, self._accepted)
        self.port = self._listener.address[1]
        self._listener.switch(accept)

    # Addresses

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self.url("").rstrip("/")

    @property
    def netloc(self) -> str:
        """Host and port."""
        return self.origin.partition("://")[2]

    @property
    def ca_file(self) -> str:
        """PEM file with the CA of every good certificate."""
        return certificates.ca_file()

    @property
    def client_cert_file(self) -> str:
        """PEM file with a client certificate and key, for `client_cert=True`."""
        return certificates.client_cert_file()

    def url(self, path: str = "/", host: str | None = None) -> str:
        """Return the URL of a path, with another host name where one is given."""
        name = host or self.host
        name = f"[{name}]" if ":" in name else name
        return f"{'https' if self.tls else 'http'}://{name}:{self.port}{path}"

    # Behaviour

    def add(self, path: str, **options: Any) -> Route:
        """Serve a path, replacing what it was; a path that ends in `*` stands for all that begin so."""
        return self._table.add(path, options)

    def add_generator(self, function: Callable[[Request], Route | None]) -> None:
        """Ask `function` about every request no path was added for; None passes it on."""
        self._table.add_generator(function)

    def remove(self, path: str) -> None:
        """Forget a path: it answers 404 again."""
        self._table.remove(path)

    def throttle(self, **options: Any) -> Throttle:
        """Turn requests away host-wide; see `Throttle` in the package's docstring."""
        self._throttle = Throttle(**options)
        return self._throttle

    def unthrottle(self) -> None:
        """Admit every request again."""
        self._throttle = None

    def accept_as(self, mode: str, times: int | None = None) -> None:
        """Change how connections are taken: serve, close, reset, silent, refuse or blackhole."""
        self._listener.switch(mode, times)

    def drop_connections(self) -> None:
        """Shut every open connection now."""
        for connection in self._connections():
            connection.interrupt()

    # Records

    @property
    def requests(self) -> list[Request]:
        """Every request so far, oldest first."""
        return self._ledger.requests()

    @property
    def connections(self) -> int:
        """Connections accepted so far."""
        return self._ledger.connections

    @property
    def open_connections(self) -> int:
        """Connections open now."""
        return self._ledger.open

    @property
    def peak_connections(self) -> int:
        """Most connections open at one time."""
        return self._ledger.peak_open

    @property
    def active_requests(self) -> int:
        """Requests being answered now."""
        return self._ledger.active

    @property
    def peak_requests(self) -> int:
        """Most requests being answered at one time."""
        return self._ledger.peak_active

    def hits(self, path: str) -> list[Request]:
        """Return the requests for a path; `?query` narrows it, a closing `*` widens it."""
        if path.endswith("*"):
            return [request for request in self.requests if request.full_path.startswith(path[:-1])]
        return [request for request in self.requests if path in (request.path, request.full_path)]

    def wait_until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait for something to become true, or fail."""
        if not self._ledger.wait_until(condition, seconds):
            seen = [f"{request.method} {request.target}" for request in self.requests[-20:]]
            raise AssertionError(f"not within {seconds} s; the last requests: {seen}")

    def wait_for_hits(self, path: str, count: int = 1, seconds: float = PATIENCE) -> list[Request]:
        """Wait until a path has been asked for `count` times."""
        self.wait_until(lambda: len(self.hits(path)) >= count, seconds)
        return self.hits(path)

    # Life

    def close(self) -> None:
        """End everything at once, also what stalls; raise when a script broke or would not end."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._listener.stop()
        self.drop_connections()
        end = time.monotonic() + CLOSE_SECONDS
        with self._lock:
            threads = list(self._live.values())
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        if self._ledger.errors:
            raise AssertionError("a fault server script is broken") from self._ledger.errors[0]
        if any(thread.is_alive() for thread in threads):
            raise AssertionError("a fault server script does not end: it must yield, not block")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _at: TracebackType | None) -> None:
        with contextlib.suppress(AssertionError) if error else contextlib.nullcontext():
            self.close()

    def _connections(self) -> list[Connection]:
        with self._lock:
            return list(self._live)

    def _accepted(self, sock: socket.socket, mode: str) -> None:
        number = self._ledger.open_connection()
        if mode in ("close", "reset"):
            refuse_at_once(sock, mode)
            self._ledger.close_connection()
            return
        if self._context is not None and mode == "serve":
            try:
                sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            except OSError:  # reset before we came to it
                refuse_at_once(sock, "close")
                self._ledger.close_connection()
                return
        connection = Connection(sock, number, self._ledger, self._closing)
        name = f"faultserver-{number}"
        run = threading.Thread(target=self._run, args=(connection, mode), name=name, daemon=True)
        with self._lock:
            self._live[connection] = run
        run.start()

    def _run(self, connection: Connection, mode: str) -> None:
        try:
            if mode == "silent":
                connection.stay_silent()
            else:
                connection.serve(self._respond)
        except Exception as error:  # noqa: BLE001 - told by close(), in the test's own thread
            self._ledger.errors.append(error)
        finally:
            self._ledger.close_connection()
            with self._lock:
                del self._live[connection]

    def _respond(self, connection: Connection, request: Request) -> Iterable[Step]:
        throttle = self._throttle
        refused = throttle.refuses(request, self._ledger.active) if throttle else None
        if refused is not None:
            return answer(refused, request)
        serial, found = self._table.find(request)
        if found is None:
            if self._tunnel and request.method == "CONNECT":
                return open_tunnel(connection, request)
            return answer(route(status=404, body=f"no route for {request.target}\n"), request)
        if found.close_after is not None and connection.answered >= found.close_after:
            return [CLOSE]
        request.number = self._ledger.next_number(serial, request)
        return answer(found, request)
