"""The deciding half: the best combination against the best single model, on examples that nothing was searched on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.evaluate import Decision, Result
from consort.recipes.auto.learners import joined, keep
from consort.recipes.auto.stage import Proposal
from consort.recipes.auto.teams import choose
from consort.runs.aim import Aim
from consort.runs.pool import WINNER
from consort.runs.trials import Trials


@dataclass(frozen=True, slots=True)
class Taken:
    """The best combination, None where none is better on fit; what it does on held-out; whether it is kept there."""

    system: Proposal | None = None
    held_out: Result | None = None
    decision: Decision | None = None
    kept: bool = False


class Field:
    """The combinations and single models of a run that keep the limits of its `aim`.

    `singles` are the inputs with what they do on held-out. `fallback` is the one that is best on all of dev, of equal
    ones the cheapest, then the first; None where none keeps the limits.
    """

    def __init__(
        self,
        trials: Trials,
        aim: Aim,
        systems: Sequence[Proposal],
        singles: Sequence[tuple[Proposal, Result]],
    ) -> None:
        self.trials, self.aim = trials, aim
        self.held_out = {single.key: held for single, held in singles}
        self.combinations = [s for s in systems if s.key not in self.held_out and aim.allows(s.price, s.seconds)]
        self.eligible = [single for single, held in singles if self._keeps_limits(single, held)]
        self.fallback = self._best_on_dev()

    def decide(self, notes: list[str]) -> Taken:
        """The best combination by fit, and whether it beats the fallback on held-out.

        One that cannot be run there, or does not keep the limits there, gives way to the next; `notes` says so.
        """
        on_fit = max(self.eligible, key=lambda one: self.aim.worth(one.known.score, one.price), default=None)
        best = choose(self.combinations, on_fit, self.aim, seed=self.trials.seed)
        if best is None:
            return Taken()
        try:
            keep(best, self.trials.journal.folder)
            held = self.trials.result(WINNER, best.expression, "held_out")
        except EnvironmentFailure:
            raise
        except ConsortError as fault:
            notes.append(f"{best.name} was left out: {fault}")
            self.trials.enter(replace(self.trials.candidates[best.key], fit=None, note=str(fault)))
            return self._without(best, notes)
        price = self.trials.tariff.price(held)
        if not self.aim.allows(price, held.seconds_per_example):
            notes.append(f"{best.name} was left out: it does not keep the limits on held-out")
            return self._without(best, notes)
        if self.fallback is None:
            notes.append("no single model keeps the limits, so there was none to beat on held-out")
            return Taken(best, held, kept=True)
        rival = self.held_out[self.fallback.key]
        prices = price, self.trials.tariff.price(rival)
        decision = self.aim.decide(held, rival, prices, seed=self.trials.seed)
        return Taken(best, held, decision, decision.kept)

    def _without(self, system: Proposal, notes: list[str]) -> Taken:
        self.combinations = [one for one in self.combinations if one.key != system.key]
        return self.decide(notes)

    def _keeps_limits(self, single: Proposal, held: Result) -> bool:
        """Whether a model keeps the limits over both halves of dev."""
        fit = single.known
        share = fit.count / (fit.count + held.count)
        there = self.trials.tariff.price(held)
        price = None if single.price is None or there is None else share * single.price + (1 - share) * there
        return self.aim.allows(price, (fit.seconds + held.seconds) / (fit.count + held.count))

    def _best_on_dev(self) -> Proposal | None:
        if not self.eligible:
            return None
        halves = [(one.known, self.held_out[one.key]) for one in self.eligible]
        prices = [one.price for one in self.eligible]
        return self.eligible[best_on_dev(halves, prices, self.aim)]


def best_on_dev(halves: Sequence[tuple[Result, Result]], prices: Sequence[float | None] = (), aim: Aim = Aim()) -> int:
    """The number of the model that is best on both halves of dev together; of equal ones the cheapest, then the first.

    `prices` are those of the models, in any one unit; where one is not known, none decides.
    """
    paid = [price for price in prices if price is not None]
    known = paid if len(paid) == len(halves) else [0.0] * len(halves)
    worth = [aim.worth(joined(pair).score, price) for pair, price in zip(halves, known, strict=True)]
    return max(range(len(worth)), key=lambda i: (float(f"{worth[i]:.12g}"), -known[i]))
