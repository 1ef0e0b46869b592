"""A draft model's trees, grown level by level: the likeliest children of each node, or children drawn from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.speculate.drafters.base import Start
from consort.cooperate.speculate.drafters.draft import EMPTY, Draft
from consort.cooperate.speculate.drafters.followers import Followers
from consort.cooperate.speculate.drafters.payoff import Payoff, chain_length, path_length
from consort.cooperate.speculate.rounds.pipeline import Pipeline, number
from consort.cooperate.speculate.rounds.vocabulary import Pairing
from consort.core.types import Sampling, Usage, add_cost
from consort.models.decoding.sampling import draw
from consort.models.token_model import TokenModel


@dataclass(frozen=True, slots=True)
class Shape:
    """At most `nodes` tokens, the best `branching` of a level going on. `children`: drawn ones of a node; 0: likeliest.

    `worth`: a tree is grown while its branches save this many tokens for each token they add.
    """

    nodes: int
    branching: int
    children: int = 0
    worth: float = 0.0

    def size(self, depth: int) -> int:
        """Tokens of a tree of that depth."""
        width = self.children or self.branching
        total, level = 0, 1
        for _ in range(depth):
            total, level = total + level * width, min(level * width, self.branching)
        return min(self.nodes, total)


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
    narrow: bool = False
    """Only the first child of each node is taken: a chain."""
    passed_by: list[list[int]] = field(default_factory=list)
    """Of a narrow one: the children that were not taken, level by level."""

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


class GrowingSession:
    """Grows a tree of a shape for each row, its depth the gamma given; for a target without trees the best chain.

    Where a row's branches have not paid (see `Payoff`) it gets a chain until they would have.
    """

    def __init__(self, model: TokenModel, pairing: Pairing, shape: Shape, *, trees: bool = True) -> None:
        self.model, self.pairing, self.shape, self.trees = model, pairing, shape, trees
        self.follow = Followers(model, pairing)
        self.pipeline, self.width = Pipeline(Sampling()), 0
        self.branched: list[dict[str, Usage]] = []
        self.payoffs: list[Payoff] = []
        self.last: list[_Tree | None] = []

    def start(self, rows: Sequence[Start], pipeline: Pipeline, width: int) -> None:
        self.pipeline, self.width = pipeline, width
        self.follow.start(rows)
        self.branched = [{} for _ in rows]
        self.payoffs = [Payoff(self.shape.worth) for _ in rows]
        self.last = [None] * len(rows)

    def propose(self, gammas: Sequence[int]) -> list[Draft]:
        gammas = self.follow.within_window(gammas)
        active = [row for row, gamma in enumerate(gammas) if self.follow.able(row, gamma)]
        if not active:
            return [EMPTY] * len(gammas)
        trees = [_Tree(row, gammas[row], narrow=self._is_narrow(row, gammas[row])) for row in active]
        logits = torch.cat(self.follow.catch_up(active, max(gammas)))
        grow = self._grow_chains if all(tree.narrow for tree in trees) else self._grow_branches
        grow(trees, logits, max(gammas))
        found = [EMPTY] * len(gammas)
        for tree in trees:
            found[tree.row], self.last[tree.row] = self._draft(tree), tree
        return found

    def _grow_chains(self, trees: Sequence[_Tree], logits: Float[Tensor, "node vocab"], depth: int) -> None:
        """Each row reads on by itself: nothing is copied."""
        growing = [(tree, -1) for tree in trees]
        for level in range(depth):
            self._grow(growing, logits, level)
            growing, _ = self._next_level(growing, [tree.row for tree, _ in growing], level)
            if not growing:
                return
            tokens = [[self._in_draft(tree.tokens[node])] for tree, node in growing]
            for (tree, _), new in zip(growing, tokens, strict=True):
                self.follow.rows[tree.row].ahead += new
            logits = torch.cat(self.follow.feed([tree.row for tree, _ in growing], tokens))

    def _grow_branches(self, trees: Sequence[_Tree], logits: Float[Tensor, "node vocab"], depth: int) -> None:
        growing, batch = [(tree, -1) for tree in trees], len(self.follow.rows)
        slots, owners = [tree.row for tree in trees], list[int]()
        for level in range(depth):
            self._grow(growing, logits, level)
            growing, slots = self._next_level(growing, slots, level)
            if not growing:
                break
            self._charge(owners, kept=slots)
            logits = self._read(growing, slots)
            owners = [tree.row for tree, _ in growing]
            slots = list(range(batch, batch + len(growing)))
        self._charge(owners)
        self._forget_branches(batch)

    def _in_draft(self, token: int) -> int:
        """The draft's own id of a token."""
        return token if self.pairing.same else self.pairing.to_draft[token]

    def _is_narrow(self, row: int, depth: int) -> bool:
        return not (self.trees and self.payoffs[row].pays(self.shape.size(depth) - depth))

    def _grow(self, growing: Sequence[tuple[_Tree, int]], logits: Float[Tensor, "node vocab"], level: int) -> None:
        """Give children to the nodes that `growing` names."""
        ours = self.pairing.logits(logits, self.width)
        scores = self.pipeline.scores(ours, lambda: [self.follow.prefix(t.row, t.branch(node)) for t, node in growing])
        q = scores.double().softmax(-1) if self.pipeline.greedy else self.pipeline.transformed(scores)
        for tree, _ in growing:
            tree.frontier = []
        for i, (tree, node) in enumerate(growing):
            children = self._children_of(tree, node, q[i], level)
            if tree.narrow:
                tree.passed_by.append(children[1:])
            for token in children[:1] if tree.narrow else children:
                tree.add(node, token, float(q[i, token].log()), q[i] if self._drawing else None)
                tree.frontier.append(len(tree.tokens) - 1)

    @property
    def _drawing(self) -> bool:
        return bool(self.shape.children) and not self.pipeline.greedy

    def _children_of(self, tree: _Tree, node: int, q: Float[Tensor, " vocab"], level: int) -> list[int]:
        if not self._drawing:
            weights, tokens = q.topk(min(self.shape.branching, len(q)))
            return [token for token, w in zip(tokens.tolist(), weights.tolist(), strict=True) if w > 0]
        row, left, found = self.follow.rows[tree.row], q.clone(), []
        for child in range(min(self.shape.children, int((q > 0).sum()))):
            chance = number(row.key, row.position + level, "draft", (node + 1) * self.shape.children + child)
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
            shape = self.shape
            room = shape.nodes - len(tree.tokens) if self._drawing else shape.nodes
            if level + 1 < tree.depth and (tree.narrow or room >= shape.children):
                most = shape.branching
                if self._drawing and not tree.narrow:
                    most = min(most, room // shape.children)
                best = sorted(tree.frontier, key=lambda node: -tree.sums[node])[:most]
                found += [(tree, node) for node in sorted(best)]
        return found, [place[tree.row, tree.parents[node]] for tree, node in found]

    def _read(self, growing: Sequence[tuple[_Tree, int]], slots: Sequence[int]) -> Float[Tensor, "node vocab"]:
        """Read new nodes, each in a copy of its parent's row; the rows of the batch stay in front."""
        assert self.follow.session is not None
        batch = len(self.follow.rows)
        self.follow.session = self.follow.session.select([*range(batch), *slots])
        ours = [[self._in_draft(tree.tokens[node])] for tree, node in growing]
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
            q = torch.stack(tree.q) if tree.q else None
            return Draft(tree.tokens, q, None if tree.narrow else tree.parents) if q is not None else EMPTY
        best = sorted(range(len(tree.tokens)), key=lambda node: (-tree.sums[node], node))[: self.shape.nodes]
        kept = {node: i for i, node in enumerate(sorted(best))}
        parents = [kept.get(tree.parents[node], -1) for node in kept]
        return Draft([tree.tokens[node] for node in kept], None, None if tree.narrow else parents)

    def observe(self, emitted: Sequence[Sequence[int]]) -> None:
        for row, tokens in enumerate(emitted):
            tree, self.last[row] = self.last[row], None
            if tree is not None and tree.tokens and tokens:
                self.payoffs[row].enter(_saved(tree, tokens))
        self.follow.observe(emitted)

    def select(self, rows: Sequence[int]) -> None:
        self.branched = [self.branched[row] for row in rows]
        self.payoffs, self.last = [self.payoffs[row] for row in rows], [self.last[row] for row in rows]
        self.follow.select(rows)

    def spent(self) -> list[list[tuple[Any, Mapping[str, Usage]]]]:
        pairs = zip(self.follow.spent(), self.branched, strict=True)
        return [[*own, (self.model, extra)] for own, extra in pairs]


def _saved(tree: _Tree, emitted: Sequence[int]) -> int:
    """How many more tokens stand thanks to the branches; of a chain: whether one that it passed by would have stood."""
    chain = chain_length(tree.tokens, tree.parents, emitted)
    if not tree.narrow:
        return path_length(tree.tokens, tree.parents, emitted) - chain
    return int(chain < min(len(emitted), len(tree.passed_by)) and emitted[chain] in tree.passed_by[chain])
