"""A guess: a chain or a tree of tokens, and what they were drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Draft:
    """A guess for one row, in ids of the target.

    `q`: the distribution that each token was drawn from, one row a token in the target's width; None for tokens that
    were not drawn at all. `parents`: None for a chain, else the index of each token's parent in this draft, -1 for the
    first level; a parent comes before its children, and the children of one parent differ.
    """

    tokens: Sequence[int] = ()
    q: Float[Tensor, "token vocab"] | None = None
    parents: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.tokens)


EMPTY = Draft()


def parents_of(draft: Draft) -> Sequence[int]:
    """The number of each node's parent; -1 for the roots."""
    return range(-1, len(draft) - 1) if draft.parents is None else draft.parents


def branches_of(draft: Draft) -> list[list[int]]:
    """The tokens on the way to each node, the node's own included."""
    found: list[list[int]] = []
    for token, parent in zip(draft.tokens, parents_of(draft), strict=True):
        found.append([*(found[parent] if parent >= 0 else ()), token])
    return found


def node_depths(draft: Draft) -> list[int]:
    """Depths of the root (0) and of all nodes."""
    depths = [0]
    for parent in parents_of(draft):
        depths.append(depths[parent + 1] + 1)
    return depths


def depth_of(draft: Draft) -> int:
    """The most tokens of a draft that can be accepted."""
    return len(draft) if draft.parents is None else max(node_depths(draft))
