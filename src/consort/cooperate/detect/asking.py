"""Asking a language model on behalf of a detector: templates, yes and no, JSON, and what it all cost."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from consort.core.errors import BadParameter
from consort.core.types import Completion, Sampling, Usage, add_cost
from consort.models.base import LanguageModel
from consort.models.cost import cost_of

YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
QUOTE = "```"


class Asking:
    """A model that is asked in batches, greedily unless told otherwise; `cost` sums what it did, by name.

    `unread` counts answers that could not be read: they stand for "not known" and never for a guess.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self._cost: Mapping[str, Usage] = {}
        self.unread = 0

    def texts(self, prompts: Sequence[str], *, max_tokens: int = 64, sampling: Sampling | None = None) -> list[str]:
        """An answer to each prompt."""
        return [one.text for one in self.completions(prompts, max_tokens=max_tokens, sampling=sampling)]

    def completions(
        self, prompts: Sequence[str], *, max_tokens: int = 64, sampling: Sampling | None = None
    ) -> list[Completion]:
        found = self.model.generate(list(prompts), sampling or Sampling(max_tokens=max_tokens)) if prompts else []
        self.pay(*(cost_of(self.model, one) for one in found))
        return list(found)

    def pay(self, *costs: Mapping[str, Usage]) -> None:
        """Enter what the model did elsewhere on a detector's behalf."""
        self._cost = add_cost(self._cost, *costs)

    def spent(self) -> Mapping[str, Usage]:
        """What was done since this was last asked."""
        cost, self._cost = self._cost, {}
        return cost

    def yes_no(self, prompts: Sequence[str], *, max_tokens: int = 8) -> list[bool | None]:
        """Yes, no, or None for an answer that says neither."""
        said = [yes_or_no(text) for text in self.texts(prompts, max_tokens=max_tokens)]
        self.unread += said.count(None)
        return said

    def lists(self, prompts: Sequence[str], *, max_tokens: int = 256) -> list[list[str] | None]:
        """The list of strings that each answer is, in JSON or line by line; None where there is none."""
        said = [list_in(text) for text in self.texts(prompts, max_tokens=max_tokens)]
        self.unread += said.count(None)
        return said


def yes_or_no(text: str) -> bool | None:
    """The first "yes" or "no" of an answer."""
    found = YES_NO.search(text)
    return None if found is None else found[1].lower() == "yes"


def list_in(text: str) -> list[str] | None:
    """The first JSON list of strings in a text, else its lines that begin as items of a list do.

    >>> list_in('Sure: ["a", "b"]'), list_in("1. a\\n2. b"), list_in("none")
    (['a', 'b'], ['a', 'b'], None)
    """
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\[", text):
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return [item.strip() for item in value if item.strip()]
    items = re.findall(r"^\s*(?:[-*•]|\d+[.)])\s+(.+?)\s*$", text, re.MULTILINE)
    return items or None


def quoted(text: str) -> str:
    """Text from elsewhere as data: fenced, its own fences undone, so that nothing in it can end the quotation."""
    return f"{QUOTE}\n{text.replace(QUOTE, chr(39) * 3)}\n{QUOTE}"


def template_of(template: str, default: str, *needed: str) -> str:
    """The user's template or the default; it must have every placeholder `needed`. Raises BadParameter."""
    chosen = template or default
    for name in needed:
        if "{" + name + "}" not in chosen:
            raise BadParameter(f"has no {{{name}}}", field="template", hint=f"say where it goes: {{{name}}}")
    return chosen


def filled(template: str, **values: Any) -> str:
    """The template with each {name} replaced, all at once: braces in a value stay what they are."""
    return re.sub(r"\{(\w+)\}", lambda m: str(values.get(m.group(1), m.group(0))), template)
