"""Answers in the making, and what they tell of how they were drafted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from consort.cooperate.speculate.rounds.controller import Controller
from consort.core.types import Completion, Prompt, Sampling

# an answer ends, reads and costs as in plain decoding, so it is plain decoding's own row
from consort.models.decoding.decode import Row as PlainRow
from consort.models.decoding.decode import answer_text, completion_of, content_of, finish, rows_of
from consort.models.token_model import TokenModel


@dataclass(slots=True)
class Tally:
    """Rounds of a row: how often each position of a draft was proposed and accepted."""

    rounds: int = 0
    proposed: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    tested: int = 0
    cost: float = 0.0
    """Of all rounds in plain steps, where they are timed."""

    def add(self, proposed: int, accepted: int, tested: int) -> None:
        """Count another round."""
        self.rounds += 1
        self.tested += tested
        for counts, upto in ((self.proposed, proposed), (self.accepted, accepted)):
            counts += [0] * (proposed - len(counts))
            for i in range(upto):
                counts[i] += 1

    def facts(self) -> dict[str, Any]:
        """As `details` show it. `acceptance` is the share of tested tokens that stood."""
        share = sum(self.accepted) / self.tested if self.tested else None
        return {
            "rounds": self.rounds,
            "proposed_at": tuple(self.proposed),
            "accepted_at": tuple(self.accepted),
            "acceptance": share,
        }


@dataclass(slots=True)
class Row(PlainRow):
    """A row of plain decoding, with the tally and, where one decides, the controller."""

    tally: Tally = field(default_factory=Tally)
    controller: Controller | None = None

    @property
    def room(self) -> int:
        """How many tokens may still be drafted: one more is emitted after them."""
        return max(0, self.limit - len(self.tokens) - 1)

    def add(self, model: TokenModel, token: int, logprob: float, sampling: Sampling) -> None:
        """One more token of the answer; it may be the last."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        finish(model, self, sampling)

    def answer(self, model: TokenModel) -> str:
        """The text of the answer so far, without the token that ended it."""
        return answer_text(model.tokenizer, self.prompt, content_of(model, self))

    def completion(self, model: TokenModel, facts: dict[str, Any]) -> Completion:
        plain = completion_of(model, self)
        facts = {**facts, **self.tally.facts(), **self._control()}
        return replace(plain, details={**plain.details, "speculation": facts})

    def _control(self) -> dict[str, Any]:
        """What the controller measured and did: draft cost, projected gain, tokens for a plain step, switches."""
        if self.controller is None:
            return {}
        control = self.controller
        known = control.tested > 0
        return {
            "on": control.on,
            "draft_cost": control.c() if known else None,
            "projected": control.projected(control.best()) if known else None,
            "measured": len(self.tokens) / self.tally.cost if self.tally.cost else None,
            "switches": tuple(control.switches),
        }


def rows_for(model: TokenModel, prompts: Sequence[Prompt], sampling: Sampling) -> list[Row]:
    """A row for each prompt. Raises BadData for a prompt that is empty or too long, BadParameter for a bad setting."""
    return [Row(row.prompt, row.key, row.limit) for row in rows_of(model, prompts, sampling)]
