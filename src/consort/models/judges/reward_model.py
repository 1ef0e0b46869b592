"""Reward models: sequence classifiers of one output, the larger the better."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from consort.core.types import Prompt, Usage
from consort.models.cached.model import text_of
from consort.models.judges import judge
from consort.models.judges.classifiers import load_classifier, opened
from consort.models.tokens.template import writing_by_template
from consort.weights import Checkpoint


@judge(example={"checkpoint": "lab:reward"})
class RewardModel:
    """A checkpoint with a head of one number, read from its folder at first use.

    Prompt and answer are written by its chat template, where its tokenizer has one, else joined by `joint`.
    Counts as a model in the cost of a strategy: `name` is the checkpoint's.
    """

    def __init__(self, checkpoint: Checkpoint, joint: str = " ") -> None:
        self.checkpoint, self.joint = opened(checkpoint), joint
        self.name = self.checkpoint.name
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
        asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        with writing_by_template("its chat template", self.name):
            return str(
                tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": answer}], tokenize=False)
            )

    def open(self) -> tuple[Any, Any]:
        """Tokenizer and model. Raises BadCheckpoint for a folder that is no reward model."""
        if self._loaded is None:
            self._loaded = load_classifier(self.checkpoint, "a sequence classifier with one output", outputs=1)
        return self._loaded
