"""Fit what a plan leaves open: run its models once on a task (or read their cached answers), fit, pass the gate, save.

A killed run continues: every model's result is in the journal of the output folder.
"""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from consort.core.errors import BadData, BadParameter, ConsortError
from consort.core.journal import Journal
from consort.core.progress import Watch, watched
from consort.data import Task
from consort.ensemble.learning.fitting import Rule, fit_gated
from consort.ensemble.learning.observations import Observed, from_results, from_table
from consort.evaluate import Result, evaluate
from consort.models.cached.model import TableModel, open_table
from consort.plan import read_plan
from consort.plan.build import Builder
from consort.plan.references import is_table, open_task
from consort.plan.schemes import TABLE
from consort.runs.continued import go_on
from consort.runs.fit_compressor import fit_compressor
from consort.runs.fit_studied import fit_studied
from consort.runs.fit_taught import fit_taught
from consort.runs.fitted import Outcome, Work, members_of, written
from consort.runs.folder import open_run


def fit(
    plan: str | Path,
    out: str | Path,
    *,
    task: str | Path | None = None,
    table: str | Path | None = None,
    rule: Rule = "mean",
    seed: int = 0,
    force: bool = False,
    allow_remote_code: bool = False,
    allow_task_code: bool = False,
) -> Outcome:
    """Fit the strategy at the root of `plan` and write `out`: plan.yml, its state file and results.json.

    Exactly one of `task` (its dev examples, on which every member is run once) and `table` (cached answers, with
    a column of each member's name; none is run) is given. Without the gate's consent plan.yml is the single model that
    was best on held-out examples. Raises BadParameter for a plan with nothing to fit, OutputExists, BadData.
    """
    read, loaded, source = read_plan(plan), *_data(task, table, allow_task_code)
    builder = Builder(read.seed, allow_remote_code)
    strategy = builder.build(read.root, "model")
    if hasattr(strategy, "study") and task is not None:
        report = fit_studied(read, strategy, loaded, source, out, seed=seed, force=force)
        return Outcome(Path(out), report["kept"], report)
    if hasattr(strategy, "divided") and task is not None:
        report = fit_taught(read, strategy, loaded, source, out, seed=seed, force=force)
        return Outcome(Path(out), report["kept"], report)
    if hasattr(getattr(strategy, "compressor", None), "learn") and task is not None:
        report = fit_compressor(read, strategy, loaded, source, out, seed=seed, force=force)
        return Outcome(Path(out), report["kept"], report)
    strategy = _fittable(strategy, str(plan))
    work = Work(read, strategy, loaded, source, rule, seed, members_of(read.root, strategy))
    folder, place = Path(out), {"verb": "fit", "task": loaded.key, "seed": seed}
    journal, known = open_run(folder, place, (), force=force, sound=_is_record, about=work.about)
    notes = go_on(journal, work.about, len(known))
    with watched(folder, "fit") as watch, journal.discarded_if_refused():
        file = source.removeprefix(TABLE) if is_table(source) else None
        results: list[Result] = []
        if file:
            observed = _cached(strategy, file)
        else:
            results = _asked(work, journal, {record["model"]: record for record in known}, watch)
            observed = from_results(results, loaded.split("dev", seed=seed))
        fitted = fit_gated(strategy, observed, seed=seed, rule=rule)
    return written(work, folder, fitted, results, notes)


def _data(task: Any, table: Any, allow_code: bool) -> tuple[Task, str]:
    if (task is None) == (table is None):
        what = "neither a task nor a table" if task is None else "both a task and a table"
        raise BadParameter(what, field="--task", hint="give one of --task TASK and --table FILE")
    given = str(task) if table is None else f"table:{str(table).removeprefix('table:')}"
    return open_task(given, allow_code=allow_code), given


def _fittable(strategy: Any, plan: str) -> Any:
    if not hasattr(strategy, "fit") or not getattr(strategy, "needs_fit", True):
        hint = "a router (knn, ridge, blend, …) or another strategy with a `state`; see `consort methods`"
        raise BadParameter(f"{strategy.name} has nothing to fit", field=plan, hint=hint)
    return strategy


def _cached(strategy: Any, file: str) -> Observed:
    """What a table tells of the strategy's members: each is the column of its name, or of its name's last part."""
    table = open_table(file)
    columns = []
    for model in strategy.models:
        names = (model.name, PurePath(model.name.rpartition(":")[2]).name)
        found = next((name for name in names if name in table.models), None)
        if found is None:
            known = ", ".join(table.models)
            raise BadData(f"has no column for the member {model.name}", field=file, hint=f"its columns: {known}")
        columns.append(found)
    return from_table(table, columns, split="dev")


def _asked(work: Work, journal: Journal, records: dict[str, Any], watch: Watch) -> list[Result]:
    """What the strategy's members do on the task's dev examples; cached answers are read, the others are run."""
    results: list[Result] = []
    watch.phase("asking every member", len(work.members))
    for model, member in zip(work.strategy.models, work.members, strict=True):
        if member.identity in records:
            results.append(Result.from_json(records[member.identity]["result"]))
        else:
            results.append(evaluate(model, work.task, split="dev", seed=work.seed, keep_answers=True))
            if not isinstance(model, TableModel):  # what is cached already needs no journal
                record = {"model": member.identity, "name": member.name, "result": results[-1].to_json()}
                records[member.identity] = record
                journal.append(record)
        watch.found(member.name, results[-1].score)
        watch.tell(len(results))
    return results


def _is_record(record: Any) -> bool:
    try:
        Result.from_json(record.get("result"))
    except ConsortError:
        return False
    return isinstance(record.get("model"), str)
