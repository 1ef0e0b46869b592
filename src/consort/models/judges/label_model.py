"""Label models: classifiers as the probability of one of their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from consort.core.errors import BadParameter
from consort.core.types import Prompt, Usage
from consort.models.judges import judge
from consort.models.judges.classifiers import load_classifier, opened
from consort.weights import Checkpoint


@judge(example={"checkpoint": "lab:reward"})
class LabelModel:
    """A classifier as the probability of one of its labels: of the named one, else of the first of `usual` that it has.

    A classifier of one output has that label. Outputs are independent where the configuration says so
    (`multi_label_classification`) or there is one, else they exclude each other. As a judge it reads the answer alone.
    """

    def __init__(self, checkpoint: Checkpoint, label: str = "", usual: Sequence[str] = ()) -> None:
        self.checkpoint, self.label, self.usual = opened(checkpoint), label, tuple(usual)
        self.name = self.checkpoint.name
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

    def rewards(self, prompt: Prompt, answers: Sequence[str]) -> tuple[list[float], Usage]:
        """The probability of the label for each answer; an empty one has none and counts as 0."""
        begun = perf_counter()
        found = [0.0 if math.isnan(p) else p for p in self.probabilities(answers)]
        tokenizer, *_ = self.open()
        read = sum(len(tokenizer(answer, truncation=True)["input_ids"]) for answer in answers)
        return found, Usage(read, 0, len(answers), perf_counter() - begun)

    def open(self) -> tuple[Any, Any, int]:
        """Tokenizer, model and the number of the label. Raises BadCheckpoint, BadParameter."""
        if self._loaded is None:
            tokenizer, model = load_classifier(self.checkpoint, "a sequence classifier")
            labels = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
            lowered, wanted = [own.lower() for own in labels], [self.label] if self.label else self.usual
            index = next((lowered.index(own.lower()) for own in wanted if own.lower() in lowered), None)
            if index is None and (self.label or len(labels) > 1):
                message = f"has no label {self.label or ' or '.join(self.usual)}"
                raise BadParameter(message, field=self.name, hint=f"label: {' | '.join(labels)}")
            self._loaded = tokenizer, model, index or 0
        return self._loaded
