"""The key of an endpoint: read from the environment at each request, checked, and hidden in whatever is shown."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from consort.core.errors import BadParameter

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
LOGGERS = ("httpcore.connection", "httpcore.http11", "httpx")
SHORT = 12
"""A key of fewer characters ("none", "EMPTY") is a word that an answer may well have; it is hidden in errors only."""

PART = 8
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Key:
    """The key that an environment variable holds; with `is_asked` (the user named it) it must hold one.

    Raises BadParameter for what is no name of a variable, without showing it: it may be the key itself.
    """

    def __init__(self, variable: str, *, is_asked: bool) -> None:
        if not _VARIABLE.fullmatch(variable):
            hint = "letters, digits and _; the key itself belongs into the environment"
            raise BadParameter("is not the name of an environment variable", field="api_key_env", hint=hint)
        self.variable, self.is_asked = variable, is_asked

    def headers(self, url: str) -> dict[str, str]:
        """The header that carries the key, if there is one. Raises BadParameter for a key that cannot be sent."""
        key = self._read()
        if not key:
            if self.is_asked:
                hint = f"export {self.variable}=…"
                raise BadParameter("the environment variable is empty or not set", field=self.variable, hint=hint)
            return {}
        if not key.isascii() or not key.isprintable() or " " in key:
            hint = "copy it again, without quotes (“ ”), spaces and line breaks"
            raise BadParameter("holds a key with characters that no key has", field=self.variable, hint=hint)
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in LOOPBACK:
            hint = f"use https, or unset {self.variable}"
            raise BadParameter("a key is not sent over plain http", field=url, hint=hint)
        return {"Authorization": f"Bearer {key}"}

    def hide(self, text: str) -> str:
        """The text with the key, plain or as in a URL, made unreadable, and so any part of it of PART characters."""
        key = self._read()
        for form in dict.fromkeys((key, quote(key, safe=""))) if key else ():
            size = min(PART, len(form))
            for at in range(len(form) - size, -1, -1):
                if form[at : at + size] in text:
                    text = _without(text, form, size)
                    break
        return text

    def veil(self) -> Veil:
        """Hides the key in what an endpoint sends; a short one stays."""
        return Veil(self._read())

    def guard_logs(self) -> None:
        """Hide the key in what the HTTP client logs, headers of answers included."""
        for name in LOGGERS:
            logger = logging.getLogger(name)
            if not any(isinstance(f, _Hides) and f.key.variable == self.variable for f in logger.filters):
                logger.addFilter(_Hides(self))

    def _read(self) -> str:
        return os.environ.get(self.variable, "").strip()


@dataclass(slots=True)
class Veil:
    """Hides a key in JSON values, and in a text that comes in pieces: what may become the key is held back."""

    key: str = ""
    held: str = ""

    def over(self, value: Any) -> Any:
        """The value with all its texts without the key, however they were escaped."""
        if len(self.key) < SHORT:
            return value
        if isinstance(value, str):
            return value.replace(self.key, "[key]")
        if isinstance(value, Mapping):
            return {self.over(name): self.over(inner) for name, inner in value.items()}
        return [self.over(inner) for inner in value] if isinstance(value, list) else value

    def put(self, piece: str) -> str:
        """What can be shown now that `piece` has come."""
        text: str = self.over(self.held + piece)
        lengths = range(min(len(text), len(self.key) - 1), 0, -1) if len(self.key) >= SHORT else ()
        kept = next((n for n in lengths if text.endswith(self.key[:n])), 0)
        self.held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def rest(self) -> str:
        """What was held back to the end."""
        text, self.held = self.held, ""
        return text


def _without(text: str, key: str, size: int) -> str:
    """The text with each longest stretch that is made of pieces of the key replaced."""
    pieces = {key[at : at + size] for at in range(len(key) - size + 1)}
    shown, at = [], 0
    while at < len(text):
        end = at
        while text[max(at, end - size + 1) : max(at, end - size + 1) + size] in pieces:
            end = max(at, end - size + 1) + size
        shown.append("[key]" if end > at else text[at])
        at = max(end, at + 1)
    return "".join(shown)


class _Hides(logging.Filter):
    def __init__(self, key: Key) -> None:
        super().__init__()
        self.key = key

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.key.hide(record.getMessage()), ()
        return True
