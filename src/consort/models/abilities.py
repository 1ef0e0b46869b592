"""What some sessions can do beyond reading tokens, asked for by name.

hidden   feed_hidden(tokens, layers) gives hidden states beside the logits, layer_logits(states) what the output
         head makes of them (DoLa, contrastive search)
tree     feed_tree(tokens, parents) reads a tree of continuations at once, keep(paths) goes on along one branch
admit    admit(rows) gives the session with new, empty rows at its end (continuous batching)
copy     copy_beginning(source, target, tokens) lets an empty row begin as another did
embedding feed_embeddings(vectors) reads vectors in the place of tokens (soft prompts)
slots    put_slots(row, keys, values, position) begins a row with keys and values of its own (gists, smaller caches)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from jaxtyping import Float

from consort.core.errors import Unsupported
from consort.core.prefix import shared_prefix
from consort.core.types import Usage
from consort.models.base import Session

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class States:
    """Logits of a row's new tokens and the hidden states asked for.

    Layers are counted as transformers counts `hidden_states`: 0 are the embeddings, i the output of layer i; the last,
    also -1, has passed the model's final norm.
    """

    logits: Float[Tensor, "new vocab"]
    hidden: Float[Tensor, "layer new size"]


@runtime_checkable
class HiddenSession(Session, Protocol):
    """A session that shows hidden states."""

    def feed_hidden(
        self, tokens: Sequence[Sequence[int]], layers: Sequence[int] = (-1,), *, last: bool = False
    ) -> list[States]:
        """As `feed`, with hidden states of `layers`."""

    def layer_logits(
        self, hidden: Float[Tensor, "*shape size"], *, norm: bool = False
    ) -> Float[Tensor, "*shape vocab"]:
        """Float32 logits that the output head gives for hidden states; with `norm` the final norm comes first."""


@runtime_checkable
class TreeSession(Session, Protocol):
    """A session that reads trees of tokens."""

    def feed_tree(
        self, tokens: Sequence[Sequence[int]], parents: Sequence[Sequence[int]]
    ) -> list[Float[Tensor, "node vocab"]]:
        """Read a tree behind each sequence: parents[row][i] < i is the node before node i, -1 the end of the sequence.

        Row i of a result are the logits after the sequence and the branch that ends with node i. The next call must be
        `keep`.
        """

    def keep(self, paths: Sequence[Sequence[int]]) -> None:
        """Of each tree, keep the nodes of one branch, given from its first node on; all other nodes are forgotten."""


@runtime_checkable
class GrowingSession(Session, Protocol):
    """A session that takes new rows while others run."""

    def admit(self, rows: int) -> GrowingSession:
        """The session with so many new, empty rows at its end; this one must not be used after."""


@runtime_checkable
class CopyingSession(Session, Protocol):
    """A session in which a row can begin as another did."""

    def copy_beginning(self, source: int, target: int, tokens: int) -> None:
        """The first `tokens` that row `source` has read are what row `target`, which is empty, has read; none count."""


@runtime_checkable
class EmbeddingSession(Session, Protocol):
    """A session that reads vectors."""

    def feed_embeddings(
        self, vectors: Sequence[Float[Tensor, "new size"]], *, last: bool = False
    ) -> list[Float[Tensor, "new vocab"]]:
        """As `feed`, with vectors in the place of tokens' embeddings; they count as tokens."""


@runtime_checkable
class SlotSession(Session, Protocol):
    """A session whose cache may be put in place: rows are slots, whose positions need not be their numbers."""

    def put_slots(
        self,
        row: int,
        keys: Float[Tensor, "layer head slot size"],
        values: Float[Tensor, "layer head slot size"],
        position: int,
    ) -> None:
        """Begin a row with these keys and values, whatever it was; it goes on at `position`, and counts the slots.

        Raises Unsupported for a model with sliding windows, which go by slots.
        """


ABILITIES = {
    "hidden": ("feed_hidden", "layer_logits"),
    "tree": ("feed_tree", "keep"),
    "embedding": ("feed_embeddings",),
    "slots": ("put_slots",),
    "admit": ("admit",),
    "copy": ("copy_beginning",),
}


def able(session: Session, ability: str) -> bool:
    """Whether `session` has one of `ABILITIES`.

    A class that keeps more of its rows than the one it inherits from says by its own `select` how they are kept; then
    only its own `admit` counts.
    """
    if not all(callable(getattr(session, name, None)) for name in ABILITIES[ability]):
        return False
    return ability != "admit" or (_admits(session) and all(able(part, "admit") for part in inner_sessions(session)))


def inner_sessions(session: Any) -> list[Any]:
    """The sessions that a session is made of, as far as it tells by `inner_sessions`."""
    tell = getattr(session, "inner_sessions", None)
    return [] if tell is None else list(tell())


def _admits(session: Session) -> bool:
    owner = next((kind for kind in type(session).__mro__ if "select" in vars(kind)), None)
    return owner is not None and "admit" in vars(owner)


def with_hidden(session: Session, name: str = "the model") -> HiddenSession:
    """The session, if it shows hidden states; else Unsupported, naming the model."""
    if not able(session, "hidden"):
        hint = "a single local transformers model shows them"
        raise Unsupported("does not show its hidden states", field=name, hint=hint)
    return cast(HiddenSession, session)


def with_embeddings(session: Session, name: str = "the model") -> EmbeddingSession:
    """The session, if it reads vectors; else Unsupported, naming the model."""
    if not able(session, "embedding"):
        raise Unsupported("does not read vectors in the place of tokens", field=name, hint=_LEAN)
    return cast(EmbeddingSession, session)


def with_slots(session: Session, name: str = "the model") -> SlotSession:
    """The session, if its cache may be put in place; else Unsupported, naming the model."""
    if not able(session, "slots"):
        raise Unsupported("does not open its cache", field=name, hint=_LEAN)
    return cast(SlotSession, session)


_LEAN = "a single local model of a family that is read by the lean pass: Llama, Mistral, Qwen2, Qwen3, BitNet"


def check_unbounded(windows: Sequence[int | None], name: str) -> None:
    """Raise Unsupported for layers that see a sliding window alone."""
    if any(window is not None for window in windows):
        hint = "a model without sliding windows"
        raise Unsupported("has sliding windows, which go by slots", field=name, hint=hint)


def with_trees(session: Session, batch: int = 1) -> TreeSession:
    """The session, if it reads trees, else one that reads them branch by branch; `batch` rows, nothing fed yet."""
    return cast(TreeSession, session) if able(session, "tree") else SequentialTrees(session, batch)


class SequentialTrees:
    """Trees on a session that cannot read them: node after node, stepping back to its parent where that is needed."""

    def __init__(self, session: Session, batch: int = 1) -> None:
        self.session, self.lengths = session, [0] * batch
        self.trees: list[list[int]] = []

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        self.lengths = [length + len(new) for length, new in zip(self.lengths, tokens, strict=True)]
        return self.session.feed(tokens, last=last)

    def rollback(self, lengths: Sequence[int]) -> None:
        self.lengths = [min(a, b) for a, b in zip(self.lengths, lengths, strict=True)]
        self.session.rollback(lengths)

    def select(self, rows: Sequence[int]) -> SequentialTrees:
        self.lengths = [self.lengths[row] for row in rows]
        self.session = self.session.select(rows)
        return self

    def inner_sessions(self) -> list[Session]:
        return [self.session]

    def admit(self, rows: int) -> SequentialTrees:
        self.lengths += [0] * rows
        growing: Any = self.session
        self.session = growing.admit(rows)
        return self

    def spent(self) -> list[dict[str, Usage]]:
        return self.session.spent()

    def feed_tree(
        self, tokens: Sequence[Sequence[int]], parents: Sequence[Sequence[int]]
    ) -> list[Float[Tensor, "node vocab"]]:
        """Logits after every node of each row's tree, which is read path by path."""
        import torch

        check_trees(tokens, parents)
        self.trees = [list(row) for row in tokens]
        branches: list[list[int]] = [[] for _ in tokens]
        parts: list[list[Any]] = [[] for _ in tokens]
        for step in range(max(1, *map(len, tokens))):
            feed: list[list[int]] = []
            for row, nodes in enumerate(tokens):
                path = _path(parents[row], step) if step < len(nodes) else []
                common = shared_prefix(branches[row], path) if path else len(branches[row])
                branches[row] = [*branches[row][:common], *path[common:]]
                feed.append([nodes[i] for i in path[common:]])
            self.session.rollback([n + len(b) - len(f) for n, b, f in zip(self.lengths, branches, feed, strict=True)])
            for row, logits in enumerate(self.session.feed(feed, last=True)):
                parts[row].append(logits)
        return [torch.cat(row) for row in parts]

    def keep(self, paths: Sequence[Sequence[int]]) -> None:
        """Go on after a path of each row's tree; all other nodes are forgotten."""
        self.session.rollback(self.lengths)
        self.feed([[self.trees[row][i] for i in path] for row, path in enumerate(paths)], last=True)


def check_trees(tokens: Sequence[Sequence[int]], parents: Sequence[Sequence[int]]) -> None:
    """Raise ValueError for parents that do not come before their children."""
    for nodes, above in zip(tokens, parents, strict=True):
        if len(nodes) != len(above) or any(not -1 <= parent < i for i, parent in enumerate(above)):
            raise ValueError(f"{list(above)} are no parents of {len(nodes)} nodes")


def depths_of(parents: Sequence[int]) -> list[int]:
    """How many nodes stand above each, roots 0."""
    depths: list[int] = []
    for parent in parents:
        depths.append(0 if parent < 0 else depths[parent] + 1)
    return depths


def _path(parents: Sequence[int], node: int) -> list[int]:
    path = []
    while node >= 0:
        path.append(node)
        node = parents[node]
    return path[::-1]
