"""A cross-encoder: reads two texts together and says how well they fit (1901.04085)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData, BadParameter

NEEDED = ("config.json", "model.safetensors")


@dataclass(slots=True)
class CrossEncoder:
    """The sequence classifier in `folder`, read at its first use. Raises BadParameter for what is no such folder."""

    folder: str
    most_tokens: int = 512
    _loaded: tuple[Any, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        missing = [file for file in NEEDED if not (Path(self.folder) / file).is_file()]
        if missing:
            what = f"{self.folder!r} is no folder of a classifier: it has no {missing[0]}"
            raise BadParameter(what, field="cross_encoder", hint=f"a folder with {' and '.join(NEEDED)}")

    def score(self, pairs: Sequence[tuple[str, str]], batch: int = 32) -> Float[np.ndarray, " pair"]:
        """How well each pair fits, larger is better: the one output, or of two the difference of second and first."""
        import torch

        tokenizer, model = self.loaded()
        found = np.zeros(len(pairs))
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
        most = min(self.most_tokens, getattr(model.config, "max_position_embeddings", self.most_tokens))
        with torch.no_grad():
            for start in range(0, len(order), batch):
                part = order[start : start + batch]
                texts = [list(side) for side in zip(*(pairs[i] for i in part), strict=True)]
                read = tokenizer(*texts, padding=True, truncation="only_second", max_length=most, return_tensors="pt")
                logits = model(**read).logits.double().numpy()
                found[part] = logits[:, 0] if logits.shape[1] == 1 else logits[:, -1] - logits[:, 0]
        return found

    def loaded(self) -> tuple[Any, Any]:
        """Tokenizer and model. Raises BadData for a folder that transformers cannot read."""
        if self._loaded is None:
            import torch
            from transformers import AutoModelForSequenceClassification, AutoTokenizer

            from consort.models.hf.quiet import quiet

            try:
                with quiet():
                    tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
                    model = AutoModelForSequenceClassification.from_pretrained(
                        self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
                    )
            except Exception as fault:  # transformers has an error of its own for each fault of a folder
                hint = "a sequence classifier in Hugging Face's layout, with safetensors"
                raise BadData(f"cannot be read: {type(fault).__name__}", field=self.folder, hint=hint) from fault
            self._loaded = tokenizer, model.eval()
        return self._loaded
