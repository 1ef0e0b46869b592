"""`consort zoo`: how alike models are, and which of them can be merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli.early import early
from consort.cli.options import Debug, Force, Json, RemoteCode, TaskCode, named_path
from consort.cli.output import note, print_json, print_table
from consort.core.errors import BadParameter

if TYPE_CHECKING:
    from consort.runs.pool import Member
    from consort.zoo.similarity import Similarities

app = typer.Typer(help="How alike models are, and which can be merged.", no_args_is_help=True, rich_markup_mode=None)

Models = Annotated[list[str], typer.Argument(metavar="MODEL...", help="Folders, adapters, lab:NAME, hf:ORG/NAME.")]
Base = Annotated[str | None, typer.Option("--base", help="The model that deltas are taken from (an input or not).")]
Parts = Annotated[str, typer.Option("--parts", help="all | mlp: the matrices compared.")]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", parser=named_path("--cache"), help="Keep what is done; resume from it."),
]
Html = Annotated[
    Path | None, typer.Option("--out", metavar="FILE.html", parser=named_path("--out"), help="Heat maps and tree.")
]


@app.command()
@early
def similarity(
    models: Models,
    base: Base = None,
    parts: Parts = "all",
    cache: Cache = None,
    out: Html = None,
    signals: Annotated[
        bool,
        typer.Option("--signals", help="Also how well each pair may merge: conflicts, shared directions (--base)."),
    ] = False,
    force: Force = False,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Weight and delta cosine of every pair of models; none is loaded."""
    if signals and base is None:
        raise BadParameter("needs the model that changes are taken from", field="--signals", hint="add --base MODEL")
    members, found = _compared(models, base, parts, cache, out, force, allow_remote_code)
    pairs = _signals(members, str(base), allow_remote_code) if signals else None
    document = found.to_json() | ({} if pairs is None else {"signals": pairs})
    if out is not None:
        _write_page(found, out, document, 0.95)
    if json:
        print_json(document)
        return
    if pairs is not None:
        _print_signals(pairs)
    _print_table(found, "weights", "cosine of weights")
    about = "the mean of their family" if base is None else found.base
    _print_table(found, "deltas", f"cosine of differences from {about}")


@app.command()
@early
def cluster(
    models: Models,
    base: Base = None,
    threshold: Annotated[float, typer.Option("--threshold", help="Similarity of mergeable models, in [-1, 1].")] = 0.95,
    method: Annotated[str, typer.Option("--method", help="leader | components")] = "leader",
    on: Annotated[str, typer.Option("--on", help="weights | deltas")] = "weights",
    task: Annotated[
        str | None, typer.Option("--task", help="Score the models on its dev examples: order, representatives, harm.")
    ] = None,
    parts: Parts = "all",
    cache: Cache = None,
    out: Html = None,
    force: Force = False,
    allow_remote_code: RemoteCode = False,
    allow_task_code: TaskCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Clusters of models that can be merged; with --task also which of them do harm."""
    from consort.zoo import cluster as cluster_of
    from consort.zoo import find_harmful

    if on not in ("weights", "deltas"):
        raise BadParameter(f"{on!r} cannot be compared", field="--on", hint="weights or deltas")
    cluster_of([], names=[], threshold=threshold, method=method)
    examples = _task(task, allow_task_code)
    members, found = _compared(models, base, parts, cache, out, force, allow_remote_code)
    scores = None if examples is None else [_score(member, examples) for member in members]
    groups = cluster_of(getattr(found, on), names=found.names, scores=scores, threshold=threshold, method=method)
    below = next((i for i, m in enumerate(members) if m.reference == base), None)
    harmful = [] if scores is None else find_harmful(found, scores, base=below)
    document = {
        "clusters": [group.to_json(found.names) for group in groups],
        "threshold": threshold,
        "method": method,
        "on": on,
        "scores": None if scores is None else dict(zip(found.names, scores, strict=True)),
        "harmful": [{"model": found.names[s.model], "reason": s.reason} for s in harmful],
    }
    if out is not None:
        _write_page(found, out, {**found.to_json(), **document}, threshold)
    if json:
        print_json(document)
        return
    _print_clusters(found.names, groups, harmful)


def _print_clusters(names: Sequence[str], groups: Sequence[Any], harmful: Sequence[Any]) -> None:
    rows = [
        [str(number), names[group.representative], ", ".join(names[i] for i in group.members)]
        for number, group in enumerate(groups, 1)
    ]
    print_table(["cluster", "representative", "models"], rows, numbers=False)
    for s in harmful:
        note(f"{names[s.model]} does harm: {s.reason}")


def _compared(
    models: list[str],
    base: str | None,
    parts: str,
    cache: Path | None,
    out: Path | None,
    force: bool,
    allow_remote_code: bool,
) -> tuple[list[Member], Similarities]:
    """The models opened and compared; everything that can be refused is, before a tensor is read."""
    from consort.plan.build import Builder
    from consort.plan.expression import Reference
    from consort.runs.pool import open_members
    from consort.zoo import similarities

    for model in models:
        if models.count(model) > 1:
            raise BadParameter(f"is named {models.count(model)} times", field=model, hint="name each model once")
    if out is not None:
        _check_page(out, force)
    builder = Builder(0, allow_remote_code)
    members = open_members(models, builder, tell=False)
    below = None if base is None else builder.build(Reference(base), "checkpoint")
    found = similarities(
        [member.checkpoint for member in members],
        names=[member.label for member in members],
        base=below,
        parts=parts,
        cache=cache,
        force=force,
    )
    return members, found


def _signals(members: Sequence[Member], base: str, allow_remote_code: bool) -> list[dict[str, Any]]:
    """Of every pair but those with the base itself."""
    from consort.plan.build import Builder
    from consort.plan.expression import Reference
    from consort.zoo.signals import mergeability, to_json

    tuned = [member for member in members if member.reference != base]
    below = Builder(0, allow_remote_code).build(Reference(base), "checkpoint")
    checkpoints = [member.checkpoint for member in tuned if member.checkpoint is not None]
    return to_json(mergeability(checkpoints, below), [member.label for member in tuned])


def _print_signals(pairs: Sequence[Mapping[str, Any]]) -> None:
    names = list(pairs[0]["mean"])
    rows = [
        [" + ".join(pair["models"]), *(f"{pair['mean'].get(n, float('nan')):.4f}" for n in names)] for pair in pairs
    ]
    print_table(["pair", *names], rows, title="how well pairs may merge (means over maps)")


def _check_page(out: Path, force: bool) -> None:
    from consort.core.errors import OutputExists
    from consort.core.files import check_place

    check_place(out)
    if out.is_dir():
        raise BadParameter("is a folder", field="--out", hint="name a file, e.g. zoo.html")
    if not out.parent.is_dir():
        raise BadParameter("its folder does not exist", field=f"--out {out}", hint="make it first")
    if out.exists() and not force:
        raise OutputExists("exists", field=str(out), hint="choose another name or pass --force")


def _task(task: str | None, allow_code: bool) -> Any:
    if task is None:
        return None
    from consort.data import load_task
    from consort.plan.references import task_path

    loaded = load_task(task_path(task), allow_code=allow_code)
    loaded.split("dev")
    return loaded


def _score(member: Member, task: Any) -> float:
    from consort.evaluate import evaluate
    from consort.models import load_model

    return float(evaluate(load_model(member.checkpoint), task, split="dev").score)


def _print_table(found: Similarities, kind: str, title: str) -> None:
    rows = [
        [name, *("–" if value is None else f"{value:.4f}" for value in row)]
        for name, row in zip(found.names, getattr(found, kind), strict=True)
    ]
    print_table(["", *found.names], rows, title=title)


def _write_page(found: Similarities, out: Path, document: dict[str, Any], threshold: float) -> None:
    from consort.core.files import write_atomic
    from consort.report.zoo import kinship_charts, zoo_page

    charts = kinship_charts(found.names, found.weights, found.deltas, threshold)
    write_atomic(out, zoo_page(document, charts, title="The zoo"))
