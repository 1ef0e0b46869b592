"""Best of n (2009.01325): candidates of one or several models, the one with the largest reward is returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.candidates import gather
from consort.ensemble.calls import checked_members
from consort.models.base import LanguageModel
from consort.models.judges.protocol import Judge, spent
from consort.models.judges.reward_model import RewardModel
from consort.weights import Checkpoint


@strategy(paper="2009.01325")
class BestOfN:
    """Draw `samples` answers of each model and return the one that the judge likes most, the first of equals.

    `reward`: a judge (`consort methods --kind judge`), or the folder of a reward model, which reads prompt and answer
    joined by `joint`. With one sample a greedy request stays greedy, else it is sampled at `temperature`. Equal answers
    are judged once.
    `details` has `answered_by` and the `rewards`; what the judge does is part of the cost.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        reward: Judge,
        samples: Annotated[int, Range(1, 10000)] = 1,
        temperature: Annotated[float, Range(0.01, 100)] = 0.7,
        joint: str = " ",
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.reward, self.samples, self.temperature, self.joint = reward, samples, temperature, joint
        self.judge = _judge(reward, joint)
        self.name = f"best_of_n({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[object]:
        """The models that it asks."""
        return (*self.models, self.judge)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        self.judge.open()  # a folder that cannot be used is said before anyone is asked
        rows = gather(
            self.models, self.labels, prompts, sampling, samples=self.samples, temperature=self.temperature
        )  # fmt: skip
        found = []
        for row in rows:
            firsts = row.first_of_equals()
            judged = sorted(set(firsts))
            rewards: list[float] = []
            if len(judged) > 1:
                values, usage = self.judge.rewards(row.prompt, [row.texts[i] for i in judged])
                row.ledger.costs.append((self.judge, spent(self.judge, usage)))
                rewards = [values[judged.index(i)] for i in firsts]
            best = max(range(len(rewards)), key=lambda i: (rewards[i], -i)) if rewards else 0
            found.append(row.completion(self, best, rewards=rewards))
        return found


def _judge(reward: Judge | Checkpoint, joint: str) -> Judge:
    """The judge; a checkpoint is a reward model. `joint` is the reward model's, where it has not its own."""
    if isinstance(reward, RewardModel):
        return reward if joint == " " else RewardModel(reward.checkpoint, joint)
    return reward if hasattr(reward, "rewards") else RewardModel(reward, joint)
