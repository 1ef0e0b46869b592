"""Branching guesses of a draft model, verified by one pass over the whole tree.

Two kinds of children: the most likely ones (trees as in EAGLE-2, 2406.16858: grown along the most probable branches,
then cut to the best nodes), or drawn without replacement (SpecInfer, 2305.09781).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.speculate.drafters.draft import EMPTY, Draft, Start
from consort.cooperate.speculate.drafters.model_draft import Followers
from consort.cooperate.speculate.rounds.pipeline import Pipeline, number
from consort.cooperate.speculate.rounds.vocabulary import Pairing
from consort.core.types import Sampling, Usage, add_cost
from consort.models.decoding.sampling import draw


@dataclass(slots=True)
class _Tree:
    """A tree that grows level by level; node i has `tokens[i]`, `parents[i]` and the log-probability `sums[i]`."""

    row: int
    depth: int
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    q: list[Tensor] = field(default_factory=list)
    frontier: list[int] = field(default_factory=lambda: [-1])

    def branch(self, node: int) -> list[int]:
        found = []
        while node >= 0:
            found.append(self.tokens[node])
            node = self.parents[node]
        return found[::-1]

    def add(self, parent: int, token: int, log: float, q: Tensor | None) -> None:
        self.tokens.append(token)
        self.parents.append(parent)
        self.sums.append((self.sums[parent] if parent >= 0 else 0.0) + log)
        if q is not None:
            self.q.append(q)


class TreeDrafter:
    """Grows a tree of at most `nodes` tokens, `branching` of them going on at each level; its depth is the gamma given.

    `sampled`: children are drawn, `children` of each node, without replacement; else they are the `branching` most
    likely ones and `q` is not needed. With `branching` 1 it is the best chain. (60 nodes and 10 branches are the
    constants of EAGLE's released code.)
    """

    def __init__(
        self,
        model: Any,
        pairing: Pairing,
        *,
        nodes: int = 60,
        branching: int = 10,
        sampled: bool = False,
        children: int = 2,
    ) -> None:
        self.model, self.pairing, self.nodes, self.branching = model, pairing, nodes, branching
        self.sampled, self.children = sampled, children
        self.name, self.members = "tree", (model,)
        self.follow = Followers(model, pairing)
        self.pipeline, self.width = Pipeline(Sampling()), 0
        self.branched: list[dict[str, Usage]] = []

    def start(self, rows: Sequence[Start], pipeline: Pipeline, width: int) -> None:
        self.pipeline, self.width = pipeline, width
        self.follow.start(rows)
        self.branched = [{} for _ in rows]

    def propose(self, gammas: Sequence[int]) -> list[Draft]:
        gammas = self.follow.within_window(gammas)
        active = [row for row, gamma in enumerate(gammas) if self.follow.able(row, gamma)]
        if not active:
            return [EMPTY] * len(gammas)
        trees = [_Tree(row, gammas[row]) for row in active]
        logits = torch.cat(self.follow.catch_up(active, max(gammas)))
        growing = [(tree, -1) for tree in trees]
        slots, owners = list(active), list[int]()
        for level in range(max(gammas)):
            self._grow(growing, logits, level)
            growing, slots = self._next_level(growing, slots, level)
            if not growing:
                break
            self._charge(owners, kept=slots)
            logits = self._read(growing, slots)
            owners = [tree.row for tree, _ in growing]
            slots = list(range(len(gammas), len(gammas) + len(growing)))
        self._charge(owners)
        self._forget_branches(len(gammas))
        found = [EMPTY] * len(gammas)
        for tree in trees:
            found[tree.row] = self._draft(tree)
        return found

    def _grow(self, growing: Sequence[tuple[_Tree, int]], logits: Float[Tensor, "node vocab"], level: int) -> None:
        """Give children to the nodes that `growing` names."""
        ours = self.pairing.logits(logits, self.width)
        scores = self.pipeline.scores(ours, lambda: [self.follow.prefix(t.row, t.branch(node)) for t, node in growing])
        q = scores.double().softmax(-1) if self.pipeline.greedy else self.pipeline.transformed(scores)
        for tree, _ in growing:
            tree.frontier = []
        for i, (tree, node) in enumerate(growing):
            for token in self._children_of(tree, node, q[i], level):
                tree.add(node, token, float(q[i, token].log()), q[i] if self._drawing else None)
                tree.frontier.append(len(tree.tokens) - 1)

    @property
    def _drawing(self) -> bool:
        return self.sampled and not self.pipeline.greedy

    def _children_of(self, tree: _Tree, node: int, q: Float[Tensor, " vocab"], level: int) -> list[int]:
        if not self._drawing:
            weights, tokens = q.topk(min(self.branching, len(q)))
            return [token for token, w in zip(tokens.tolist(), weights.tolist(), strict=True) if w > 0]
        row, left, found = self.follow.rows[tree.row], q.clone(), []
        for child in range(min(self.children, int((q > 0).sum()))):
            chance = number(row.key, row.position + level, "draft", (node + 1) * self.children + child)
            found.append(int(draw(left.unsqueeze(0), [chance])))
            left[found[-1]] = 0
        return found

    def _next_level(
        self, growing: Sequence[tuple[_Tree, int]], slots: Sequence[int], level: int
    ) -> tuple[list[tuple[_Tree, int]], list[int]]:
        """The best new nodes of each tree, and the session's row in which each one's parent was read."""
        place = {(tree.row, node): slot for (tree, node), slot in zip(growing, slots, strict=True)}
        found: list[tuple[_Tree, int]] = []
        for tree in {id(tree): tree for tree, _ in growing}.values():
            room = self.nodes - len(tree.tokens) if self._drawing else self.nodes
            if level + 1 < tree.depth and room >= self.children:
                most = min(self.branching, room // self.children) if self._drawing else self.branching
                best = sorted(tree.frontier, key=lambda node: -tree.sums[node])[:most]
                found += [(tree, node) for node in sorted(best)]
        return found, [place[tree.row, tree.parents[node]] for tree, node in found]

    def _read(self, growing: Sequence[tuple[_Tree, int]], slots: Sequence[int]) -> Float[Tensor, "node vocab"]:
        """Read new nodes, each in a copy of its parent's row; the rows of the batch stay in front."""
        assert self.follow.session is not None
        batch = len(self.follow.rows)
        self.follow.session = self.follow.session.select([*range(batch), *slots])
        tokens = [tree.tokens[node] for tree, node in growing]
        ours = [[t if self.pairing.same else self.pairing.to_draft[t]] for t in tokens]
        return torch.cat(self.follow.session.feed([*([] for _ in range(batch)), *ours], last=True)[batch:])

    def _charge(self, owners: Sequence[int], kept: Sequence[int] = ()) -> None:
        """Enter what the copies of these rows have cost, but for those that are kept, before they are given up."""
        assert self.follow.session is not None
        batch = len(self.follow.rows)
        spent = self.follow.session.spent()[batch:] if owners else []
        for slot, (row, cost) in enumerate(zip(owners, spent, strict=True), start=batch):
            if slot not in kept:
                work = {name: replace(usage, calls=0) for name, usage in cost.items()}
                self.branched[row] = add_cost(self.branched[row], work)

    def _forget_branches(self, batch: int) -> None:
        assert self.follow.session is not None
        self.follow.session = self.follow.session.select(range(batch))

    def _draft(self, tree: _Tree) -> Draft:
        if self._drawing:
            return Draft(tree.tokens, torch.stack(tree.q), tree.parents)
        best = sorted(range(len(tree.tokens)), key=lambda node: (-tree.sums[node], node))[: self.nodes]
        kept = {node: i for i, node in enumerate(sorted(best))}
        parents = [kept.get(tree.parents[node], -1) for node in kept]
        return Draft([tree.tokens[node] for node in kept], None, None if self.branching == 1 else parents)

    def observe(self, emitted: Sequence[Sequence[int]]) -> None:
        self.follow.observe(emitted)

    def select(self, rows: Sequence[int]) -> None:
        self.branched = [self.branched[row] for row in rows]
        self.follow.select(rows)

    def spent(self) -> list[list[tuple[Any, Mapping[str, Usage]]]]:
        pairs = zip(self.follow.spent(), self.branched, strict=True)
        return [[*own, (self.model, extra)] for own, extra in pairs]
