"""Model Swarms (2410.11163) as a short program: the swarm, every baseline of the paper beside it, and what it did.

All systems see the same dev examples and say how many evaluations they took; a baseline that cannot be run says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from consort.core.errors import ConsortError
from consort.core.files import check_place
from consort.core.results import write_results
from consort.data import Task, load_task
from consort.evaluate import Result, evaluate
from consort.plan.build import Builder
from consort.plan.expression import parse
from consort.plan.references import task_path
from consort.recipes.model_swarms.baselines import nearest_of, vote_of
from consort.runs.results import told_task
from consort.runs.search.result import Found
from consort.runs.search.run import search
from consort.search.engine.run import Step
from consort.search.swarm.analysis import rank_of, summary
from consort.search.utilities.task import task_objective

Kind = Literal["full", "exact", "factor", "tokens"]
SWARM = "swarm"
BEST = "best single"
VOTERS = 10
"""How many personal bests vote in the prediction ensemble of the swarm."""


@dataclass(frozen=True, slots=True)
class Line:
    """One system: its dev score, its result on test, the evaluations it took; or a note why it was left out."""

    name: str
    dev: float | None = None
    test: Result | None = None
    evaluations: int = 0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        score, interval = (None, None) if self.test is None else (self.test.score, list(self.test.interval))
        return {
            "name": self.name,
            "dev": self.dev,
            "test": score,
            "interval": interval,
            "evaluations": self.evaluations,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Study:
    """All systems, what the swarm did (C-surge, C-emerge, ranks), and the swarm's own run."""

    lines: tuple[Line, ...]
    analysis: Mapping[str, Any]
    found: Found

    def line(self, name: str) -> Line:
        return next(line for line in self.lines if line.name == name)


@dataclass(slots=True)
class Setting:
    """What is compared: experts by reference, their base, a task, and the swarm's parameters."""

    experts: Sequence[str]
    task: Task
    out: Path
    base: str | None = None
    kind: Kind = "full"
    pso: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    limit: int | None = None
    combine: str = "mean"
    builder: Builder = field(default_factory=Builder)
    singles: dict[str, float] = field(default_factory=dict)
    found: Found | None = None

    @property
    def ranked(self) -> list[str]:
        """The experts from best to worst on dev; of equals the earlier first."""
        return sorted(self.experts, key=lambda e: -self.singles[e])

    def document(self, optimizer: Any, *, base: bool = False, low: float = -0.5, high: float = 1.5) -> dict[str, Any]:
        """A search over the coefficients of the experts."""
        free = {"free": [low, high]}
        call = {
            "full": {"linear": {"models": list(self.experts), "weight": free}},
            "exact": {"merge_adapters": {"models": list(self.experts), "weight": free}},
            "factor": {"merge_adapters": {"models": list(self.experts), "weight": free, "mode": "factor"}},
            "tokens": {"token_swarm": {"models": list(self.experts), "weight": free}},
        }[self.kind]
        body = {"optimizer": optimizer, "space": call}
        if self.base is not None and (base or self.kind in ("exact", "factor")):
            body["base"] = self.base
        return {"seed": self.seed, "search": body}

    def measure(self, name: str, model: Any, evaluations: int = 0, note: str = "") -> Line:
        """The line of any model: dev by the search's own utility, test by the task's metric."""
        utility = task_objective([self.task], limit=self.limit, combine=self.combine)
        dev = utility.score(utility.rows(model, range(utility.size)))
        return Line(name, dev, replace(evaluate(model, self.task, seed=self.seed), model=name), evaluations, note)

    def expression(self, name: str, expression: Any, evaluations: int = 1) -> Line:
        """The line of a merge or a strategy, by its plan."""
        return self.measure(name, self.builder.build(parse(expression).root, "model"), evaluations)

    def searched(self, name: str, optimizer: Any, budget: int | None, **options: Any) -> tuple[Line, Found]:
        """The line of a search, run in a folder of its own."""
        folder = self.out / name.replace(" ", "-")
        found = search(
            self.document(optimizer, **options),
            task=self.task,
            out=folder,
            budget=budget,
            seed=self.seed,
            limit=self.limit,
            combine=self.combine,
            conclude=False,
        )
        test = replace(evaluate(found.space.model(found.best.point), self.task, seed=self.seed), model=name)
        return Line(name, found.best.outcome.score, test, found.history.evaluations, found.history.ended), found


def model_swarms(
    experts: Sequence[str],
    *,
    task: str | Path | Task,
    out: str | Path,
    base: str | None = None,
    kind: Kind = "full",
    seed: int = 0,
    limit: int | None = None,
    combine: str = "mean",
    baselines: Sequence[str] | None = None,
    extra: bool = False,
    **pso: Any,
) -> Study:
    """Run the swarm over `experts` (references; adapters for `exact` and `factor`) and the baselines beside it.

    `pso`: parameters of the swarm as in a plan. `extra` starts it from scaled sums of task vectors too, which the paper
    does not; it needs `base`. `baselines` names those to run (default: all of BASELINES). Writes results.json.
    """
    check_place(out)
    loaded = task if isinstance(task, Task) else load_task(task_path(task))
    setting = Setting(experts, loaded, Path(out), base, kind, pso, seed, limit, combine, Builder(seed))
    lines = _singles(setting)
    parameters = {**pso, **({"populate": {"extra": True}} if extra else {})}
    line, found = setting.searched(SWARM, {"pso": parameters}, None, base=extra)
    setting.found = found
    lines.append(line)
    for name in BASELINES if baselines is None else baselines:
        try:
            lines.append(BASELINES[name](setting, name, found.history.evaluations))
        except ConsortError as reason:
            lines.append(Line(name, note=f"left out: {reason}"))
    study = Study(tuple(lines), analysis(found, experts), found)
    write_results(Path(out), "swarms", content_of(setting, study))
    return study


def content_of(setting: Setting, study: Study) -> dict[str, Any]:
    """The content of results.json: the swarm against the best single expert."""
    singles = {line.name: line.dev for line in study.lines if line.name in setting.experts and line.dev is not None}
    told = {"lines": [line.to_json() for line in study.lines], "analysis": dict(study.analysis)}
    return {
        "task": told_task(setting.task, fit=len(setting.task.dev[: setting.limit])),
        "seed": setting.seed,
        "singles_fit": singles,
        "winner": {"name": SWARM, "kind": "swarm", "plan": study.found.plan, "against": BEST},
        "test": [replace(line.test, model=line.name).to_json() for line in study.lines if line.test is not None],
        "details": {"study": told},
    }


def _singles(setting: Setting) -> list[Line]:
    """Every expert by itself, and the best of them on dev under its own name."""
    lines = []
    for expert in setting.experts:
        line = setting.measure(expert, setting.builder.build(parse(expert).root, "model"), 1)
        setting.singles[expert] = line.dev or 0.0
        lines.append(line)
    best = max(lines, key=lambda line: line.dev or 0.0)
    return [*lines, replace(best, name=BEST, evaluations=len(lines), note=best.name)]


def run_of_winner(found: Found) -> list[Step]:
    """The steps of the run that the best point is of: all, or those of one trial of several."""
    began = getattr(found.optimizer, "began", None) or [0]
    start = max(b for b in began if b <= found.best.generation)
    end = min((b for b in began if b > start), default=found.history.steps[-1].generation + 1)
    return [step for step in found.history.steps if start <= step.generation < end]


def personal_bests(found: Found) -> list[Step]:
    """The best complete step of every particle, in order of particles."""
    best: dict[int, Step] = {}
    for step in run_of_winner(found):
        known = best.get(step.who)
        if step.outcome.is_complete and (known is None or step.outcome.score > known.outcome.score):
            best[step.who] = step
    return [best[who] for who in sorted(best)]


def analysis(found: Found, experts: Sequence[str]) -> dict[str, Any]:
    """C-surge, C-emerge and where the best particle had started, from the marks of the run."""
    steps = run_of_winner(found)
    start = [s for s in steps if s.generation == steps[0].generation]
    initial = {expert: step.outcome.marks for expert, step in zip(experts, start, strict=False)}
    final = [step.outcome.marks for step in personal_bests(found)]
    best = found.best
    scores = [step.outcome.score for step in start]
    found_in = best.generation - steps[0].generation
    place = {"initial_rank": rank_of(scores, best.who), "particles": len(start), "found_in": found_in}
    return {**summary(initial, final, best.outcome.marks), **place}


def _swarm_votes(setting: Setting, name: str, budget: int) -> Line:
    """The prediction ensemble of the best personal bests."""
    found = setting.found
    if found is None:
        return Line(name, note="left out: there is no swarm")
    steps = sorted(personal_bests(found), key=lambda s: -s.outcome.score)[:VOTERS]
    members = [partial(found.space.model, step.point) for step in steps]
    return setting.measure(name, vote_of(members, [step.outcome.score for step in steps]), budget)


def _data_merge(setting: Setting, name: str, budget: int) -> Line:
    return Line(name, note="left out: there is no training data of the experts")


def _votes(setting: Setting, name: str, budget: int) -> Line:
    members = [partial(setting.builder.build, parse(e).root, "model") for e in setting.experts]
    voters = vote_of(members, [setting.singles[e] for e in setting.experts])
    return setting.measure(name, voters, len(setting.experts))


def _uniform(setting: Setting, name: str, budget: int) -> Line:
    return setting.expression(name, {"linear": {"models": list(setting.experts)}})


def _slerp(setting: Setting, name: str, budget: int) -> Line:
    first, second = setting.ranked[:2]
    return setting.expression(name, {"slerp": {"models": [second], "base": first, "t": 0.5}})


def _over_base(method: str, **options: Any) -> Callable[[Setting, str, int], Line]:
    def line(setting: Setting, name: str, budget: int) -> Line:
        if setting.base is None:
            return Line(name, note="left out: the base is not given")
        arguments = {"models": list(setting.experts), "base": setting.base, **options}
        return setting.expression(name, {method: arguments})

    return line


def _dare_ties(setting: Setting, name: str, budget: int) -> Line:
    return _over_base("dare_ties", weight=1 / len(setting.experts), density=0.5)(setting, name, budget)


def _pack(setting: Setting, name: str, budget: int) -> Line:
    return setting.expression(name, {"pack_llm": {"models": list(setting.experts)}})


def _clusters(setting: Setting, name: str, budget: int) -> Line:
    """cBTM with the nearest expert only; an expert's cluster are the dev prompts that it answers best."""
    utility = task_objective([setting.task], limit=setting.limit)
    models = [setting.builder.build(parse(e).root, "model") for e in setting.experts]
    rows = [[row[0] for row in utility.rows(model, range(utility.size))] for model in models]
    prompts = [str(e.prompt) for part in utility.parts for e in part.examples]
    return setting.measure(name, nearest_of(models, prompts, rows), len(models), "the nearest expert answers")


def _optimizer(optimizer: Callable[[int], Any], **options: Any) -> Callable[[Setting, str, int], Line]:
    def line(setting: Setting, name: str, budget: int) -> Line:
        return setting.searched(name, optimizer(budget), budget, **options)[0]

    return line


BASELINES: dict[str, Callable[[Setting, str, int], Line]] = {
    "vote of the swarm": _swarm_votes,
    "data merge": _data_merge,
    "prediction ensemble": _votes,
    "uniform soup": _uniform,
    "slerp of two best": _slerp,
    "dare-ties": _dare_ties,
    "model stock": _over_base("model_stock"),
    "greedy soup": _optimizer(lambda budget: "greedy_soup"),
    "packllm": _pack,
    "cbtm": _clusters,
    "evolutionary merge": _optimizer(
        lambda budget: {"cma": {"normalise": True, "evaluations": budget}}, low=0.0, high=1.0
    ),
    "lorahub": _optimizer(lambda budget: {"lorahub": {"evaluations": 40}}),
    "random search": _optimizer(
        lambda budget: {"random": {"normalise": True, "evaluations": budget}}, low=0.0, high=1.0
    ),
}
"""By name: the ten best particles together, the paper's baselines, and random search at the swarm's budget."""
