"""The two ways in which the paper's pools answer without being merged: a vote, and the expert nearest to the prompt.

Both are registered strategies (`vote`, `nearest`); what is here is how the study makes them of its members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after.vote import Vote
from consort.ensemble.before.nearest import Nearest
from consort.ensemble.learning.observations import Observed
from consort.models.cost import distinct


class InTurn:
    """A member that is opened when it is asked, so that many may share one live model."""

    def __init__(self, name: str, opened: Callable[[], Any]) -> None:
        self.name, self.opened = name, opened

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        found: list[Completion] = self.opened().generate(prompts, sampling)
        return found


def vote_of(members: Sequence[Callable[[], Any]], utilities: Sequence[float]) -> Vote:
    """The answer that most members give; of equals the one whose voters have the larger sum of utilities.

    Weights are 1 and a share of the utility that no sum of them makes up for a voter.
    """
    low, high = min(utilities), max(utilities)
    most = len(utilities) * (high - low) + 1.0
    weights = [1 + (utility - low) / most for utility in utilities]
    return Vote([InTurn(f"member {i + 1}", member) for i, member in enumerate(members)], weight=weights)


def nearest_of(models: Sequence[Any], prompts: Sequence[str], scores: Sequence[Sequence[float]]) -> Nearest:
    """The router to the expert nearest to a prompt, fitted on each model's score of each prompt."""
    names = tuple(distinct([model.name for model in models]))
    fitted: Nearest = Nearest(models).fit(Observed(names, tuple(prompts), np.array(scores, dtype=float).T))
    return fitted
