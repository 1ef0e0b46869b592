"""`consort fit`: what a plan leaves open (a router, thresholds, weights) is learned from examples or cached answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli.options import Debug, Force, Json, RemoteCode, Seed, TaskCode, named_path
from consort.cli.output import note, print_json, print_results
from consort.core.errors import BadParameter

if TYPE_CHECKING:
    from consort.runs.fitted import Outcome

RULES = ("mean", "strict")


def fit(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A plan file or '-', its root a strategy to fit.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", parser=named_path("OUT"), help="Folder for plan and state.")],
    task: Annotated[str | None, typer.Option("--task", help="A task; its dev examples are asked once.")] = None,
    table: Annotated[str | None, typer.Option("--table", help="Cached answers: JSONL, JSON or CSV.")] = None,
    gate: Annotated[
        str, typer.Option("--gate", help="mean: not worse on held-out examples | strict: surely not (90 %).")
    ] = "mean",
    seed: Seed = 0,
    force: Force = False,
    allow_remote_code: RemoteCode = False,
    allow_task_code: TaskCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fit the strategy of a plan; the result is never worse than the best single model on held-out examples."""
    if gate not in RULES:
        raise BadParameter(f"{gate!r} is no rule", field="--gate", hint=" or ".join(RULES))
    from consort.plan.reading import is_of_kind

    if is_of_kind(plan, "detector"):
        _fit_detector(plan, out, task, table, seed=seed, force=force, allow_remote_code=allow_remote_code, json=json)
        return
    from consort.runs.fit import fit as run

    outcome = run(
        plan,
        out,
        task=task,
        table=table,
        rule=gate,  # type: ignore[arg-type]
        seed=seed,
        force=force,
        allow_remote_code=allow_remote_code,
        allow_task_code=allow_task_code,
    )
    _print_fitted(outcome, json)


def _print_fitted(outcome: Outcome, json: bool) -> None:
    if json:
        print_results(outcome.folder)
        return
    _note_choice(outcome.report.get("choice"))
    decision = outcome.report["decision"]
    low, high = decision["difference"]["interval"]
    note(
        f"held out: {decision['candidate']} {decision['candidate_score']:.4f}, best single {decision['fallback']} "
        f"{decision['fallback_score']:.4f}, difference {decision['difference']['value']:+.4f} [{low:+.4f}, {high:+.4f}]"
    )
    note("the strategy is kept" if outcome.kept else "the single model is kept: the strategy was not better")
    print(outcome.folder / "plan.yml")


def _note_choice(told: dict[str, Any] | None) -> None:
    """The candidates of a router that is chosen among routers, and what the choice may cost."""
    if told is None:
        return
    for one in told["candidates"]:
        note(f"{one['name']}: {one['difference']:+.4f} (standard error {one['error']:.4f}) against the best single")
    note(f"taken: {told['taken'] or 'the best single model'} ({told['why']})")
    note(f"expected loss against the best single model: at most {told['bound']:.5f}; oracle {told['oracle']:.4f}")


def _fit_detector(
    plan: str, out: Path, task: str | None, table: str | None, *, seed: int, force: bool, allow_remote_code: bool,
    json: bool,
) -> None:  # fmt: skip
    """A detector learns from labelled answers, and has no single model to fall back to."""
    if task is not None or table is None:
        raise BadParameter("a detector learns from a file of answers", field="--table", hint="--table ANSWERS.jsonl")
    from consort.runs.fit_detector import fit_detector

    report = fit_detector(plan, out, table=table, seed=seed, force=force, allow_remote_code=allow_remote_code)
    if json:
        print_json(report)
        return
    for name, value in report.items():
        if isinstance(value, float):
            note(f"{name}: {value:.4f}")
    print(out / "plan.yml")
