"""What a drafter is: guesses ahead for a batch of rows, and is told what was really emitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from consort.cooperate.speculate.rounds.pipeline import Pipeline
from consort.core.types import Usage


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


@dataclass(frozen=True, slots=True)
class Start:
    """A row as a drafter first sees it: the prompt in ids of the target, and the key of its random numbers."""

    prompt: Sequence[int]
    key: bytes


@runtime_checkable
class Drafter(Protocol):
    """A drafter keeps a state for each row of a batch, and never anything that would change a later batch.

    Nothing it does can change what the target emits, only how many passes that takes. `members` are the models at
    work in it.
    """

    name: str

    @property
    def members(self) -> Sequence[Any]: ...

    def start(self, rows: Sequence[Start], pipeline: Pipeline, width: int) -> None:
        """Forget all rows and begin with these; `width` is how many logits the target gives."""

    def propose(self, gammas: Sequence[int]) -> list[Draft]:
        """For each row a guess of at most so many tokens, or of that depth; an empty one is allowed."""

    def observe(self, emitted: Sequence[Sequence[int]]) -> None:
        """Tokens that each row has really gone on by since the last call (none for some is fine)."""

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order."""

    def spent(self) -> list[list[tuple[Any, Mapping[str, Usage]]]]:
        """For each row the models that worked for it, with what `Session.spent` tells of them."""


def parents_of(draft: Draft) -> Sequence[int]:
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
