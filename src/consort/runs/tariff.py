"""What answers cost, in one unit for all systems of a run.

A model of weights costs its tokens, read and written, times the weights that work for one of them. An endpoint of
unknown size costs what a token of it is said to (`per_token`, in that unit, or in money where no model has weights
here); cached answers cost what their table tells, where no model of the run has weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from consort.core.errors import BadParameter, UnknownName, did_you_mean
from consort.evaluate import Result
from consort.evaluate.bootstrap import are_known
from consort.runs.pool import Member

WORK, TOLD = "tokens × parameters", "as told"


@dataclass(frozen=True, slots=True)
class Tariff:
    """What models cost by their own names: `per_token`, and `per_answer` of those whose answers have told prices."""

    unit: str = WORK
    per_token: Mapping[str, float] = field(default_factory=dict)
    per_answer: Mapping[str, float] = field(default_factory=dict)

    def price(self, result: Result) -> float | None:
        """What an answer costs, summed over all models at work, a mean over the examples; None where not known."""
        total = 0.0
        for name, usage in result.cost.items():
            own = name.partition("#")[0]
            rate = self.per_token.get(own, result.sizes.get(name))
            if rate is not None:
                total += rate * usage.total_tokens
            elif own in self.per_answer:
                total += self.per_answer[own] * usage.calls
            elif usage.calls or usage.total_tokens:
                return None
        answered = int(are_known(np.array(result.statistics)).sum())
        return total / max(1, answered)


def tariff_of(members: Sequence[Member], results: Sequence[Result], given: Mapping[str, float] | None = None) -> Tariff:
    """The tariff of a run over `members`, whose `results` on the same examples are known.

    `given` is what a token costs, by the members' labels or references. Raises UnknownName and BadParameter.
    """
    rates = check_rates(members, given or {})
    own = {m.label: name for m, result in zip(members, results, strict=True) for name in result.cost}
    per_token = {own[label]: rate for label, rate in rates.items() if label in own}
    if any(m.checkpoint is not None for m in members):
        return Tariff(WORK, per_token)
    told = {own[m.label]: price_told(r) for m, r in zip(members, results, strict=True) if m.label in own}
    per_answer = {name: price for name, price in told.items() if price is not None}
    return Tariff(TOLD, per_token, per_answer)


def check_rates(members: Sequence[Member], given: Mapping[str, float]) -> dict[str, float]:
    """What a token costs, by the labels of members. Raises UnknownName for no input, BadParameter for a bad price."""
    labels = {name: m for m in members for name in (m.reference, m.label)}
    found = {}
    for name, rate in given.items():
        member = labels.get(name)
        if member is None:
            raise UnknownName(f"no input named {name!r}", field="price", hint=did_you_mean(name, list(labels)))
        if member.checkpoint is not None:
            hint = "a model of weights costs its tokens times its parameters; prices are for endpoints and tables"
            raise BadParameter(f"{name} has weights", field="price", hint=hint)
        if not 0 <= rate < float("inf"):
            raise BadParameter(
                f"{rate} is no price", field="price", hint=f"{name}=7e9: a token costs as of 7e9 weights"
            )
        found[member.label] = float(rate)
    return found


def price_told(result: Result) -> float | None:
    """The mean of the prices that were told with the answers; None where one was not."""
    found = [one.get("price") for one, row in zip(result.details, result.statistics, strict=False) if any(row)]
    known = [price for price in found if isinstance(price, int | float)]
    return sum(known) / len(known) if known and len(known) == len(found) else None
