"""Who is on the front of a run: what nothing cheaper equals on the fit examples, ready to be measured and saved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.core.journal import key_of
from consort.evaluate import Result
from consort.recipes.auto.learners import keep
from consort.recipes.auto.stage import Pool, Proposal
from consort.runs.front import Point
from consort.runs.results import is_checkpoint
from consort.runs.trials import Trials

APART = 0.05
"""By what share the next point is cheaper at least: answers of merges differ in length, which is no choice."""
MOST_POINTS = 8


@dataclass(frozen=True, slots=True)
class Chosen:
    """The system that is taken: its expression as it is saved, what it is among `systems`, and what it did."""

    system: Proposal
    expression: Any
    held_out: Result | None


def looked_at(pool: Pool) -> list[Proposal]:
    """Every system that was scored on fit, once: the inputs, then candidates in the order in which they were tried."""
    known = {one.key: one for one in [*pool.members, *pool.teams.values()]}
    found = {single.key: single for single in map(pool.single, pool.inputs)}
    for key, candidate in pool.trials.candidates.items():
        if candidate.fit is None or key in found:
            continue
        if key not in known:
            result = pool.trials.result(candidate.name, candidate.expression, "fit")
            known[key] = pool.proposal(candidate.name, candidate.expression, result)
        found[key] = known[key]
    return list(found.values())


def nondominated(systems: Sequence[Proposal]) -> list[Proposal]:
    """The systems that none cheaper equals on fit, cheapest first; of a few nearly as dear only the best."""
    priced = [one for one in systems if one.price is not None]
    ranked = sorted(priced, key=lambda one: (-one.known.score, one.price))
    apart = APART
    while len(kept := _falling(ranked, apart)) > MOST_POINTS:
        apart *= 1.5
    return kept[::-1]


def _falling(ranked: Sequence[Proposal], apart: float) -> list[Proposal]:
    """From the best downwards, each one cheaper than the one before by that share."""
    kept: list[Proposal] = []
    for one in ranked:
        if not kept or (one.price or 0.0) < (1 - min(apart, 0.9)) * (kept[-1].price or 0.0):
            kept.append(one)
    return kept


def points_of(
    trials: Trials, systems: Sequence[Proposal], singles: set[str], chosen: Chosen
) -> tuple[list[Point], list[str]]:
    """The points of the front, the best merge and the winner, with what they learned written; and the notes.

    Held-out is measured. `singles` are the keys of inputs. What a point learned on fit is what held-out is answered
    with; then it learns from all of dev, as a winner does, and that is what its plan has.
    """
    front = nondominated(systems)
    keys = {one.key for one in front}
    beside = {one.key: one for one in (best_merge(systems, singles), chosen.system) if one and one.key not in keys}
    listed = [*front, *beside.values()]
    found, notes = [], []
    for one, file in zip(listed, _files([one.name for one in listed]), strict=True):
        is_winner, is_single = one.key == chosen.system.key, one.key in singles
        kind = "single" if is_single else "merge" if is_checkpoint(one.expression) else "team"
        try:
            held_out, saved = (chosen.held_out, chosen.expression) if is_winner else _settled(trials, one, is_single)
        except EnvironmentFailure:
            raise
        except ConsortError as fault:
            notes.append(f"{one.name} was left out of the front: {fault}")
        else:
            of_fit = one.known.score, one.price, one.seconds
            found.append(Point(one.name, file, kind, saved, *of_fit, is_winner, one.key in keys, held_out))
    return found, [*notes, *_unpriced([one for one in systems if one.key in singles])]


def best_merge(systems: Sequence[Proposal], singles: set[str]) -> Proposal | None:
    """The best set of weights that was made, where it is better on fit than every input."""
    made = [one for one in systems if one.key not in singles and is_checkpoint(one.expression)]
    best = max(made, key=lambda one: one.known.score, default=None)
    least = max((one.known.score for one in systems if one.key in singles), default=0.0)
    return best if best is not None and best.known.score > least else None


def _unpriced(singles: Sequence[Proposal]) -> list[str]:
    """What there is to say where it is not known what answers cost."""
    names = [one.name for one in singles if one.price is None]
    if not names:
        return []
    who = "any model" if len(names) == len(singles) else ", ".join(names)
    hint = f"--price {names[0]}=NUMBER tells what a token costs"
    return [f"the front is without systems whose cost is not known, which is not known of {who}: {hint}"]


def _settled(trials: Trials, system: Proposal, is_single: bool) -> tuple[Result | None, Any]:
    """What a system does on held-out, None where there is no time for it; and its expression as it is saved."""
    keep(system, trials.journal.folder)
    late = not trials.hours.left_s > 0 and not trials.knows(system.expression, "held_out")
    held_out = None if late and not is_single else trials.result(system.name, system.expression, "held_out")
    if system.relearn is None or held_out is None:
        return held_out, system.expression
    taught = system.relearn(trials)
    keep(taught, trials.journal.folder)
    return held_out, taught.expression


def _files(names: Sequence[str]) -> list[str]:
    """Names of files, readable and told apart."""
    found: list[str] = []
    for name in names:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-") or "system"
        found.append(slug if slug not in found else f"{slug}-{key_of(name)[:8]}")
    return found
