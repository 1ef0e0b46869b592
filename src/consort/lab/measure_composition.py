"""The figures of the composition family, merged by `consort.merge` and read greedily, and the claims that hold.

Coefficients are chosen on dev programs of one skill: no merge is ever measured on a program of two before the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from consort.lab.folder import read_model, read_tokenizer
from consort.lab.greedy import answers
from consort.lab.measure import Claim, Figures
from consort.lab.operations import Row
from consort.lab.programs import KNOWN, SKILLS, singles, unread_pairs, uses_unread_pair
from consort.lab.task_files import read_rows
from consort.merge.engine.merged import merge
from consort.weights.checkpoint import Checkpoint
from consort.weights.disk.folder import open_folder

ADDED = tuple(i / 10 for i in range(1, 17))
"""Coefficients of task arithmetic."""
SCALES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
"""Of TIES."""
DENSITY = 0.2
Marks = Sequence[bool]


@dataclass(frozen=True, slots=True)
class Measured:
    """Which test programs of one skill and of two a system answered, and the coefficient that it took on dev."""

    singles: Marks
    composites: Marks
    coefficient: float | None = None


@dataclass(frozen=True, slots=True)
class Emergence:
    """Every system by name; `experts` and the `weak` half of them; `unread` marks composites of held pairs."""

    systems: Mapping[str, Measured]
    experts: Sequence[str]
    weak: Sequence[str]
    unread: Marks
    base: Figures

    @property
    def unanswered(self) -> Marks:
        """The composites that no expert answers."""
        return [not any(column) for column in zip(*(self.systems[e].composites for e in self.experts), strict=True)]

    def emerged(self, name: str) -> Marks:
        """A system's marks on the composites that no expert answers: their mean is C-emerge (2410.11163)."""
        marks = self.systems[name].composites
        return [mark for mark, open_ in zip(marks, self.unanswered, strict=True) if open_]


class Reader:
    """A model of the family whose weights are exchanged, and what it answers."""

    def __init__(self, folder: Path) -> None:
        self.model, self.tokenizer = read_model(folder), read_tokenizer(folder)

    def load(self, weights: Checkpoint) -> None:
        """Take these weights; a tied head is not among their names, so that none overwrites merged embeddings."""
        missing, unexpected = self.model.load_state_dict({n: weights[n] for n in weights.keys()}, strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:
            raise ValueError(f"weights of another model: {[*missing, *unexpected]}")

    def marks(self, weights: Checkpoint, rows: Sequence[Row]) -> Marks:
        """Which rows greedy generation answers exactly with these weights."""
        self.load(weights)
        texts = answers(self.model, self.tokenizer, [row.prompt for row in rows])
        return [text == row.target for text, row in zip(texts, rows, strict=True)]


def measure_emergence(zoo: Path, *, test: int | None = None) -> Emergence:
    """The base, every expert, and merges of all six and of the weaker three; `test` limits the rows of each test."""
    bench = _Bench(zoo, test)
    names = [f"compose-{word}" for word in SKILLS]
    experts = [open_folder(zoo / name) for name in names]
    dev = [fmean(bench.dev(expert)) for expert in experts]
    weak = sorted(range(len(names)), key=lambda i: dev[i])[: len(names) // 2]
    systems = {"base": bench.measured(bench.base)}
    systems |= {name: bench.measured(expert) for name, expert in zip(names, experts, strict=True)}
    systems |= bench.merges(experts, "")
    systems |= bench.merges([experts[i] for i in sorted(weak)], "weak half: ")
    unread = [uses_unread_pair(row.group) for row in bench.composites]
    return Emergence(systems, names, [names[i] for i in sorted(weak)], unread, bench.known())


class _Bench:
    """The family's base and the rows by which a merge is chosen and measured."""

    def __init__(self, zoo: Path, test: int | None) -> None:
        self.base, self.reader = open_folder(zoo / "compose-base"), Reader(zoo / "compose-base")
        self.dev_rows = read_rows(zoo / "tasks" / "compose" / "dev.jsonl")
        self.singles = read_rows(zoo / "tasks" / "compose" / "test.jsonl")[:test]
        self.composites = read_rows(zoo / "tasks" / "compose-pairs" / "test.jsonl")[:test]

    def dev(self, weights: Checkpoint) -> Marks:
        return self.reader.marks(weights, self.dev_rows)

    def measured(self, weights: Checkpoint, coefficient: float | None = None) -> Measured:
        singly, in_pairs = (self.reader.marks(weights, rows) for rows in (self.singles, self.composites))
        return Measured(singly, in_pairs, coefficient)

    def merges(self, models: Sequence[Checkpoint], prefix: str) -> dict[str, Measured]:
        def task_arithmetic(c: float) -> Checkpoint:
            return merge("task_arithmetic", models, base=self.base, lambda_=c)

        def ties(c: float) -> Checkpoint:
            return merge("ties", models, base=self.base, density=DENSITY, lambda_=c)

        return {
            f"{prefix}uniform": self.measured(merge("linear", models)),
            f"{prefix}task arithmetic": self._chosen(task_arithmetic, ADDED),
            f"{prefix}ties": self._chosen(ties, SCALES),
        }

    def _chosen(self, made: Callable[[float], Checkpoint], grid: Sequence[float]) -> Measured:
        best = max(grid, key=lambda c: fmean(self.dev(made(c))))
        return self.measured(made(best), best)

    def known(self) -> Figures:
        """What the base does with known words: one, and two that it never read together."""
        one = singles(10, "test", 0, KNOWN)
        return {
            "known words": fmean(self.reader.marks(self.base, one)),
            "pairs it never read": fmean(self.reader.marks(self.base, unread_pairs(5, "test", 0))),
        }


def claims_composition(found: Emergence) -> list[Claim]:
    """What should hold of `measure_emergence`.

    The first two follow the base: they were missed where it composed little more than half of the pairs of known words
    that it never read. The third is missed where it composes all of them: an average of experts then answers a quarter.
    """
    composed = {name: fmean(found.emerged(name)) for name in ("uniform", "task arithmetic", "ties")}
    singly = {name: fmean(system.singles) for name, system in found.systems.items()}
    pairs = {name: fmean(system.composites) for name, system in found.systems.items()}
    best = max(singly[name] for name in found.experts)
    return [
        Claim("C-emerge of task arithmetic >= .55", composed["task arithmetic"], 0.55),
        Claim("C-emerge of TIES >= .55", composed["ties"], 0.55),
        Claim("C-emerge of the uniform average <= .15", 0.15, composed["uniform"]),
        Claim("the base answers composites hardly: <= .06", 0.06, pairs["base"]),
        Claim("the best expert on composites <= .20", 0.20, max(pairs[name] for name in found.experts)),
        Claim("the weak half merged >= the best of all + .12", singly["weak half: task arithmetic"], best + 0.12),
    ]
