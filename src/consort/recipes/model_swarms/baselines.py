"""Two ways in which a pool answers without being merged: a majority vote, and the expert nearest to the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from consort.core.types import Completion, Prompt, Sampling, add_cost
from consort.models.cost import cost_of
from consort.search.swarm.analysis import vote


class Voters:
    """The answer that most members give; of equals the one whose voters have more utility.

    `members` open a model when it is their turn, so that they may share one live model.
    """

    name = "vote"

    def __init__(self, members: Sequence[Callable[[], Any]], utilities: Sequence[float]) -> None:
        self.members, self.utilities = list(members), list(utilities)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        ballots = []
        for member in self.members:
            model = member()
            answers = model.generate(prompts, sampling)
            ballots.append([(answer, cost_of(model, answer)) for answer in answers])
        return [self._elected([ballot[row] for ballot in ballots]) for row in range(len(prompts))]

    def _elected(self, cast: Sequence[tuple[Completion, Any]]) -> Completion:
        texts = [answer.text.strip() for answer, _ in cast]
        text = vote(texts, self.utilities)
        chosen = cast[texts.index(text)][0]
        return Completion(chosen.text, usage=chosen.usage, cost=add_cost(*(cost for _, cost in cast)))


class Nearest:
    """Each prompt is answered by the expert whose own prompts it shares most words with (cBTM, 2303.14177, top 1).

    An expert's prompts are those on which its score is the highest of all.
    """

    name = "nearest"

    def __init__(self, models: Sequence[Any], prompts: Sequence[str], scores: Sequence[Sequence[float]]) -> None:
        self.models = list(models)
        self.words: list[Counter[str]] = [Counter() for _ in models]
        for i, prompt in enumerate(prompts):
            best = max(row[i] for row in scores)
            for words, row in zip(self.words, scores, strict=True):
                if best > 0 and row[i] == best:
                    words.update(prompt.split())

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        chosen = [self.nearest(prompt if isinstance(prompt, str) else str(prompt[-1]["content"])) for prompt in prompts]
        found: dict[int, Completion] = {}
        for number, model in enumerate(self.models):
            rows = [row for row, own in enumerate(chosen) if own == number]
            if rows:
                answers = model.generate([prompts[row] for row in rows], sampling.of_rows(rows))
                found.update(zip(rows, answers, strict=True))
        return [found[row] for row in range(len(prompts))]

    def nearest(self, prompt: str) -> int:
        """The expert with the largest cosine between its words and the prompt's; of equals the first."""
        own = Counter(prompt.split())
        return max(range(len(self.words)), key=lambda i: _cosine(own, self.words[i]))


def _cosine(a: Counter[str], b: Counter[str]) -> float:
    norm = (sum(n * n for n in a.values()) * sum(n * n for n in b.values())) ** 0.5
    return sum(n * b[word] for word, n in a.items()) / norm if norm else 0.0
