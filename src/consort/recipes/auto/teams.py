"""Models that answer together at run time, tried after the merges: mixtures, token ensembles, routers, cascades, votes.

A merge costs what one model costs; a team is taken only where it is better on the fit examples beyond doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from math import inf
from typing import Any

from consort.core.journal import key_of
from consort.evaluate import Result, gate
from consort.recipes.auto.learners import Joint, Player, keep, learners
from consort.runs.trials import BudgetSpent, Candidate, Trials

AVERAGED = 3
TEAM_TRIALS = 5
"""Trials that merges leave: a sparse mixture, and token ensembles of all pairs and the three of the best players."""

Joints = dict[str, Joint]
"""Teams by the key of their expressions."""


def price(parameters: int | None, result: Result) -> float | None:
    """What an answer costs: tokens read and written times parameters, a mean over the examples; None if not known."""
    return None if parameters is None else parameters * result.tokens / result.count


def play(trials: Trials, players: Sequence[Player], mixtures: Sequence[Joint], notes: list[str]) -> Joints:
    """Try the players together, and `mixtures`, cheapest answers first; enters every team as a candidate.

    What learns from known answers comes last, since it takes no trial; `notes` is told what the budget left untried.
    """
    found: Joints = {}
    untried = [joint for joint in [*mixtures, *averages(players)] if joint.result is None]
    untried.sort(key=lambda joint: inf if joint.price is None else joint.price)
    for number, joint in enumerate(untried):
        try:
            trials.trial(joint.name, joint.expression)
        except BudgetSpent:
            notes.append(f"not tried: budget: {', '.join(one.name for one in untried[number:])}")
            break
        if trials.candidates[key_of(joint.expression)].fit is not None:
            result = trials.result(joint.name, joint.expression, "fit")
            found[key_of(joint.expression)] = replace(joint, result=result)
    known = [joint for joint in mixtures if joint.result is not None]
    for joint in [*known, *learners(players, trials.task.split("fit", seed=trials.seed), trials.seed)]:
        if key_of(joint.expression) not in trials.candidates:
            trials.enter(Candidate(joint.name, joint.expression, joint.score, "cross-fitted"))
            found[key_of(joint.expression)] = joint
    return found


def averages(players: Sequence[Player]) -> list[Joint]:
    """Token ensembles of two and of three of the best players that share a vocabulary; not yet run."""
    ranked = sorted(players, key=lambda p: -p.result.score)[:AVERAGED]
    teams = [team for count in range(2, len(ranked) + 1) for team in combinations(ranked, count)]
    return [_average(team) for team in teams if len({p.result.vocabulary for p in team} - {None}) == 1]


def _average(team: Sequence[Player]) -> Joint:
    prices = [p.price for p in team if p.price is not None]
    name = f"average of {' + '.join(p.result.model for p in team)}"
    expression = {"average": {"models": [p.expression for p in team]}}
    return Joint(name, expression, None, sum(prices) if len(prices) == len(team) else None)


def choose(trials: Trials, joints: Joints, single: Result) -> Candidate | None:
    """The best merge; or the best team, where it is better on fit than that and than `single` beyond doubt (95 %)."""
    merge = best_of(c for key, c in trials.candidates.items() if key not in joints)
    team = best_of(trials.candidates[key] for key in joints)
    if team is None:
        return merge
    rivals = [single] if merge is None else [single, trials.result(merge.name, merge.expression, "fit")]
    together = joints[key_of(team.expression)].result
    surely = all(gate(together, rival, seed=trials.seed).difference.interval[0] > 0 for rival in rivals)
    return team if surely else merge


def ready(candidate: Candidate, joints: Joints, trials: Trials) -> Any:
    """The candidate's expression, after what it learned has been written beside the plan."""
    joint = joints.get(key_of(candidate.expression))
    if joint is not None:
        keep(joint, trials.journal.folder)
    return candidate.expression


def best_of(candidates: Iterable[Candidate]) -> Candidate | None:
    """The candidate of the highest fit score; of equal ones the first tried."""
    scored = [c for c in candidates if c.fit is not None]
    return max(scored, key=lambda c: c.fit or 0.0) if scored else None
