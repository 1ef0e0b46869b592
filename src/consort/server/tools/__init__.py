"""Tool calls in the text of an answer: how each family of models writes them, one file each.

A file has `MARKS`, with which a call begins, and `parse(text)`: what is said beside the calls and the calls as pairs of
name and arguments; None where the text has none. A new file is found because it exists.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from consort.core.types import Grammar

Found = tuple[str, list[tuple[str, Any]]]
"""What is said beside the calls; name and arguments of each."""


@dataclass(frozen=True, slots=True)
class Parser:
    name: str
    marks: tuple[str, ...]
    parse: Callable[[str], Found | None]


@cache
def parsers() -> tuple[Parser, ...]:
    """All parsers, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [(name, importlib.import_module(f"{__name__}.{name}")) for name in names]
    return tuple(Parser(name, tuple(module.MARKS), module.parse) for name, module in modules)


def calls_in(text: str, names: Collection[str]) -> tuple[str, list[tuple[str, str]]]:
    """What a text says, and the calls of known tools in it, arguments as JSON; all is text where one is not sound.

    >>> calls_in('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', {"f"})
    ('', [('f', '{"a": 1}')])
    """
    for parser in parsers():
        found = parser.parse(text)
        if found is None:
            continue
        said, calls = found
        sound = [(name, arguments_of(arguments)) for name, arguments in calls]
        if sound and all(name in names and arguments is not None for name, arguments in sound):
            return said.strip(), [(name, str(arguments)) for name, arguments in sound]
    return text, []


def arguments_of(value: Any) -> str | None:
    """Arguments as the JSON of an object; None for what is not."""
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except ValueError:
            return None
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else None


def canonical(said: str, calls: Sequence[tuple[str, str]]) -> str:
    """An answer with calls, written so that equal calls are equal texts."""
    written = [
        json.dumps({"name": name, "arguments": json.loads(arguments)}, ensure_ascii=False, sort_keys=True)
        for name, arguments in calls
    ]
    return said + "".join(f"<tool_call>{call}</tool_call>" for call in written)


def sure_text(text: str) -> str:
    """What of a text in the making is certainly not the beginning of a call."""
    if text.lstrip()[:1] in ("{", "[") or not text.strip():
        return ""
    end = len(text)
    for mark in (mark for parser in parsers() for mark in parser.marks):
        at = text.find(mark)
        if at >= 0:
            end = min(end, at)
        partial = next((n for n in range(len(mark) - 1, 0, -1) if text.endswith(mark[:n])), 0)
        end = min(end, len(text) - partial)
    return text[:end].rstrip()


def forced(tools: Sequence[Mapping[str, Any]], name: str, other: Grammar | None = None) -> Grammar:
    """The grammar of an answer that calls one of the tools (or that named), or else is what `other` says."""
    chosen = [tool["function"] for tool in tools if name in ("", tool["function"]["name"])]
    alternatives = [f"call{i}" for i in range(len(chosen))]
    rules = [
        f'call{i}: "<tool_call>" %json {json.dumps(_call_schema(function))} "</tool_call>"'
        for i, function in enumerate(chosen)
    ]
    if other is not None:
        schema = other.text if other.kind == "json_schema" else '{"type": "object"}'
        alternatives.append("other")
        rules.append(f"other: %json {schema}")
    return Grammar("grammar", "\n".join([f"start: {' | '.join(alternatives)}", *rules]))


def _call_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    properties = {"name": {"const": function["name"]}, "arguments": function["parameters"]}
    return {
        "type": "object",
        "properties": properties,
        "required": ["name", "arguments"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
    }
