"""Sequence classifiers of transformers: rewards of answers (one output, the larger the better), chances of a label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from consort.core.errors import BadCheckpoint, BadData, BadParameter
from consort.core.types import Prompt, Usage
from consort.models.cached.model import text_of
from consort.models.hf.quiet import quiet
from consort.weights import Checkpoint

SAFE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
"""How folders are opened: nothing is fetched, and no code of theirs is run."""


class RewardModel:
    """A checkpoint with a head of one number, read from its folder at first use.

    Prompt and answer are written by its chat template, where its tokenizer has one, else joined by `joint`.
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
            text = self._chat(tokenizer, prompt, answer) or f"{text_of(prompt)}{self.joint}{answer}"
            special = not tokenizer.chat_template  # a template writes its own
            batch = tokenizer(text, truncation=True, add_special_tokens=special, return_tensors="pt")
            with torch.inference_mode():
                found.append(float(model(batch["input_ids"]).logits[0, 0]))
            read += batch["input_ids"].shape[1]
        return found, Usage(read, 0, len(answers), perf_counter() - begun)

    def _chat(self, tokenizer: Any, prompt: Prompt, answer: str) -> str:
        """The chat that ends with the answer, by the tokenizer's template; empty without one."""
        if not tokenizer.chat_template:
            return ""
        from jinja2.exceptions import TemplateError

        asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        try:
            return str(
                tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": answer}], tokenize=False)
            )
        except TemplateError as error:
            raise BadData(f"its chat template refuses the chat: {error}", field=self.name) from error

    def open(self) -> tuple[Any, Any]:
        """Tokenizer and model. Raises BadCheckpoint for a folder that is no reward model."""
        if self._loaded is None:
            self._loaded = _loaded(self.checkpoint, "a sequence classifier with one output", outputs=1)
        return self._loaded


class LabelModel:
    """A classifier as the probability of one of its labels: of the named one, else of the first of `usual` that it has.

    A classifier of one output has that label. Outputs are independent where the configuration says so
    (`multi_label_classification`) or there is one, else they exclude each other.
    """

    def __init__(self, checkpoint: Checkpoint, label: str = "", usual: Sequence[str] = ()) -> None:
        self.checkpoint, self.label, self.usual = checkpoint, label, tuple(usual)
        self.name = checkpoint.name
        self._loaded: tuple[Any, Any, int] | None = None

    def probabilities(self, texts: Sequence[str]) -> list[float]:
        """A probability for each text; texts are read one by one, so that no batch matters."""
        import torch

        tokenizer, model, index = self.open()
        excludes = model.config.num_labels > 1 and model.config.problem_type != "multi_label_classification"
        found = []
        for text in texts:
            batch = tokenizer(text, truncation=True, return_tensors="pt")
            if not batch["input_ids"].shape[1]:
                found.append(math.nan)
                continue
            with torch.inference_mode():
                logits = model(batch["input_ids"]).logits[0].double()
            found.append(float((logits.softmax(0) if excludes else logits.sigmoid())[index]))
        return found

    def open(self) -> tuple[Any, Any, int]:
        """Tokenizer, model and the number of the label. Raises BadCheckpoint, BadParameter."""
        if self._loaded is None:
            tokenizer, model = _loaded(self.checkpoint, "a sequence classifier")
            labels = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
            lowered, wanted = [own.lower() for own in labels], [self.label] if self.label else self.usual
            index = next((lowered.index(own.lower()) for own in wanted if own.lower() in lowered), None)
            if index is None and (self.label or len(labels) > 1):
                message = f"has no label {self.label or ' or '.join(self.usual)}"
                raise BadParameter(message, field=self.name, hint=f"label: {' | '.join(labels)}")
            self._loaded = tokenizer, model, index or 0
        return self._loaded


def _loaded(checkpoint: Checkpoint, what: str, outputs: int | None = None) -> tuple[Any, Any]:
    """Tokenizer and classifier of a checkpoint's folder. Raises BadCheckpoint where it is not `what`."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = folder_of(checkpoint)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **SAFE
            )
    except (OSError, ValueError) as fault:
        hint = f"a folder of {what} and its tokenizer"
        raise BadCheckpoint(f"cannot be read as a classifier: {fault}", field=checkpoint.name, hint=hint) from None
    if outputs is not None and model.config.num_labels != outputs:
        message = f"has {model.config.num_labels} outputs"
        raise BadCheckpoint(message, field=checkpoint.name, hint="a reward model has one")
    if missing := sorted(info["missing_keys"]):  # a head that is not there would be made up at random
        hint = f"{what}, such as lab:reward"
        raise BadCheckpoint(f"has no {missing[0]}: it is no classifier", field=checkpoint.name, hint=hint)
    return tokenizer, model.eval()


def folder_of(checkpoint: Checkpoint) -> str:
    """The folder that a checkpoint was opened from. Raises BadCheckpoint for one that is computed."""
    path = getattr(checkpoint, "path", None)
    if path is None:
        raise BadCheckpoint("is not a folder", field=checkpoint.name, hint="save it first: consort merge PLAN OUT")
    return str(path)
