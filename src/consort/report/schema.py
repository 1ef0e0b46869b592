"""The content of results.json (`core.results`), and the check before anything is drawn from it.

    task         {name, metric, key, dev, test, fit, held_out}: the last four are numbers of examples; null without one
    seed, base   base is the name of the model that deltas are taken from, or null
    notes        [str]: what was left out and why
    singles      [Result]: every single model, on held_out (evaluate.Result.to_json)
    singles_fit  {name: score}: the single models on fit, the rule in the chart of the search
    candidates   [{name, method, plan, fit, held_out, interval, status, note}]: all that was tried; status is kept,
                 rejected or failed; scores are null where there is none; plan is YAML text or the mapping itself
    decision     evaluate.Decision.to_json: winner against the best single on held_out; null if nothing could be tried
    winner       {name, kind, plan, path, coefficients, against}: kind is merge, team, search, ..., or single where no
                 combination was kept; coefficients are {parameter: {model: number}}; against is the system that it is
                 compared with, by default the best single; null for a run that chooses nothing
    test         [Result]: the winner and the singles on test, read once at the end; the winner by its name
    examples     {split: [{prompt, target, group}]}: what was asked, in the order of the results' answers
    prices       {name: tokens times parameters of an answer, or null}: of singles and of what was tried
    seconds      {name: what an answer took on the machine of the run, or null}: of the same
    objective    {maximize, max_cost, max_latency, unit, rivals, on_test}: what was asked of the winner; unit is that of
                 prices; rivals are the single models that keep the limits; on_test is a decision as above, against the
                 best of them by what both are worth, where that is not quality
    selection    {looked_at, best, fit, held_out, optimism, interval, halves}: how many systems were scored on fit, and
                 how much better the best combination is there than on held_out; halves is the same of single models
    front        [{name, kind, plan, winner, on_front, fit, held_out, test, interval, cost, test_cost, seconds}]: what
                 no cheaper system equals on fit; plan is a file of the folder
    search       [{name, score}]: scores on fit in the order in which they were found, null for a failure
    details      {name: JSON}: what only some verbs have; each is shown by the view of that name (report/views)
    provenance   core.journal.provenance: plan, inputs, seed, versions

All but `consort` and `verb` may be absent. Keys that are not listed are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError

from consort.core.errors import BadData, ConsortError, listing
from consort.core.results import RESULTS_FILE, read_results
from consort.data import dump_yaml
from consort.evaluate.result import Result

DAMAGED = "the file is damaged; run it again"


def _result(value: Any) -> Result:
    try:
        return Result.from_json(value)
    except ConsortError as error:
        raise ValueError(str(error)) from None


def _plan(value: Any) -> Any:
    return dump_yaml(value) if isinstance(value, dict | list) else value


AnyResult = Annotated[Result, BeforeValidator(_result)]
PlanText = Annotated[str, BeforeValidator(_plan)]


class Part(BaseModel):
    """A part of results.json: keys that are not listed are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)


class TaskInfo(Part):
    name: str
    metric: str
    key: str = ""
    dev: NonNegativeInt = 0
    test: NonNegativeInt = 0
    fit: NonNegativeInt = 0
    held_out: NonNegativeInt = 0


class Candidate(Part):
    name: str
    method: str = ""
    plan: PlanText = ""
    fit: FiniteFloat | None = None
    held_out: FiniteFloat | None = None
    interval: tuple[FiniteFloat, FiniteFloat] | None = None
    status: Literal["kept", "rejected", "failed"]
    note: str = ""


class DifferenceInfo(Part):
    value: FiniteFloat
    interval: tuple[FiniteFloat, FiniteFloat]
    share_not_better: FiniteFloat


class DecisionInfo(Part):
    candidate: str
    fallback: str
    kept: bool
    candidate_score: FiniteFloat
    fallback_score: FiniteFloat
    difference: DifferenceInfo
    unit: str = "score"
    count: NonNegativeInt = 0


class Winner(Part):
    name: str
    kind: str = ""
    plan: PlanText = ""
    path: str | None = None
    against: str | None = None
    coefficients: dict[str, dict[str, FiniteFloat]] = {}


class ObjectiveInfo(Part):
    maximize: str = "quality"
    max_cost: FiniteFloat | None = None
    max_latency: FiniteFloat | None = None
    unit: str = "tokens × parameters"
    rivals: list[str] = []
    on_test: DecisionInfo | None = None

    @property
    def words(self) -> str:
        """How the best single model is called that a winner is compared with."""
        within = " within the limits" if self.max_cost is not None or self.max_latency is not None else ""
        by = " by score for its cost" if self.maximize == "quality-per-cost" else ""
        return f"the best single model{within}{by}" if self.rivals else "the best single model"


class SelectionInfo(Part):
    looked_at: NonNegativeInt
    best: str | None = None
    fit: FiniteFloat | None = None
    held_out: FiniteFloat | None = None
    optimism: FiniteFloat | None = None
    interval: tuple[FiniteFloat, FiniteFloat] | None = None
    halves: FiniteFloat | None = None


class FrontPoint(Part):
    name: str
    kind: Literal["single", "merge", "team"]
    plan: Annotated[str, Field(pattern=r"^plans/[a-z0-9-]+\.yml$")]
    winner: bool = False
    on_front: bool = True
    fit: FiniteFloat
    held_out: FiniteFloat | None = None
    test: FiniteFloat | None = None
    interval: tuple[FiniteFloat, FiniteFloat] | None = None
    cost: FiniteFloat | None = None
    test_cost: FiniteFloat | None = None
    seconds: FiniteFloat | None = None


class Step(Part):
    name: str
    score: FiniteFloat | None = None


class ExampleInfo(Part):
    prompt: str
    target: str = ""
    group: str | None = None


class ProgressInfo(Part):
    """How far an unfinished run is; `left_s` is None where that cannot be told."""

    state: Literal["running", "killed"]
    phase: str = ""
    done: float = 0
    total: float | None = None
    left_s: float | None = None


class Run(Part):
    """A whole run, checked. `progress` is that of a run which has not finished."""

    consort: str
    verb: str
    task: TaskInfo | None = None
    seed: int = 0
    base: str | None = None
    notes: list[str] = []
    singles: list[AnyResult] = []
    singles_fit: dict[str, FiniteFloat] = {}
    candidates: list[Candidate] = []
    decision: DecisionInfo | None = None
    winner: Winner | None = None
    test: list[AnyResult] = []
    examples: dict[str, list[ExampleInfo]] = {}
    prices: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)] | None] = {}
    seconds: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)] | None] = {}
    objective: ObjectiveInfo = ObjectiveInfo()
    selection: SelectionInfo | None = None
    front: list[FrontPoint] = []
    search: list[Step] = []
    details: dict[str, Any] = {}
    provenance: dict[str, Any] = {}
    progress: ProgressInfo | None = None

    @property
    def is_single(self) -> bool:
        """Whether the winner is one of the single models."""
        if self.winner is None:
            return False
        return self.winner.kind == "single" or self.winner.name in {r.model for r in self.singles}


def read_run(folder: Path) -> tuple[Run, dict[str, Any]]:
    """The checked run of a folder, and its JSON as it stands. Raises BadData naming what is missing or wrong."""
    raw = read_results(folder)
    return checked_run(raw, folder / RESULTS_FILE), raw


def checked_run(raw: Mapping[str, Any], path: Path) -> Run:
    """What a results.json (or the same of an unfinished run) holds. Raises BadData naming what is missing or wrong."""
    try:
        run = Run.model_validate(raw)
    except ValidationError as fault:
        raise BadData(faults_of(fault), field=str(path), hint=DAMAGED) from None
    if run.winner is not None and run.test and run.winner.name not in {r.model for r in run.test}:
        what = f"no test result of the winner {run.winner.name!r}"
        raise BadData(what, field=f"{path}: test", hint="the winner's result carries the winner's name")
    return run


def faults_of(fault: ValidationError) -> str:
    """What is wrong and where, in one line."""
    found = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors(include_url=False))
    return listing(found)
