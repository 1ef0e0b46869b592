"""`consort search`: run the search that a plan names, and save what it found with a report.

Dev examples are searched on, test is read once at the end. The best point's dev score is that of what is saved: full
weights are rounded as they are written, adapters keep their factors in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import consort
from consort.core.errors import BadData, ConsortError
from consort.core.files import check_place, write_atomic, write_json
from consort.core.journal import Journal, key_of, provenance
from consort.core.progress import track
from consort.data import Task, load_task
from consort.evaluate import Comparison, Result, compare, evaluate
from consort.plan.build import Builder
from consort.plan.references import task_path
from consort.plan.search import SearchPlan, document_of, read_search
from consort.recipes.auto import MODEL_FOLDER, REPORT_FILE, RESULTS_FILE, _clear, plan_text
from consort.recipes.members import WINNER
from consort.recipes.spaces import PACK, Ask, build_at, inputs_of, joined, make_evaluator, open_space
from consort.recipes.trials import is_record as is_result
from consort.search import run as engine
from consort.search.cache import Scores
from consort.search.evaluator import Evaluator
from consort.search.optimizers import optimizers
from consort.search.run import History, Run, Step
from consort.search.space import Space
from consort.search.workers import check_engine
from consort.search.workers import workers as make_workers
from consort.weights import describe
from consort.weights.card import OnDisk
from consort.weights.checkpoint import Checkpoint, leaves
from consort.weights.store import check_target


@dataclass(frozen=True, slots=True)
class Found:
    """What a search ended with: the winner's plan, the history, the optimizer, and all compared on test (or None)."""

    folder: Path
    plan: Any
    best: Step
    history: History
    optimizer: Any
    comparison: Comparison | None
    space: Space

    @property
    def headline(self) -> str:
        """One sentence: what was found, and what it took."""
        made = f"{self.history.evaluations} evaluations, {self.history.examples} examples asked"
        return f"best on dev: {self.best.outcome.score:.4f} ({made}; {self.history.ended})"


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
    and called again, it goes on where it was. Raises ConsortError before any work
    for inputs that cannot be used.
    """
    check_place(out)
    check_engine(engine, workers)
    document = _document(plan)
    checked = read_search(document, seed=seed)
    named = [task] if isinstance(task, str | Path | Task) else list(task)
    loaded = joined([t if isinstance(t, Task) else load_task(task_path(t), allow_code=allow_task_code) for t in named])
    ask = Ask(loaded, split, limit, combine, checked.seed, pack)
    utility, builder = ask.utility, Builder(checked.seed, allow_remote_code)
    space = open_space(checked, builder, pack=pack)
    inputs = inputs_of(checked, builder)
    described = [describe(leaf) for c in inputs for leaf in leaves(c)]
    asked = {"search": document, "inputs": described, "utility": utility.key, "seed": checked.seed}
    asked |= {"racing": racing, "pack": pack}
    check_target(Path(out), [leaf.path for c in inputs for leaf in leaves(c) if isinstance(leaf, OnDisk)], force=True)
    journal = Journal(Path(out), key_of(asked), force=force, sound=_is_sound)
    records = journal.open()
    if not records:
        _clear(journal.folder)
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
        best = _best(history)
        return Found(Path(out), checked.expression(best.point), best, history, optimizer, None, space)
    results = {r["key"]: r for r in records if "result" in r}
    origin = provenance(plan=document, inputs=described, seed=checked.seed)
    return _conclude(Concluding(Path(out), checked, builder, space, ask, journal, results, origin), history, optimizer)


def _document(plan: Any) -> Any:
    """The plan as plain values, which are what workers and the run's key need."""
    return dict(plan) if isinstance(plan, Mapping) else document_of(plan)


def _is_sound(record: Mapping[str, Any]) -> bool:
    return is_result(record) if "result" in record else engine.is_record(record)


@dataclass(frozen=True, slots=True)
class Concluding:
    """What the end of a search works with."""

    out: Path
    plan: SearchPlan
    builder: Builder
    space: Space
    ask: Ask
    journal: Journal
    results: dict[str, Any]
    origin: dict[str, Any]

    def result(self, name: str, point: Sequence[float], split: str) -> Result:
        """What the model at `point` scores on a split; remembered."""
        from dataclasses import replace

        key = key_of([list(point), split, self.ask.limit])
        if key not in self.results:
            limit = self.ask.limit if split != "test" else None
            model = self.space.model(point)
            found = evaluate(
                model, self.ask.task, split=split, limit=limit, seed=self.plan.seed, keep_answers=split == "test"
            )
            self.results[key] = {"key": key, "result": found.to_json()}
            self.journal.append(self.results[key])
        return replace(Result.from_json(self.results[key]["result"]), model=name)


def _conclude(end: Concluding, history: History, optimizer: Any) -> Found:
    """Save the best point, compare it with the single experts on test, write plan, results and report."""
    from consort.report import write_report

    best = _best(history)
    plan, out = end.plan.expression(best.point), end.out
    if end.plan.space == "adapters" and end.plan.base is not None:
        described = {"apply_adapter": {"model": plan, "base": end.plan.resolved(end.plan.base)}}
    else:
        described = plan
    saved = _save(end, best, plan)
    units = _units(end.plan)
    splits = [end.ask.split] + (["test"] if end.ask.task.test else [])
    results = {
        split: [end.result(label, point, split) for label, point in units.items()]
        + [end.result(WINNER, best.point, split)]
        for split in splits
    }
    last = results[splits[-1]]
    comparison = compare(last, singles=set(units), seed=end.plan.seed) if units else None
    write_json(out / RESULTS_FILE, _results(end, history, optimizer, best, described, saved, results, splits))
    write_atomic(out / "plan.yml", plan_text(described, end.plan.seed))
    if units:
        write_report(out, out / REPORT_FILE)
    return Found(out, described, best, history, optimizer, comparison, end.space)


def _best(history: History) -> Step:
    """The best point; raises BadData where no point could be scored."""
    if history.best is None:
        faults = [s.outcome.fault for s in history.steps if s.outcome.fault]
        hint = "do the models of the space fit together, and can the optimizer start anywhere else?"
        raise BadData(
            f"no point has a score: {faults[0] if faults else 'none was asked'}", field="search.space", hint=hint
        )
    return history.best


def _units(plan: SearchPlan) -> dict[str, Sequence[float]]:
    """The starts that are single experts, by name."""
    names, found = plan.domain.names, {}
    for start in plan.domain.starts:
        ones = [i for i, x in enumerate(start) if x == 1]
        if len(ones) == 1 and sum(map(abs, start)) == 1:
            found[names[ones[0]]] = start
    return found


def _save(end: Concluding, best: Step, plan: Any) -> str | None:
    """Write the winner's weights; a winner that is no checkpoint is its plan alone."""
    from consort.weights import write

    if end.plan.space == "models":
        return None
    folder = end.out / MODEL_FOLDER
    if not folder.exists():
        kind = "adapter" if end.plan.space == "adapters" else "checkpoint"
        made: Checkpoint = build_at(end.plan, end.builder, best.point, kind)
        write(made, folder, plan=plan, seed=end.plan.seed)
    return MODEL_FOLDER


def _results(
    end: Concluding,
    history: History,
    optimizer: Any,
    best: Step,
    plan: Any,
    saved: str | None,
    results: Mapping[str, Sequence[Result]],
    splits: Sequence[str],
) -> dict[str, Any]:
    """The content of results.json, as report/schema.py describes it, and what is known of the search beside."""
    task, ask = end.ask.task, end.ask
    singles = results[splits[0]][:-1] or results[splits[0]]
    sizes = {"dev": len(task.dev), "test": len(task.test), "fit": ask.utility.size, "held_out": 0}
    names = end.plan.domain.names
    coefficients = dict(zip(names, best.point, strict=True))
    new = [s for s in history.steps if s.is_new]
    return {
        "consort": consort.__version__,
        "task": {"name": task.name, "metric": task.metric, "key": task.key, **sizes},
        "seed": end.plan.seed,
        "base": None,
        "notes": [f"{history.evaluations} evaluations, {history.examples} examples asked; {history.ended}"],
        "singles": [r.to_json() for r in singles],
        "singles_fit": {r.model: r.score for r in results[splits[0]][:-1]},
        "candidates": [_candidate(best, end.plan, plan)],
        "decision": None,
        "winner": {
            "name": WINNER,
            "kind": "search",
            "plan": plan,
            "path": saved,
            "coefficients": {"coefficients": coefficients},
        },
        "test": [r.to_json() for r in results[splits[-1]]],
        "search": [{"name": _name(s), "score": _finite(s.outcome.score)} for s in new],
        "history": _history(end, history, optimizer, best),
        "provenance": end.origin,
    }


def _candidate(best: Step, searched: SearchPlan, plan: Any) -> dict[str, Any]:
    name = f"{searched.optimizer}, generation {best.generation}"
    score = best.outcome.score
    return {"name": name, "method": searched.optimizer, "plan": plan, "fit": score, "status": "kept", "note": ""}


def _history(end: Concluding, history: History, optimizer: Any, best: Step) -> dict[str, Any]:
    """What the search did, for the report and for programs: every step with its point and score."""
    return {
        "optimizer": end.plan.optimizer,
        "parameters": dict(end.plan.params),
        "utility": {"combine": end.ask.combine, "split": end.ask.split, "examples": end.ask.utility.size},
        "evaluations": history.evaluations,
        "examples": history.examples,
        "ended": history.ended,
        "best": {
            "generation": best.generation,
            "who": best.who,
            "score": best.outcome.score,
            "point": list(best.point),
        },
        "best_so_far": [_finite(score) for score in history.best_so_far],
        "names": list(end.plan.domain.names),
        "steps": [
            {
                "generation": s.generation,
                "who": s.who,
                "score": _finite(s.outcome.score),
                "complete": s.outcome.is_complete,
                "point": list(s.point),
            }
            for s in history.steps
        ],
    }


def _name(step: Step) -> str:
    return f"generation {step.generation}, {step.who}"


def _finite(score: float) -> float | None:
    return score if isfinite(score) else None
