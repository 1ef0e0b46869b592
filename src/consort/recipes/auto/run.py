"""The main job: models and a task in, one better system out, never worse than the best single on held-out examples.

Dev is cut in two: candidates are searched on `fit`; the best of them is kept only if it is at least as good as the best
single on `held_out`; `test` is read once, for the report. Merges come first, since one model answers for the price of
one; then Model-GLUE over all models with weights; then mixtures and teams, which are taken only where they are better
on `fit` beyond doubt. Everything scored is in the run's journal, so a killed run continues where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from consort.core.errors import BadParameter, ConsortError, EnvironmentFailure, Incompatible, Unsupported
from consort.core.files import check_place
from consort.core.journal import key_of, provenance
from consort.core.progress import track
from consort.data import Task
from consort.evaluate import Result, gate
from consort.plan.build import Builder
from consort.plan.references import open_task
from consort.recipes.auto.learners import Joint, Player
from consort.recipes.auto.merges import explore
from consort.recipes.auto.mixtures import by_reading, sparse
from consort.recipes.auto.teams import TEAM_TRIALS, Joints, best_of, choose, play, price, ready
from consort.recipes.model_glue.proposals import Glued, glue, player_of
from consort.runs.folder import open_run
from consort.runs.pool import WINNER, Family, Member, families, open_members, repeated
from consort.runs.results import Found, Outcome, conclude
from consort.runs.trials import BudgetSpent, Candidate, Trials, is_record
from consort.weights import describe

DEFAULT_BUDGET = 100
ZOO = 3
"""Models with weights from which on Model-GLUE is tried: of two, everything is tried anyway."""


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
    adapters name. `budget` bounds the number of candidates. A model that cannot be run on the task (weights of NaN, too
    short a window) is left out with a note. Raises ConsortError, before any work, for inputs that cannot be used.
    """
    if not models:
        raise BadParameter("no models", field="MODEL", hint="give two or more folders, lab:NAME or hf:ORG/NAME")
    check_budget(budget)
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
        found, more = search(trials, usable, base, force=force)
    found = replace(found, notes=(*repeated(models), *notes, *found.notes))
    origin = provenance(plan=found.plan, inputs=inputs, seed=seed)
    return conclude(Path(out), trials, usable, found, origin, more=more)


def check_budget(budget: int) -> None:
    """Raise BadParameter for a number of candidates below one."""
    if budget < 1:
        raise BadParameter(f"{budget} candidates cannot be tried", field="budget", hint="give 1 or more")


def runnable(trials: Trials, members: Sequence[Member]) -> tuple[list[Member], list[str]]:
    """The members that the task can be run with, and why others are left out; raises where none is left."""
    kept, faults = [], []
    with trials.journal.discarded_if_refused():
        for member in members:
            try:
                trials.admit(member.label, member.reference)
                kept.append(member)
            except EnvironmentFailure:
                raise
            except ConsortError as fault:
                faults.append((member.label, fault))
        if not kept:
            raise faults[0][1]
    return kept, [f"{label} was left out: {fault}" for label, fault in faults]


def search(
    trials: Trials, members: Sequence[Member], base: str | None, *, force: bool = False
) -> tuple[Found, dict[str, Any]]:
    """Score the singles, explore merges, Model-GLUE, mixtures and teams on fit, decide on held-out.

    Also returns what Model-GLUE saw of the zoo, as keys of results.json.
    """
    fit = {m.reference: trials.result(m.label, m.reference, "fit") for m in members}
    singles = tuple(trials.result(m.label, m.reference, "held_out") for m in members)
    groups, notes = families(members, base)
    joints, glued = tried(trials, members, groups, fit, base, notes, force=force)
    best_single = max(fit.values(), key=lambda r: r.score)
    fallback = max(range(len(members)), key=lambda i: singles[i].score)
    best, held_out = decide(trials, joints, best_single, notes)
    decision = gate(held_out, singles[fallback], seed=trials.seed) if held_out else None
    plan = best.expression if best and decision and decision.kept else members[fallback].reference
    found = Found(
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
    return found, {} if glued is None else glued.to_json()


def tried(
    trials: Trials,
    members: Sequence[Member],
    groups: Sequence[Family],
    fit: dict[str, Result],
    base: str | None,
    notes: list[str],
    *,
    force: bool,
) -> tuple[Joints, Glued | None]:
    """Enter all candidates, cheap answers first; the teams among them, and what Model-GLUE made."""
    players = [Player(m.reference, fit[m.reference], price(m.parameters, fit[m.reference])) for m in members]
    own = explored(trials, groups, fit, notes, leaving=reserved(trials, members))
    players += [player for player in own.values() if player not in players]
    trials.limit = trials.budget - for_teams(trials, members)
    glued = glued_with(trials, members, fit, base, notes, force=force)
    known = {key_of(player.expression) for player in players}
    merges = [] if glued is None else [player_of(trials, group) for group in glued.groups if group.is_merge]
    players += [player for player in merges if key_of(player.expression) not in known]
    trials.limit = trials.budget
    joints = {} if glued is None else {key_of(router.expression): router for router in glued.routers}
    return joints | play(trials, players, mixed(trials, groups, list(own.values()), fit, notes), notes), glued


def for_teams(trials: Trials, members: Sequence[Member]) -> int:
    """Trials kept for teams and mixtures."""
    return min(TEAM_TRIALS, trials.budget // 5) if len(members) > 1 else 0


def reserved(trials: Trials, members: Sequence[Member]) -> int:
    """Trials that the merges leave: a fifth for Model-GLUE, where there are models enough, and those for teams."""
    return for_teams(trials, members) + (trials.budget // 5 if is_zoo(members) else 0)


def is_zoo(members: Sequence[Member]) -> bool:
    """Whether there are models enough, with weights to compare, for Model-GLUE to be worth a trial."""
    return sum(m.checkpoint is not None for m in members) >= ZOO


def glued_with(
    trials: Trials,
    members: Sequence[Member],
    fit: Mapping[str, Result],
    base: str | None,
    notes: list[str],
    *,
    force: bool,
) -> Glued | None:
    """Model-GLUE over the members that have weights, its candidates marked; None where it cannot be."""
    if not is_zoo(members):
        return None
    before = set(trials.candidates)
    worth = {reference: result.score for reference, result in fit.items()}
    local = [m for m in members if m.checkpoint is not None]
    try:
        glued = glue(trials, local, worth, base=base, force=force)
    except (Incompatible, Unsupported) as fault:
        notes.append(f"model_glue was not tried: {fault}")
        return None
    for key, candidate in trials.candidates.items():
        if key not in before:
            trials.enter(replace(candidate, note=candidate.note and f"model_glue, {candidate.note}" or "model_glue"))
    notes += [note if note.startswith("not tried: ") else f"model_glue: {note}" for note in glued.notes]
    return glued


def explored(
    trials: Trials, groups: Sequence[Family], fit: dict[str, Result], notes: list[str], *, leaving: int
) -> dict[str, Player]:
    """The best of each family: its best merge, or its best member where no merge is better; by its first member."""
    best = {}
    for family in groups:
        single = max(family.members, key=lambda m: fit[m.reference].score)
        own = Player(single.reference, fit[single.reference], price(single.parameters, fit[single.reference]))
        best[family.members[0].label] = own
    # the small ones first: what they leave of their share goes to the large ones
    to_merge = sorted((family for family in groups if len(family.members) > 1), key=lambda family: len(family.members))
    for done, family in enumerate(to_merge):
        spent = len(trials.candidates)
        trials.limit = spent + (trials.budget - leaving - spent) // (len(to_merge) - done)
        label = family.members[0].label
        best[label] = (
            merged(trials, family, fit, notes, f"{label}'s family: " if len(to_merge) > 1 else "") or best[label]
        )
    return best


def mixed(
    trials: Trials, groups: Sequence[Family], best: Sequence[Player], fit: Mapping[str, Result], notes: list[str]
) -> list[Joint]:
    """Mixtures: the MLPs of one family's experts in one network; the best of several families behind a reader."""
    found: list[Joint | None] = []
    try:
        if len(groups) == 1:
            found.append(sparse(trials, groups[0], fit, best[0].expression))
        elif len(groups) > 1:
            smallest = min((m for g in groups for m in g.members), key=lambda m: m.parameters or 0)
            found.append(by_reading(trials, best, smallest))
    except ConsortError as fault:
        notes.append(f"no mixture was tried: {fault}")
    return [joint for joint in found if joint is not None]


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


def merged(trials: Trials, family: Family, fit: dict[str, Result], notes: list[str], title: str = "") -> Player | None:
    """Explore the merges of a family; its best one as a player, if it is better than every member."""
    if family.base is None:
        notes.append("no base is known: task arithmetic and TIES were left out (name it with --base)")
    before = set(trials.candidates)
    try:
        explore(
            family,
            {reference: result.score for reference, result in fit.items()},
            lambda name, expression: trials.trial(title + name, expression),
        )
    except BudgetSpent:
        share = len(trials.candidates) - len(before)
        notes.append(f"not tried: budget: more merges of {family.members[0].label}'s family, whose share is {share}")
    best = best_of(candidate for key, candidate in trials.candidates.items() if key not in before)
    if best is None or (best.fit or 0.0) <= max(fit[m.reference].score for m in family.members):
        return None
    result = trials.result(best.name, best.expression, "fit")
    return Player(best.expression, result, price(family.members[0].parameters, result))


def decide(
    trials: Trials, joints: Joints, best_single: Result, notes: list[str]
) -> tuple[Candidate | None, Result | None]:
    """The best candidate and what it does on held-out; one that cannot be run there gives way to the next."""
    best = choose(trials, joints, best_single)
    if best is None:
        return None, None
    try:
        return best, trials.result(WINNER, ready(best, joints, trials), "held_out")
    except ConsortError as fault:
        notes.append(f"{best.name} was left out: {fault}")
        trials.enter(replace(best, fit=None, note=str(fault)))
        return decide(trials, joints, best_single, notes)
