"""The same answers sooner: a smaller model of the same vocabulary guesses ahead of the best one."""

from __future__ import annotations

from consort.evaluate import Result
from consort.recipes.auto.stage import Pool, Proposal
from consort.recipes.auto.stages.players import answers
from consort.runs.trials import BudgetSpent

SMALLER = 0.5
"""Of the target's weights, what a draft has at most."""


class Faster:
    """`speculate` with the best single set of weights as target; its answers are the target's, token for token."""

    name = "speculation"
    tries = "the best model with a smaller one of its vocabulary that guesses ahead"
    passes = 2.0

    def needs(self, pool: Pool) -> int:
        sizes = sorted(m.parameters for m in pool.inputs if m.parameters)
        return int(bool(sizes) and answers(pool) and sizes[0] <= SMALLER * sizes[-1])

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        pair = _pair(pool)
        if isinstance(pair, str):
            return [], [f"not tried: {self.name}: {pair}"]
        target, draft = pair
        expression = {"speculate": {"target": target.expression, "draft": draft.expression}}
        system = Proposal(f"{target.name}, {draft.name} guessing", expression, None, None, is_team=True)
        if not share:
            return [], [f"not tried: budget: {system.name}"]
        answered = pool.trials.answered(system.name, expression, "fit")
        try:
            tried = pool.tried(system)
        except BudgetSpent as spent:
            return [], [f"not tried: {spent}: {system.name}"]
        return [tried] if tried else [], [_told(system.name, answered)]


def _told(name: str, result: Result) -> str:
    """What the guesses saved, by count."""
    passes = sum(one["speculation"]["rounds"] for one in result.details if "speculation" in one)
    return f"{name}: the same answers, {passes} passes of the target for {result.usage.completion_tokens} tokens"


def _pair(pool: Pool) -> tuple[Proposal, Proposal] | str:
    """Target and draft, or why there are none."""
    if not answers(pool):
        return "models are read here, not asked, and reading takes one pass"
    shown = [one for one in pool.members if one.known.vocabulary and len(one.known.sizes) == 1]
    if not shown:
        return "no model shows its logits"
    target = max(shown, key=lambda one: one.known.score)
    kin = [one for one in shown if one.known.vocabulary == target.known.vocabulary]
    draft = min(kin, key=_size)
    if _size(draft) > SMALLER * _size(target):
        return f"no model of the vocabulary of {target.name} has half of its weights or fewer"
    return target, draft


def _size(system: Proposal) -> float:
    return float(sum(system.known.sizes.values()))
