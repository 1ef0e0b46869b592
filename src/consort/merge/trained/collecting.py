"""Trains what a merge leaves open, for `consort collect`: coefficients, a mask, or corrections; resumable.

What is trained is a merge: its models, base and weights are where training starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from consort.core.errors import BadData, BadParameter, ConsortError, did_you_mean, listing
from consort.core.journal import Journal, key_of
from consort.core.progress import track
from consort.core.results import write_results
from consort.merge.collect.run import at_work
from consort.merge.engine.merged import Merged
from consort.merge.trained import KINDS
from consort.merge.trained.adamerging import RATE, START, STEPS, Grain, Tell, adapt
from consort.merge.trained.concrete import learn_mask
from consort.merge.trained.passages import MAX_TOKENS, Line, Passage, encoded
from consort.merge.trained.store import stamps, write_found
from consort.merge.trained.surgery import operate
from consort.merge.trained.weighing import Deltas
from consort.weights.checkpoint import Checkpoint
from consort.weights.disk.folder_check import CONFIG, SINGLE

STATE = "training.safetensors"
GRAINS = ("tensor", "model")
Finding = tuple[dict[str, Any], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Options:
    """How it is trained; `grain` is AdaMerging's, `adaptive` the concrete subspace's, `max_tokens` of each passage."""

    steps: int = STEPS
    lr: float = RATE
    batch: int = 16
    grain: Grain = "tensor"
    adaptive: bool = False
    seed: int = 0
    max_tokens: int = MAX_TOKENS


@dataclass(frozen=True, slots=True)
class Trained:
    """What `collect_trained` did: `before` and `after` are what was minimised (entropy in nats, L1 distance)."""

    path: Path
    kind: str
    models: tuple[str, ...]
    passages: int
    before: float
    after: float


def collect_trained(
    kind: str,
    merge: Checkpoint,
    lines: Sequence[Line],
    out: str | Path,
    options: Options = Options(),
    *,
    force: bool = False,
) -> Trained:
    """Train what `kind` ("adamerging", "concrete", "surgery") finds for a merge, and write it to the folder `out`.

    The first two take a `task_arithmetic` merge, whose weights (.3 where it has none) training starts from; surgery
    takes any merge whose models are named like the tasks of the lines. Called again with equal arguments it goes on, or
    does nothing. Raises BadParameter, BadData, OutputExists, Incompatible, Unsupported.
    """
    merged = _checked(kind, merge, lines, options)
    start = () if kind == "surgery" else start_of(merged)
    key = key_of([kind, asdict(options), stamps(merged.models, merged.base), start, [asdict(line) for line in lines]])
    named = [model.name for model in merged.models]
    about = {"verb": "collect", "kind": kind, "models": named, "seed": options.seed, "steps": options.steps}
    journal = Journal(Path(out), key, force=force, about=about)
    records = journal.open()
    if not records:
        for file in (CONFIG, SINGLE, STATE):
            (journal.folder / file).unlink(missing_ok=True)
        with track(kind, options.steps * (len(merged.models) if kind == "surgery" else 1)) as advance:
            try:
                found, tensors = _train(kind, merged, lines, start, options, journal.folder, lambda *_: advance(1))
            except ConsortError:
                journal.discard()
                raise
        write_found(journal.folder, kind, merged.models, merged.base, found, tensors)
        (journal.folder / STATE).unlink(missing_ok=True)
        records = [{name: found[name] for name in ("passages", "before", "after")}]
        journal.append(records[0])
    details = {"collected": {"kind": kind, "models": named, **asdict(options), **records[0]}}
    write_results(journal.folder, "collect", {"seed": options.seed, "details": details})
    return Trained(Path(out), kind, tuple(named), **records[0])


def start_of(merged: Merged) -> tuple[float, ...]:
    """The coefficients of a task arithmetic. Raises BadParameter for schedules and other methods."""
    if merged.method != "task_arithmetic" or merged.base is None or merged.params.get("normalize"):
        hint = "write task_arithmetic: {models: [...], base: …, weight: 0.3}"
        raise BadParameter(f"{merged.method} is not what is trained", field="MODEL", hint=hint)
    weight = merged.params.get("weight", START)
    values = list(weight) if isinstance(weight, Sequence) else [weight] * len(merged.models)
    scale = merged.params.get("lambda_", 1.0)
    if not all(isinstance(value, int | float) for value in (*values, scale)):
        raise BadParameter("training starts from numbers, not from schedules", field="weight", hint="weight: 0.3")
    return tuple(min(1.0, max(0.0, float(value) * scale)) for value in values)


def _checked(kind: str, merge: Checkpoint, lines: Sequence[Line], options: Options) -> Merged:
    if kind not in KINDS:
        raise BadParameter(f"nothing is trained as {kind!r}", field="kind", hint=did_you_mean(kind, KINDS))
    if not isinstance(merge, Merged):
        hint = "give a plan file with task_arithmetic: {models: [...], base: …}"
        raise BadParameter(f"{merge.name} is not a merge", field="MODEL", hint=hint)
    if options.steps < 0 or options.batch < 1 or not options.lr > 0:
        raise BadParameter(f"{options.steps} steps of {options.batch} at {options.lr}", field="steps", hint="0 or more")
    if options.grain not in GRAINS:
        raise BadParameter(f"{options.grain!r} is no grain", field="grain", hint=" or ".join(GRAINS))
    if kind == "surgery":
        names = [model.name for model in merge.models]
        lacking = [name for name in names if not any(line.task == name for line in lines)]
        if lacking:
            hint = "give lines a group named like the model whose task they are"
            raise BadData(f"no passages for {listing(lacking)}", field="texts", hint=hint)
    return merge


def _train(
    kind: str,
    merged: Merged,
    lines: Sequence[Line],
    start: Sequence[float],
    options: Options,
    folder: Path,
    tell: Tell,
) -> Finding:
    model = at_work(merged, None)
    passages = encoded(lines, model, options.max_tokens)
    if kind == "surgery":
        found, tensors = _operate(merged, model, passages, options, tell)
    else:
        state = folder / STATE
        deltas = Deltas(merged.models, merged.base)
        shared: Mapping[str, Any] = {
            "start": start,
            "steps": options.steps,
            "lr": options.lr,
            "batch": options.batch,
            "seed": options.seed,
            "state": state,
            "progress": tell,
        }
        if kind == "adamerging":
            adapted = adapt(model.module, deltas, passages, grain=options.grain, **shared)
            found, tensors = asdict(adapted), {}
        else:
            masked = learn_mask(model.module, deltas, passages, adaptive=options.adaptive, **shared)
            found = {"amounts": list(masked.amounts), "before": masked.before, "after": masked.after}
            tensors = dict(masked.factors)
    return {"passages": len(passages), **asdict(options), **found}, tensors


def _operate(merged: Merged, model: Any, passages: Sequence[Passage], options: Options, tell: Tell) -> Finding:
    found: dict[str, Any] = {"tasks": [], "before": 0.0, "after": 0.0}
    tensors: dict[str, Tensor] = {}
    for expert in merged.models:
        own = [passage for passage in passages if passage.task == expert.name]
        result = operate(
            model.module,
            at_work(expert, None).module,
            own,
            steps=options.steps,
            lr=options.lr,
            batch=options.batch,
            seed=options.seed,
            progress=tell,
        )
        tensors |= {f"{expert.name}.down": result.down, f"{expert.name}.up": result.up}
        found["tasks"].append(expert.name)
        found["before"] += result.before / len(merged.models)
        found["after"] += result.after / len(merged.models)
    return found, tensors
