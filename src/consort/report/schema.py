"""The file `results.json` of a run folder: what it holds, and the check before anything is drawn from it.

    consort      version that wrote it
    task         {name, metric, key, dev, test, fit, held_out}: the last four are numbers of examples
    seed, base   base is the name of the model that deltas are taken from, or null
    notes        [str]: what was left out and why
    singles      [Result]: every single model, on held_out (evaluate.Result.to_json)
    singles_fit  {name: score}: the single models on fit, the rule in the chart of the search
    candidates   [{name, method, plan, fit, held_out, interval, status, note}]: all that was tried; status is kept,
                 rejected or failed; scores are null where there is none; plan is YAML text or the mapping itself
    decision     evaluate.Decision.to_json: winner against the best single on held_out; null if nothing could be tried
    winner       {name, kind, plan, path, coefficients}: kind is merge, team, or single where no combination was kept;
                 coefficients are {parameter: {model: number}}
    test         [Result]: the winner and the singles on test, read once at the end; the winner by its name
    prices       {name: tokens times parameters of an answer, or null}: of singles and of what was tried
    search       [{name, score}]: scores on fit in the order in which they were found, null for a failure
    zoo          how alike the models are (recipe model_glue): {models, weights, deltas, threshold}; cosines of every
                 pair in two tables, null between architectures
    clusters     [{name, models, fit}]: models that were merged with each other, and what the best of it scores on fit
    history      what a search did: {optimizer, names, steps: [{generation, who, score, complete, point}], trials};
                 trials are the generations at which a swarm began anew, none where no particles move
    provenance   core.journal.provenance: plan, inputs, seed, versions

Keys that are not listed are passed over, so that a newer run can be shown.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    ValidationError,
    model_validator,
)

from consort.core.errors import BadData, ConsortError, listing
from consort.core.files import machine_errors
from consort.data import dump_yaml
from consort.evaluate.result import Result

RESULTS_FILE = "results.json"
MAX_BYTES = 200_000_000


def _result(value: Any) -> Result:
    try:
        return Result.from_json(value)
    except ConsortError as error:
        raise ValueError(str(error)) from None


def _plan(value: Any) -> Any:
    return dump_yaml(value) if isinstance(value, dict | list) else value


AnyResult = Annotated[Result, BeforeValidator(_result)]
PlanText = Annotated[str, BeforeValidator(_plan)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)


class TaskInfo(_Part):
    name: str
    metric: str
    key: str = ""
    dev: NonNegativeInt = 0
    test: NonNegativeInt = 0
    fit: NonNegativeInt = 0
    held_out: NonNegativeInt = 0


class Candidate(_Part):
    name: str
    method: str = ""
    plan: PlanText = ""
    fit: FiniteFloat | None = None
    held_out: FiniteFloat | None = None
    interval: tuple[FiniteFloat, FiniteFloat] | None = None
    status: Literal["kept", "rejected", "failed"]
    note: str = ""


class DifferenceInfo(_Part):
    value: FiniteFloat
    interval: tuple[FiniteFloat, FiniteFloat]
    share_not_better: FiniteFloat


class DecisionInfo(_Part):
    candidate: str
    fallback: str
    kept: bool
    candidate_score: FiniteFloat
    fallback_score: FiniteFloat
    difference: DifferenceInfo
    unit: str = "score"
    count: NonNegativeInt = 0


class Winner(_Part):
    name: str
    kind: str = ""
    plan: PlanText = ""
    path: str | None = None
    coefficients: dict[str, dict[str, FiniteFloat]] = {}


class Step(_Part):
    name: str
    score: FiniteFloat | None = None


class SearchStep(_Part):
    """One score that an optimizer was told: of particle `who`, at `point`; not `complete`: racing stopped it."""

    generation: NonNegativeInt
    who: NonNegativeInt = 0
    score: FiniteFloat | None = None
    complete: bool = True
    point: list[FiniteFloat]


class SearchHistory(_Part):
    optimizer: str
    names: list[str] = []
    steps: list[SearchStep]
    trials: list[NonNegativeInt] = []

    @model_validator(mode="after")
    def _check_points(self) -> SearchHistory:
        if len({len(step.point) for step in self.steps}) > 1:
            raise ValueError("points of unequal length")
        if self.trials and (self.trials[0] or self.trials != sorted(self.trials)):
            raise ValueError("trials that do not begin one after the other, the first at 0")
        return self


class Kinship(_Part):
    """Cosines of every pair of `models`."""

    models: list[str]
    weights: list[list[FiniteFloat | None]]
    deltas: list[list[FiniteFloat | None]]
    threshold: FiniteFloat = 0.95

    @model_validator(mode="after")
    def _check_tables(self) -> Kinship:
        tables = (self.weights, self.deltas)
        lengths = {len(table) for table in tables} | {len(row) for table in tables for row in table}
        if lengths - {len(self.models)}:
            raise ValueError("a table that has not one row and one column for each model")
        return self


class ClusterInfo(_Part):
    name: str
    models: list[str]
    fit: FiniteFloat | None = None


class Run(_Part):
    """A whole run, checked."""

    consort: str
    task: TaskInfo
    seed: int
    base: str | None = None
    notes: list[str] = []
    singles: list[AnyResult]
    singles_fit: dict[str, FiniteFloat] = {}
    candidates: list[Candidate]
    decision: DecisionInfo | None = None
    winner: Winner
    test: list[AnyResult]
    prices: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)] | None] = {}
    search: list[Step] = []
    history: SearchHistory | None = None
    zoo: Kinship | None = None
    clusters: list[ClusterInfo] = []
    provenance: dict[str, Any] = {}

    @property
    def is_single(self) -> bool:
        """Whether the winner is one of the single models."""
        return self.winner.kind == "single" or self.winner.name in {r.model for r in self.singles}


def read_run(folder: Path) -> tuple[Run, dict[str, Any]]:
    """The checked run of a folder, and its JSON as it stands. Raises BadData naming what is missing or wrong."""
    path = folder / RESULTS_FILE
    if not path.is_file():
        raise BadData("no such file", field=str(path), hint="give the folder of a finished run")
    if path.stat().st_size > MAX_BYTES:
        raise BadData(f"larger than {MAX_BYTES:,} bytes", field=str(path), hint="give the folder of a finished run")
    with machine_errors(path):
        content = path.read_bytes()
    try:
        raw = json.loads(content.decode(), parse_constant=_no_constant)
        run = Run.model_validate(raw)
    except ValidationError as fault:
        faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors(include_url=False))
        raise BadData(listing(faults), field=str(path), hint="the file is damaged; run it again") from None
    except (ValueError, RecursionError) as fault:
        raise BadData(f"not JSON: {fault}", field=str(path), hint="the file is damaged; run it again") from None
    _check_names(run, path)
    return run, raw


def _check_names(run: Run, path: Path) -> None:
    if not run.singles:
        raise BadData("no single models", field=f"{path}: singles", hint="the file is damaged; run it again")
    measured = {r.model for r in (run.test or run.singles)}
    if run.test and run.winner.name not in measured:
        what = f"no test result of the winner {run.winner.name!r}"
        raise BadData(what, field=f"{path}: test", hint="the winner's result carries the winner's name")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
