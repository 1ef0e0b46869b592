"""A linear layer under many mixtures of adapters at once: every row of a batch has coefficients of its own.

The factors of all experts lie stacked. For a row with coefficients c a module gives W x + sum_i c_i s_i B_i A_i x
("exact"), or W x + s (sum_i c_i B_i)(sum_j c_j A_j) x ("factor"): either so, factor by factor, or by the matrix of the
row's particle, filled beforehand. Both are equal up to rounding; which is quicker depends on how much is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from consort.models.hf.lean_pass import Linear

FEW = 24
"""A matrix is used where a particle has so many tokens on average; for fewer, low rank reads less memory."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Whose tokens go through the layers: by runs of one particle, or by `shares`, coefficients by layout of ranks."""

    runs: Sequence[tuple[int, int]]
    shares: Sequence[Float[Tensor, "token rank"]] | None


@dataclass(slots=True)
class Mixture:
    """Coefficients of the particles. `filled` are those whose matrices are at hand.

    `passes` has all tokens of the pass and the last ones of its rows, with which its last layer may go on, by number.
    """

    points: Float[Tensor, "particle expert"]
    layouts: list[Int[Tensor, " rank"]] = field(default_factory=list)
    filled: frozenset[int] = frozenset()
    passes: dict[int, Pass] = field(default_factory=dict)

    def at(self, owners: Sequence[int], counts: Sequence[int]) -> None:
        """The next pass has counts[r] tokens of particle owners[r], one r after the other."""
        ones = [min(count, 1) for count in counts]
        kinds = {sum(each): each for each in (ones, counts)}
        self.passes = {total: self._pass(owners, each) for total, each in kinds.items()}

    def _pass(self, owners: Sequence[int], counts: Sequence[int]) -> Pass:
        runs = _runs(owners, counts)
        if self.filled.issuperset(owners) and sum(counts) >= FEW * len(runs):
            return Pass(runs, None)
        device = self.points.device
        own = self.points[torch.tensor(owners, device=device)]
        own = own.repeat_interleave(torch.tensor(counts, device=device), 0)
        return Pass(runs, [own[:, layout] for layout in self.layouts])

    def layout(self, experts: Sequence[int]) -> int:
        """The number of a layout: which expert each stacked rank belongs to."""
        wanted = torch.tensor(experts, device=self.points.device)
        for number, known in enumerate(self.layouts):
            if torch.equal(known, wanted):
                return number
        self.layouts.append(wanted)
        return len(self.layouts) - 1


def _runs(owners: Sequence[int], counts: Sequence[int]) -> list[tuple[int, int]]:
    pairs = groupby(zip(owners, counts, strict=True), key=lambda pair: pair[0])
    summed = ((owner, sum(count for _, count in group)) for owner, group in pairs)
    return [(owner, count) for owner, count in summed if count]


@dataclass(slots=True)
class MixedLinear:
    """A matrix with the stacked factors of all experts, scales folded into `b`. It stands in for `lean.Linear`.

    `experts` is how many experts share the rank in form "factor", 0 in form "exact". `own` are the matrices of
    `mixture.filled`, transposed.
    """

    linear: Linear
    a: Float[Tensor, "rank inputs"]
    b: Float[Tensor, "outputs rank"]
    mixture: Mixture
    layout: int
    experts: int
    own: dict[int, Float[Tensor, "inputs outputs"]] = field(default_factory=dict)

    @property
    def weight(self) -> Tensor:
        return self.linear.weight

    def fill(self, particles: Collection[int], kept: Collection[int] = ()) -> None:
        """Have the matrices of these particles at hand, and of no others; those `kept` are there already."""
        spare = [own for particle, own in self.own.items() if particle not in kept]
        self.own = {p: self.own[p] if p in kept else self.matrix(p, spare.pop() if spare else None) for p in particles}

    @torch.no_grad()
    def matrix(self, particle: int, out: Tensor | None = None) -> Float[Tensor, "inputs outputs"]:
        """The particle's matrix, transposed, in the memory of `out` if given."""
        a, c = self.a, self.mixture.points[particle][self.mixture.layouts[self.layout]]
        b = self.b * c
        if self.experts:
            a = (a * c[:, None]).view(self.experts, -1, a.shape[1]).sum(0)
            b = b.view(len(b), self.experts, -1).sum(1)
        return torch.addmm(self.linear.turned, a.t(), b.t(), out=out)

    def __call__(self, x: Float[Tensor, "token inputs"]) -> Float[Tensor, "token outputs"]:
        found = self.mixture.passes[len(x)]
        if found.shares is not None:
            return self.linear(x).addmm_(self._inner(x, found.shares[self.layout]), self.b.t())
        y = x.new_empty(len(x), len(self.b))
        for own, part, out in self._parts(found.runs, x, y):
            torch.mm(part, own, out=out)
        return y if self.linear.bias is None else y.add_(self.linear.bias)

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """total + self(x), in place."""
        found = self.mixture.passes[len(x)]
        if found.shares is not None:
            return self.linear.onto(total, x).addmm_(self._inner(x, found.shares[self.layout]), self.b.t())
        for own, part, out in self._parts(found.runs, x, total):
            out.addmm_(part, own)
        return total if self.linear.bias is None else total.add_(self.linear.bias)

    def _parts(self, runs: Sequence[tuple[int, int]], x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """By run: the particle's matrix, what it reads and where it writes."""
        counts = [count for _, count in runs]
        return zip(
            (self.own[particle] for particle, _ in runs), torch.split(x, counts), torch.split(y, counts), strict=True
        )

    def _inner(
        self, x: Float[Tensor, "token inputs"], shares: Float[Tensor, "token rank"]
    ) -> Float[Tensor, "token rank"]:
        """What B is multiplied with."""
        mixed = F.linear(x, self.a).mul_(shares)
        if not self.experts:
            return mixed
        summed = mixed.view(len(x), self.experts, -1).sum(1)  # (sum_j c_j A_j) x
        return summed.repeat(1, self.experts).mul_(shares)
