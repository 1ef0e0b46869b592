"""What passes through the stages: an answer and its claims, each with its queries, evidence and verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from consort.core.errors import BadParameter
from consort.core.types import Usage
from consort.knowledge.evidence import Evidence
from consort.models.detecting import Case

Label = Literal["supported", "refuted", "unknown"]
Place = Literal["decompose", "decontextualise", "checkworthy", "query", "correct"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`p` are P(entailment), P(neutral), P(contradiction): the largest of the first and last over the evidence."""

    label: Label
    p: tuple[float, float, float] = (0.0, 1.0, 0.0)
    evidence: tuple[Evidence, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim at [start, end) of an answer; `standalone` is what it says to one who has not read the rest.

    `worth` in [0, 1]: whether there is anything in it to check.
    """

    text: str
    start: int
    end: int
    standalone: str = ""
    worth: float = 1.0
    queries: tuple[str, ...] = ()
    verdict: Verdict = field(default_factory=lambda: Verdict("unknown"))

    @property
    def statement(self) -> str:
        """The claim as it is checked."""
        return self.standalone or self.text


@dataclass(frozen=True, slots=True)
class Work:
    """An answer on its way; `revised` is a better text of it, `notes` what went wrong."""

    case: Case
    claims: tuple[Claim, ...] = ()
    revised: str | None = None
    notes: tuple[str, ...] = ()

    def with_claims(self, claims: Sequence[Claim]) -> Work:
        """The same with these claims."""
        return replace(self, claims=tuple(claims))

    def noted(self, note: str) -> Work:
        """The same with one more note."""
        return replace(self, notes=(*self.notes, note))


class Stage(Protocol):
    """One step for all answers at once. `spent` is what its models did since that was last asked, by name."""

    place: Place

    def run(self, work: Sequence[Work]) -> list[Work]: ...

    def spent(self) -> Mapping[str, Usage]: ...


def checked_place(stage: Stage, place: Place) -> Stage:
    """The stage, which must be of that place. Raises BadParameter."""
    if stage.place != place:
        hint = f"a stage that can {place}: see `consort methods --kind stage`"
        raise BadParameter(f"a stage that can {stage.place} stands here", field=place, hint=hint)
    return stage


def unspent() -> Mapping[str, Usage]:
    """The cost of a stage that asks no model."""
    return {}
