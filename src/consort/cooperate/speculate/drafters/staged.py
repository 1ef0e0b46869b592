"""Staged drafting: the draft model's own tokens are guessed by a smaller drafter (Spector and Ré, 2308.04623)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.speculate.drafters import drafter
from consort.cooperate.speculate.drafters.base import Drafter, DraftSession, Speculates, Start, Target, draft_for
from consort.cooperate.speculate.drafters.draft import EMPTY, Draft
from consort.cooperate.speculate.drafters.followers import Followers
from consort.cooperate.speculate.drafters.lookup import Lookup
from consort.cooperate.speculate.rounds.pipeline import Pipeline, Prefix, derived, number
from consort.cooperate.speculate.rounds.verify import chosen_path, drawn_chain, emitted_by
from consort.cooperate.speculate.rounds.vocabulary import Pairing
from consort.core.errors import Incompatible
from consort.core.types import Sampling, Usage
from consort.models.decoding.sampling import draw, uniform
from consort.models.token_model import TokenModel


@drafter(paper="2308.04623", vocabularies="one", examples={"counts": {"drafter": "ngram"}})
class Staged(Drafter):
    """The draft model's own tokens, guessed by a smaller `drafter` and checked by the draft in one pass.

    The default `drafter` is that of the draft where it speculates itself, else `lookup`. All stages have one
    vocabulary; others are refused.
    """

    def __init__(self, draft: TokenModel | None = None, *, drafter: Drafter | None = None) -> None:
        self.draft, self.drafter = draft, drafter

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        inner = () if self.drafter is None else self.drafter.members
        return (*inner,) if self.draft is None else (self.draft, *inner)

    def open(self, target: Target, draft: TokenModel | None) -> DraftSession:
        assert draft is not None
        inner, smaller, model = self.drafter, None, draft
        if isinstance(draft, Speculates):
            model = draft.target
            if inner is None:
                inner, smaller = draft.guesser, draft.draft
        inner = Lookup() if inner is None else inner
        pairing = target.pairing(model)
        if not pairing.same:
            message = f"{model.name} does not have the vocabulary of {target.model.name}"
            raise Incompatible(message, field="draft", hint="across tokenizers take drafter: model or slem")
        return StagedSession(model, pairing, inner.open(target.stage(model), draft_for(inner, smaller)))


class StagedSession:
    """A draft is one round of the inner target: what its drafter guessed and it let stand, and one more.

    Such a token is distributed as the inner target says, whoever guessed it, so that target's distribution is q. The
    draft ends after a token that the inner target had to correct, which stays in it.
    """

    def __init__(self, model: TokenModel, pairing: Pairing, inner: DraftSession) -> None:
        self.pairing, self.inner = pairing, inner
        self.follow = Followers(model, pairing)
        self.pipeline, self.width = Pipeline(Sampling()), 0
        self.keys: list[bytes] = []

    def start(self, rows: Sequence[Start], pipeline: Pipeline, width: int) -> None:
        self.pipeline, self.width = pipeline, width
        self.keys = [derived(row.key, "stage") for row in rows]
        self.follow.start(rows)
        owners = dict(zip(self.keys, (row.key for row in rows), strict=True))
        inner = [Start(row.prompt, key) for key, row in zip(self.keys, rows, strict=True)]
        self.inner.start(inner, _owned(pipeline, owners), width)

    def propose(self, gammas: Sequence[int]) -> list[Draft]:
        gammas = self.follow.within_window(gammas)
        active = [row for row, gamma in enumerate(gammas) if self.follow.able(row, gamma)]
        if not active:
            return [EMPTY] * len(gammas)
        guesses = self.inner.propose([gamma - 1 if row in active else 0 for row, gamma in enumerate(gammas)])
        first = self.follow.catch_up(active, max(gammas))
        logits = self._read(active, guesses, first)
        found = [EMPTY] * len(gammas)
        for row in active:
            found[row] = self._round(row, guesses[row], logits[row])
        return found

    def _read(
        self, active: Sequence[int], guesses: Sequence[Draft], first: Sequence[Float[Tensor, "new vocab"]]
    ) -> dict[int, Float[Tensor, "next vocab"]]:
        """The inner target's logits after the text and after each guessed token, in the outer target's width."""
        found = dict(zip(active, first, strict=True))
        guessed = [row for row in active if len(guesses[row])]
        if guessed:
            further = self.follow.feed(guessed, [guesses[row].tokens for row in guessed], last=False)
            for row, logits in zip(guessed, further, strict=True):
                self.follow.rows[row].ahead = list(guesses[row].tokens)
                found[row] = torch.cat([found[row], logits])
        return {row: self.pairing.logits(logits, self.width) for row, logits in found.items()}

    def _round(self, row: int, guess: Draft, logits: Float[Tensor, "next vocab"]) -> Draft:
        """What the inner target makes of a guess."""
        at = self.follow.rows[row].position
        starts = [guess.tokens[:i] for i in range(len(guess) + 1)]
        scores = self.pipeline.scores(logits, lambda: [self.follow.prefix(row, start) for start in starts])
        if self.pipeline.greedy:
            return Draft(emitted_by(guess, chosen_path(scores.argmax(-1).tolist(), guess)))
        p, key = self.pipeline.transformed(scores), self.keys[row]

        def numbers(purpose: str, depth: int, child: int) -> float:
            place = at + depth
            return uniform(key, place) if purpose == "plain" else number(key, place, purpose, child)  # type: ignore[arg-type]

        if guess.q is None:
            chances = [uniform(key, at + depth) for depth in range(len(guess) + 1)]
            verdict = chosen_path(draw(p, chances).tolist(), guess)
        else:
            verdict = drawn_chain(p, guess, numbers)
        return Draft(emitted_by(guess, verdict), p[: len(verdict.path) + 1])

    def observe(self, emitted: Sequence[Sequence[int]]) -> None:
        self.follow.observe(emitted)
        self.inner.observe(emitted)

    def select(self, rows: Sequence[int]) -> None:
        self.keys = [self.keys[row] for row in rows]
        self.follow.select(rows)
        self.inner.select(rows)

    def spent(self) -> list[list[tuple[Any, Mapping[str, Usage]]]]:
        return [[*a, *b] for a, b in zip(self.follow.spent(), self.inner.spent(), strict=True)]


def _owned(pipeline: Pipeline, owners: Mapping[bytes, bytes]) -> Pipeline:
    """The pipeline for drafters whose rows have other keys than the answers they belong to."""
    process = pipeline.process
    if process is None:
        return pipeline

    def renamed(logits: Tensor, prefixes: Sequence[Prefix]) -> Tensor:
        return process(logits, [prefix._replace(key=owners[prefix.key]) for prefix in prefixes])

    return Pipeline(pipeline.sampling, renamed, pipeline.ends)
