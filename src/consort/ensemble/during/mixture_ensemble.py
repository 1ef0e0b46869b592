"""An ensemble at the price of one model: each token is drawn from one member, drawn by weight (arXiv 2605.00419).

Given all tokens so far, the next one has the law of the weighted sum of the members' distributions, and by the chain
rule so has the answer. One member runs at each step; what it missed it reads then. Calls fall to one member's, tokens
read do not, so it is quicker only while decoding waits for weights. The released programme also cuts and sharpens the
drawn member's distribution, which is another law: refused here.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from consort.core.errors import Unsupported
from consort.core.params import name_of
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.ensemble.during import strategy
from consort.ensemble.during.average import Average
from consort.ensemble.mixing.base import check_models, shares
from consort.ensemble.mixing.lagging import Lagging
from consort.models.cost import joined
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

LAW = ("temperature", "top_p", "top_k", "min_p", "typical_p")
"""Settings that act on the mixture, which is never computed."""


@strategy(
    paper="2605.00419",
    exempt={
        "strategies_nest": "it draws from its members and has no next-token distribution of its own",
        "batch_equals_single": "greedy answers, which the law asks for, are refused",
        "deterministic": "greedy answers, which the law asks for, are refused",
        "cost_names_the_models": "greedy answers, which the law asks for, are refused",
        "copies_are_the_model": "greedy answers, which the law asks for, are refused",
        "sampling_max_tokens_holds_or_is_refused": "greedy answers, which the law asks for, are refused",
        "sampling_stop_holds_or_is_refused": "greedy answers, which the law asks for, are refused",
        "sampling_logit_bias_holds_or_is_refused": "greedy answers, which the law asks for, are refused",
        "sampling_min_tokens_holds_or_is_refused": "greedy answers, which the law asks for, are refused",
        "sampling_grammar_holds_or_is_refused": "greedy answers, which the law asks for, are refused",
        "sampling_repetition_penalty_holds_or_is_refused": "greedy answers, which the law asks for, are refused",
        "sampling_frequency_penalty_holds_or_is_refused": "greedy answers, which the law asks for, are refused",
        "sampling_presence_penalty_holds_or_is_refused": "greedy answers, which the law asks for, are refused",
    },
)
class MixtureEnsemble:
    """Draw each token from one member, drawn by weight: the law of `average` for the calls of one model.

    The member of a step is drawn by `seed` and the step's number, the same for all rows, so that one member runs; the
    answers of one call are therefore dependent (for votes, ask each with a seed of its own). `score` is that of
    `average`. Raises Incompatible if vocabularies differ, Unsupported for sampling that is not plain (temperature 1, no
    cuts): its law would differ.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
    ) -> None:
        self.models, self.weight = tuple(models), weight
        check_models(self.models)
        self.shares = shares(weight, len(self.models))
        self.name = f"{name_of(type(self).__name__)}({', '.join(m.name for m in self.models)})"
        self.whole = Average(self.models, weight=weight)

    @property
    def members(self) -> Sequence[TokenModel]:
        return self.models

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> list[Completion]:
        found = _Drawn(self, _plain(sampling)).generate(prompts, sampling, cancel=cancel)
        return [replace(one, logprob=None) for one in found]

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> Generator[str, None, Completion]:
        found = yield from _Drawn(self, _plain(sampling)).stream(prompt, sampling, cancel=cancel)
        return replace(found, logprob=None)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Log-likelihood (nats) under the mixture; every member reads."""
        return self.whole.score(pairs)


def _plain(sampling: Sampling) -> Sampling:
    """Raises Unsupported unless tokens are drawn from the distribution as it is."""
    neutral = Sampling(temperature=1.0)
    wrong = [name for name in LAW if getattr(sampling, name) != getattr(neutral, name)]
    if wrong or sampling.adjusts:
        field = wrong[0] if wrong else "logit_bias, penalties, min_tokens, grammar"
        hint = "draw with temperature 1 and no cuts, or take average"
        raise Unsupported("acts on the mixture, of which only one member is computed", field=field, hint=hint)
    return sampling


class _Drawn(TokenModel):
    """The members as one model, for answers to one call; its logits are those of the member drawn."""

    def __init__(self, owner: MixtureEnsemble, sampling: Sampling) -> None:
        self.owner, self.sampling = owner, sampling
        whole = owner.whole
        self.name, self.tokenizer, self.window = owner.name, whole.tokenizer, whole.window
        self.batch_tokens = whole.batch_tokens

    @property
    def ends(self) -> frozenset[int]:
        return self.owner.whole.ends

    def open(self, batch: int = 1) -> _DrawnSession:
        return _DrawnSession(self, batch)


class _DrawnSession:
    """Members that wait; at each step one of them catches up."""

    def __init__(self, model: _Drawn, batch: int) -> None:
        self.model = model
        self.asked = [i for i, share in enumerate(model.owner.shares) if share]
        self.parts = [Lagging(model.owner.models[i], batch) for i in self.asked]
        self.steps = [0] * batch

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        import torch

        for part in self.parts:
            part.add(tokens)
        chosen = {row: self.member(self.steps[row]) for row, new in enumerate(tokens) if new}
        found: dict[int, Any] = {}
        for number, part in enumerate(self.parts):
            found |= part.logits([row for row, member in chosen.items() if member == number])
        self.steps = [n + bool(new) for n, new in zip(self.steps, tokens, strict=True)]
        size = min((len(x) for x in found.values()), default=self.model.tokenizer.vocab_size)
        return [found[row][None, :size] if row in found else torch.empty(0, size) for row in range(len(tokens))]

    def member(self, step: int) -> int:
        """Which of the asked members gives the token of a step."""
        told = f"mixture {self.model.sampling.seed} {step}".encode()
        at = int.from_bytes(blake2b(told, digest_size=8).digest(), "big") / 2**64
        for number, i in enumerate(self.asked):
            at -= self.model.owner.shares[i]
            if at < 0:
                return number
        return len(self.asked) - 1

    def rollback(self, lengths: Sequence[int]) -> None:
        for part in self.parts:
            part.rollback(lengths)

    def select(self, rows: Sequence[int]) -> _DrawnSession:
        for part in self.parts:
            part.select(rows)
        self.steps = [self.steps[row] for row in rows]
        return self

    def spent(self) -> list[dict[str, Usage]]:
        by_row = zip(*(part.spent() for part in self.parts), strict=True)
        models = [part.model for part in self.parts]
        return [joined(self.model.owner, list(zip(models, costs, strict=True))) for costs in by_row]
