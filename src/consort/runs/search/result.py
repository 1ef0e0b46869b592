"""What a search found: the best point saved, compared with the single experts on test, and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from consort.core.counted import counted
from consort.core.errors import BadData
from consort.core.files import write_atomic
from consort.core.journal import Journal, key_of
from consort.core.results import write_results
from consort.evaluate import Comparison, Result, compare, evaluate
from consort.plan.build import Builder
from consort.plan.expression import dump
from consort.plan.search.plan import SearchPlan
from consort.runs.folder import MODEL_FOLDER, PLAN_FILE, REPORT_FILE, clear, plan_text
from consort.runs.pool import WINNER
from consort.runs.results import told_examples, told_task
from consort.runs.search.continuing import Continuation
from consort.runs.search.objective import OWN, UNGRADED, Ask, judged, objective_of
from consort.runs.search.spaces import build_at
from consort.search.engine.run import History, Step
from consort.search.engine.space import Evaluated
from consort.weights.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Found:
    """What a search ended with: the winner's plan, the history, the optimizer, and all compared on test (or None)."""

    folder: Path
    plan: Any
    best: Step
    history: History
    optimizer: Any
    comparison: Comparison | None
    space: Evaluated

    @property
    def headline(self) -> str:
        """One sentence: what was found, and what it took."""
        return f"best on dev: {self.best.outcome.score:.4f} ({asked_of(self.history)}; {self.history.ended})"


@dataclass(frozen=True, slots=True)
class FinishedSearch:
    """What the end of a search works with; `known` is what its journal has."""

    out: Path
    plan: SearchPlan
    builder: Builder
    space: Evaluated
    ask: Ask
    journal: Journal
    known: Continuation
    origin: dict[str, Any]
    history: History
    optimizer: Any

    @property
    def best(self) -> Step:
        return best_of(self.history)

    def result(self, name: str, point: Sequence[float], split: str) -> Result:
        """What the model at `point` scores on a split by the task's own metric; remembered."""
        key, results = key_of([self.plan.expression(point), split, self.ask.limit]), self.known.results
        if key not in results:
            results[key] = {"key": key, "result": self._measured(point, split).to_json()}
            self.journal.append(results[key])
        return replace(Result.from_json(results[key]["result"]), model=name)

    def asked(self, split: str) -> Ask:
        """What is asked on a split: of test all, of others what the search was told to take."""
        return self.ask if split == self.ask.split else replace(self.ask, split=split, limit=None)

    def _measured(self, point: Sequence[float], split: str) -> Result:
        """By the task's metric; by the search's own utility where the task has prompts alone."""
        model, seed = self.space.model(point), self.plan.seed
        if self.ask.task.metric == UNGRADED and self.plan.utility.name != OWN:
            asked = self.asked(split)
            return judged(model, objective_of(self.plan, asked, self.builder), asked)
        limit = self.ask.limit if split != "test" else None
        return evaluate(model, self.ask.task, split=split, limit=limit, seed=seed, keep_answers=split == "test")


def conclude(end: FinishedSearch) -> Found:
    """Save the best point, compare it with the single experts on test, write plan, results and report."""
    from consort.report import write_report

    best, out = end.best, end.out
    plan = end.plan.expression(best.point)
    described = plan
    if end.plan.makes == "adapter" and end.plan.base is not None:
        described = {"apply_adapter": {"model": plan, "base": end.plan.resolved(end.plan.base)}}
    saved = _save(end, plan)
    units = units_of(end.plan)
    splits = [end.ask.split] + (["test"] if end.ask.task.test else [])
    results = {
        split: [end.result(label, point, split) for label, point in {**units, WINNER: best.point}.items()]
        for split in splits
    }
    utilities = _utilities(end, units, splits) if end.plan.utility.name != OWN else {}
    comparison = compare(results[splits[-1]], singles=set(units), seed=end.plan.seed) if units else None
    write_results(out, "search", _results(end, described, saved, results, utilities))
    write_atomic(out / PLAN_FILE, plan_text(described, end.plan.seed))
    write_report(out, out / REPORT_FILE)
    return Found(out, described, best, end.history, end.optimizer, comparison, end.space)


def best_of(history: History) -> Step:
    """The best point; raises BadData where no point could be scored."""
    if history.best is None:
        faults = [s.outcome.fault for s in history.steps if s.outcome.fault]
        message = f"no point has a score: {faults[0] if faults else 'none was asked'}"
        hint = "do the models of the space fit together, and can the optimizer start anywhere else?"
        raise BadData(message, field="search.space", hint=hint)
    return history.best


def asked_of(history: History) -> str:
    """What a search has taken."""
    return f"{counted(history.evaluations, 'evaluation')}, {counted(history.examples, 'example')} asked"


def units_of(plan: SearchPlan) -> dict[str, Sequence[float]]:
    """The points that are single experts, by name."""
    if plan.units:
        return dict(plan.units)
    names, found = plan.domain.names, {}
    for start in plan.domain.starts:
        ones = [i for i, x in enumerate(start) if x == 1]
        if len(ones) == 1 and sum(map(abs, start)) == 1:
            found[names[ones[0]]] = start
    return found


def _save(end: FinishedSearch, plan: Any) -> str | None:
    """Write the winner's weights; a winner that is no checkpoint is its plan alone."""
    from consort.weights import write

    if end.plan.makes == "model":
        return None
    folder, key = end.out / MODEL_FOLDER, key_of(plan)
    if end.known.saved != key or not folder.exists():
        clear(end.out)
        made: Checkpoint = build_at(end.plan, end.builder, end.best.point, end.plan.makes)
        write(made, folder, plan=plan, seed=end.plan.seed)
        end.journal.append({"saved": key})
    return MODEL_FOLDER


def _utilities(end: FinishedSearch, units: Mapping[str, Any], splits: Sequence[str]) -> dict[str, dict[str, float]]:
    """What was maximised, where it is not the metric of the task: of the experts and the winner, on each split."""
    found: dict[str, dict[str, float]] = {}
    for split in splits:
        objective = objective_of(end.plan, end.asked(split), end.builder)
        every = range(objective.size)
        points = {**units, WINNER: end.best.point}
        found[split] = {name: objective.score(objective.rows(end.space.model(p), every)) for name, p in points.items()}
    return found


def _results(
    end: FinishedSearch,
    plan: Any,
    saved: str | None,
    results: Mapping[str, Sequence[Result]],
    utilities: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of results.json, as report/schema.py describes it, and what is known of the search beside."""
    task, history = end.ask.task, end.history
    first, last = results[end.ask.split], list(results.values())[-1]
    size = len(end.ask.examples)
    new = [s for s in history.steps if s.is_new]
    made = {"name": WINNER, "kind": "search", "plan": plan, "path": saved}
    coefficients = dict(zip(end.plan.domain.names, end.best.point, strict=True))
    return {
        "task": told_task(task, fit=size),
        "seed": end.plan.seed,
        "base": None,
        "notes": [f"{asked_of(history)}; {history.ended}", *end.known.notes],
        "singles": [r.to_json() for r in first[:-1] or first],
        "examples": {last[0].split: told_examples(task.split(last[0].split, seed=end.ask.seed)[: last[0].count])},
        "singles_fit": _fit(end, first[:-1]),
        "candidates": [_candidate(end, plan)],
        "decision": None,
        "winner": {**made, "coefficients": {"coefficients": coefficients}},
        "test": [r.to_json() for r in last],
        "search": [{"name": f"generation {s.generation}, {s.who}", "score": _finite(s.outcome.score)} for s in new],
        "details": {"history": _history(end, size), "utility": dict(utilities)},
        "provenance": end.origin,
    }


def _fit(end: FinishedSearch, singles: Sequence[Result]) -> dict[str, float]:
    """What the search was told of each single expert; the task's own score where it never asked."""
    told = {tuple(s.point): s.outcome.score for s in end.history.steps if s.outcome.is_complete}
    units = units_of(end.plan)
    return {r.model: told.get(tuple(units[r.model]), r.score) for r in singles}


def _candidate(end: FinishedSearch, plan: Any) -> dict[str, Any]:
    optimizer, best = end.plan.optimizer, end.best
    name = f"{optimizer}, generation {best.generation}"
    about = {"name": name, "method": optimizer, "plan": plan}
    return {**about, "fit": best.outcome.score, "status": "kept", "note": ""}


def _history(end: FinishedSearch, size: int) -> dict[str, Any]:
    """What the search did, for the report and for programs: every step with its point and score."""
    history, best = end.history, end.best
    told = {"generation": best.generation, "who": best.who, "score": best.outcome.score, "point": list(best.point)}
    return {
        "optimizer": end.plan.optimizer,
        "parameters": dict(end.plan.params),
        "utility": {"combine": end.ask.combine, "split": end.ask.split, "examples": size, **_named(end)},
        "evaluations": history.evaluations,
        "examples": history.examples,
        "ended": history.ended,
        "best": told,
        "best_so_far": [_finite(score) for score in history.best_so_far],
        "trials": list(getattr(end.optimizer, "began", ())),
        "names": list(end.plan.domain.names),
        "steps": [_step(s) for s in history.steps],
    }


def _named(end: FinishedSearch) -> dict[str, Any]:
    """The utility as plans name it, if it is not the task's own score."""
    return {} if end.plan.utility.name == OWN else dict(dump(end.plan.utility))


def _step(step: Step) -> dict[str, Any]:
    return {
        "generation": step.generation,
        "who": step.who,
        "score": _finite(step.outcome.score),
        "complete": step.outcome.is_complete,
        "point": list(step.point),
    }


def _finite(score: float) -> float | None:
    return score if isfinite(score) else None
