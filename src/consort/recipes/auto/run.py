"""The main job: models and a task in, one better system out, never worse than the best single on held-out examples.

Dev is cut in two: candidates are searched on `fit`; the best of them is kept only if it is better than the best single
on `held_out`, and then learns from all of dev; `test` is read once, for the report. What is tried is a list of stages:
merges first, since one model answers for the price of one; then Model-GLUE over all models with weights; then mixtures
and teams, which are taken only where they are better on `fit` beyond doubt. Everything scored is in the run's journal,
so a killed run continues where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.core.files import check_place
from consort.core.journal import provenance
from consort.data import Task
from consort.evaluate import Result
from consort.recipes.auto.absent import absent
from consort.recipes.auto.decision import Field
from consort.recipes.auto.front import Chosen, looked_at, points_of
from consort.recipes.auto.given import NOTHING, Given, open_given
from consort.recipes.auto.inputs import STAGES, open_inputs
from consort.recipes.auto.inputs import check_budget as check_budget
from consort.recipes.auto.learners import keep
from consort.recipes.auto.selection import selection
from consort.recipes.auto.stage import Pool, Proposal, run_stages
from consort.runs.aim import Aim, Maximize, nothing_fits
from consort.runs.begun import begin, described
from consort.runs.hours import Hours
from consort.runs.pool import Member, families, repeated
from consort.runs.results import Found, Outcome, conclude
from consort.runs.tariff import check_rates, tariff_of
from consort.runs.trials import Trials

DEFAULT_BUDGET = 100
AT_THE_END = 3
"""Systems beside the inputs for which time is kept."""


def auto(
    models: Sequence[str],
    *,
    task: str | Path | Task,
    out: str | Path,
    base: str | None = None,
    budget: int = DEFAULT_BUDGET,
    docs: str | Path | None = None,
    train: str | Path | None = None,
    maximize: Maximize = "quality",
    max_cost: float | None = None,
    max_latency: float | None = None,
    price: Mapping[str, float] | None = None,
    hours: float | None = None,
    seed: int = 0,
    force: bool = False,
    allow_remote_code: bool = False,
    allow_task_code: bool = False,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Find the best combination of `models` (references) for `task` and write it to the folder `out`.

    `base` is the one of the models that the others were tuned from; by default the one that their cards, configs or
    adapters name. `budget` bounds the number of candidates, `hours` the time of all starts of the run together. `docs`
    is an index (`consort index`) to look things up in, `train` a file of rows to train on, none of them an example of
    the task.

    The winner is the best by `maximize`, "quality" or "quality-per-cost" (score over price), of those whose answers
    cost `max_cost` at most, in tokens times parameters, and take `max_latency` seconds at most on this machine. `price`
    tells what a token of an endpoint costs, by its name or reference, in parameters (or in money where no model has
    weights here). The front of all that was tried, score against cost, is in the folder as plans.

    A model that cannot be run on the task (weights of NaN, too short a window) is left out with a note. `say` is told,
    line by line, what will be tried. Raises ConsortError, before any work, for inputs that cannot be used; in the end,
    where no system keeps the limits.

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
    aim, bound = Aim(maximize, max_cost, max_latency), Hours(hours).limit
    loaded, members, builder = open_inputs(models, task, base, budget, seed, allow_remote_code, allow_task_code)
    given = open_given(loaded, docs, train)
    aim.check(loaded)
    rates = check_rates(members, price or {})
    asked: dict[str, Any] = {"base": base, "budget": budget, "seed": seed, "hours": bound}
    begun = begin("auto", Path(out), members, loaded, builder, force=force, **asked, **aim.told, **given.told)
    with begun as (trials, went_on):
        if say is not None:  # once nothing is refused any more
            from consort.recipes.auto.outlook import ahead

            for line in ahead(members, loaded, given=given, **asked).lines:
                say(line)
        trials.identity |= given.identity
        usable, notes = runnable(trials, members)
        trials.watch.phase("searching", trials.budget)
        found, more = search(trials, usable, base, aim, rates, force=force, given=given)
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
    trials: Trials,
    members: Sequence[Member],
    base: str | None,
    aim: Aim,
    rates: Mapping[str, float],
    *,
    force: bool,
    given: Given = NOTHING,
) -> tuple[Found, dict[str, Any]]:
    """Score the singles, let every stage propose on fit, decide on held-out, gather the front.

    Also returns details of results.json. The fallback is the single model that is best on all of dev, of those that
    keep the limits. Raises BadParameter where no system keeps them.
    """
    fit, singles = on_dev(trials, members)
    trials.tariff = tariff_of(members, list(fit.values()), rates)
    aim.check_results(list(fit.values()), trials.tariff)
    groups, notes = families(members, base)
    pool = Pool(trials, members, groups, fit, base, force, given)
    trials.hours.reserve_s = end_s(list(fit.values()), len(singles[0].statistics), len(trials.task.test))
    notes += run_stages(pool, STAGES)
    systems = looked_at(pool)
    field = Field(trials, aim, systems, list(zip(map(pool.single, members), singles, strict=True)))
    taken = field.decide(notes)
    winner = taken.system if taken.kept else field.fallback
    if winner is None:
        raise nothing_fits(aim, [(one.name, one.price, one.seconds) for one in systems])
    plan = relearnt(winner, trials)
    chosen = Chosen(winner, plan, taken.held_out if taken.kept else field.held_out[winner.key])
    points, said = points_of(trials, looked_at(pool), set(field.held_out), chosen)
    pairs = list(zip(fit.values(), singles, strict=True))
    found = Found(
        tuple(groups),
        (*notes, *absent(systems), *said),
        singles,
        {m.label: fit[m.reference].score for m in members},
        tuple(trials.candidates.values()),
        None if taken.system is None else trials.candidates[taken.system.key],
        taken.held_out,
        taken.decision,
        plan,
        {one.name: one.price for one in systems},
        seconds={one.name: one.seconds for one in systems},
        aim=aim,
        rivals=tuple(one.name for one in field.eligible),
        selection=selection(systems, pairs, taken.system, taken.held_out),
        front=tuple(points),
    )
    return found, pool.extras


def on_dev(trials: Trials, members: Sequence[Member]) -> tuple[dict[str, Result], tuple[Result, ...]]:
    """What the inputs do on fit, by reference, and on held-out."""
    fit = {m.reference: trials.result(m.label, m.reference, "fit") for m in members}
    return fit, tuple(trials.result(m.label, m.reference, "held_out") for m in members)


def end_s(fit: Sequence[Result], held_out: int, test: int) -> float:
    """Seconds that the end of a run may take: all inputs on test, the winner and some of the front on both.

    `fit` are the inputs' results, `held_out` and `test` numbers of examples.
    """
    each = [result.seconds_per_example for result in fit]
    return float(sum(each) * test + AT_THE_END * max(each) * (held_out + test))


def relearnt(system: Proposal, trials: Trials) -> Any:
    """The expression of what is kept; what it learned on fit it learns again from all of dev."""
    if system.relearn is None:
        return system.expression
    whole = system.relearn(trials)
    keep(whole, trials.journal.folder)
    return whole.expression
