"""Llama 3: an answer that is JSON, `{"name": …, "parameters": {…}}`, several separated by `;`."""

from __future__ import annotations

import json
from typing import Any

MARKS = ("<|python_tag|>",)
_DECODER = json.JSONDecoder()


def parse(text: str) -> tuple[str, list[tuple[str, Any]]] | None:
    left = text.strip().removeprefix("<|python_tag|>").strip()
    calls = []
    while left.startswith("{"):
        try:
            value, end = _DECODER.raw_decode(left)
        except ValueError:
            return None
        arguments = value.get("parameters", value.get("arguments"))
        if not isinstance(value.get("name"), str) or arguments is None:
            return None
        calls.append((value["name"], arguments))
        left = left[end:].lstrip("; \n")
    return None if left or not calls else ("", calls)
