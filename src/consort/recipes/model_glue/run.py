"""Model-GLUE (2410.05357): cluster a zoo, leave harm out, merge inside clusters, mix across them, never worse.

Dev is cut in two. On `fit` the merges of each cluster are searched and a router over the clusters' results learns; on
`held_out` the outcome must be at least as good as the best single model, else that is returned; test is read once.
Everything scored is in the run's journal, so a killed run continues and a finished one evaluates nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.core.files import check_place
from consort.core.journal import key_of, provenance
from consort.data import Task
from consort.plan.build import Builder
from consort.plan.references import open_task
from consort.recipes.auto.decision import best_on_dev
from consort.recipes.auto.learners import keep
from consort.recipes.auto.run import check_budget, runnable
from consort.recipes.auto.stage import Proposal
from consort.recipes.model_glue.proposals import THRESHOLD, MergedZoo, merge_zoo, weights_of
from consort.runs.aim import Aim
from consort.runs.begun import begin, described
from consort.runs.pool import WINNER, Member, families, open_members, repeated
from consort.runs.results import Found, Outcome, conclude
from consort.runs.trials import Candidate, Trials
from consort.zoo import cluster

DEFAULT_BUDGET = 200


def model_glue(
    models: Sequence[str],
    *,
    task: str | Path | Task,
    out: str | Path,
    base: str | None = None,
    threshold: float = THRESHOLD,
    budget: int = DEFAULT_BUDGET,
    seed: int = 0,
    force: bool = False,
    allow_remote_code: bool = False,
    allow_task_code: bool = False,
) -> Outcome:
    """One system of all `models` (references, of any families) for `task`, written to the folder `out`.

    `base`, `budget` (candidates in all, shared by the clusters) and what may be raised are as in `auto`; `threshold` is
    the similarity of models that are merged. Raises Unsupported for a model without weights.
    """
    if not models:
        raise BadParameter("no models", field="MODEL", hint="give two or more folders, lab:NAME or hf:ORG/NAME")
    check_budget(budget)
    check_place(out)
    cluster([], names=[], threshold=threshold)
    loaded = task if isinstance(task, Task) else open_task(task, allow_code=allow_task_code)
    loaded.fit_and_held_out(seed)
    loaded.split("test")
    members = open_members(models, builder := Builder(seed, allow_remote_code), base)
    for member in members:
        weights_of(member)
    asked: dict[str, Any] = {"base": base, "budget": budget, "seed": seed, "force": force, "threshold": threshold}
    begun = begin("model_glue", Path(out), members, loaded, builder, **asked)
    with begun as (trials, went_on):
        usable, notes = runnable(trials, members)
        trials.watch.phase("merging the zoo", trials.budget)
        worth = {m.reference: trials.result(m.label, m.reference, "fit").score for m in usable}
        merged = merge_zoo(trials, usable, worth, base=base, threshold=threshold, force=force)
        found = decided(trials, usable, merged, base)
        found = replace(found, notes=(*repeated(models), *went_on, *notes, *found.notes))
        also = {group.name: group.plan for group in merged.groups if group.is_merge and group.plan != found.plan}
        origin = provenance(plan=found.plan, inputs=described(trials, usable), seed=seed)
        details = merged.to_json()
        return conclude(Path(out), trials, usable, found, origin, verb="model_glue", also=also, details=details)


def decided(trials: Trials, members: Sequence[Member], merged: MergedZoo, base: str | None) -> Found:
    """The best of the clusters' results and of routers over them, against the best single model on held-out."""
    notes = [
        f"made by model_glue: {counted(len(members), 'model')}, {counted(len(merged.groups), 'cluster')}",
        *merged.notes,
    ]
    best = chosen(trials, merged, notes)
    singles = [trials.result(m.label, m.reference, "held_out") for m in members]
    fit = [trials.result(m.label, m.reference, "fit") for m in members]
    fallback = best_on_dev(list(zip(fit, singles, strict=True)))
    held_out = None if best is None else trials.result(WINNER, best.expression, "held_out")
    decision = None if held_out is None else Aim().decide(held_out, singles[fallback], (None, None), seed=trials.seed)
    kin = families(members, base)[0]
    return Found(
        tuple(kin),
        tuple(notes),
        tuple(singles),
        {m.label: one.score for m, one in zip(members, fit, strict=True)},
        tuple(trials.candidates.values()),
        best,
        held_out,
        decision,
        best.expression if best and decision and decision.kept else members[fallback].reference,
        prices(trials, members, {key_of(router.expression): router for router in merged.routers}),
    )


def chosen(trials: Trials, merged: MergedZoo, notes: list[str]) -> Candidate | None:
    """The best router if it is better than every cluster's result, else the best cluster's merge; None for a single.

    What the router learned is written beside the plan.
    """
    first = max(merged.groups, key=lambda group: group.fit)
    router = max(merged.routers, key=_score, default=None)
    if router is not None and _score(router) > first.fit:
        keep(router, trials.journal.folder)
        return trials.candidates[key_of(router.expression)]
    if router is not None:
        notes.append(f"{router.name} (cross-fitted {_score(router):.3f}) was no better than {first.name}")
    return trials.candidates[key_of(first.plan)] if first.is_merge else None


def _score(team: Proposal) -> float:
    return -inf if team.score is None else team.score


def prices(trials: Trials, members: Sequence[Member], routers: Mapping[str, Proposal]) -> dict[str, float | None]:
    """What an answer of each single, merge and router costs, by name."""
    found = {m.label: trials.tariff.price(trials.result(m.label, m.reference, "fit")) for m in members}
    for key, candidate in trials.candidates.items():
        if key in routers:
            found[candidate.name] = routers[key].price
        elif candidate.fit is not None:
            found[candidate.name] = trials.tariff.price(trials.result(candidate.name, candidate.expression, "fit"))
    return found
