"""A draft model: one token a pass, drawn from its own distribution (2211.17192, 2302.01318)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.speculate.drafters import drafter
from consort.cooperate.speculate.drafters.base import Drafter, DraftSession, Start, Target
from consort.cooperate.speculate.drafters.draft import EMPTY, Draft
from consort.cooperate.speculate.drafters.followers import Followers
from consort.cooperate.speculate.rounds.pipeline import Pipeline, number
from consort.cooperate.speculate.rounds.vocabulary import Pairing
from consort.core.params import Range
from consort.core.types import Sampling, Usage
from consort.models.decoding.sampling import draw, uniform
from consort.models.token_model import TokenModel

_LOG = logging.getLogger("consort.speculate")
_LITTLE = 0.5
"""A draft whose probability is on shared tokens to less than this share is warned of."""


@drafter(paper="2211.17192", examples={"confident": {"confidence": 0.3}, "coupled": {"coupled": True}})
class Model(Drafter):
    """The draft model's own tokens, one a pass; across tokenizers those that both have.

    `confidence`: a draft ends with a token of less probability than this (the token itself stays, since leaving out
    tokens by what was drawn would bias the output); 0 is off. `coupled`: tokens are drawn with the numbers that the
    target will use, and taken as given: the text is then plain decoding's own for a seed, at a lower acceptance.
    """

    def __init__(
        self,
        draft: TokenModel | None = None,
        *,
        confidence: Annotated[float, Range(0, 1)] = 0.0,
        coupled: bool = False,
    ) -> None:
        self.draft, self.confidence, self.coupled = draft, confidence, coupled

    def open(self, target: Target, draft: TokenModel | None) -> DraftSession:
        assert draft is not None
        return ModelSession(draft, target.pairing(draft), confidence=self.confidence, coupled=self.coupled)


class ModelSession:
    """Draws each draft token from the draft model's processed distribution, given the draft so far."""

    def __init__(self, model: TokenModel, pairing: Pairing, *, confidence: float = 0.0, coupled: bool = False) -> None:
        self.model, self.pairing, self.confidence, self.coupled = model, pairing, confidence, coupled
        self.follow = Followers(model, pairing)
        self.pipeline, self.width = Pipeline(Sampling()), 0

    def start(self, rows: Sequence[Start], pipeline: Pipeline, width: int) -> None:
        self.pipeline, self.width = pipeline, width
        self.follow.start(rows)

    def propose(self, gammas: Sequence[int]) -> list[Draft]:
        gammas = self.follow.within_window(gammas)
        active = [row for row, gamma in enumerate(gammas) if self.follow.able(row, gamma)]
        drafted: list[list[int]] = [[] for _ in gammas]
        kept: list[list[Tensor]] = [[] for _ in gammas]
        logits = self.follow.catch_up(active, max(gammas)) if active else []
        self._warn(logits)
        while active:
            tokens, q = self._draw(active, torch.cat(logits), drafted)
            for i, (row, token) in enumerate(zip(active, tokens, strict=True)):
                drafted[row].append(token)
                if q is not None and not self.pipeline.greedy and not self.coupled:
                    kept[row].append(q[i])
            sure = [True] * len(active) if q is None or not self.confidence else self._sure(q, tokens)
            active = [r for r, ok in zip(active, sure, strict=True) if ok and len(drafted[r]) < gammas[r]]
            logits = self._step(active, drafted) if active else []
        return [Draft(t, torch.stack(q) if q else None) if t else EMPTY for t, q in zip(drafted, kept, strict=True)]

    def _draw(
        self, active: Sequence[int], logits: Float[Tensor, "row vocab"], drafted: Sequence[Sequence[int]]
    ) -> tuple[list[int], Float[Tensor, "row vocab"] | None]:
        ours = self.pairing.logits(logits, self.width)
        rows = [self.follow.rows[row] for row in active]
        scores = self.pipeline.scores(ours, lambda: [self.follow.prefix(r, drafted[r]) for r in active])
        if self.pipeline.greedy:
            return scores.argmax(-1).tolist(), scores.softmax(-1) if self.confidence else None
        q = self.pipeline.transformed(scores)
        places = [(row.key, row.position + len(drafted[r])) for r, row in zip(active, rows, strict=True)]
        chances = [uniform(k, at) if self.coupled else number(k, at, "draft") for k, at in places]
        return draw(q, chances).tolist(), q

    def _sure(self, q: Float[Tensor, "row vocab"], tokens: Sequence[int]) -> list[bool]:
        return [bool(q[i, token] >= self.confidence) for i, token in enumerate(tokens)]

    def _step(self, active: Sequence[int], drafted: Sequence[Sequence[int]]) -> list[Float[Tensor, "new vocab"]]:
        """Let the draft read its own last tokens."""
        for row in active:
            token = drafted[row][-1]
            self.follow.rows[row].ahead.append(token if self.pairing.same else self.pairing.to_draft[token])
        return self.follow.feed(active, [self.follow.rows[row].ahead[-1:] for row in active])

    def _warn(self, logits: Sequence[Float[Tensor, "new vocab"]]) -> None:
        """Once for a pair: say so if the draft puts most of its probability on tokens that the target does not have."""
        if logits and not self.pairing.judged:
            self.pairing.judged = True
            mass = self.pairing.shared_mass(torch.cat(list(logits)))
            if mass < _LITTLE:
                _LOG.warning("%s shares only %.2f of its probability with the target's tokens", self.model.name, mass)

    def observe(self, emitted: Sequence[Sequence[int]]) -> None:
        self.follow.observe(emitted)

    def select(self, rows: Sequence[int]) -> None:
        self.follow.select(rows)

    def spent(self) -> list[list[tuple[Any, Mapping[str, Usage]]]]:
        return self.follow.spent()
