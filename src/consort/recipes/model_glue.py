"""Model-GLUE (2410.05357): cluster a zoo, leave harm out, merge inside clusters, mix across them, never worse.

Dev is cut in two. On `fit` the merges of each cluster are searched and a router over the clusters' results learns; on
`held_out` the outcome must be at least as good as the best single model, else that is returned; test is read once.
Everything scored is in the run's journal, so a killed run continues and a finished one evaluates nothing again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import consort
from consort.core.errors import BadParameter
from consort.core.files import check_place, write_atomic, write_json
from consort.core.journal import Journal, key_of, provenance
from consort.core.progress import track
from consort.data import Task, load_task
from consort.evaluate import Comparison, Decision, Result, compare, gate
from consort.plan.build import Builder
from consort.plan.expression import parse
from consort.plan.references import task_path
from consort.recipes import cross_fitting
from consort.recipes.auto import MODEL_FOLDER, REPORT_FILE, RESULTS_FILE, _clear, plan_text, runnable
from consort.recipes.coefficients import BudgetSpent, Trial, explore, soup
from consort.recipes.members import WINNER, Family, Member, families, open_members, repeated
from consort.recipes.trials import Candidate, Trials, is_record
from consort.search.domain import coefficient_domain
from consort.search.optimizers.heuristic import Heuristic
from consort.weights import describe
from consort.weights.card import OnDisk
from consort.weights.checkpoint import leaves
from consort.weights.store import check_target
from consort.zoo import Similarities, cluster, find_harmful, similarities

DEFAULT_BUDGET = 200
ZOO_FOLDER = "zoo"
ROUTERS = ("knn", "ridge")


@dataclass(frozen=True, slots=True)
class Group:
    """A cluster, who was left out of it and why, and the best that was made of the rest."""

    name: str
    members: tuple[Member, ...]
    left_out: tuple[str, ...]
    plan: Any
    fit: float
    is_merge: bool


@dataclass(frozen=True, slots=True)
class Glued:
    """The run's folder, the winner's plan, the clusters, why the winner won, and how all compare on test."""

    folder: Path
    plan: Any
    groups: tuple[Group, ...]
    decision: Decision | None
    comparison: Comparison
    notes: tuple[str, ...]


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
) -> Glued:
    """One system of all `models` (references, of any families) for `task`, written to the folder `out`.

    `base`, `budget` (candidates in all, shared by the clusters) and what may be raised are as in `auto`; `threshold` is
    the similarity of models that are merged.
    """
    if not models:
        raise BadParameter("no models", field="MODEL", hint="give two or more folders, lab:NAME or hf:ORG/NAME")
    check_place(out)
    loaded = task if isinstance(task, Task) else load_task(task_path(task), allow_code=allow_task_code)
    loaded.fit_and_held_out(seed)
    loaded.split("test")
    members = open_members(models, builder := Builder(seed, allow_remote_code), base)
    cluster([], names=[], threshold=threshold)
    inputs = [describe(m.checkpoint) for m in members]
    asked = {"glue": inputs, "models": list(models), "base": base, "task": loaded.key, "budget": budget, "seed": seed}
    sources = [leaf.path for m in members for leaf in leaves(m.checkpoint) if isinstance(leaf, OnDisk)]
    check_target(Path(out), sources, force=True)
    journal = Journal(Path(out), key_of({**asked, "threshold": threshold}), force=force, sound=is_record)
    records = journal.open()
    if not records:
        _clear(journal.folder)
    with track("gluing", total=budget) as advance:
        trials = Trials(loaded, builder, journal, records, budget=budget, seed=seed, advance=advance)
        usable, notes = runnable(trials, members)
        zoo = _compared(usable, base, Path(out) / ZOO_FOLDER, force)
        groups = merged_groups(trials, usable, zoo, base, threshold)
        candidate, mixing = mixed(trials, groups)
    notes = [*repeated(models), *notes, *(reason for group in groups for reason in group.left_out), *mixing]
    return _conclude(Path(out), trials, usable, groups, candidate, notes, inputs)


def _compared(members: Sequence[Member], base: str | None, cache: Path, force: bool) -> Similarities:
    """The similarities of all pairs, deltas from each family's own base where that is known."""
    bases = [family.base.checkpoint for family in families(members, base)[0] if family.base is not None]
    checkpoints, names = [m.checkpoint for m in members], [m.label for m in members]
    return similarities(checkpoints, names=names, base=bases, cache=cache, force=force)


def merged_groups(
    trials: Trials, members: Sequence[Member], zoo: Similarities, base: str | None, threshold: float
) -> list[Group]:
    """The clusters by similarity, best first, each with the best merge of those of its members that do no harm."""
    fit = [trials.result(m.label, m.reference, "fit").score for m in members]
    found = cluster(zoo.weights, names=zoo.names, scores=fit, threshold=threshold)
    worth = {m.reference: score for m, score in zip(members, fit, strict=True)}
    share = trials.budget // max(1, sum(len(one.members) > 1 for one in found))
    groups = []
    for number, one in enumerate(found, 1):
        own = [members[i] for i in sorted(one.members)]
        family = families(own, base if base in [m.reference for m in own] else None)[0]
        position = next((i for i, m in enumerate(members) if m is family[0].base), None)
        harmful = {s.model: s.reason for s in find_harmful(zoo, fit, base=position) if s.model in one.members}
        kept = [m for m in own if members.index(m) not in harmful]
        told = tuple(f"{members[i].label} was left out as harmful: {reason}" for i, reason in harmful.items())
        groups.append(_merged(trials, f"cluster {number}", own, kept, told, family[0].base, worth, share))
    return groups


def _merged(
    trials: Trials,
    name: str,
    own: Sequence[Member],
    kept: Sequence[Member],
    told: tuple[str, ...],
    base: Member | None,
    worth: dict[str, float],
    share: int,
) -> Group:
    """Search the merges of a cluster with `share` trials; a merge that is not better than its best member is none."""
    tried: dict[str, tuple[float, Any]] = {}

    def within(limit: int) -> Trial:
        def trial(label: str, expression: Any) -> float:
            key = key_of(expression)
            if key not in tried and len(tried) >= limit:
                raise BudgetSpent
            tried[key] = trials.trial(f"{name}: {label}", expression), expression
            return tried[key][0]

        return trial

    ranked = sorted(kept, key=lambda m: -worth[m.reference])
    # with a base the sum of deltas goes further than any average, so half the trials are kept for it
    for search, limit in ((select, share if base is None else share // 2), (partial(_explored, base, worth), share)):
        try:
            if len(ranked) > 1:
                search(ranked, within(limit))
        except BudgetSpent:
            told = (*told, f"{name}: {limit} of its {share} candidates were spent")
    score, plan = max(tried.values(), key=lambda found: found[0], default=(-inf, None))
    single = ranked[0]
    if score > worth[single.reference]:
        return Group(name, tuple(own), told, plan, score, True)
    return Group(name, tuple(own), told, single.reference, worth[single.reference], False)


def _explored(base: Member | None, worth: dict[str, float], ranked: Sequence[Member], trial: Trial) -> None:
    explore(Family(tuple(ranked), base), worth, trial)


def select(ranked: Sequence[Member], trial: Trial) -> None:
    """Selective merging (section 3.2): each model in turn is mixed into the merge so far if that does not hurt."""
    names = [m.reference for m in ranked]
    optimizer = Heuristic(coefficient_domain(names, low=0.0, high=1.0))
    while len(points := optimizer.ask()):
        optimizer.tell(points.new_tensor([_select_score(ranked, point, trial) for point in points.tolist()]))


def _select_score(ranked: Sequence[Member], point: Sequence[float], trial: Trial) -> float:
    used = [(m, share) for m, share in zip(ranked, point, strict=True) if share]
    expression = soup([m for m, _ in used])
    expression["linear"]["weight"] = [round(share, 12) for _, share in used]
    return trial(f"selected {len(used)} of {len(ranked)}", expression)


def mixed(trials: Trials, groups: Sequence[Group]) -> tuple[Candidate, list[str]]:
    """The best of the clusters' results, and of a router over them if there are several (learnt on fit)."""
    best = max(groups, key=lambda group: group.fit)
    found = Candidate(best.name, best.plan, best.fit)
    if len(groups) < 2:
        return found, ["there is one cluster, so there is nothing to mix"]
    players = [cross_fitting.Player(g.plan, _with_answers(trials, g), None) for g in groups]
    routers = [
        j
        for j in cross_fitting.learners(players, trials.task.split("fit", seed=trials.seed), trials.seed)
        if next(iter(j.expression)) in ROUTERS and j.result is not None
    ]
    if not routers:
        return found, ["no router could learn from these examples"]
    joint = max(routers, key=lambda j: j.result.score)
    if joint.result.score <= best.fit:
        return found, [f"{joint.name} (cross-fitted {joint.result.score:.3f}) was no better than {best.name}"]
    cross_fitting.keep(joint, trials.journal.folder)
    return Candidate(joint.name, joint.expression, joint.result.score, "cross-fitted on fit"), []


def _with_answers(trials: Trials, group: Group) -> Result:
    return replace(trials.result(group.name, group.plan, "fit"), model=group.name)


def _conclude(
    out: Path,
    trials: Trials,
    members: Sequence[Member],
    groups: Sequence[Group],
    candidate: Candidate,
    notes: Sequence[str],
    inputs: Sequence[Any],
) -> Glued:
    """Decide on held-out, measure on test once, write the winner's weights where it has any, plan, results, report."""
    from consort.report import write_report
    from consort.weights import write

    singles = [trials.result(m.label, m.reference, "held_out") for m in members]
    first = max(range(len(members)), key=lambda i: singles[i].score)
    is_single = isinstance(candidate.expression, str)
    held_out = None if is_single else trials.result(WINNER, candidate.expression, "held_out")
    decision = None if held_out is None else gate(held_out, singles[first], seed=trials.seed)
    plan = candidate.expression if decision is not None and decision.kept else members[first].reference
    path = None
    if (root := parse(plan).root).produces == "checkpoint":
        path = MODEL_FOLDER
        if not (out / path).exists():
            write(trials.builder.build(root, "checkpoint"), out / path, plan=plan, seed=trials.seed)
    test = [trials.result(m.label, m.reference, "test") for m in members]
    test += [trials.result(g.name, g.plan, "test") for g in groups if g.is_merge and g.plan != plan]
    test.append(trials.result(WINNER, plan, "test"))
    comparison = compare(test, singles={m.label for m in members}, seed=trials.seed)
    found = Glued(out, plan, tuple(groups), decision, comparison, tuple(notes))
    origin = provenance(plan=plan, inputs=list(inputs), seed=trials.seed)
    write_json(out / RESULTS_FILE, document(found, trials, members, candidate, singles, held_out, path, origin))
    write_atomic(out / "plan.yml", plan_text(plan, trials.seed))
    write_report(out, out / REPORT_FILE)
    return found


def document(
    found: Glued,
    trials: Trials,
    members: Sequence[Member],
    candidate: Candidate,
    singles: Sequence[Result],
    held_out: Result | None,
    path: str | None,
    origin: dict[str, Any],
) -> dict[str, Any]:
    """The content of results.json, as report/schema.py describes it, and the clusters beside."""
    task, kept = trials.task, not isinstance(found.plan, str)
    tried = [c for c in trials.candidates.values() if c.expression != candidate.expression]
    fit, rest = task.fit_and_held_out(trials.seed)
    sizes = {"dev": len(task.dev), "test": len(task.test), "fit": len(fit), "held_out": len(rest)}
    lines = [(c, "failed" if c.fit is None else "rejected", None) for c in tried]
    if held_out is not None:
        lines.append((candidate, "kept" if kept else "rejected", held_out.score))
    return {
        "consort": consort.__version__,
        "task": {"name": task.name, "metric": task.metric, "key": task.key, **sizes},
        "seed": trials.seed,
        "base": None,
        "notes": list(found.notes),
        "singles": [r.to_json() for r in singles],
        "singles_fit": {m.label: trials.result(m.label, m.reference, "fit").score for m in members},
        "candidates": [
            {
                "name": c.name,
                "method": next(iter(c.expression)) if isinstance(c.expression, dict) else "single",
                "plan": c.expression,
                "fit": c.fit,
                "held_out": score,
                "status": status,
                "note": c.note,
            }
            for c, status, score in lines
        ],
        "decision": found.decision.to_json() if found.decision else None,
        "winner": {"name": WINNER, "kind": "glue" if kept else "single", "plan": found.plan, "path": path},
        "test": [s.result.to_json() for s in found.comparison.systems],
        "search": [{"name": c.name, "score": c.fit} for c in trials.candidates.values()],
        "clusters": [
            {"name": g.name, "models": [m.label for m in g.members], "plan": g.plan, "fit": g.fit} for g in found.groups
        ],
        "provenance": origin,
    }
