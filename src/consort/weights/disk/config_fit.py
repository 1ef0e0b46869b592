"""config.json made to fit the tensors it lies beside: dtype, vocabulary size, tied embeddings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch

from consort.core.errors import Unsupported
from consort.weights.adapters.files import is_adapter_config
from consort.weights.architecture.skeleton import skeleton
from consort.weights.checkpoint import Spec
from consort.weights.family import text_config
from consort.weights.tied import ends_among, of_role, says_tied


def fitted(config: Mapping[str, Any], specs: Mapping[str, Spec], *, untied: bool) -> dict[str, Any]:
    """`config` rewritten for tensors of `specs`; `untied`: they hold a head that differs from the embedding.

    An adapter's says nothing that depends on its tensors' dtype or on a vocabulary, and is left as it is.
    """
    fit: dict[str, Any] = json.loads(json.dumps(config))
    if is_adapter_config(config):
        return fit
    inner = dict(text_config(fit))
    dtype = main_dtype(specs)
    for part in (fit, inner):
        if dtype is not None and (part is fit or "dtype" in part or "torch_dtype" in part):
            part.pop("torch_dtype", None)
            part["dtype"] = str(dtype).removeprefix("torch.")
    rows = {specs[name].shape[0] for name in of_role(specs, "embedding")}
    if len(rows) == 1 and "vocab_size" in inner:
        inner["vocab_size"] = _vocabulary(config, rows.pop())
    if untied:
        fit["tie_word_embeddings"] = inner["tie_word_embeddings"] = False
    if text_config(fit) is fit:
        return fit | inner
    return fit | {"text_config": inner}


def _vocabulary(config: Mapping[str, Any], rows: int) -> int:
    """The size to state for embeddings of so many rows: an architecture may have more of them than it states tokens."""
    said = text_config(config)["vocab_size"]
    if said == rows or not isinstance(said, int):
        return rows
    try:
        model: Any = skeleton(config)
        return rows if model is None else rows - (model.get_input_embeddings().weight.shape[0] - said)
    except (Unsupported, NotImplementedError, AttributeError):  # of an architecture that tells nothing of it
        return rows


def main_dtype(specs: Mapping[str, Spec]) -> torch.dtype | None:
    """The floating dtype that most bytes have; None if no tensor is floating."""
    count: Counter[torch.dtype] = Counter()
    for spec in specs.values():
        if spec.dtype.is_floating_point:
            count[spec.dtype] += spec.nbytes
    return max(count, key=lambda dtype: (count[dtype], dtype.itemsize)) if count else None


def tied_pair(config: Mapping[str, Any], specs: Mapping[str, Spec]) -> tuple[str, str] | None:
    """Embedding and head if the configuration ties them and both are there, of one shape."""
    if not says_tied(config):
        return None
    embedding, head = ends_among(specs, config)
    return (embedding, head) if embedding and head and specs[embedding] == specs[head] else None
