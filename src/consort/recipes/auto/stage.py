"""What a stage of `auto` is, and the loop over stages, which owns the budget and the notes.

class Stage(Protocol):
    name: str
    tries: str                                              # what it tries, for people
    passes: float                                           # time of a trial: how often a model reads the fit examples
    def needs(self, pool) -> int                            # trials that earlier stages leave it
    def propose(self, pool, share) -> (proposals, notes)    # at most `share` new trials
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.core.journal import key_of
from consort.evaluate import Result
from consort.recipes.auto.given import NOTHING, Given
from consort.runs.pool import Family, Member
from consort.runs.trials import BudgetSpent, Trials


@dataclass(frozen=True, slots=True)
class Proposal:
    """A system: a single model, a merge, or a team of several models that answer together.

    `result` is what it did on the fit examples, by trial or cross-fitted, None before it is run. `price` is what an
    answer costs by the run's tariff, a mean over the examples, before it is run an estimate; None where that is not
    known. `seconds` is what an answer took on this machine, None where that is not known.
    `save` writes what it learned, if anything, to a file; `relearn` gives it as it is after learning from all of dev.
    """

    name: str
    expression: Any
    result: Result | None
    price: float | None
    is_team: bool = False
    save: Callable[[Path], None] | None = None
    relearn: Callable[[Trials], Proposal] | None = None
    seconds: float | None = None

    @property
    def key(self) -> str:
        """By which equal proposals are known."""
        return key_of(self.expression)

    @property
    def score(self) -> float | None:
        """On the fit examples, larger is better."""
        return None if self.result is None else self.result.score

    @property
    def known(self) -> Result:
        """The result of a system that has been run."""
        assert self.result is not None
        return self.result


@dataclass(slots=True)
class Pool:
    """What stages know: the inputs, what they do on fit, and what earlier stages proposed.

    `best_of_family` is by the label of a family's first member; `members` are systems that may be part of a team.
    `given` is what was handed in beside models and task; `extras` are details of results.json.
    """

    trials: Trials
    inputs: Sequence[Member]
    families: Sequence[Family]
    fit: Mapping[str, Result]
    base: str | None = None
    force: bool = False
    given: Given = NOTHING
    members: list[Proposal] = field(default_factory=list)
    best_of_family: dict[str, Proposal] = field(default_factory=dict)
    teams: dict[str, Proposal] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.members = [self.single(member) for member in self.inputs]
        for family in self.families:
            best = max(family.members, key=lambda m: self.fit[m.reference].score)
            self.best_of_family[family.members[0].label] = self.single(best)

    def single(self, member: Member) -> Proposal:
        """An input as a system."""
        return self.proposal(member.label, member.reference, self.fit[member.reference])

    def proposal(self, name: str, expression: Any, result: Result, *, is_team: bool = False) -> Proposal:
        """A system that has been run on the fit examples, with what an answer of it costs."""
        price, seconds = self.trials.tariff.price(result), result.seconds_per_example
        return Proposal(name, expression, result, price, is_team, seconds=seconds)

    def tried(self, system: Proposal) -> Proposal | None:
        """`system` after a trial, with result and cost; None where it cannot be made. Raises BudgetSpent.

        The text of BudgetSpent says what is spent, for the note: f"not tried: {spent}: {system.name}".
        """
        self.trials.trial(system.name, system.expression)
        if self.trials.candidates[system.key].fit is None:
            return None
        found = self.trials.result(system.name, system.expression, "fit")
        price, seconds = self.trials.tariff.price(found), found.seconds_per_example
        return replace(system, result=found, price=price, seconds=seconds)

    def add(self, proposal: Proposal) -> None:
        """Keep a proposal: a team as a candidate, anything else as a possible member of teams."""
        if proposal.is_team:
            self.teams.setdefault(proposal.key, proposal)
        elif proposal.key not in {member.key for member in self.members}:
            self.members.append(proposal)


class Stage(Protocol):
    """One way to make a better system of the models of a pool; `tries` says which, before it begins.

    `passes` is the time of one of its trials, in passes of the slowest input over the fit examples: an average of three
    takes 3, training on them for two rounds about 6; 0 for a stage that asks no model.
    """

    name: str
    tries: str
    passes: float

    def needs(self, pool: Pool) -> int:
        """How many trials earlier stages leave it."""

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        """Systems that were tried with at most `share` new trials, and what there is to say of those that were not."""


def run_stages(pool: Pool, stages: Sequence[Stage]) -> list[str]:
    """Let each stage propose in turn; returns the notes. A stage that cannot be is a note, not an end.

    Where time is bounded, a stage of which not one trial fits any more is not begun.
    """
    notes, hours = [], pool.trials.hours
    slowest = max(result.seconds for result in pool.fit.values())
    for number, stage in enumerate(stages):
        kept = sum(later.needs(pool) for later in stages[number + 1 :])
        share = max(0, pool.trials.budget - kept - len(pool.trials.candidates))
        pool.trials.limit = len(pool.trials.candidates) + share
        hours.each_s = stage.passes * slowest
        if stage.needs(pool) and not pool.trials.begins(stage.name):
            notes.append(f"not tried: hours: {stage.name}: {stage.tries}")
            continue
        try:
            proposals, said = stage.propose(pool, share)
        except EnvironmentFailure:
            raise  # nothing that the stage is to blame for
        except BudgetSpent as spent:
            proposals, said = [], [f"not tried: {spent}: {stage.name}: {stage.tries}"]
        except ConsortError as fault:
            proposals, said = [], [f"{stage.name} was not tried: {fault}"]
        notes += said
        for proposal in proposals:
            pool.add(proposal)
    return notes


def new_trials(pool: Pool, before: set[str]) -> Iterator[tuple[str, Any]]:
    """The candidates, by key, that have been entered since `before`."""
    return ((key, c) for key, c in list(pool.trials.candidates.items()) if key not in before)
