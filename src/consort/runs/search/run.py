"""`consort search`: run the search that a plan names, and save what it found with a report.

Dev examples are searched on, test is read once at the end. The best point's dev score is that of what is saved: full
weights are rounded as they are written, adapters keep their factors in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from consort.core.errors import ConsortError
from consort.core.files import check_place
from consort.core.journal import provenance
from consort.core.progress import track
from consort.data import Task
from consort.plan.build import Builder
from consort.plan.references import open_task
from consort.plan.search.plan import document_of, read_search
from consort.runs.search import result as end_of
from consort.runs.search.result import Concluding, Found, best_of
from consort.runs.search.objective import Ask, joined, make_evaluator, utility_of
from consort.runs.folder import open_run
from consort.runs.search.spaces import PACK, inputs_of, open_space
from consort.runs.trials import is_record as is_result
from consort.search.engine import run as engine
from consort.search.engine.scores import Scores
from consort.search.engine.evaluator import Evaluator
from consort.search.optimizers import optimizers
from consort.search.engine.run import Run
from consort.search.engine.workers import check_engine
from consort.search.engine.workers import workers as make_workers
from consort.weights import describe
from consort.weights.checkpoint import leaves


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
    groups). `budget` bounds the evaluations. `engine` local | processes | ray, the last two with so many `workers`,
    changes nothing but the time. Without `conclude` only the journal is written and nothing is read from test. Killed
    and called again, it goes on where it was. Raises ConsortError before any work for inputs that cannot be used.
    """
    check_place(out)
    check_engine(engine, workers)
    document = _document(plan)
    checked = read_search(document, seed=seed, allow_remote_code=allow_remote_code)
    named = [task] if isinstance(task, str | Path | Task) else list(task)
    loaded = joined([t if isinstance(t, Task) else open_task(t, allow_code=allow_task_code) for t in named])
    ask = Ask(loaded, split, limit, combine, checked.seed, pack)
    builder = Builder(checked.seed, allow_remote_code)
    utility = utility_of(checked, ask, builder)
    space = open_space(checked, builder, pack=pack)
    inputs = inputs_of(checked, builder)
    described = [describe(leaf) for c in inputs for leaf in leaves(c)]
    asked = {"search": document, "inputs": described, "utility": utility.key, "seed": checked.seed}
    asked |= {"racing": racing, "pack": pack}
    journal, records = open_run(Path(out), asked, inputs, force=force, sound=_is_sound)
    made = partial(make_evaluator, document, ask, checked.seed, allow_remote_code)
    optimizer = optimizers.get(checked.optimizer)(checked.domain, seed=checked.seed, **checked.params)
    evaluator = Evaluator(space, utility)
    with (
        track("searching", total=budget) as advance,
        make_workers(engine, made if engine != "local" else lambda: evaluator, workers) as hands,
    ):
        run = Run(
            optimizer,
            hands,
            Scores(space.key, utility.key),
            pack=evaluator.pack,
            size=utility.size,
            budget=budget,
            racing=racing and utility.span is not None,
            journal=journal,
            records=[r for r in records if "result" not in r],
            advance=advance,
        )
        try:
            history = run.run()
        except ConsortError:
            if not run.history.evaluations:
                journal.discard()
            raise
    if not conclude:
        best = best_of(history)
        return Found(Path(out), checked.expression(best.point), best, history, optimizer, None, space)
    results = {r["key"]: r for r in records if "result" in r}
    origin = provenance(plan=document, inputs=described, seed=checked.seed)
    end = Concluding(Path(out), checked, builder, space, ask, journal, results, origin, history, optimizer)
    return end_of.conclude(end)


def _document(plan: Any) -> Any:
    """The plan as plain values, which are what workers and the run's key need."""
    return dict(plan) if isinstance(plan, Mapping) else document_of(plan)


def _is_sound(record: Mapping[str, Any]) -> bool:
    return is_result(record) if "result" in record else engine.is_record(record)
