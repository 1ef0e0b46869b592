"""Several answers of one model to one prompt: which seeds they have, and what asks for them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from consort.core.errors import BadParameter
from consort.core.prompts import check_list
from consort.core.types import Completion, Message, Prompt, Sampling
from consort.models.base import LanguageModel
from consort.models.tokens.chats import plain_chat

STEP, AGAIN = 7919, 104729
"""What the seeds of samples, and of equal prompts in one batch, are apart."""


class Sample:
    """Answer number `number` of a model that is asked several times, as a model of its own.

    `style` is what the prompt is put into, `{prompt}` in it. A greedy request is sampled at `temperature`.
    """

    def __init__(self, model: LanguageModel, number: int, *, style: str = "{prompt}", temperature: float) -> None:
        self.model, self.number, self.style, self.temperature = model, number, style, temperature
        self.name = f"{model.name}.{number}"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return (self.model,)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        asked, warm = samples_of(prompts, sampling, [self.number], self.temperature)
        return self.model.generate([in_style(prompt, self.style) for prompt in asked], warm)


def samples_of(
    prompts: Sequence[Prompt], sampling: Sampling, numbers: Sequence[int], temperature: float
) -> tuple[list[Prompt], Sampling]:
    """Each prompt as many times in a row as there are `numbers`, and a sampling that tells the answers apart.

    Sample k of a prompt is the same whoever asks for it, alone or with others. A greedy request is sampled at
    `temperature`; one that has a temperature keeps it.
    """
    seeds = tuple(seed + STEP * k for seed in row_seeds(prompts, sampling) for k in numbers)
    warm = replace(sampling, seeds=seeds, temperature=sampling.temperature or temperature)
    return [prompt for prompt in prompts for _ in numbers], warm


def draws(
    prompts: Sequence[Prompt], sampling: Sampling, number: int, temperature: float
) -> tuple[list[Prompt], Sampling]:
    """`samples_of` for the first `number` samples; a single one is what was asked for, greedy if it was greedy."""
    if number == 1:
        return list(prompts), sampling
    return samples_of(prompts, sampling, range(number), temperature)


def row_seeds(prompts: Sequence[Prompt], sampling: Sampling) -> tuple[int, ...]:
    """A seed for each prompt: the request's own, moved on for each equal prompt before."""
    check_list(prompts)
    if sampling.seeds:
        return sampling.seeds
    before: Counter[str] = Counter()
    found = []
    for prompt in prompts:
        text = prompt if isinstance(prompt, str) else plain_chat(prompt)
        found.append(sampling.seed + AGAIN * before[text])
        before[text] += 1
    return tuple(found)


def last_words(prompt: Prompt) -> str:
    """What is asked: the text, or the last message of a chat."""
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def rephrased(prompt: Prompt, text: str) -> Prompt:
    """The prompt with its text, or the last message of a chat, replaced."""
    if isinstance(prompt, str):
        return text
    return [*prompt[:-1], Message(role=prompt[-1]["role"], content=text)]


def in_style(prompt: Prompt, style: str) -> Prompt:
    """The prompt with its text put into `style`."""
    return prompt if style == "{prompt}" else rephrased(prompt, filled(style, prompt=last_words(prompt)))


def filled(template: str, **values: str) -> str:
    """The template with each {name} replaced, all at once: braces in a value stay what they are."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found.group(1), found.group(0)), template)


def checked_template(template: str, argument: str, *needed: str) -> str:
    """The template, which must have every placeholder `needed`. Raises BadParameter."""
    for name in needed:
        if "{" + name + "}" not in template:
            raise BadParameter(f"has no {{{name}}}", field=argument, hint=f"say where it goes: {{{name}}}")
    return template
