"""Any models behind one router: a small model reads the prompt, one expert answers it with its own tokenizer.

Model-GLUE (2410.05357, section 4.3) mixes whole models of one architecture and routes again at every token; here the
choice is made once on the prompt's text, so the experts may be of any kind, remote ones and strategies included.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.mixture import strategy
from consort.mixture.gates import Gate, Prompts, check_prompts, hidden_gates, read_gates, states_of
from consort.models.base import LanguageModel
from consort.models.cost import cost_of, distinct, joined
from consort.models.decoding.decode import prompt_tokens
from consort.models.token_model import TokenModel

KEY = 0
"""The layer under which a file has this router."""


@strategy(paper="2410.05357", example={"positive": [["a"], ["b"], ["c"]]})
class PromptMixture:
    """Any models: a reference model's hidden state of the prompt chooses one of them, which answers.

    `reference` reads the prompt, and its hidden states must be open; `layer` says which (0 the embeddings, -1 the last)
    and `input` whether the last token's or the mean counts. The router is linear: made from `positive` and `negative`
    prompts of each expert, or read from `state`, a file that `fit_prompt_router` wrote. `details` has `answered_by` and
    the router's `scores`; the cost counts the reading and the model that answered. Raises BadParameter, Unsupported.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        reference: TokenModel,
        *,
        positive: Sequence[Prompts] = (),
        negative: Sequence[Prompts] = (),
        state: str = "",
        layer: int = -1,
        input: Literal["last_token", "mean"] = "last_token",
    ) -> None:
        self.models, self.reference = tuple(models), reference
        self.positive, self.negative, self.state = positive, negative, state
        self.layer, self.input = layer, input
        if not self.models:
            raise BadParameter("no models", field="models", hint="give at least one")
        check_prompts(positive, negative, len(self.models), required=not state and len(self.models) > 1)
        self.labels = distinct([model.name for model in self.models])
        self.name = f"prompt_mixture({', '.join(model.name for model in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return (*self.models, self.reference)

    @property
    def gives_logprob(self) -> bool:
        return all(getattr(model, "gives_logprob", True) for model in self.models)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        scores, reading = self.route(prompts)
        chosen = [int(row.argmax()) for row in scores]
        answers: list[Completion] = [Completion("")] * len(prompts)
        for number, model in enumerate(self.models):
            rows = [i for i, choice in enumerate(chosen) if choice == number]
            given = model.generate([prompts[i] for i in rows], sampling.of_rows(rows)) if rows else []
            for i, answer in zip(rows, given, strict=True):
                by_label = dict(zip(self.labels, scores[i].tolist(), strict=True))
                cost = joined(
                    self, [(self.reference, {self.reference.name: reading[i]}), (model, cost_of(model, answer))]
                )
                details = {**answer.details, "answered_by": self.labels[number], "scores": by_label}
                answers[i] = replace(answer, cost=cost, details=details)
        return answers

    def route(self, prompts: Sequence[Prompt]) -> tuple[Float[Tensor, "prompt expert"], list[Usage]]:
        """The router's scores of every prompt, and what the reference spent on reading it."""
        if not prompts:
            return torch.empty(0, len(self.models)), []
        if len(self.models) == 1:
            return torch.zeros(len(prompts), 1), [Usage()] * len(prompts)
        begun = time.perf_counter()
        states = states_of(self.reference, prompts, (self.layer,), mean=self.input == "mean")[0]
        scores = self._gate(states)
        each = (time.perf_counter() - begun) / len(prompts)
        window = self.reference.window or 1 << 30
        lengths = [min(window, len(prompt_tokens(self.reference.tokenizer, prompt))) for prompt in prompts]
        return scores, [Usage(length, 0, 1, each) for length in lengths]

    @cached_property
    def _gate(self) -> Gate:
        layers, mean = (self.layer,), self.input == "mean"
        if not self.state:
            made = hidden_gates(self.reference, self.positive, self.negative, layers, mean=mean, centred=True)
            return made[self.layer]
        width = states_of(self.reference, ["a"], layers).shape[-1]
        return read_gates(self.state, layers=[KEY], experts=len(self.models), hidden=width)[KEY]
