"""The best merge of each cluster of a zoo, harmful models left out: the first half of Model-GLUE (2410.05357)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

from consort.core.counted import counted
from consort.core.journal import key_of
from consort.recipes.auto.coefficients import Trial, explore, soup
from consort.runs.pool import Family, Member, families
from consort.runs.trials import BudgetSpent, Trials
from consort.search.engine.domain import coefficient_domain
from consort.search.optimizers.heuristic import Heuristic
from consort.zoo import Similarities, cluster, find_harmful

LEAST_AROUND = 3
"""Models of which one can be told to be the most central."""
NO_BASE = "no base is known (--base names it), so averages alone would be tried, which stay between the models"
Worth = dict[str, float]
"""What the models score on fit, by reference."""


@dataclass(frozen=True, slots=True)
class Group:
    """A cluster and the best that was made of it.

    `plan` is a merge that scores `fit` on the fit examples, or the best member's reference where no merge was better.
    """

    name: str
    members: tuple[Member, ...]
    plan: Any
    fit: float

    @property
    def is_merge(self) -> bool:
        """Whether it is made of several models."""
        return not isinstance(self.plan, str)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "models": [m.label for m in self.members], "plan": self.plan, "fit": self.fit}


def harmful_members(members: Sequence[Member], zoo: Similarities, worth: Worth, base: str | None) -> dict[str, str]:
    """Labels of the models that do harm, with the reason; each is judged against its own family."""
    scores = [worth[m.reference] for m in members]
    found: dict[str, str] = {}
    for family in families(members)[0]:
        below = base_among(family.members, base)
        position = None if below is None else members.index(below)
        suspicions = find_harmful(zoo, scores, base=position)
        found |= {members[s.model].label: s.reason for s in suspicions if members[s.model] in family.members}
    return found


def merged_groups(
    trials: Trials,
    members: Sequence[Member],
    zoo: Similarities,
    worth: Worth,
    *,
    base: str | None,
    threshold: float,
    without: Sequence[str],
) -> tuple[list[Group], list[str]]:
    """The clusters by similarity, best first, each with its best merge; models labelled `without` are in none.

    They share the trials that are left until `trials.limit`; what had been tried before costs nothing. Also returns
    what there is to say of the budget.
    """
    clusters = cluster(zoo.weights, names=zoo.names, scores=[worth[m.reference] for m in members], threshold=threshold)
    kept = [[members[i] for i in sorted(one.members) if members[i].label not in without] for one in clusters]
    kept = [own for own in kept if own]
    share = max(0, trials.limit - len(trials.candidates)) // max(1, sum(len(own) > 1 for own in kept))
    groups, notes = [], []
    for number, own in enumerate(kept, 1):
        named, central = base_among(own, base), _central(own, members, zoo) if len(own) >= LEAST_AROUND else None
        group, said = _merged(trials, f"cluster {number}", own, (named, central), worth, share)
        groups.append(group)
        notes += said
    return groups, notes


def base_among(members: Sequence[Member], base: str | None) -> Member | None:
    """The base that was named if it is one of `members`, else the one that they declare."""
    return families(members, base if base in {m.reference for m in members} else None)[0][0].base


def _central(own: Sequence[Member], members: Sequence[Member], zoo: Similarities) -> Member:
    """The model of a cluster that is most like all others: what they were tuned from, where that is among them."""
    places = [members.index(member) for member in own]
    return own[max(range(len(own)), key=lambda i: sum(zoo.weights[places[i]][j] or 0.0 for j in places))]


def _merged(
    trials: Trials,
    name: str,
    own: Sequence[Member],
    bases: tuple[Member | None, Member | None],
    worth: Worth,
    share: int,
) -> tuple[Group, list[str]]:
    """Search the merges of a cluster with `share` trials; a merge that is not better than its best member is none.

    `bases`: the base as it is known, and the model that stands in for it where it is not. The paper's coefficients make
    averages, which stay in the hull of the models; only differences from a base leave it.
    """
    base, central = bases
    tried: dict[str, tuple[float, Any]] = {}
    within = partial(_trial, trials, name, tried, len(trials.candidates))
    ranked, notes = sorted(own, key=lambda m: -worth[m.reference]), []
    family = Family(tuple(own), base)
    # with a base the sum of deltas goes further than any average, so half the trials are kept for it
    first = share if base is None else share // 2
    searches = [
        ("selective merging", partial(select, ranked, worth), first if central is None else share // 2),
        ("the search of coefficients", partial(explore, family, worth), share),
    ]
    if base is None and len(own) > 1:
        notes.append(f"{name}: {NO_BASE}")
    if base is None and central is not None:
        around = partial(explore, Family(tuple(own), central), worth)
        searches.insert(1, (f"differences from {central.label}", around, share))
        notes[-1] += f"; {central.label}, the most like all others, stands in for it"
    for what, search, limit in searches:
        try:
            search(within(limit))
        except BudgetSpent as spent:
            notes.append(f"not tried: {spent}: more of {what} in {name}, whose share is {counted(share, 'candidate')}")
    score, plan = max(tried.values(), key=lambda found: found[0], default=(-inf, None))
    single = ranked[0].reference
    if score <= worth[single]:
        score, plan = worth[single], single
    return Group(name, tuple(own), plan, score), notes


def _trial(trials: Trials, name: str, tried: dict[str, tuple[float, Any]], before: int, limit: int) -> Trial:
    """What scores a merge of a cluster; BudgetSpent after `limit` new ones since there were `before`."""

    def trial(label: str, expression: Any) -> float:
        key = key_of(expression)
        if key not in trials.candidates and len(trials.candidates) - before >= limit:
            raise BudgetSpent("budget")
        tried[key] = trials.trial(f"{name}: {label}", expression), expression
        return tried[key][0]

    return trial


def select(ranked: Sequence[Member], worth: Worth, trial: Trial) -> None:
    """Selective merging (section 3.2): each model in turn is mixed into the merge so far if that does not hurt."""

    def score(point: Sequence[float]) -> float:
        used = [(m, share) for m, share in zip(ranked, point, strict=True) if share]
        if len(used) == 1:
            return worth[used[0][0].reference]
        expression = soup([m for m, _ in used])
        expression["linear"]["weight"] = [round(share, 12) for _, share in used]
        return trial(f"selected {len(used)} of {len(ranked)}", expression)

    optimizer = Heuristic(coefficient_domain([m.reference for m in ranked], low=0.0, high=1.0))
    while len(points := optimizer.ask()):
        optimizer.tell(points.new_tensor([score(point) for point in points.tolist()]))
