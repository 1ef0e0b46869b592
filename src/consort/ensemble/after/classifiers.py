"""Rewards of answers from a sequence classifier of transformers: the larger its one output, the better the answer."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from consort.core.errors import BadCheckpoint
from consort.core.types import Prompt, Usage
from consort.models.quiet import quiet
from consort.models.table import text_of
from consort.weights import Checkpoint

SAFE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
"""How folders are opened: nothing is fetched, and no code of theirs is run."""


class RewardModel:
    """A checkpoint with a head of one number, read from its folder at first use; prompt and answer are joined.

    Counts as a model in the cost of a strategy: `name` is the checkpoint's.
    """

    def __init__(self, checkpoint: Checkpoint, joint: str = " ") -> None:
        self.checkpoint, self.joint = checkpoint, joint
        self.name = checkpoint.name
        self._loaded: tuple[Any, Any] | None = None

    def rewards(self, prompt: Prompt, answers: Sequence[str]) -> tuple[list[float], Usage]:
        """A reward for each answer, and what it took; texts are read one by one, so that no batch matters."""
        import torch

        tokenizer, model = self.open()
        begun, read, found = perf_counter(), 0, []
        for answer in answers:
            text = f"{text_of(prompt)}{self.joint}{answer}"
            batch = tokenizer(text, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                found.append(float(model(batch["input_ids"]).logits[0, 0]))
            read += batch["input_ids"].shape[1]
        return found, Usage(read, 0, len(answers), perf_counter() - begun)

    def open(self) -> tuple[Any, Any]:
        """Tokenizer and model. Raises BadCheckpoint for a folder that is no reward model."""
        if self._loaded is None:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer

            folder = folder_of(self.checkpoint)
            try:
                with quiet():
                    tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
                    model, info = AutoModelForSequenceClassification.from_pretrained(
                        folder, use_safetensors=True, output_loading_info=True, **SAFE
                    )
            except (OSError, ValueError) as fault:
                hint = "a folder of a sequence classifier with one output and its tokenizer"
                raise BadCheckpoint(f"cannot be read as a classifier: {fault}", field=self.name, hint=hint) from None
            if model.config.num_labels != 1:
                message = f"has {model.config.num_labels} outputs"
                raise BadCheckpoint(message, field=self.name, hint="a reward model has one")
            if missing := sorted(info["missing_keys"]):  # a head that is not there would be made up at random
                hint = "a sequence classifier with one output, such as lab:reward"
                raise BadCheckpoint(f"has no {missing[0]}: it is no classifier", field=self.name, hint=hint)
            self._loaded = tokenizer, model.eval()
        return self._loaded


def folder_of(checkpoint: Checkpoint) -> str:
    """The folder that a checkpoint was opened from. Raises BadCheckpoint for one that is computed."""
    path = getattr(checkpoint, "path", None)
    if path is None:
        raise BadCheckpoint("is not a folder", field=checkpoint.name, hint="save it first: consort merge PLAN OUT")
    return str(path)
