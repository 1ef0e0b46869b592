"""The page: static files that come with the package, under a policy by which no text can run."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from consort.models.remote.wire.objects import dumped
from consort.server.errors import ApiError
from consort.server.handlers import allowed
from consort.server.http import Call, Reply

if TYPE_CHECKING:
    from typing import Any

    from consort.server.app import State

KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@cache
def _file(name: str) -> bytes | None:
    found = files("consort.server.page").joinpath(name)
    return found.read_bytes() if "/" not in name and "\\" not in name and found.is_file() else None


def _served(name: str) -> Reply:
    content, suffix = _file(name), name.rpartition(".")[2]
    if content is None or suffix not in KINDS:
        raise ApiError(404, "there is no such file", code="not_found")
    headers = {
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return Reply(200, content, kind=f"{KINDS[suffix]}; charset=utf-8", headers=headers)


async def page(state: State, call: Call) -> Reply:
    return _served("index.html")


async def static(state: State, call: Call) -> Reply:
    return _served(call.rest)


async def tree(state: State, call: Call) -> Reply:
    """Every model as the tree of what it is made of, for the page."""
    found = [{"id": s.id, "streams": s.streams, "tree": _tree(s.model)} for s in allowed(state, call)]
    return Reply(200, dumped({"models": found}))


def _tree(model: Any, depth: int = 0) -> dict[str, Any]:
    from consort.core.params import name_of

    settings = {
        name: value
        for name, value in vars(model).items()
        if name in ("threshold", "weight", "gamma", "temperature", "samples", "rounds", "alpha", "lambda_")
        and isinstance(value, int | float | str | list | tuple)
        and all(isinstance(part, int | float | str) for part in (value if isinstance(value, list | tuple) else ()))
    }
    members = getattr(model, "members", ()) if depth < 12 else ()
    kind = name_of(type(model).__name__)
    name = str(getattr(model, "name", kind))
    return {
        "kind": kind,
        "name": name.rpartition("/")[2][:200],
        "settings": {name: list(v) if isinstance(v, tuple) else v for name, v in settings.items()},
        "window": getattr(model, "window", None),
        "members": [_tree(member, depth + 1) for member in members],
    }
