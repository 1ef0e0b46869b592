"""Which candidate is taken: the best merge, or a team that is better than that beyond doubt.

A merge costs what one model costs; a team is taken only where it is better on the fit examples beyond doubt. What is
better, and who is allowed, is the run's aim.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from consort.recipes.auto.stage import Proposal
from consort.runs.aim import Aim
from consort.runs.trials import Candidate


def choose(systems: Sequence[Proposal], single: Proposal | None, aim: Aim, *, seed: int) -> Proposal | None:
    """The best merge; or the best team, where it is better on fit than that and than `single` beyond doubt (95 %).

    `systems` are combinations that keep the limits, `single` the best single model that does. None where no candidate
    is better on fit than `single`: a tie goes to the single model.
    """

    def worth(one: Proposal) -> float:
        return aim.worth(one.known.score, one.price)

    merge = max((one for one in systems if not one.is_team), key=worth, default=None)
    if merge is not None and single is not None and worth(merge) <= worth(single):
        merge = None
    teams = [one for one in systems if one.is_team]
    team = max(teams, key=lambda one: (worth(one), -(inf if one.price is None else one.price)), default=None)
    if team is None:
        return merge
    rivals = [one for one in (single, merge) if one is not None]
    found = (aim.decide(team.known, one.known, (team.price, one.price), seed=seed) for one in rivals)
    return team if all(one.difference.interval[0] > 0 for one in found) else merge


def best_of(candidates: Iterable[Candidate]) -> Candidate | None:
    """The candidate of the highest fit score; of equal ones the first tried."""
    return max((c for c in candidates if c.fit is not None), key=lambda c: c.fit or 0.0, default=None)
