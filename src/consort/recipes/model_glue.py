"""Model-GLUE (2410.05357): cluster a zoo, leave harm out, merge inside clusters, mix across them, never worse.

Dev is cut in two. On `fit` the merges of each cluster are searched and a router over the clusters' results learns; on
`held_out` the outcome must be at least as good as the best single model, else that is returned; test is read once.
Everything scored is in the run's journal, so a killed run continues and a finished one evaluates nothing again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from consort.core.errors import BadParameter, Unsupported
from consort.core.files import check_place
from consort.core.journal import key_of, provenance
from consort.core.progress import track
from consort.data import Task
from consort.evaluate import Result, gate
from consort.plan.build import Builder
from consort.plan.references import open_task
from consort.recipes import cross_fitting
from consort.recipes.auto import conclude, prices, runnable
from consort.recipes.cluster_merging import Group, base_among, harmful_members, merged_groups
from consort.recipes.cross_fitting import Joint, Player
from consort.recipes.members import WINNER, Member, families, open_members, repeated
from consort.recipes.outcome import Found, Outcome
from consort.recipes.run_folder import open_run
from consort.recipes.team import price
from consort.recipes.trials import Candidate, Trials, is_record
from consort.weights import describe
from consort.zoo import Similarities, architecture_families, cluster, similarities

DEFAULT_BUDGET = 200
ZOO_FOLDER = "zoo"
ROUTERS = ("knn", "ridge")


def model_glue(
    models: Sequence[str],
    *,
    task: str | Path | Task,
    out: str | Path,
    base: str | None = None,
    threshold: float = 0.95,
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
    check_place(out)
    cluster([], names=[], threshold=threshold)
    loaded = task if isinstance(task, Task) else open_task(task, allow_code=allow_task_code)
    loaded.fit_and_held_out(seed)
    loaded.split("test")
    members = open_members(models, builder := Builder(seed, allow_remote_code), base)
    checkpoints = [_weights_of(m) for m in members]
    inputs = [describe(checkpoint) for checkpoint in checkpoints]
    asked = {"glue": inputs, "models": list(models), "base": base, "task": loaded.key, "budget": budget, "seed": seed}
    asked |= {"threshold": threshold}
    journal, records = open_run(Path(out), asked, checkpoints, force=force, sound=is_record)
    with track("gluing", total=budget) as advance:
        trials = Trials(loaded, builder, journal, records, budget=budget, seed=seed, advance=advance)
        usable, notes = runnable(trials, members)
        zoo = _compared(usable, base, Path(out) / ZOO_FOLDER, force)
        worth = {m.reference: trials.result(m.label, m.reference, "fit").score for m in usable}
        harmful = harmful_members(usable, zoo, worth, base)
        groups, told = merged_groups(trials, usable, zoo, worth, base=base, threshold=threshold, without=tuple(harmful))
        found = decided(trials, usable, groups, base)
    left_out = [f"{label} was left out as harmful: {reason}" for label, reason in harmful.items()]
    found = replace(found, notes=(*repeated(models), *notes, *left_out, *told, *found.notes))
    more = {
        "zoo": {**zoo.to_json(), "threshold": threshold},
        "clusters": [group.to_json() for group in groups],
        "harmful": harmful,
    }
    also = {group.name: group.plan for group in groups if group.is_merge and group.plan != found.plan}
    origin = provenance(plan=found.plan, inputs=inputs, seed=seed)
    return conclude(Path(out), trials, usable, found, origin, also=also, more=more)


def _weights_of(member: Member) -> Any:
    if member.checkpoint is None:
        hint = "consort auto without --recipe takes endpoints and cached answers"
        raise Unsupported("has no weights to compare or to merge", field=member.reference, hint=hint)
    return member.checkpoint


def _compared(members: Sequence[Member], base: str | None, cache: Path, force: bool) -> Similarities:
    """The similarities of all pairs, deltas from each family's own base where that is known."""
    found = [base_among(family.members, base) for family in families(members)[0]]
    bases = [_weights_of(below) for below in found if below is not None]
    # families that differ in their vocabularies alone are one to the comparison, which takes one base for each
    bases = [bases[group[0]] for group in architecture_families(bases)]
    checkpoints, names = [_weights_of(m) for m in members], [m.label for m in members]
    return similarities(checkpoints, names=names, base=bases, cache=cache, force=force)


def decided(trials: Trials, members: Sequence[Member], groups: Sequence[Group], base: str | None) -> Found:
    """The best of the clusters' results and of routers over them, against the best single model on held-out."""
    routers, notes = routed(trials, groups)
    best = chosen(trials, groups, routers, notes)
    singles = [trials.result(m.label, m.reference, "held_out") for m in members]
    fallback = max(range(len(members)), key=lambda i: singles[i].score)
    held_out = None if best is None else trials.result(WINNER, best.expression, "held_out")
    decision = None if held_out is None else gate(held_out, singles[fallback], seed=trials.seed)
    kin = families(members, base)[0]
    return Found(
        tuple(kin),
        (f"made by model_glue: {len(members)} models, {len(groups)} clusters", *notes),
        tuple(singles),
        {m.label: trials.result(m.label, m.reference, "fit").score for m in members},
        tuple(trials.candidates.values()),
        best,
        held_out,
        decision,
        best.expression if best and decision and decision.kept else members[fallback].reference,
        prices(trials, members, kin, {key_of(router.expression): router for router in routers}),
    )


def routed(trials: Trials, groups: Sequence[Group]) -> tuple[list[Joint], list[str]]:
    """Routers over the clusters' results, cross-fitted on fit and entered as candidates; or why there is none."""
    if len(groups) < 2:
        return [], ["there is one cluster, so there is nothing to mix"]
    players = [_player(trials, group) for group in groups]
    examples = trials.task.split("fit", seed=trials.seed)
    routers = cross_fitting.learners(players, examples, trials.seed, ROUTERS)
    for router in routers:
        trials.enter(Candidate(router.name, router.expression, router.score, "cross-fitted"))
    return routers, [] if routers else ["no router could learn from these examples"]


def _player(trials: Trials, group: Group) -> Player:
    result: Result = replace(trials.result(group.name, group.plan, "fit"), model=group.name)
    return Player(group.plan, result, price(group.members[0].parameters, result))


def chosen(trials: Trials, groups: Sequence[Group], routers: Sequence[Joint], notes: list[str]) -> Candidate | None:
    """The best router if it is better than every cluster's result, else the best cluster's merge; None for a single.

    What the router learned is written beside the plan.
    """
    first = max(groups, key=lambda group: group.fit)
    router = max(routers, key=_score, default=None)
    if router is not None and _score(router) > first.fit:
        cross_fitting.keep(router, trials.journal.folder)
        return trials.candidates[key_of(router.expression)]
    if router is not None:
        notes.append(f"{router.name} (cross-fitted {_score(router):.3f}) was no better than {first.name}")
    return trials.candidates[key_of(first.plan)] if first.is_merge else None


def _score(joint: Joint) -> float:
    return -inf if joint.score is None else joint.score
