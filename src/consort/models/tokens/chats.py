"""How a chat is written for a model: by its own template, else as plain lines, which is told or refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from consort.core.errors import Unsupported
from consort.core.types import Message
from consort.models.placement import OWN, REQUIRED

_LOG = logging.getLogger(__name__)


def plain_chat(messages: Sequence[Message]) -> str:
    """A chat as lines `role: content`, ready for the assistant's turn: what a model without a template is given.

    Tools come first, as JSON; calls are written as `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
    """
    tools = getattr(messages, "tools", ())
    head = "".join(f"tool: {json.dumps(tool.get('function', tool), ensure_ascii=False)}\n" for tool in tools)
    return head + "".join(f"{m['role']}: {_turn(m)}\n" for m in messages) + "assistant:"


def _turn(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    text = "" if content is None else said(content)
    for call in message.get("tool_calls") or ():
        function = call.get("function", {})
        arguments = function.get("arguments") or "{}"
        shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        text += f'<tool_call>{{"name": {json.dumps(function.get("name"))}, "arguments": {shown}}}</tool_call>'
    return text


def said(content: Any) -> str:
    """The text of a message's content, which may be a string or a list of parts of which some are text."""
    if isinstance(content, Sequence) and not isinstance(content, str):
        parts = (part.get("text", "") if isinstance(part, Mapping) else part for part in content)
        return "".join(str(part) for part in parts)
    return str(content)


class PlainChats:
    """Chats without a template. What stands for a missing one is told once; `required` refuses it, `none` asked for it.

    Raises Unsupported, naming the model.
    """

    def __init__(self, name: str, template: str = OWN) -> None:
        self.name, self.template, self._told = name, template, False

    def write(self, messages: Sequence[Message]) -> str:
        """The chat as lines."""
        if self.template == REQUIRED:
            hint = "give its prompts as texts, or let chats be written as lines: template: own"
            raise Unsupported("has no chat template, and one is required", field=self.name, hint=hint)
        if self.template == OWN and not self._told:
            self._told = True
            _LOG.warning("%s has no chat template: its chats are written as lines `role: content`", self.name)
        return plain_chat(messages)
