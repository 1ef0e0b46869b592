"""Hermes and Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, any number of them."""

from __future__ import annotations

import json
import re
from typing import Any

MARKS = ("<tool_call>",)
_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)


def parse(text: str) -> tuple[str, list[tuple[str, Any]]] | None:
    written = _CALL.findall(text)
    if not written:
        return None
    calls = []
    for one in written:
        try:
            value = json.loads(one)
        except ValueError:
            return None
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return None
        calls.append((value["name"], value.get("arguments", {})))
    return _CALL.sub("", text), calls
