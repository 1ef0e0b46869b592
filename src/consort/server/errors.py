"""What a client is told when there is no answer: one class, and what each error of consort means to a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consort.core.errors import BadData, BadParameter, ConsortError, EnvironmentFailure, UnknownName, Unsupported

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    500: "server_error",
    502: "upstream_error",
    503: "unavailable_error",
    504: "timeout_error",
}


class ApiError(Exception):
    """An answer that is an error: status, message, and what OpenAI's error object has beside it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.kind = KINDS.get(status, "server_error")
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def invalid(param: str, message: str, code: str = "invalid_value") -> ApiError:
    """A request that is wrong at `param`."""
    return ApiError(400, f"{param}: {message}", param=param, code=code)


LATE = ("in time", "deadline", "has not answered within")
"""What messages of failures say that are a matter of time."""


def api_error(error: BaseException, *, prompt: str = "messages") -> ApiError:
    """What an error of consort is to a client. A wrong request is 4xx; what may work later is 5xx.

    `prompt`: what the dialect calls the prompt.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, TimeoutError):
        return ApiError(504, "no answer within the deadline", code="deadline_exceeded")
    if isinstance(error, MemoryError):
        return ApiError(503, "out of memory", headers={"retry-after": "10"})
    if not isinstance(error, ConsortError):
        return ApiError(500, "a defect of the server; its log has more", headers={"x-should-retry": "false"})
    message = error.message if error.hint is None else f"{error.message} ({error.hint})"
    if isinstance(error, EnvironmentFailure):
        status = 504 if any(words in error.message for words in LATE) else 502
        return ApiError(status, message, code="upstream_error")
    if isinstance(error, BadData) and "context window" in error.message:
        return ApiError(400, message, param=prompt, code="context_length_exceeded")
    if isinstance(error, BadData | BadParameter | Unsupported | UnknownName):
        field = error.field or prompt
        named = prompt if field.startswith("prompts") else field
        return ApiError(400, message, param=named, code="invalid_value")
    # a broken checkpoint and the like fail every time: no client need try again
    return ApiError(500, message, headers={"x-should-retry": "false"}, code="model_failed")
