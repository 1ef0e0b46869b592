"""SALAM: learning from mistakes with a study assistant (Wang and Li, EMNLP 2023, 2305.13829), as far as it tells.

An assistant studies the answers that were graded wrong on examples for fitting and writes a guideline for each; later
questions are put with the guidelines of the nearest mistakes before them.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from consort.cooperate.detect import guard
from consort.cooperate.detect.asking import Asking, filled, quoted, template_of
from consort.cooperate.detect.learned.fitting import learned_values
from consort.core.params import Range
from consort.core.types import Completion, Message, Prompt, Sampling
from consort.models.base import LanguageModel
from consort.models.cost import cost_of, joined
from consort.models.tokens.chats import plain_chat

GUIDELINE = (
    "A question was answered wrongly.\n\nQuestion:\n{prompt}\n\nWrong answer:\n{answer}\n\nRight answer:\n{reference}"
    "\n\nSay in one sentence what to mind in questions like this one, without giving the answer.\nGuideline:"
)
ADVICE = "Mind what went wrong in similar questions:\n{mistakes}\n\n{prompt}"


@guard(paper="2305.13829")
class Salam:
    """`model`, asked with the guidelines of the `k` mistakes that are nearest to the question (by BM25).

    `consort fit` has the model answer the examples for fitting; `assistant` (the model itself, without one) writes a
    guideline for each wrong answer, and the whole is kept only if held-out examples are answered no worse. No held-out
    question enters the memory, whatever its split. `details["mistakes"]` are the numbers of those shown. A question
    that has no word with any mistake in common is asked plainly.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        assistant: LanguageModel | None = None,
        k: Annotated[int, Range(1, 100)] = 3,
        advice: str = "",
        state: str = "",
    ) -> None:
        self.model, self.assistant, self.k, self.advice, self.state = model, assistant, k, advice, state
        self.wording = template_of(advice, ADVICE, "mistakes", "prompt")
        self.name = f"salam({model.name})"
        self.values: dict[str, Any] | None = None
        self._index: Any = None

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return (self.model,)

    @property
    def gives_logprob(self) -> bool:
        return bool(getattr(self.model, "gives_logprob", True))

    def study(
        self,
        prompts: Sequence[Prompt],
        answers: Sequence[str],
        references: Sequence[str],
        right: Sequence[bool],
        *,
        held_out: Sequence[Prompt] = (),
    ) -> tuple[Salam, dict[str, Any]]:
        """The same, which has learned from the wrong answers; a report says what the assistant's work cost."""
        kept_out = {_digest(prompt) for prompt in held_out}
        rows = [
            (_text(p), a, r)
            for p, a, r, ok in zip(prompts, answers, references, right, strict=True)
            if not ok and _digest(p) not in kept_out
        ]
        asking = Asking(self.assistant or self.model)
        asked = [filled(GUIDELINE, prompt=quoted(p), answer=quoted(a), reference=quoted(r)) for p, a, r in rows]
        guidelines = asking.texts(asked, max_tokens=96)
        mistakes = [
            {"prompt": p, "answer": a, "guideline": g.strip().split("\n")[0]}
            for (p, a, _), g in zip(rows, guidelines, strict=True)
        ]
        studied = copy.copy(self)
        studied.values = {"mistakes": [m for m in mistakes if m["guideline"]]}
        studied._index = None
        cost = {name: [u.calls, u.total_tokens] for name, u in asking.spent().items()}
        return studied, {"mistakes": len(studied.values["mistakes"]), "cost_of_study": cost}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        shown = [self._nearest(prompt) for prompt in prompts]
        asked = [self._advised(prompt, numbers) for prompt, numbers in zip(prompts, shown, strict=True)]
        answers = self.model.generate(asked, sampling)
        return [
            replace(
                answer,
                cost=joined(self, [(self.model, cost_of(self.model, answer))]),
                details={**answer.details, "mistakes": tuple(numbers)},
            )
            for answer, numbers in zip(answers, shown, strict=True)
        ]

    @property
    def _mistakes(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = learned_values(self, "salam")["mistakes"]
        return found

    def _nearest(self, prompt: Prompt) -> list[int]:
        """The numbers of the nearest mistakes, nearest first."""
        from consort.knowledge.text_index import TextIndex

        if not self._mistakes:
            return []
        if self._index is None:
            self._index = TextIndex.of([m["prompt"] for m in self._mistakes])
        return [int(one.id) - 1 for one in self._index.bm25(_text(prompt), self.k)]

    def _advised(self, prompt: Prompt, numbers: Sequence[int]) -> Prompt:
        if not numbers:
            return prompt
        lines = [
            f"- Question: {_line(self._mistakes[n]['prompt'])}\n  Wrong answer: {_line(self._mistakes[n]['answer'])}\n"
            f"  Guideline: {_line(self._mistakes[n]['guideline'])}"
            for n in numbers
        ]
        last = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        text = filled(self.wording, mistakes=quoted("\n".join(lines)), prompt=last)
        return text if isinstance(prompt, str) else [*prompt[:-1], Message(role=prompt[-1]["role"], content=text)]


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else plain_chat(prompt)


def _digest(prompt: Prompt) -> bytes:
    return hashlib.blake2b(" ".join(_text(prompt).split()).encode(), digest_size=16).digest()


def _line(text: str) -> str:
    return " ".join(text.split())
