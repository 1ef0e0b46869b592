"""Paths: what is found there, by which methods, and how errors are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from consort.server.dialects.dialect import Dialect
from consort.server.errors import ApiError
from consort.server.http import Call, Reply

Handler = Callable[[Any, Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers one method of one path: a dialect, or a handler. `counts`: it is work of which there may be a queue.

    `prefix`: the path is only the beginning.
    """

    path: str
    method: str
    name: str
    handler: Handler | None = None
    dialect: Dialect | None = None
    counts: bool = False
    prefix: bool = False
    summary: str = ""


class Routes:
    """All routes of a server."""

    def __init__(self, routes: list[Route]) -> None:
        self.all = routes
        self._exact: dict[str, dict[str, Route]] = {}
        self._prefixes: list[Route] = []
        for route in routes:
            if route.prefix:
                self._prefixes.append(route)
            else:
                self._exact.setdefault(route.path, {})[route.method] = route

    def find(self, call: Call) -> Route:
        """The route of a call. Raises ApiError: 404, or 405 naming the methods that there are."""
        path, method = call.path, "GET" if call.method == "HEAD" else call.method
        known = self._exact.get(path)
        if known is None:
            for route in self._prefixes:
                if path.startswith(route.path) and len(path) > len(route.path):
                    call.rest = path[len(route.path) :]
                    known = {route.method: route}
                    break
        if known is None:
            raise ApiError(404, f"there is nothing at {path[:200]}", code="not_found")
        found = known.get(method)
        if found is None:
            allowed = ", ".join(sorted(known))
            raise ApiError(405, f"{path[:200]} takes {allowed}", code="method_not_allowed", headers={"allow": allowed})
        return found

    def error_of(self, path: str) -> Callable[[ApiError], Mapping[str, Any]]:
        """How errors at a path are written that no route answers."""
        known = self._exact.get(path, {})
        dialect = next((route.dialect for route in known.values() if route.dialect is not None), None)
        if dialect is not None:
            return dialect.error
        if path.startswith("/api/"):
            return lambda error: {"error": error.message}
        return ApiError.document
