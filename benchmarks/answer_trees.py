"""Trees of answers against best of n at equal calls, on a lab task, by a judge that knows the answer and one that errs.

Usage: python benchmarks/answer_trees.py [--calls 8] [--examples 100] [--seeds 3]

Figures are shares of right answers. The judge that knows the right answer returns it where it was drawn; the one
that errs gives a number between 0 and 1, with normal noise of .3 for each text.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence

import numpy as np

import consort as c
from consort import lab
from consort.core.types import Usage
from consort.ensemble.after.ab_mcts import AbMcts
from consort.ensemble.after.best_of_n import BestOfN
from consort.evaluate import plain_table

COLUMNS = ["judge", "best of n", "of the better model alone", "AB-MCTS, depth 1", "AB-MCTS", "difference to best of n"]


class Scorer:
    """How near an answer is to the right one: the share of places that agree; with noise for each text."""

    name = "scorer"

    def __init__(self, targets: dict[str, str], noise: float) -> None:
        self.targets, self.noise = targets, noise

    def open(self) -> Scorer:
        return self

    def rewards(self, prompt: str, answers: Sequence[str]) -> tuple[list[float], Usage]:
        return [self.reward(prompt, answer) for answer in answers], Usage(calls=len(answers))

    def reward(self, prompt: str, answer: str) -> float:
        ours, wanted = answer.split(), self.targets[prompt].split()
        near = sum(a == b for a, b in zip(ours, wanted, strict=False)) / max(len(ours), len(wanted), 1)
        seed = int.from_bytes(hashlib.blake2b(f"{prompt}|{answer}".encode(), digest_size=8).digest(), "big")
        return near + self.noise * float(np.random.default_rng(seed).standard_normal())


def row(noise: float, calls: int, examples: Sequence, seeds: int) -> list[str]:
    """Shares of right answers, means over seeds."""
    models = [c.model("lab:mirror"), c.model("lab:order")]
    prompts, targets = [e.prompt for e in examples], {e.prompt: e.target[0] for e in examples}
    judge = Scorer(targets, noise)
    systems = [
        BestOfN(models, reward=judge, samples=calls // 2, temperature=1.0),
        BestOfN(models[:1], reward=judge, samples=calls, temperature=1.0),
        AbMcts(models, reward=judge, calls=calls, depth=1, temperature=1.0),
        AbMcts(models, reward=judge, calls=calls, temperature=1.0),
    ]
    found = np.zeros((len(systems), seeds, len(prompts)))
    for s, system in enumerate(systems):
        for seed in range(seeds):
            answers = system.generate(prompts, c.Sampling(max_tokens=10, seed=seed))
            found[s, seed] = [a.text.strip() == targets[p] for a, p in zip(answers, prompts, strict=True)]
    means = found.mean((1, 2))
    apart = (found[2] - found[0]).mean(0)
    shown = f"{apart.mean():+.3f} (se {apart.std(ddof=1) / len(apart) ** 0.5:.3f})"
    return ["knows" if not noise else "errs", *(f"{m:.3f}" for m in means), shown]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    task = c.load_task(lab.path("tasks/both"))
    rows = [row(noise, given.calls, task.test[: given.examples], given.seeds) for noise in (0.0, 0.3)]
    print(plain_table(COLUMNS, rows))


if __name__ == "__main__":
    main()
