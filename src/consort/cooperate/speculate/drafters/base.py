"""What a drafter is: settings that a plan names, and the session it opens to guess for one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from consort.cooperate.speculate.drafters.draft import Draft
from consort.cooperate.speculate.rounds.pipeline import Pipeline
from consort.cooperate.speculate.rounds.vocabulary import Pairing, pair
from consort.core.errors import BadParameter
from consort.core.params import name_of
from consort.core.types import Usage
from consort.models.token_model import TokenModel


@dataclass(frozen=True, slots=True)
class Start:
    """A row as a drafter first sees it: the prompt in ids of the target, and the key of its random numbers."""

    prompt: Sequence[int]
    key: bytes


@runtime_checkable
class DraftSession(Protocol):
    """Guesses for one batch, with a state for each row.

    Nothing it does can change what the target emits, only how many passes that takes.
    """

    def start(self, rows: Sequence[Start], pipeline: Pipeline, width: int) -> None:
        """Forget all rows and begin with these; `width` is how many logits the target gives."""

    def propose(self, gammas: Sequence[int]) -> list[Draft]:
        """For each row a guess of at most so many tokens, or of that depth; an empty one is allowed."""

    def observe(self, emitted: Sequence[Sequence[int]]) -> None:
        """Tokens that each row has really gone on by since the last call (none for some is fine)."""

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order."""

    def spent(self) -> list[list[tuple[Any, Mapping[str, Usage]]]]:
        """For each row the models that worked for it, with what `Session.spent` reports of each."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a drafter may know of the model whose tokens it guesses. `trees`: it reads a tree of tokens in one pass."""

    model: TokenModel
    trees: bool = False
    _pairings: dict[tuple[int, int], Pairing] = field(default_factory=dict)

    def pairing(self, draft: TokenModel) -> Pairing:
        """Which tokens of `draft` are which of the target; compared once. Raises Incompatible if none are."""
        key = id(self.model), id(draft)
        if key not in self._pairings:
            self._pairings[key] = pair(self.model, draft)
        return self._pairings[key]

    def with_trees(self, trees: bool) -> Target:
        """The same target, whose sessions read trees or do not."""
        return replace(self, trees=trees)

    def stage(self, model: TokenModel) -> Target:
        """A draft as the target of a smaller drafter; what was compared is remembered in common."""
        return Target(model, False, self._pairings)


class Drafter(ABC):
    """How to guess ahead. A registered drafter keeps its arguments under the parameters' own names.

    One that drafts with a model has an attribute `draft`: its own model, or None for the one that the speculating model
    was given. It keeps nothing from one batch to the next but its settings.
    """

    trees: bool = False
    """Whether it guesses trees, for targets that read them."""

    @property
    def name(self) -> str:
        """The registered name."""
        return name_of(type(self).__name__)

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it was given itself."""
        own = getattr(self, "draft", None)
        return () if own is None else (own,)

    @abstractmethod
    def open(self, target: Target, draft: TokenModel | None) -> DraftSession:
        """What guesses for one batch. `draft`: the model to draft with (see `draft_for`)."""


@runtime_checkable
class Speculates(Protocol):
    """A model that speculates itself: as a draft it has its tokens guessed by its own drafter."""

    target: TokenModel
    draft: TokenModel | None
    guesser: Drafter


def draft_for(drafter: Drafter, given: TokenModel | None) -> TokenModel | None:
    """The model that a drafter drafts with where the speculating model was given `given`.

    Raises BadParameter for none where it needs one, for one where it takes none, and for two.
    """
    hint = "give draft, or drafter: lookup"
    if not hasattr(drafter, "draft"):
        if given is not None:
            raise BadParameter(f"the drafter {drafter.name} takes no draft model", field="draft", hint=hint)
        return None
    own: TokenModel | None = drafter.draft
    if own is not None and given is not None:
        raise BadParameter(f"the drafter {drafter.name} has a draft model already", field="draft", hint="give one")
    if own is None and given is None:
        raise BadParameter(f"the drafter {drafter.name} needs a draft model", field="draft", hint=hint)
    return own if given is None else given
