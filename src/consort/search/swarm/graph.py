"""A graph of models from a matrix of numbers, and answering along it (Heterogeneous Swarms, 2502.04510).

A[i, j] says how readily node i hands its output to node j. The released decoder changes the matrix while it reads it;
this one does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter
from consort.search.swarm.step import draws


@dataclass(frozen=True, slots=True)
class Graph:
    """A directed acyclic graph in which every node but `end` has exactly one edge out: `to[i]`, -1 for the end.

    `order` is topological: whoever hands something over comes before whoever gets it.
    """

    end: int
    to: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Pairs of a node and one that reads its answer."""
        return tuple((i, j) for i, j in enumerate(self.to) if j >= 0)

    def before(self, node: int) -> list[int]:
        """The nodes whose output `node` sees, in order."""
        return [i for i, j in self.edges if j == node]


def decode(a: Float[Tensor, "node node"], *, top_p: float = 0.0, seed: int = 0) -> Graph:
    """The graph of a matrix with positive entries off its diagonal.

    The end is drawn from softmax(1 / out-degree); then nodes, drawn from softmax(out-degree) of those that remain, are
    tied to an existing node drawn from softmax(A[node, existing]). `top_p` 0 always takes the likeliest; else draws are
    from the fewest candidates that have this much of the probability. Raises BadParameter.
    """
    count = len(a)
    if a.shape != (count, count) or count < 2:
        raise BadParameter(f"{tuple(a.shape)} is no square of two or more", field="A", hint="one row for each node")
    off = a.double() * (1 - torch.eye(count, dtype=torch.float64))
    degree = off.sum(1)
    if not bool((degree > 0).all()) or bool((off < 0).any()) or not bool(off.isfinite().all()):
        raise BadParameter("has entries that are not positive", field="A", hint="numbers above 0 off the diagonal")
    randoms = iter(draws(seed, "graph", 0, 0, 2 * count))
    end = _pick(1 / degree, range(count), top_p, randoms.__next__)
    to = [-1] * count
    placed, left = [end], [i for i in range(count) if i != end]
    while left:
        node = _pick(degree, left, top_p, randoms.__next__)
        to[node] = _pick(off[node], sorted(placed), top_p, randoms.__next__)
        placed.append(node)
        left.remove(node)
    return Graph(end, tuple(to), tuple(reversed(placed)))


def _pick(scores: Float[Tensor, " node"], candidates: Sequence[int], top_p: float, draw: Callable[[], float]) -> int:
    """One of `candidates`, by softmax over their scores alone; of equal ones the first."""
    nodes = list(candidates)
    p = scores[nodes].softmax(0)
    u = draw()
    if top_p <= 0:
        return nodes[int(p.argmax())]
    ranked = sorted(range(len(nodes)), key=lambda i: (-float(p[i]), i))
    kept, total = [], 0.0
    for i in ranked:
        kept.append(i)
        total += float(p[i])
        if total >= top_p:
            break
    at = u * total
    for i in kept:
        at -= float(p[i])
        if at < 0:
            return nodes[i]
    return nodes[kept[-1]]


def matrix_of(point: Sequence[float], nodes: int) -> Float[Tensor, "node node"]:
    """The matrix whose entries off the diagonal are `point`, row by row, kept positive."""
    a = torch.zeros(nodes, nodes, dtype=torch.float64)
    a[~torch.eye(nodes, dtype=torch.bool)] = torch.tensor(list(point), dtype=torch.float64).clamp_min(1e-6)
    return a


def assignment_scores(assignments: Sequence[Sequence[int]], scores: Sequence[float], models: int) -> list[float]:
    """How good each model is: the mean of scores of assignments, weighted by how often it is used in each.

    score_j = sum_m f(m) n_m(j) / sum_m n_m(j), n_m(j) = nodes that assignment m gives to model j; 0 for one never used.
    """
    found = []
    for model in range(models):
        counts = [list(assignment).count(model) for assignment in assignments]
        total = sum(counts)
        found.append(sum(f * n for f, n in zip(scores, counts, strict=True)) / total if total else 0.0)
    return found


def drawn_assignments(nodes: int, models: int, count: int, seed: int, iteration: int = 0) -> list[list[int]]:
    """`count` assignments of a model to each node, drawn evenly."""
    return [[int(u * models) for u in draws(seed, "assign", iteration, m, nodes)] for m in range(count)]
