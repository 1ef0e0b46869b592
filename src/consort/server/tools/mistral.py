"""Mistral: `[TOOL_CALLS]` before a JSON list of `{"name": …, "arguments": {…}}`, or before `name[ARGS]{…}`."""

from __future__ import annotations

import json
import re
from typing import Any

MARKS = ("[TOOL_CALLS]",)
_NAMED = re.compile(r"\s*([A-Za-z0-9_.-]{1,128})\s*(?:\[ARGS\])?\s*(?=\{)")
_DECODER = json.JSONDecoder()


def parse(text: str) -> tuple[str, list[tuple[str, Any]]] | None:
    said, mark, left = text.partition(MARKS[0])
    if not mark:
        said, left = "", text  # a decoder that leaves control tokens out has left the mark out
    if left.strip().startswith("[{"):
        return _listed(said, left.strip())
    return _named(said, left) if mark else None


def _listed(said: str, text: str) -> tuple[str, list[tuple[str, Any]]] | None:
    try:
        values, end = _DECODER.raw_decode(text)
    except ValueError:
        return None
    if text[end:].strip() or not all(isinstance(v, dict) and isinstance(v.get("name"), str) for v in values):
        return None
    return said, [(value["name"], value.get("arguments", {})) for value in values]


def _named(said: str, text: str) -> tuple[str, list[tuple[str, Any]]] | None:
    calls = []
    for part in text.split(MARKS[0]):
        found = _NAMED.match(part)
        if found is None:
            return None
        try:
            value, end = _DECODER.raw_decode(part[found.end() :])
        except ValueError:
            return None
        if part[found.end() + end :].strip():
            return None
        calls.append((found[1], value))
    return said, calls
