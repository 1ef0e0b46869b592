"""What a run over several models ended with, and how that is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from consort.core.files import write_atomic
from consort.core.results import write_results
from consort.core.types import Example
from consort.data import Task
from consort.evaluate import Comparison, Decision, Result, compare
from consort.plan.expression import Reference, parse
from consort.plan.references import has_weights
from consort.report.sentences import SHOWN_AS_ZERO, Facts, headline
from consort.runs.aim import Aim
from consort.runs.folder import MODEL_FOLDER, PLAN_FILE, REPORT_FILE, plan_text
from consort.runs.front import Point, measured, write_plans
from consort.runs.pool import UNIFORM, WINNER, Family, Member
from consort.runs.trials import Candidate, Trials


@dataclass(frozen=True, slots=True)
class Found:
    """What the search on dev ended with. `plan` is the winner's expression, a reference where a single one wins.

    `prices` and `seconds` are of one answer on fit, by name. `rivals` are the single models that keep the limits of
    `aim`, empty for all of them; `front` is not measured on test yet.
    """

    families: tuple[Family, ...]
    notes: tuple[str, ...]
    singles: tuple[Result, ...]
    singles_fit: dict[str, float]
    candidates: tuple[Candidate, ...]
    best: Candidate | None
    held_out: Result | None
    decision: Decision | None
    plan: Any
    prices: dict[str, float | None]
    seconds: dict[str, float | None] = field(default_factory=dict)
    aim: Aim = Aim()
    rivals: tuple[str, ...] = ()
    selection: dict[str, Any] | None = None
    front: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The run's folder, the winner's plan, why it won on held-out, how all compare on test, how many were tried.

    `front` are the points of the front as results.json has them, `judged` is the winner on test against the best single
    model by the run's aim, where that is not quality.
    """

    folder: Path
    plan: Any
    decision: Decision | None
    comparison: Comparison
    notes: tuple[str, ...]
    tried: int = 0
    front: tuple[dict[str, Any], ...] = ()
    selection: dict[str, Any] | None = None
    judged: Decision | None = None
    rival: str = "the best single model"

    @property
    def place(self) -> Path:
        """Where the winner is: a model's folder, or the plan of a team."""
        return self.folder / (MODEL_FOLDER if is_checkpoint(self.plan) else PLAN_FILE)

    @property
    def headline(self) -> str:
        """One sentence: the winner against the best single, no stronger than the interval (`report.sentences`)."""
        winner = next(s for s in self.comparison.systems if s.result.model == WINNER)
        is_single = isinstance(self.plan, str)
        tested = None if is_single else winner.difference if self.judged is None else self.judged.difference
        held_out = None if self.decision is None else self.decision.difference
        reference = f"{self.rival}, {self.comparison.reference if self.judged is None else self.judged.fallback}"
        said = headline(Facts(not is_single, reference, tested, held_out, self.tried))
        if is_single:
            return f"{said}: {self.plan}"
        if tested is None:
            return said
        low, high = tested.interval
        value = 0.0 if abs(tested.value) < SHOWN_AS_ZERO else tested.value  # no minus before a zero
        return f"{said}: {value:+.3f} [{low:+.3f}, {high:+.3f}]"


def is_checkpoint(plan: Any) -> bool:
    """Whether the winner is one set of weights, so that it can be saved as a model's folder."""
    root = parse(plan).root
    return has_weights(root.text) if isinstance(root, Reference) else root.produces == "checkpoint"


def conclude(
    out: Path,
    trials: Trials,
    members: Sequence[Member],
    found: Found,
    origin: dict[str, Any],
    *,
    verb: str = "auto",
    also: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Outcome:
    """Write the winner's folder, measure it and the singles on test once, write plan, results and report.

    `also` names further systems to measure on test, by expression; `details` are those of results.json.
    """
    from consort.report import write_report
    from consort.weights import write

    folder = out / MODEL_FOLDER
    if is_checkpoint(found.plan) and not folder.exists():
        winner = trials.builder.build(parse(found.plan).root, "checkpoint")
        write(winner, folder, plan=found.plan, seed=trials.seed)
    test = on_test(trials, members, found, folder, also or {})
    comparison = compare(test, singles=set(found.rivals or [m.label for m in members]), seed=trials.seed)
    front, said = measured(found.front, known_on_test(found, test), trials)
    found = replace(found, front=front, notes=(*found.notes, *said))
    judged = judged_on_test(found, test, trials)
    content = content_of(trials, members, found, comparison, origin)
    content["objective"] |= {} if judged is None else {"on_test": judged.to_json()}
    write_results(out, verb, content | {"details": dict(details or {})})
    write_atomic(out / PLAN_FILE, plan_text(found.plan, trials.seed))
    if front:
        write_plans(front, out, trials.seed)
    write_report(out, out / REPORT_FILE)
    return Outcome(
        out,
        found.plan,
        found.decision,
        comparison,
        found.notes,
        len(found.candidates),
        tuple(content["front"]),
        found.selection,
        judged,
        found.aim.words if found.rivals else "the best single model",
    )


def on_test(
    trials: Trials, members: Sequence[Member], found: Found, folder: Path, also: Mapping[str, Any]
) -> list[Result]:
    """What the singles, the plain average, what is named in `also`, and the winner do on test."""
    trials.watch.phase("measuring on test", len(members) + len(also) + 1)
    test = []
    for member in members:
        test.append(trials.result(member.label, member.reference, "test"))
        trials.watch.tell(len(test))
    for family in found.families[:1]:
        if len(family.members) > 1:
            uniform = {"linear": {"models": [m.reference for m in family.members]}}
            test.append(trials.result(UNIFORM, uniform, "test"))
    test += [trials.result(name, expression, "test") for name, expression in also.items()]
    if is_checkpoint(found.plan):
        return [*test, trials.saved(WINNER, found.plan, folder, "test")]
    return [*test, trials.result(WINNER, found.plan, "test")]


def known_on_test(found: Found, test: Sequence[Result]) -> dict[str, Result]:
    """What points of the front do on test, as far as it has been measured, by the names of their plans."""
    by_name = {result.model: result for result in test}
    names = {p.file: WINNER if p.is_winner else p.name for p in found.front if p.is_winner or p.kind == "single"}
    return {file: by_name[name] for file, name in names.items() if name in by_name}


def judged_on_test(found: Found, test: Sequence[Result], trials: Trials) -> Decision | None:
    """The winner against the best single model by what they are worth, where that is not their quality."""
    if not found.aim.per_cost or isinstance(found.plan, str):
        return None
    by_name, price = {result.model: result for result in test}, trials.tariff.price
    singles = [by_name[name] for name in found.rivals]
    rival = max(singles, key=lambda one: found.aim.worth(one.score, price(one)), default=None)
    if rival is None:
        return None
    winner = by_name[WINNER]
    return found.aim.decide(winner, rival, (price(winner), price(rival)), seed=trials.seed)


def content_of(
    trials: Trials, members: Sequence[Member], found: Found, comparison: Comparison, origin: dict[str, Any]
) -> dict[str, Any]:
    """The content of results.json, as report/schema.py describes it."""
    task, base = trials.task, next((f.base for f in found.families if f.base), None)
    fit, held_out = task.fit_and_held_out(trials.seed)
    kept = found.plan if not isinstance(found.plan, str) else None
    return {
        "task": told_task(task, fit=len(fit), held_out=len(held_out)),
        "seed": trials.seed,
        "base": base.label if base else None,
        "notes": list(found.notes),
        "singles": [r.to_json() for r in found.singles],
        "singles_fit": found.singles_fit,
        "candidates": [_line(c, found) for c in found.candidates],
        "decision": found.decision.to_json() if found.decision else None,
        "winner": {
            "name": WINNER,
            "kind": "single" if kept is None else "merge" if is_checkpoint(kept) else "team",
            "plan": found.plan,
            "path": MODEL_FOLDER if is_checkpoint(found.plan) else PLAN_FILE,
            "coefficients": coefficients(kept, members) if kept and is_checkpoint(kept) else {},
            **({"against": comparison.reference} if found.aim.has_limits else {}),
        },
        "test": [s.result.to_json() for s in comparison.systems],
        "examples": {"test": told_examples(task.split("test", seed=trials.seed))},
        "prices": found.prices,
        "seconds": found.seconds,
        "objective": {**found.aim.to_json(), "unit": trials.tariff.unit, "rivals": list(found.rivals)},
        "selection": found.selection,
        "front": [point.to_json(trials.tariff) for point in found.front],
        "search": [{"name": c.name, "score": c.fit} for c in found.candidates],
        "provenance": origin,
    }


def told_task(task: Task, *, fit: int = 0, held_out: int = 0) -> dict[str, Any]:
    """A task as results.json has it; `fit` and `held_out` are numbers of examples."""
    sizes = {"dev": len(task.dev), "test": len(task.test), "fit": fit, "held_out": held_out}
    return {"name": task.name, "metric": task.metric, "key": task.key, **sizes}


def told_examples(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """What was asked, as results.json has it: the prompt as text, the targets joined by " | "."""
    return [{"prompt": _prompt(e), "target": _target(e), "group": e.group} for e in examples]


def _prompt(example: Example) -> str:
    if example.messages is not None:
        return "\n".join(f"{message['role']}: {message['content']}" for message in example.messages)
    return example.prompt if example.prompt is not None else example.text or ""


def _target(example: Example) -> str:
    if example.choices and example.answer is not None:
        return example.choices[example.answer]
    return " | ".join(example.target)


def _line(candidate: Candidate, found: Found) -> dict[str, Any]:
    is_best = candidate is found.best
    kept = is_best and not isinstance(found.plan, str)
    status = "failed" if candidate.fit is None else "kept" if kept else "rejected"
    note = "best on fit, but not as good as the best single on held-out" if is_best and not kept else candidate.note
    return {
        "name": candidate.name,
        "method": next(iter(candidate.expression)),
        "plan": candidate.expression,
        "fit": candidate.fit,
        "held_out": found.held_out.score if is_best and found.held_out else None,
        "interval": found.held_out.interval if is_best and found.held_out else None,
        "status": status,
        "note": note,
    }


def coefficients(expression: Any, members: Sequence[Member]) -> dict[str, dict[str, float]]:
    """How much of each model is in the winner: its weight for every input, 0 for those left out."""
    [(_, arguments)] = expression.items()
    labels = {m.reference: m.label for m in members}
    used = arguments["models"]
    weights = arguments.get("weight", [1.0] * len(used))
    given = dict(zip(used, weights, strict=True))
    base = arguments.get("base")
    return {"weight": {label: given.get(ref, 0.0) for ref, label in labels.items() if ref != base}}
