"""The fusion loss for transformers' Trainer, hence for accelerate, FSDP and DeepSpeed (extra `train`).

    trainer = FusionTrainer(
        model=model,
        args=TrainingArguments(..., remove_unused_columns=False),
        train_dataset=Numbers(len(documents)),
        data_collator=Collator(fusion, documents, lam=0.9),
    )

Targets are made in the collator, on the processors that load data; the loss is that of `fuse.batches`. The project's
own loop (`fuse.training`) needs none of this and resumes to the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from consort.core.errors import MissingExtra
from consort.distil.batches import Batch, fusion_loss, parts
from consort.distil.corpus import Document
from consort.distil.targets import Fusion

try:
    import accelerate  # noqa: F401  (what Trainer cannot do without)
    from transformers import Trainer
except ImportError as error:
    hint = 'pip install "consort[train]"'
    raise MissingExtra("transformers' Trainer needs accelerate", field="accelerate", hint=hint) from error


class Numbers(torch.utils.data.Dataset[int]):
    """The numbers of the documents; `Collator` makes batches of them."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> int:
        return number


class Collator:
    """Documents, by number, to the tensors of one batch; losses are means over the batch."""

    def __init__(self, fusion: Fusion, documents: Sequence[Document], *, lam: float | None = 0.9) -> None:
        self.fusion, self.documents, self.lam = fusion, documents, lam

    def __call__(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        targets = [self.fusion.target(self.documents[number]) for number in numbers]
        (batch,) = parts(targets, self.lam, len(targets))
        return {name: getattr(batch, name) for name in Batch.__slots__}


class FusionTrainer(Trainer):  # type: ignore[misc]
    """Trainer whose loss is lam · cross entropy of the text + (1 - lam) · cross entropy with the fused rows."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **rest: Any) -> Any:
        batch = Batch(**inputs)
        outputs = model(input_ids=batch.tokens, use_cache=False)
        loss = fusion_loss(outputs.logits, batch).sum()
        return (loss, outputs) if return_outputs else loss
