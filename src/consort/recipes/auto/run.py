"""The main job: models and a task in, one better system out, never worse than the best single on held-out examples.

Dev is cut in two: candidates are searched on `fit`; the best of them is kept only if it is better than the best single
on `held_out`, and then learns from all of dev; `test` is read once, for the report. What is tried is a list of stages:
merges first, since one model answers for the price of one; then Model-GLUE over all models with weights; then mixtures
and teams, which are taken only where they are better on `fit` beyond doubt. Everything scored is in the run's journal,
so a killed run continues where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.core.files import check_place
from consort.core.journal import key_of, provenance
from consort.data import Task
from consort.evaluate import Decision, Result, gate
from consort.recipes.auto.given import NOTHING, Given, open_given
from consort.recipes.auto.inputs import STAGES, open_inputs
from consort.recipes.auto.inputs import check_budget as check_budget
from consort.recipes.auto.learners import joined, keep
from consort.recipes.auto.stage import Pool, Proposal, run_stages
from consort.recipes.auto.teams import Teams, choose, ready
from consort.runs.begun import begin, described
from consort.runs.pool import WINNER, Member, families, repeated
from consort.runs.results import Found, Outcome, conclude
from consort.runs.tariff import tariff_of
from consort.runs.trials import Candidate, Trials

DEFAULT_BUDGET = 100


def auto(
    models: Sequence[str],
    *,
    task: str | Path | Task,
    out: str | Path,
    base: str | None = None,
    budget: int = DEFAULT_BUDGET,
    docs: str | Path | None = None,
    train: str | Path | None = None,
    seed: int = 0,
    force: bool = False,
    allow_remote_code: bool = False,
    allow_task_code: bool = False,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Find the best combination of `models` (references) for `task` and write it to the folder `out`.

    `base` is the one of the models that the others were tuned from; by default the one that their cards, configs or
    adapters name. `budget` bounds the number of candidates. `docs` is an index (`consort index`) to look things up in,
    `train` a file of rows to train on, none of them an example of the task. A model that cannot be run on the task
    (weights of NaN, too short a window) is left out with a note. `say` is told, line by line, what will be tried.
    Raises ConsortError, before any work, for inputs that cannot be used.

    >>> import consort
    >>> from dataclasses import replace
    >>> from consort import lab
    >>> task = consort.load_task(lab.path("tasks/both"))
    >>> task = replace(task, dev=task.dev[:30], test=task.test[:30])
    >>> found = consort.auto(["lab:mirror", "lab:order"], task=task, out="best", budget=1)
    >>> found.comparison.count, (found.folder / "results.json").is_file()
    (30, True)
    """
    check_place(out)
    loaded, members, builder = open_inputs(models, task, base, budget, seed, allow_remote_code, allow_task_code)
    given = open_given(loaded, docs, train)
    place = ("auto", Path(out), members, loaded, builder)
    begun = begin(*place, base=base, budget=budget, seed=seed, force=force, **given.told)
    with begun as (trials, went_on):
        if say is not None:  # once nothing is refused any more
            from consort.recipes.auto.outlook import ahead

            for line in ahead(members, loaded, base=base, budget=budget, seed=seed, given=given).lines:
                say(line)
        usable, notes = runnable(trials, members)
        trials.watch.phase("searching", trials.budget)
        found, more = search(trials, usable, base, force=force, given=given)
        found = replace(found, notes=(*repeated(models), *went_on, *notes, *found.notes))
        origin = provenance(plan=found.plan, inputs=described(trials, usable), seed=seed)
        return conclude(Path(out), trials, usable, found, origin, details=more)


def runnable(trials: Trials, members: Sequence[Member]) -> tuple[list[Member], list[str]]:
    """The members that the task can be run with, and why others are left out; raises where none is left."""
    kept, faults = [], []
    trials.watch.phase("single models on fit", len(members))
    with trials.journal.discarded_if_refused():
        for number, member in enumerate(members, 1):
            try:
                trials.admit(member.label, member.reference)
                if member.checkpoint is not None:
                    trials.content(member.reference, member.checkpoint)  # its files have just been read
                kept.append(member)
                trials.watch.tell(number)
            except EnvironmentFailure:
                raise
            except ConsortError as fault:
                faults.append((member.label, fault))
        if not kept:
            raise faults[0][1]
    return kept, [f"{label} was left out: {fault}" for label, fault in faults]


def search(
    trials: Trials, members: Sequence[Member], base: str | None, *, force: bool = False, given: Given = NOTHING
) -> tuple[Found, dict[str, Any]]:
    """Score the singles, let every stage propose on fit, decide on held-out.

    Also returns details of results.json. The fallback is the single model that is best on all of dev.
    """
    fit = {m.reference: trials.result(m.label, m.reference, "fit") for m in members}
    singles = tuple(trials.result(m.label, m.reference, "held_out") for m in members)
    trials.tariff = tariff_of(members, list(fit.values()))
    groups, notes = families(members, base)
    trials.identity |= given.identity
    pool = Pool(trials, members, groups, fit, base, force, given)
    notes += run_stages(pool, STAGES)
    best_single = max(fit.values(), key=lambda r: r.score)
    fallback = best_on_dev([fit[m.reference] for m in members], singles, known_prices(pool.members))
    best, held_out = decide(trials, pool.teams, best_single, notes)
    decision = strictly(gate(held_out, singles[fallback], seed=trials.seed)) if held_out else None
    plan: Any = members[fallback].reference
    if best and decision and decision.kept:
        plan = relearnt(best, pool.teams, trials)
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
        prices(trials, members, pool.teams),
    )
    return found, pool.extras


def best_on_dev(fit: Sequence[Result], held_out: Sequence[Result], prices: Sequence[float] | None = None) -> int:
    """The number of the model that is best on both halves of dev together; of equal ones the cheapest, then the first.

    `prices` are those of the models, in any one unit.
    """
    whole = [joined(halves).score for halves in zip(fit, held_out, strict=True)]
    return max(range(len(whole)), key=lambda i: (round(whole[i], 12), -prices[i] if prices else 0.0))


def known_prices(singles: Sequence[Proposal]) -> list[float] | None:
    """What an answer of each model costs; None if that is not known of all."""
    found = [single.price for single in singles if single.price is not None]
    return found if len(found) == len(singles) else None


def strictly(decision: Decision) -> Decision:
    """The decision with a tie for the single model, which is simpler and costs no more."""
    return replace(decision, kept=decision.kept and decision.candidate_score > decision.fallback_score)


def relearnt(best: Candidate, teams: Teams, trials: Trials) -> Any:
    """The expression of what is kept; what it learned on fit it learns again from all of dev."""
    team = teams.get(key_of(best.expression))
    if team is None or team.relearn is None:
        return best.expression
    whole = team.relearn(trials)
    keep(whole, trials.journal.folder)
    return whole.expression


def prices(trials: Trials, members: Sequence[Member], teams: Teams) -> dict[str, float | None]:
    """What an answer of each single, merge and team costs, by name."""
    found = {m.label: trials.tariff.price(trials.result(m.label, m.reference, "fit")) for m in members}
    for key, candidate in trials.candidates.items():
        if key in teams:
            found[candidate.name] = teams[key].price
        elif candidate.fit is not None:
            found[candidate.name] = trials.tariff.price(trials.result(candidate.name, candidate.expression, "fit"))
    return found


def decide(
    trials: Trials, teams: Teams, best_single: Result, notes: list[str]
) -> tuple[Candidate | None, Result | None]:
    """The best candidate and what it does on held-out; one that cannot be run there gives way to the next."""
    best = choose(trials, teams, best_single)
    if best is None:
        return None, None
    try:
        return best, trials.result(WINNER, ready(best, teams, trials), "held_out")
    except EnvironmentFailure:
        raise
    except ConsortError as fault:
        notes.append(f"{best.name} was left out: {fault}")
        trials.enter(replace(best, fit=None, note=str(fault)))
        return decide(trials, teams, best_single, notes)
