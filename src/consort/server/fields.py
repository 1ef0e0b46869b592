"""Reading request bodies: each field is checked where it is read, and an error names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consort.core.types import Chat, Grammar, Message, Sampling
from consort.server.errors import ApiError, invalid
from consort.server.limits import Limits
from consort.server.request import ToolChoice

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
FORBIDDEN = ("base_url", "api_base", "api_key", "custom_llm_provider")
"""Fields with which a client would send the server somewhere."""


class Body:
    """The JSON object of a request. `get` methods return the default for a field that is missing or null."""

    def __init__(self, fields: Any, limits: Limits, *, where: str = "") -> None:
        if not isinstance(fields, Mapping):
            raise ApiError(400, "the body must be a JSON object", code="invalid_json")
        self.fields, self.limits, self.where = fields, limits, where
        for name in FORBIDDEN:
            if name in fields:
                raise invalid(self.named(name), "a request cannot say where a model is")

    def named(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def raw(self, name: str) -> Any:
        return self.fields.get(name)

    def text(self, name: str, default: str | None = None) -> str:
        value = self.fields.get(name)
        if value is None:
            if default is None:
                raise invalid(self.named(name), "is required", "missing_required_parameter")
            return default
        return whole_text(value, self.named(name))

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise invalid(self.named(name), "must be true or false")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.fields.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise invalid(self.named(name), "must be a number")
        if not low <= value <= high:
            raise invalid(self.named(name), f"must be from {low:g} to {high:g}")
        return float(value)

    def count(self, name: str, default: int | None, low: int, high: int) -> int | None:
        value = self.fields.get(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(self.named(name), "must be a whole number")
        if not low <= value <= high:
            raise invalid(self.named(name), f"must be from {low} to {high}")
        return value

    def items(self, name: str, most: int) -> list[Any]:
        value = self.fields.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise invalid(self.named(name), "must be a list")
        if len(value) > most:
            raise invalid(self.named(name), f"has {len(value)} entries; at most {most} are taken")
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.fields.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise invalid(self.named(name), "must be an object")
        return value


def whole_text(value: Any, where: str) -> str:
    """A string that can be written: without halves of characters. Raises ApiError."""
    if not isinstance(value, str):
        raise invalid(where, "must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise invalid(where, "has a lone surrogate, which is no character") from None
    return value


def sampling_of(body: Body, *, default_tokens: int, max_names: Sequence[str]) -> Sampling:
    """How tokens are drawn. Raises ApiError naming the field."""
    limits = body.limits
    given = {n: body.count(n, None, 0, limits.max_tokens) for n in max_names}
    known = {name: value for name, value in given.items() if value is not None}
    if len(set(known.values())) > 1:
        raise invalid(next(iter(known)), f"differs from {list(known)[1]}")
    seed = body.count("seed", 0, -(2**63), 2**63)
    top_p = body.number("top_p", 1.0, 0, 1)
    return Sampling(
        max_tokens=next(iter(known.values()), default_tokens),
        temperature=body.number("temperature", 1.0, 0, 100),
        top_p=max(top_p, 1e-9),
        top_k=max(0, body.count("top_k", 0, -1, 2**31) or 0),
        min_p=body.number("min_p", 0.0, 0, 1),
        typical_p=max(body.number("typical_p", 1.0, 0, 1), 1e-9),
        repetition_penalty=body.number("repetition_penalty", 1.0, 0.01, 100),
        frequency_penalty=body.number("frequency_penalty", 0.0, -100, 100),
        presence_penalty=body.number("presence_penalty", 0.0, -100, 100),
        min_tokens=body.count("min_tokens", 0, 0, limits.max_tokens) or 0,
        logit_bias=bias_of(body),
        stop=stop_of(body, "stop"),
        seed=seed or 0,
        grammar=grammar_of(body),
    )


def stop_of(body: Body, name: str) -> tuple[str, ...]:
    value, limits = body.raw(name), body.limits
    texts = [value] if isinstance(value, str) else body.items(name, limits.stop)
    found = [whole_text(text, body.named(name)) for text in texts]
    if any(len(text) > limits.stop_characters for text in found):
        raise invalid(name, f"a string has more than {limits.stop_characters} characters")
    return tuple(dict.fromkeys(text for text in found if text))


def bias_of(body: Body) -> tuple[tuple[int, float], ...]:
    found = []
    given = body.mapping("logit_bias")
    if len(given) > body.limits.logit_bias:
        raise invalid("logit_bias", f"has {len(given)} entries; at most {body.limits.logit_bias} are taken")
    for token, bias in given.items():
        if not str(token).isascii() or not str(token).isdigit() or len(str(token)) > 12:
            raise invalid("logit_bias", f"{str(token)[:20]!r} is no token id")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not -1000 <= bias <= 1000:
            raise invalid("logit_bias", "a bias is a number from -1000 to 1000")
        found.append((int(token), float(bias)))
    return tuple(found)


def grammar_of(body: Body) -> Grammar | None:
    """What the answer must be, from `response_format` or vLLM's `guided_*`. Raises ApiError."""
    found = [format_of(body.raw("response_format"), "response_format")]
    schema = body.raw("guided_json")
    if schema is not None:
        found.append(Grammar("json_schema", schema if isinstance(schema, str) else as_json(schema)))
    if body.raw("guided_regex") is not None:
        found.append(Grammar("regex", body.text("guided_regex")))
    if body.raw("guided_grammar") is not None:
        found.append(Grammar("grammar", body.text("guided_grammar")))
    choices = body.items("guided_choice", 1000)
    if choices:
        found.append(Grammar("choice", as_json([whole_text(choice, "guided_choice") for choice in choices])))
    known = [grammar for grammar in found if grammar is not None]
    if len(known) > 1:
        raise invalid("response_format", "more than one thing says what the answer must be")
    return known[0] if known else None


def format_of(value: Any, where: str) -> Grammar | None:
    """A `response_format`, or the flat form of /v1/responses."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise invalid(where, "must be an object with a type")
    kind = value.get("type")
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        return Grammar("json_object")
    if kind == "json_schema":
        inner = value.get("json_schema", value)
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
        if not isinstance(schema, Mapping | bool):
            raise invalid(f"{where}.schema", "must be a JSON schema")
        return Grammar("json_schema", as_json(schema))
    if kind == "regex" and isinstance(value.get("pattern"), str):
        return Grammar("regex", value["pattern"])
    if kind == "grammar" and isinstance(value.get("grammar"), str):
        return Grammar("grammar", value["grammar"])
    raise invalid(where, f"{str(kind)[:40]!r} is not text, json_object or json_schema")


def as_json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, sort_keys=False)


def messages_of(body: Body, name: str = "messages") -> tuple[Message, ...]:
    """The turns of a chat. Content is text, or a list of parts that are text; anything else is refused by name."""
    given = body.items(name, body.limits.messages)
    if not given:
        raise invalid(name, "must be a list with at least one message", "missing_required_parameter")
    return tuple(_message(message, f"{name}[{i}]") for i, message in enumerate(given))


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping):
        raise invalid(where, "must be an object")
    role = message.get("role")
    if role not in ROLES:
        raise invalid(f"{where}.role", f"must be one of {', '.join(ROLES)}")
    calls = message.get("tool_calls")
    content = message.get("content")
    if content is None and not (role == "assistant" and calls):
        raise invalid(f"{where}.content", "must be a string or a list of text parts")
    made: dict[str, Any] = {"role": "system" if role == "developer" else role}
    made["content"] = "" if content is None else text_of_content(content, f"{where}.content")
    if calls is not None:
        made["tool_calls"] = _calls(calls, f"{where}.tool_calls")
    for key in ("name", "tool_call_id"):
        if message.get(key) is not None:
            made[key] = whole_text(message[key], f"{where}.{key}")
    found: Any = made
    return found  # type: ignore[no-any-return]


def text_of_content(content: Any, where: str) -> str:
    """A content as one text; images, sound and files are refused."""
    if isinstance(content, str):
        return whole_text(content, where)
    if not isinstance(content, list):
        raise invalid(where, "must be a string or a list of text parts")
    parts = []
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in ("text", "input_text", "output_text", "refusal"):
            what = str(kind)[:40]
            raise invalid(f"{where}[{i}]", f"{what!r} parts are not supported: text only", "unsupported_content")
        parts.append(whole_text(part.get("text", part.get("refusal", "")), f"{where}[{i}].text"))
    return "".join(parts)


def _calls(calls: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise invalid(where, "must be a list")
    found = []
    for i, call in enumerate(calls):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise invalid(f"{where}[{i}].function", "must be an object")
        found.append(call_message(call.get("id"), function.get("name"), function.get("arguments"), f"{where}[{i}]"))
    return found


def call_message(identity: Any, name: Any, arguments: Any, where: str) -> dict[str, Any]:
    """A tool call of an earlier turn, as templates want it: arguments as an object where they are JSON of one."""
    import json

    text = arguments if isinstance(arguments, str) else as_json(arguments or {})
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    return {
        "id": whole_text(identity or "", f"{where}.id"),
        "type": "function",
        "function": {
            "name": whole_text(name, f"{where}.function.name"),
            "arguments": value if isinstance(value, dict) else whole_text(text, f"{where}.function.arguments"),
        },
    }


def tools_of(body: Body, name: str = "tools") -> tuple[Mapping[str, Any], ...]:
    """Functions that may be called: `{type: function, function: {name, description, parameters}}`."""
    found = []
    for i, tool in enumerate(body.items(name, body.limits.tools)):
        where = f"{name}[{i}]"
        if not isinstance(tool, Mapping):
            raise invalid(where, "must be an object")
        if tool.get("type", "function") != "function":
            continue  # what a client offers to run elsewhere, no model here can call
        function = tool.get("function", tool)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
            raise invalid(f"{where}.function.name", "must be a string")
        found.append(tool_of(function, where))
    return tuple(found)


def tool_of(function: Mapping[str, Any], where: str, parameters: str = "parameters") -> dict[str, Any]:
    """A tool in the form that templates want."""
    schema = function.get(parameters)
    if schema is not None and not isinstance(schema, Mapping):
        raise invalid(f"{where}.{parameters}", "must be a JSON schema")
    made = {
        "name": whole_text(function["name"], f"{where}.name"),
        "description": whole_text(function.get("description") or "", f"{where}.description"),
        "parameters": dict(schema) if schema else {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": made}


def choice_of(body: Body, tools: Sequence[Mapping[str, Any]]) -> ToolChoice:
    """`tool_choice` of any dialect."""
    value = body.raw("tool_choice")
    if value is None:
        return ToolChoice()
    if isinstance(value, str):
        kind = {"any": "required"}.get(value, value)
        if kind not in ("none", "auto", "required"):
            raise invalid("tool_choice", "must be none, auto, required or a function")
        name = ""
    elif isinstance(value, Mapping):
        kind = str(value.get("type"))
        function = value.get("function", value)
        name = function.get("name", "") if isinstance(function, Mapping) else ""
        kind = {"function": "named", "tool": "named", "any": "required", "allowed_tools": "auto"}.get(kind, kind)
        if kind not in ("named", "auto", "none", "required"):
            raise invalid("tool_choice", "must be none, auto, required or a function")
    else:
        raise invalid("tool_choice", "must be a string or an object")
    if kind == "named" and name not in {tool["function"]["name"] for tool in tools}:
        raise invalid("tool_choice", f"there is no tool {str(name)[:60]!r}")
    if kind == "required" and not tools:
        raise invalid("tool_choice", "a call is required, but there are no tools")
    return ToolChoice(kind, str(name) if kind == "named" else "")


def chat_of(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], choice: ToolChoice) -> Chat:
    """The chat as models are given it; tools that must not be called are not shown."""
    return Chat(messages, () if choice.kind == "none" else tools)
