"""Which route answers a request: an added path, the longest prefix, a generator."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .routes import Route, route
from .wire import Request

NO_ROUTE = 0


class RouteTable:
    """Routes by path, each with a number of its own so that a replaced path counts anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._routes: dict[str, tuple[int, Route]] = {}
        self._generators: list[tuple[int, Callable[[Request], Route | None]]] = []
        self._serial = NO_ROUTE

    def add(self, path: str, options: dict[str, Any]) -> Route:
        """Put a route where another may have been."""
        if not path.startswith("/") and ":" not in path:
            raise ValueError(f"{path!r}: a path begins with / (or is host:port, for CONNECT)")
        made = route(**options)
        with self._lock:
            self._serial += 1
            self._routes[path] = (self._serial, made)
        return made

    def add_generator(self, function: Callable[[Request], Route | None]) -> None:
        """Ask `function` when no path fits."""
        with self._lock:
            self._serial += 1
            self._generators.append((self._serial, function))

    def remove(self, path: str) -> None:
        """Forget a path."""
        with self._lock:
            del self._routes[path]

    def find(self, request: Request) -> tuple[int, Route | None]:
        """Return the number and the route for a request."""
        with self._lock:
            found = self._find_added(request)
            generators = list(self._generators)
        if found is not None:
            return found
        for serial, function in generators:
            if (made := function(request)) is not None:
                return serial, made
        return NO_ROUTE, None

    def _find_added(self, request: Request) -> tuple[int, Route] | None:
        for path in (request.full_path, request.path):
            if path in self._routes:
                return self._routes[path]
        prefixes = [p for p in self._routes if p.endswith("*") and request.full_path.startswith(p[:-1])]
        return self._routes[max(prefixes, key=len)] if prefixes else None
