"""Which candidate is taken: the best merge, or a team that is better than that beyond doubt.

A merge costs what one model costs; a team is taken only where it is better on the fit examples beyond doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from consort.core.journal import key_of
from consort.evaluate import Result, gate
from consort.recipes.auto.learners import keep
from consort.recipes.auto.stage import Proposal
from consort.runs.trials import Candidate, Trials

Teams = Mapping[str, Proposal]
"""Teams by the key of their expressions."""


def choose(trials: Trials, teams: Teams, single: Result) -> Candidate | None:
    """The best merge; or the best team, where it is better on fit than that and than `single` beyond doubt (95 %).

    None where no candidate is better on fit than `single`: a tie goes to the single model.
    """
    merge = best_of(c for key, c in trials.candidates.items() if key not in teams)
    if merge is not None and (merge.fit or 0.0) <= single.score:
        merge = None
    team = best_of((trials.candidates[key] for key in teams), {key: team.price for key, team in teams.items()})
    if team is None:
        return merge
    rivals = [single] if merge is None else [single, trials.result(merge.name, merge.expression, "fit")]
    together = teams[key_of(team.expression)].known
    surely = all(gate(together, rival, seed=trials.seed).difference.interval[0] > 0 for rival in rivals)
    return team if surely else merge


def ready(candidate: Candidate, teams: Teams, trials: Trials) -> Any:
    """The candidate's expression, after what it learned has been written beside the plan."""
    team = teams.get(key_of(candidate.expression))
    if team is not None:
        keep(team, trials.journal.folder)
    return candidate.expression


def best_of(candidates: Iterable[Candidate], prices: Mapping[str, float | None] | None = None) -> Candidate | None:
    """The candidate of the highest fit score; of equal ones the cheapest by `prices`, then the first tried."""
    scored = [c for c in candidates if c.fit is not None]

    def rank(candidate: Candidate) -> tuple[float, float]:
        price = (prices or {}).get(key_of(candidate.expression)) if prices else None
        return candidate.fit or 0.0, -(inf if price is None else price)

    return max(scored, key=rank) if scored else None
