"""What an error object says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STATUS = {
    "rate_limit": 429,
    "insufficient_quota": 402,
    "overloaded": 503,
    "server_error": 500,
    "internal": 500,
    "authentication": 401,
    "invalid_api_key": 401,
    "permission": 403,
    "model_not_found": 404,
    "not_found": 404,
    "context_length": 400,
    "invalid": 400,
}
"""The status that words in an error's type or code stand for."""


@dataclass(frozen=True, slots=True)
class Said:
    """An error as an endpoint puts it; `status` is the one that it names itself, None where it does not."""

    message: str
    code: str = ""
    kind: str = ""
    param: str = ""
    status: int | None = None


class Reported(Exception):
    """An error that comes as an answer with status 200, or in a stream."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.message)
        self.said = said


def is_error(body: Mapping[str, Any]) -> bool:
    """Whether an answer of status 200 is an error: by a field of that name, or as older servers put it."""
    if body.get("error"):
        return True
    return not body.get("choices") and "error" in (body.get("object"), body.get("type"))


def reported(body: Mapping[str, Any]) -> Reported:
    return Reported(said_by(body))


def said_by(body: Any) -> Said:
    """What an error's body says, whatever shape it has: {"error": …}, {"detail": …}, {"message": …}, or a text."""
    outer = body if isinstance(body, Mapping) else {}
    error = outer.get("error") or outer.get("detail") or outer.get("message") or (body if isinstance(body, str) else "")
    inner = error if isinstance(error, Mapping) else outer if outer.get("object") == "error" else {}
    message = inner.get("message") or error
    code, kind = (str(inner.get(name) or "") for name in ("code", "type"))
    said = " ".join(str(message or "").split()) or "no reason given"
    return Said(said, code, kind, str(inner.get("param") or ""), _status(code, kind))


def _status(code: str, kind: str) -> int | None:
    if code.isdigit() and 400 <= int(code[:4]) < 600:
        return int(code)
    words = f"{code} {kind}".lower()
    return next((status for word, status in STATUS.items() if word in words), None)
