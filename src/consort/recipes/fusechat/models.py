"""The models of a fusion: opened without their weights, and refused where they cannot teach or learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from consort.core.dtypes import FloatName
from consort.core.errors import BadCheckpoint, BadParameter, Incompatible
from consort.distil.corpus import Document
from consort.fuse.training import LAYERS
from consort.models.base import Tokenizer
from consort.models.hf.loading import load_model, own_tokenizer
from consort.models.hf.model import HFModel
from consort.plan.build import Builder
from consort.plan.expression import Node, Reference
from consort.weights import Checkpoint
from consort.weights.checkpoint import CHUNK, ranges
from consort.weights.disk.stream import count_nonfinite
from consort.weights.stats import fingerprint

UNWRITTEN, SAMPLED = 0.2, 256
"""The share of unknown tokens, in the first documents, from which on a model is refused."""
WINDOWS = ("max_position_embeddings", "n_positions")
"""What configs call the number of tokens that a model can read."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A model of the plan: its weights, unread, and its tokenizer. `stamp` tells them from others."""

    name: str
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    stamp: str
    choice: str | None
    rows: str | None = None

    def load(self, dtype: FloatName) -> HFModel:
        return load_model(self.checkpoint, name=self.name, dtype=dtype, tokenizer=self.choice)


def open_model(
    builder: Builder, node: Node, name: str, rows: str | None = None, *, allow_remote_code: bool = False
) -> Opened:
    """Open a model of the plan; one whose `rows` are there already is not asked, so its weights may be anything.

    Raises Incompatible for a model without a head for tokens, BadCheckpoint for weights that are not finite.
    """
    checkpoint = builder.build(node, "checkpoint")
    if rows is None:
        check_head(checkpoint)
        check_finite(checkpoint)
    choice = node.tokenizer if isinstance(node, Reference) else None
    tokenizer = own_tokenizer(checkpoint, choice=choice, allow_remote_code=allow_remote_code)
    return Opened(name, checkpoint, tokenizer, fingerprint(checkpoint), choice, rows)


def check_head(checkpoint: Checkpoint) -> None:
    """Raise Incompatible for a model that says it is a classifier, an encoder or another thing without next tokens."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as KNOWN

    named = checkpoint.config.get("architectures") or []
    ends = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    if not named or "auto_map" in checkpoint.config:
        return
    if not any(str(name).endswith(ends) or name in KNOWN.values() for name in named):
        hint = "a fusion needs causal language models"
        raise Incompatible(f"is a {named[0]}, which predicts no tokens", field=checkpoint.name, hint=hint)


def check_finite(checkpoint: Checkpoint) -> None:
    """Raise BadCheckpoint for weights with NaN or infinity; reads them all once, in small pieces."""
    names = checkpoint.keys()
    for name in names:
        spec = checkpoint.spec(name)
        if not spec.dtype.is_floating_point:
            continue
        for start, stop in ranges(spec.numel, CHUNK):
            piece = torch.empty(stop - start, dtype=spec.dtype)
            checkpoint.read_into(name, start, stop, piece)
            if count := count_nonfinite(piece):
                what = f"{count} NaN or infinite entries in {name}"
                raise BadCheckpoint(what, field=checkpoint.name, hint="use a sound copy of it, or leave this model out")


def check_rank(pivot: Opened, rank: int) -> None:
    """Raise BadParameter for a LoRA where the pivot has none of the layers that it is laid over."""
    names = {key.removesuffix(".weight").rpartition(".")[2] for key in pivot.checkpoint.keys()}
    if rank and not names & set(LAYERS):
        what = f"{pivot.name} has no layers for a LoRA, such as {LAYERS[0]}"
        raise BadParameter(what, field="train.rank", hint="0 trains all weights")


def check_reads(model: Opened, documents: Sequence[Document]) -> None:
    """Raise Incompatible for a model that would not read these texts as they are.

    Its tokenizer cannot write them, has tokens that the model has not, or they are longer than its window.
    """
    config = model.checkpoint.config
    text: Any = config.get("text_config") or config
    spelled = [document.spelled(model.tokenizer).ids for document in documents]
    _check_written(model, [i for ids in spelled[:SAMPLED] for i in ids.tolist()])
    largest, size = max((int(ids.max(initial=0)) for ids in spelled), default=0), text.get("vocab_size")
    if isinstance(size, int) and largest >= size:
        what = f"its tokenizer has a token {largest}, the model only {size}"
        raise Incompatible(what, field=model.name, hint="name the tokenizer that it was trained with")
    longest = max(map(len, spelled), default=0) - 1
    window = window_of(model)
    if window is not None and longest > window and model.rows is None:
        what = f"a document has {longest} tokens, its window {window}"
        raise Incompatible(
            what, field=model.name, hint=f"set collect.block to {window} or less; of prompts leave the long ones out"
        )


def window_of(model: Opened) -> int | None:
    """How many tokens the config says that a model can read at once."""
    config = model.checkpoint.config
    text: Any = config.get("text_config") or config
    return next((text[name] for name in WINDOWS if isinstance(text.get(name), int)), None)


def _check_written(model: Opened, ids: Sequence[int]) -> None:
    unknown = getattr(model.tokenizer, "unk", None)
    if unknown is not None and ids.count(unknown) > UNWRITTEN * len(ids):
        what = f"its tokenizer cannot write the texts: {ids.count(unknown) / len(ids):.0%} of them is unknown"
        raise Incompatible(what, field=model.name, hint="leave this model out")
