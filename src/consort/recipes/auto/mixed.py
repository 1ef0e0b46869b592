"""Mixtures tried beside merges and routers: experts' MLPs in one network, whole models behind a reader of prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consort.core.types import Example
from consort.ensemble.learning.fitting import Replay
from consort.ensemble.learning.observations import Observed
from consort.evaluate import Result
from consort.evaluate.measure import prompt_of
from consort.plan.expression import parse
from consort.recipes.auto.learners import cross_fitted, needs_of, observe, replayed
from consort.recipes.auto.stage import Proposal
from consort.runs.folder import STATES
from consort.runs.pool import Family, Member
from consort.runs.trials import Trials

if TYPE_CHECKING:
    from torch import Tensor

    from consort.mixture.gates import Gate
    from consort.weights.checkpoint import Checkpoint

MOST_EXPERTS = 4
MOST_PROMPTS = 8
"""Prompts that tell what an expert is for."""


def sparse(trials: Trials, family: Family, fit: Mapping[str, Result], base: Any) -> Proposal | None:
    """A sparse network (`sparse_mixture`) of the best experts of a family, all else from the expression `base`.

    An expert's prompts are fit examples at which it alone is best. None where fewer than two experts have any, or
    prompts are chats. Not yet run.
    """
    examples = trials.task.split("fit", seed=trials.seed)
    ranked = sorted(family.experts, key=lambda m: -fit[m.reference].score)[:MOST_EXPERTS]
    own = _prompts_of(ranked, fit, examples) if len(ranked) > 1 else {}
    experts = [m for m in ranked if own.get(m.reference)]
    if len(experts) < 2:
        return None
    references = [m.reference for m in experts]
    expression = {
        "sparse_mixture": {"base": base, "models": references, "positive": [own[reference] for reference in references]}
    }
    size = _active(trials.builder.build(parse(expression).root, "checkpoint"), len(experts))
    read = fit[references[0]]
    name, cost = f"sparse mixture of {len(experts)} experts", size * read.tokens / read.count
    return Proposal(name, expression, None, cost, is_team=True)


def _prompts_of(
    members: Sequence[Member], fit: Mapping[str, Result], examples: Sequence[Example]
) -> dict[str, list[str]]:
    """By reference, some prompts at which that member alone is best; none of chats."""
    scores = np.array([fit[m.reference].scores for m in members])
    alone = (scores == scores.max(0)).sum(0) == 1
    found: dict[str, list[str]] = {m.reference: [] for m in members}
    for i in np.flatnonzero(alone).tolist():
        prompts, prompt = found[members[int(scores[:, i].argmax())].reference], prompt_of(examples[i])
        if isinstance(prompt, str) and prompt.strip() and prompt not in prompts and len(prompts) < MOST_PROMPTS:
            prompts.append(prompt)
    return found


def _active(mixture: Checkpoint, experts: int) -> float:
    """Weights at work for one token: of the experts' only those of the ones chosen."""
    sizes = {name: int(np.prod(mixture.spec(name).shape)) for name in mixture.keys()}
    of_experts = sum(size for name, size in sizes.items() if ".experts." in name)
    share = float(mixture.config["num_experts_per_tok"]) / experts
    return sum(sizes.values()) - of_experts * (1 - share)


def by_reading(trials: Trials, members: Sequence[Proposal], reader: Member) -> Proposal | None:
    """A `prompt_mixture` of `members`: a linear map of the hidden state of `reader` foretells who answers best.

    The prompts are read once and the answers are known, so it is judged by cross-fitting. None where models are not
    asked for answers. Raises Unsupported for a reader that does not show its states, and for too few examples.
    """
    if needs_of(members[0].known.metric) not in ("generate", "completion"):
        return None
    name = f"prompt mixture of {len(members)} models"
    arguments = {
        "models": [p.expression for p in members],
        "reference": reader.reference,
        "input": "mean",
        "state": f"{STATES}/prompt_mixture.safetensors",
    }
    examples = trials.task.split("fit", seed=trials.seed)
    observed = observe([p.known for p in members], [p.price for p in members], examples)
    router = _Reader(_states(trials, reader, observed))
    seconds = [p.seconds for p in members]
    judged = cross_fitted(router, observed, trials.seed, None if None in seconds else seconds)
    own = trials.result(reader.label, reader.reference, "fit")
    reading = (reader.parameters or 0) * sum(u.prompt_tokens for u in own.cost.values()) / own.count
    return Proposal(
        name,
        {"prompt_mixture": arguments},
        replayed(name, members, judged.answered_by),
        None if judged.price is None else judged.price + reading,
        is_team=True,
        save=partial(_save, router.fit(observed).gate),
        seconds=judged.seconds,
    )


def _states(trials: Trials, reader: Member, observed: Observed) -> dict[str, Tensor]:
    """The mean hidden state of every prompt, by its text."""
    from consort.mixture.gates import states_of

    states = states_of(trials.model(reader.reference), observed.prompts, (-1,), mean=True)[0]
    return dict(zip(observed.queries, states, strict=True))


def _save(gate: Gate, path: Path) -> None:
    from consort.mixture.gates import write_gates
    from consort.mixture.prompt_mixture import KEY

    write_gates(path, {KEY: gate})


@dataclass(frozen=True, slots=True)
class _Reader:
    """The router of a prompt mixture over prompts whose states are known, as something that is fitted and replayed."""

    states: Mapping[str, Tensor]
    gate: Any = None
    name: str = "prompt_mixture"

    def fit(self, observed: Observed, *, seed: int = 0) -> _Reader:
        import torch

        from consort.mixture.gates import fitted_gate

        scores = torch.tensor(observed.quality, dtype=torch.float32)
        return replace(self, gate=fitted_gate(self._rows(observed), scores))

    def replay(self, observed: Observed) -> Replay:
        chosen = self.gate(self._rows(observed)).argmax(-1).numpy()
        at = np.arange(len(observed)), chosen
        cost = np.full(len(observed), np.nan) if observed.cost is None else observed.cost[at]
        return Replay(observed.quality[at], cost, tuple(map(int, chosen)))

    def _rows(self, observed: Observed) -> Tensor:
        import torch

        return torch.stack([self.states[query] for query in observed.queries])
