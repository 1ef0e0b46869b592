"""The main job: models and a task in, one better system out, never worse than the best single on held-out examples.

Dev is cut in two: candidates are searched on `fit`; the best of them is kept only if it is at least as good as the best
single on `held_out`; `test` is read once, for the report. Merges come first, since one model answers for the price of
one; several models at run time are taken only where they are better on `fit` beyond doubt. Everything scored is in the
run's journal, so a killed run continues where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from consort.core.errors import BadCheckpoint, BadParameter, ConsortError
from consort.core.files import check_place, write_atomic, write_json
from consort.core.journal import key_of, provenance
from consort.core.progress import track
from consort.data import Task
from consort.evaluate import Result, compare, gate
from consort.plan.build import Builder
from consort.plan.expression import parse
from consort.plan.references import open_task
from consort.recipes.coefficients import BudgetSpent, explore
from consort.recipes.cross_fitting import Player
from consort.recipes.members import UNIFORM, WINNER, Family, Member, families, open_members, repeated
from consort.recipes.outcome import Found, Outcome, document, is_checkpoint
from consort.recipes.run_folder import MODEL_FOLDER, PLAN_FILE, REPORT_FILE, RESULTS_FILE, open_run, plan_text
from consort.recipes.team import TEAM_TRIALS, Joints, best_of, choose, play, price, ready
from consort.recipes.trials import Candidate, Trials, is_record
from consort.weights import describe

DEFAULT_BUDGET = 100


def auto(
    models: Sequence[str],
    *,
    task: str | Path | Task,
    out: str | Path,
    base: str | None = None,
    budget: int = DEFAULT_BUDGET,
    seed: int = 0,
    force: bool = False,
    allow_remote_code: bool = False,
    allow_task_code: bool = False,
) -> Outcome:
    """Find the best combination of `models` (references) for `task` and write it to the folder `out`.

    `base` is the one of the models that the others were tuned from; by default the one that their cards, configs or
    adapters name. `budget` bounds the number of candidates. A model whose weights cannot be run (NaN) is left out with
    a note. Raises ConsortError, before any work, for inputs that cannot be used.
    """
    if not models:
        raise BadParameter("no models", field="MODEL", hint="give two or more folders, lab:NAME or hf:ORG/NAME")
    check_place(out)
    loaded = task if isinstance(task, Task) else open_task(task, allow_code=allow_task_code)
    loaded.fit_and_held_out(seed)
    loaded.split("test")
    members = open_members(models, builder := Builder(seed, allow_remote_code), base)
    inputs = [describe(m.checkpoint) if m.checkpoint else {"name": m.label} for m in members]
    asked = {"inputs": inputs, "models": list(models), "base": base, "task": loaded.key, "budget": budget, "seed": seed}
    weights = [m.checkpoint for m in members if m.checkpoint]
    journal, records = open_run(Path(out), asked, weights, force=force, sound=is_record)
    with track("searching", total=budget) as advance:
        trials = Trials(loaded, builder, journal, records, budget=budget, seed=seed, advance=advance)
        usable, notes = runnable(trials, members)
        found = search(trials, usable, base)
    found = replace(found, notes=(*repeated(models), *notes, *found.notes))
    return conclude(Path(out), trials, usable, found, provenance(plan=found.plan, inputs=inputs, seed=seed))


def runnable(trials: Trials, members: Sequence[Member]) -> tuple[list[Member], list[str]]:
    """The members that the task can be run with, and why others are left out; raises where none is left."""
    kept, faults = [], []
    with trials.journal.discarded_if_refused():
        for member in members:
            try:
                trials.result(member.label, member.reference, "fit")
                kept.append(member)
            except BadCheckpoint as fault:
                faults.append((member.label, fault))
        if not kept:
            raise faults[0][1]
    return kept, [f"{label} was left out: {fault}" for label, fault in faults]


def search(trials: Trials, members: Sequence[Member], base: str | None) -> Found:
    """Score the singles, explore merges and then teams on fit, decide on held-out."""
    fit = {m.reference: trials.result(m.label, m.reference, "fit") for m in members}
    singles = tuple(trials.result(m.label, m.reference, "held_out") for m in members)
    players = [Player(m.reference, fit[m.reference], price(m.parameters, fit[m.reference])) for m in members]
    groups, notes = families(members, base)
    for_merges = trials.budget - (min(TEAM_TRIALS, trials.budget // 5) if len(members) > 1 else 0)
    to_merge = [family for family in groups if len(family.members) > 1]
    for done, family in enumerate(to_merge):
        spent = len(trials.candidates)
        trials.limit = spent + (for_merges - spent) // (len(to_merge) - done)
        players += merged(trials, family, fit, notes)
    trials.limit = trials.budget
    joints = play(trials, players)
    best_single = max(fit.values(), key=lambda r: r.score)
    fallback = max(range(len(members)), key=lambda i: singles[i].score)
    best, held_out = decide(trials, joints, best_single, notes)
    decision = gate(held_out, singles[fallback], seed=trials.seed) if held_out else None
    plan = best.expression if best and decision and decision.kept else members[fallback].reference
    return Found(
        tuple(groups),
        tuple(notes),
        singles,
        {m.label: fit[m.reference].score for m in members},
        tuple(trials.candidates.values()),
        best,
        held_out,
        decision,
        plan,
        prices(trials, members, groups, joints),
    )


def prices(
    trials: Trials, members: Sequence[Member], groups: Sequence[Family], joints: Joints
) -> dict[str, float | None]:
    """What an answer of each single, merge and team costs, by name."""
    sizes = {m.reference: m.parameters for m in members}
    kin = {m.reference: sizes[family.members[0].reference] for family in groups for m in family.members}
    found = {m.label: price(sizes[m.reference], trials.result(m.label, m.reference, "fit")) for m in members}
    for key, candidate in trials.candidates.items():
        if key in joints:
            found[candidate.name] = joints[key].price
        elif candidate.fit is not None:
            [arguments] = candidate.expression.values()
            size = kin[arguments["models"][0]]
            found[candidate.name] = price(size, trials.result(candidate.name, candidate.expression, "fit"))
    return found


def merged(trials: Trials, family: Family, fit: dict[str, Result], notes: list[str]) -> list[Player]:
    """Explore the merges of a family; its best one as a player, if it is better than every member."""
    if family.base is None:
        notes.append("no base is known: task arithmetic and TIES were left out (name it with --base)")
    before = set(trials.candidates)
    try:
        explore(family, {reference: result.score for reference, result in fit.items()}, trials.trial)
    except BudgetSpent:
        notes.append(f"the share of {family.members[0].label}'s family in the budget, {trials.budget}, was spent")
    best = best_of(candidate for key, candidate in trials.candidates.items() if key not in before)
    if best is None or (best.fit or 0.0) <= max(fit[m.reference].score for m in family.members):
        return []
    result = trials.result(best.name, best.expression, "fit")
    return [Player(best.expression, result, price(family.members[0].parameters, result))]


def decide(
    trials: Trials, joints: Joints, best_single: Result, notes: list[str]
) -> tuple[Candidate | None, Result | None]:
    """The best candidate and what it does on held-out; a team that cannot be run gives way to the best merge."""
    best = choose(trials, joints, best_single)
    if best is None:
        return None, None
    try:
        return best, trials.result(WINNER, ready(best, joints, trials), "held_out")
    except ConsortError as fault:
        if key_of(best.expression) not in joints:
            raise
        notes.append(f"{best.name} was left out: {fault}")
        trials.enter(replace(best, fit=None, note=str(fault)))
        return decide(trials, joints, best_single, notes)


def conclude(
    out: Path,
    trials: Trials,
    members: Sequence[Member],
    found: Found,
    origin: dict[str, Any],
    *,
    also: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Outcome:
    """Write the winner's folder, measure it and the singles on test once, write plan, results and report.

    `also` names further systems to measure on test, by expression; `more` are further keys of results.json.
    """
    from consort.report import write_report
    from consort.weights import write

    folder = out / MODEL_FOLDER
    if is_checkpoint(found.plan) and not folder.exists():
        winner = trials.builder.build(parse(found.plan).root, "checkpoint")
        write(winner, folder, plan=found.plan, seed=trials.seed)
    test = [trials.result(m.label, m.reference, "test") for m in members]
    for family in found.families[:1]:
        if len(family.members) > 1:
            uniform = {"linear": {"models": [m.reference for m in family.members]}}
            test.append(trials.result(UNIFORM, uniform, "test"))
    test += [trials.result(name, expression, "test") for name, expression in (also or {}).items()]
    test.append(trials.result(WINNER, str(folder) if is_checkpoint(found.plan) else found.plan, "test"))
    comparison = compare(test, singles={m.label for m in members}, seed=trials.seed)
    write_json(out / RESULTS_FILE, {**document(trials, members, found, comparison, origin), **(more or {})})
    write_atomic(out / PLAN_FILE, plan_text(found.plan, trials.seed))
    write_report(out, out / REPORT_FILE)
    return Outcome(out, found.plan, found.decision, comparison, found.notes)
