"""The figures of a zoo's family A, and the claims about them that hold for every seed.

Each function takes the folder of any zoo; `claims` and `measure_rest.claims_rest` judge the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from consort.lab.arithmetic import State, best, combine, coordinate_search, delta, read_state, ties
from consort.lab.folder import read_model, read_tokenizer
from consort.lab.greedy import accuracy, accuracy_by_group
from consort.lab.operations import SKILLS
from consort.lab.task_files import read_rows

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

COEFFICIENTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
DEV_PER_SKILL = 25

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement about a zoo's figures: `left` >= `right` (both exact match or coefficients)."""

    text: str
    left: float
    right: float

    @property
    def holds(self) -> bool:
        """Whether what was measured bears the claim out."""
        return self.left >= self.right - 1e-9


class Bench:
    """A model whose weights are exchanged, and the rows by which a set of weights is judged."""

    def __init__(self, zoo: Path, task: str, *, dev: int, test: int | None = None) -> None:
        self.model: PreTrainedModel = read_model(zoo / "base")
        self.tokenizer: Tokenizer = read_tokenizer(zoo / "base")
        self.dev_rows = read_rows(zoo / "tasks" / task / "dev.jsonl")[:dev]
        self.test_rows = read_rows(zoo / "tasks" / task / "test.jsonl")[:test]

    def dev(self, weights: State) -> float:
        return accuracy(self._with(weights), self.tokenizer, self.dev_rows)

    def test(self, weights: State) -> float:
        return accuracy(self._with(weights), self.tokenizer, self.test_rows)

    def groups(self, weights: State) -> dict[str, float]:
        return accuracy_by_group(self._with(weights), self.tokenizer, self.test_rows)

    def _with(self, weights: State) -> PreTrainedModel:
        self.model.load_state_dict(dict(weights), strict=False)
        return self.model


def measure_core(zoo: Path, *, test: int | None = None) -> Figures:
    """Family A's figures: exact match over the eight skills, coefficients chosen on dev, everything else on test."""
    bench = Bench(zoo, "skills", dev=DEV_PER_SKILL * len(SKILLS), test=test)
    base = read_state(zoo / "base")
    experts = [delta(zoo / word, base) for word in SKILLS]
    singles = [bench.groups(combine(base, [expert], [1])) for expert in experts]
    own = [single[word] for single, word in zip(singles, SKILLS, strict=True)]
    figures = {
        "base": bench.test(base),
        "best single": max(fmean(single.values()) for single in singles),
        "own skill, least": min(own),
    }
    figures |= _merges(bench, base, experts, "")
    figures |= _ties(bench, base, experts)
    figures |= _harmful(bench, base, [*experts, delta(zoo / "harmful", base)])
    figures |= _soup(zoo, base)
    return figures


def measure_lora(zoo: Path, *, test: int | None = None) -> Figures:
    """The adapters' figures."""
    bench = Bench(zoo, "skills", dev=DEV_PER_SKILL * len(SKILLS), test=test)
    base = read_state(zoo / "base")
    adapters = [delta(zoo / f"lora-{word}", base) for word in SKILLS]
    singles = [bench.test(combine(base, [adapter], [1])) for adapter in adapters]
    return {"lora best single": max(singles)} | _merges(bench, base, adapters, "lora ")


def claims(figures: Mapping[str, float]) -> list[Claim]:
    """What must hold of `measure_core`'s figures, whatever the seed."""
    f = figures
    merged = min(f["task arithmetic"], f["ties"])
    return [
        Claim("the base knows the skills hardly: base <= .25", 0.25, f["base"]),
        Claim("no expert is good at all skills: best single <= .55", 0.55, f["best single"]),
        Claim("each expert is good at its own: own skill >= .80", f["own skill, least"], 0.80),
        Claim("a merge chosen on dev >= best single + .30", merged, f["best single"] + 0.30),
        Claim("uniform with the harmful model <= uniform - .10", f["uniform"] - 0.10, f["harmful uniform"]),
        Claim("searched coefficients >= one re-tuned + .30", f["harmful search"], f["harmful re-tuned"] + 0.30),
        Claim("the search rejects the harmful model: its coefficient <= .1", 0.1, f["harmful coefficient"]),
        Claim("soup >= its best member + .02", f["soup"], f["soup best single"] + 0.02),
    ]


def _merges(bench: Bench, base: State, deltas: Sequence[State], prefix: str) -> Figures:
    count = len(deltas)
    chosen = best(lambda c: bench.dev(combine(base, deltas, [c] * count)), COEFFICIENTS)
    return {
        f"{prefix}uniform": bench.test(combine(base, deltas, [1 / count] * count)),
        f"{prefix}coefficient": chosen,
        f"{prefix}task arithmetic": bench.test(combine(base, deltas, [chosen] * count)),
    }


def _ties(bench: Bench, base: State, deltas: Sequence[State]) -> Figures:
    chosen = best(lambda scale: bench.dev(ties(base, deltas, density=0.2, scale=scale)), (1.0, 1.5, 2.0, 2.5))
    return {"ties scale": chosen, "ties": bench.test(ties(base, deltas, density=0.2, scale=chosen))}


def _harmful(bench: Bench, base: State, deltas: Sequence[State]) -> Figures:
    figures = _merges(bench, base, deltas, "harmful ")
    start = [figures["harmful coefficient"]] * len(deltas)
    found = coordinate_search(lambda cs: bench.dev(combine(base, deltas, cs)), start, (0, 0.3, 0.5, 0.7, 0.9), 2)
    return {
        "harmful uniform": figures["harmful uniform"],
        "harmful re-tuned": figures["harmful task arithmetic"],
        "harmful search": bench.test(combine(base, deltas, found)),
        "harmful coefficient": found[-1],
    }


def _soup(zoo: Path, base: State) -> Figures:
    bench = Bench(zoo, "weave", dev=0)
    deltas = [delta(zoo / f"weave-{i}", base) for i in range(3)]
    singles = [bench.test(combine(base, [d], [1])) for d in deltas]
    return {
        "soup best single": max(singles),
        "soup worst single": min(singles),
        "soup": bench.test(combine(base, deltas, [1 / 3] * 3)),
    }
