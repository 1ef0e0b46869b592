"""`consort search`: run the search that a plan names, and save what it found with a report.

Dev examples are searched on, test is read once at the end. The best point's dev score is that of what is saved: full
weights are rounded as they are written, adapters keep their factors in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from consort.core.counted import counted
from consort.core.errors import ConsortError
from consort.core.files import check_place
from consort.core.journal import Journal, key_of, provenance
from consort.data import Task
from consort.models.placement import carried
from consort.plan.build import Builder
from consort.plan.references import open_task
from consort.plan.search.plan import SearchPlan, document_of, read_search
from consort.runs.folder import open_run
from consort.runs.results import told_task
from consort.runs.search import result as end_of
from consort.runs.search.continuing import Continuation, continued
from consort.runs.search.continuing import is_record as is_continuing
from consort.runs.search.objective import Ask, joined, make_evaluator, objective_of
from consort.runs.search.progress import searching
from consort.runs.search.result import FinishedSearch, Found, best_of
from consort.runs.search.spaces import PACK, identity_of, inputs_of, open_space
from consort.runs.trials import is_record as is_result
from consort.search.engine import run as engine
from consort.search.engine.domain import Optimizer
from consort.search.engine.evaluator import Evaluator
from consort.search.engine.run import History, Run, evaluations_in
from consort.search.engine.scores import Scores
from consort.search.engine.workers import Make, Workers, check_engine, others
from consort.search.engine.workers import workers as make_workers
from consort.search.optimizers import optimizers
from consort.weights import describe
from consort.weights.checkpoint import leaves
from consort.weights.content import content_hash

_LOG = logging.getLogger("consort.search")


def search(
    plan: str | Path | Mapping[str, Any],
    *,
    task: str | Path | Task | Sequence[str | Path | Task],
    out: str | Path,
    budget: int | None = None,
    seed: int | None = None,
    engine: str = "local",
    workers: int = 2,
    split: str = "dev",
    limit: int | None = None,
    combine: str = "mean",
    racing: bool = True,
    pack: int = PACK,
    conclude: bool = True,
    force: bool = False,
    allow_remote_code: bool = False,
    allow_task_code: bool = False,
) -> Found:
    """Search as `plan` says for the highest score on `task`, and write what was found to the folder `out`.

    Several tasks are searched together; `combine` "harmonic" takes the harmonic mean of their scores (of one task's
    groups). `budget` bounds the evaluations. `engine` changes nothing but the time: local | processes | ray, the last
    two with so many `workers`, or shared:FOLDER for the same search on several machines, each with an `out` of its own.
    Without `conclude` only the journal is written and nothing is read from test. Killed and called again, it goes on
    where it was; called with another plan for the same task, one model more for instance, it goes on with what is known
    of points that mean the same models. Raises ConsortError before any work for inputs that cannot be used.
    """
    check_place(out)
    check_engine(engine, workers)
    document = _document(plan)
    checked = read_search(document, seed=seed, allow_remote_code=allow_remote_code)
    loaded = _joined(task, allow_task_code)
    ask = Ask(loaded, split, limit, combine, checked.seed, pack)
    builder = Builder(checked.seed, allow_remote_code)
    objective = objective_of(checked, ask, builder)
    space, inputs = open_space(checked, builder, pack=pack), inputs_of(checked, builder)
    described = [describe(leaf) for c in inputs for leaf in leaves(c)]
    place = {"search": objective.key, "task": loaded.key}
    about = {"verb": "search", "task": told_task(loaded, fit=len(ask.examples)), "seed": checked.seed}
    journal, records = open_run(Path(out), place, inputs, force=force, sound=_is_sound, about=about)
    asked = {**document, "seed": checked.seed, "racing": racing, "pack": pack, "inputs": described}
    known = continued(journal, records, {**asked, "names": list(checked.domain.names)})
    made = carried(partial(make_evaluator, document, ask, checked.seed, allow_remote_code))
    evaluator = Evaluator(space, objective)
    setting = _Setting(checked, evaluator, known, journal, identity_of(checked, builder, space))
    with _team(engine, workers, made, evaluator, journal) as hands:
        history, optimizer = setting.searched(hands, budget, racing)
    if not conclude:
        best = best_of(history)
        return Found(Path(out), checked.expression(best.point), best, history, optimizer, None, space)
    origin = provenance(plan=document, inputs=_hashed(inputs), seed=checked.seed)
    end = FinishedSearch(Path(out), setting.plan, builder, space, ask, journal, known, origin, history, optimizer)
    return end_of.conclude(end)


def _team(engine: str, count: int, made: Make, evaluator: Evaluator, journal: Journal) -> Workers:
    """Who evaluates; where nobody can, the run leaves nothing."""
    searched = key_of([evaluator.space.key, evaluator.objective.key])
    with journal.discarded_if_refused():
        return make_workers(engine, made if others(engine) else lambda: evaluator, count, searched)


def _hashed(inputs: Sequence[Any]) -> list[dict[str, Any]]:
    """What the inputs are, with digests of their weights."""
    return [{**describe(leaf), "weights_sha256": content_hash(leaf)} for c in inputs for leaf in leaves(c)]


def _joined(task: str | Path | Task | Sequence[str | Path | Task], allow_code: bool) -> Task:
    named = [task] if isinstance(task, str | Path | Task) else list(task)
    return joined([t if isinstance(t, Task) else open_task(t, allow_code=allow_code) for t in named])


@dataclass(frozen=True, slots=True)
class _Setting:
    """All that a search is run with but its workers and budget."""

    plan: SearchPlan
    evaluator: Evaluator
    known: Continuation
    journal: Journal
    identity: Callable[[Sequence[float]], Any]

    def searched(self, hands: Workers, budget: int | None, racing: bool) -> tuple[History, Optimizer]:
        """The history of the search, and the optimizer at its end; a search without an evaluation leaves nothing."""
        plan, objective = self.plan, self.evaluator.objective
        optimizer = optimizers.get(plan.optimizer)(plan.domain, seed=plan.seed, **plan.params)
        known = evaluations_in(self.known.records)
        with searching(self.journal.folder, budget, known) as told:
            run = Run(
                optimizer,
                hands,
                Scores(self.evaluator.space.key, objective.key, self.identity),
                pack=self.evaluator.pack,
                size=objective.size,
                budget=budget,
                racing=racing and objective.span is not None,
                journal=self.journal,
                records=self.known.records,
                earlier=self.known.earlier,
                told=told,
            )
            if budget is not None and run.budget != budget:
                amount = counted(run.budget or 0, "evaluation")
                _LOG.warning("%s: has %s already, which are kept", self.journal.folder, amount)
            try:
                return run.run(), optimizer
            except ConsortError:
                if not run.history.evaluations and not self.known.earlier:
                    self.journal.discard()
                raise


def _document(plan: Any) -> Any:
    """The plan as plain values, which are what workers and the run's key need."""
    return dict(plan) if isinstance(plan, Mapping) else document_of(plan)


def _is_sound(record: Mapping[str, Any]) -> bool:
    if "result" in record:
        return is_result(record)
    return engine.is_record(record) if "job" in record else is_continuing(record)
