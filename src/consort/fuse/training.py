"""Continued training of the pivot on fused targets, on the project's own loop; killed, it comes to the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from consort.core.errors import BadData, BadParameter
from consort.core.files import write_json
from consort.core.journal import key_of
from consort.core.progress import Advance
from consort.distil.batches import Batch, loss_of, parts
from consort.distil.corpus import Document, corpus_key
from consort.distil.targets import Teaching
from consort.fuse.options import Preferring, Training
from consort.models.hf.loading import load_model
from consort.models.hf.model import HFModel
from consort.models.hf.quiet import quiet
from consort.train.loop import Recipe, fit_steps, shuffled
from consort.train.lora import Lora, attach_lora, save_adapter
from consort.weights import Memory, open_checkpoint, write
from consort.weights.checkpoint import Checkpoint

CURVE = "curve.json"
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "query_key_value", "dense")


def state_of(out: Path) -> Path:
    """Where the state of an unfinished training lies."""
    return out.with_name(f"{out.name}.state.safetensors")


def is_trained(out: Path) -> bool:
    """Whether a student is finished; what a kill in the last moment left of its training is removed."""
    if not (out / CURVE).is_file():
        return False
    state_of(out).unlink(missing_ok=True)
    return True


def recipe_of(options: Training | Preferring, documents: int) -> Recipe:
    """The steps and the schedule of learning rates."""
    steps = options.steps or max(1, math.ceil(options.epochs * documents / options.batch))
    return Recipe(
        steps=steps,
        lr=options.lr,
        schedule=options.schedule,
        warmup=options.warmup,
        betas=(0.9, 0.95),
        weight_decay=options.weight_decay,
        clip=options.clip,
    )


def lam_at(options: Training, step: int, steps: int) -> float | None:
    """The weight of the text's own loss at a step; None where it goes by the teachers' reward."""
    if options.variant == "soft":
        return None
    if options.variant == "decay":
        return options.lam + (1 - options.lam) * step / max(1, steps - 1)
    return options.lam


def train(
    pivot: Checkpoint,
    documents: Sequence[Document],
    fusion: Teaching,
    out: Path,
    options: Training,
    *,
    seed: int = 0,
    plan: Any = None,
    advance: Advance = lambda amount: None,
    out_dtype: torch.dtype | None = torch.float32,
) -> list[tuple[float, ...]]:
    """Train a copy of `pivot` on the targets and write it to the folder `out`; returns the learning curve.

    An entry of the curve has the two terms of a step's loss; it is kept in `curve.json` beside the weights. The state
    of an unfinished run lies beside `out`. With `options.lam` 1 this is plain continued training, the control. Raises
    BadData where no position is learnt.
    """
    if not any(len(fusion.target(document).at) for document in documents[: options.batch]):
        raise BadData("nothing of the corpus is learnt", field="corpus", hint="give texts, or prompts with targets")
    student, lora = student_of(pivot, options, seed)
    recipe = recipe_of(options, len(documents))
    order = shuffled(len(documents), options.batch, f"{seed}:fuse")
    state, done = state_of(out), Progress(advance)

    def batch(step: int) -> list[Batch]:
        targets = [fusion.target(documents[i]) for i in order(step)]
        return parts(targets, lam_at(options, step, recipe.steps), options.part)

    with quiet():
        curve = fit_steps(
            student.module,
            batch,
            loss_of,
            recipe,
            label=key_of([recipe, asdict(options), corpus_key(documents), seed, str(plan)]),
            state=state,
            every=options.save_every,
            progress=told_or_diverged(done, state, "train.lr"),
        )
    write_student(student, pivot, lora, out, curve, ["text", "fusion"], seed=seed, plan=plan, out_dtype=out_dtype)
    state.unlink(missing_ok=True)
    return curve


def student_of(checkpoint: Checkpoint, options: Training, seed: int) -> tuple[HFModel, Lora | None]:
    """A copy to train, in float32, with a fresh adapter if `options.rank` asks for one."""
    student = load_model(checkpoint)
    lora = Lora(options.rank, options.alpha, LAYERS) if options.rank else None
    if lora is not None:
        attach_lora(student.module, lora, generator=torch.Generator().manual_seed(seed))
    return student, lora


def write_student(
    student: HFModel,
    pivot: Checkpoint,
    lora: Lora | None,
    out: Path,
    curve: Sequence[tuple[float, ...]],
    terms: Sequence[str],
    *,
    seed: int,
    plan: Any,
    out_dtype: torch.dtype | None = torch.float32,
) -> None:
    """The trained weights as a folder, and last its curve, which tells that the folder is finished."""
    checkpoint = trained(student, pivot, lora, out.with_name(f"{out.name}.adapter"))
    write(checkpoint, out, out_dtype=out_dtype, plan=plan, seed=seed, force=True)
    write_json(out / CURVE, {"terms": list(terms), "loss": [list(entry) for entry in curve]})


def told_or_diverged(done: Callable[[int], None], state: Path | None, field: str) -> Callable[[int, float], None]:
    """Passes on how far a training is; raises BadParameter, and leaves no state, once its loss is no number."""

    def progress(step: int, loss: float) -> None:
        if not math.isfinite(loss):
            if state is not None:
                state.unlink(missing_ok=True)
            what, hint = f"is too large: at step {step} the loss is not finite", "take a smaller learning rate"
            raise BadParameter(what, field=field, hint=hint)
        done(step)

    return progress


class Progress:
    """Tells how much more is done, from how much is done; the first step after a kill tells all before it."""

    def __init__(self, advance: Advance) -> None:
        self.advance, self.done = advance, 0

    def __call__(self, step: int) -> None:
        self.advance(step - self.done)
        self.done = step


def trained(student: HFModel, pivot: Checkpoint, lora: Lora | None, adapter: Path) -> Checkpoint:
    """The student's weights under the pivot's names; an adapter is kept in its folder and laid over the pivot."""
    if lora is not None:
        save_adapter(student.module, adapter, lora, base=pivot.name)
        over: Checkpoint = open_checkpoint(adapter, base=pivot)
        return over
    own = student.module.state_dict()
    tensors = {name: own[name] for name in pivot.keys() if name in own}
    made: Checkpoint = Memory(tensors, pivot.config, name=pivot.name, files=pivot.files())
    return made
