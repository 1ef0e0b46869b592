"""Tied heads: whether a checkpoint's embedding stands for its head, as the configuration and the tensors tell.

The tensors decide. A file that holds a head of other values than its embedding has a head of its own, whatever its
configuration says: so transformers (5 and later) loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from consort.weights.checkpoint import CHUNK, Checkpoint, Spec, ranges
from consort.weights.family import layer_of, role_of, text_config

_EQUAL: WeakKeyDictionary[Checkpoint, bool] = WeakKeyDictionary()
"""Whether head and embedding hold the same values: read once for each checkpoint, which does not change."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The embedding and the head of a checkpoint, where it has them; `tied`: the embedding stands for the head.

    With `tied` a `head` in the file is a copy, which may be left out.
    """

    embedding: str | None
    head: str | None
    tied: bool

    @property
    def own_head(self) -> str | None:
        """The head, where it is a tensor of its own."""
        return None if self.tied else self.head

    @property
    def copy(self) -> str | None:
        """The head, where it repeats the embedding."""
        return self.head if self.tied else None


def ends_of(ckpt: Checkpoint) -> Ends:
    """The ends of `ckpt`. Data is read only where the configuration ties a head that the file holds as well."""
    names = ckpt.keys()
    embedding, head = ends_among({name: ckpt.spec(name) for name in names}, ckpt.config)
    said = says_tied(ckpt.config)
    if embedding is None or said is False:
        return Ends(embedding, head, False)
    if head is None:
        return Ends(embedding, None, True)
    if not said:
        return Ends(embedding, head, False)
    if ckpt not in _EQUAL:
        _EQUAL[ckpt] = _equal(ckpt, embedding, head)
    return Ends(embedding, head, _EQUAL[ckpt])


def ends_among(specs: Mapping[str, Spec], config: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Embedding and head among tensors, by role, place and shape.

    The head lies in the module that holds the embedding or above it (`mtp.head` is another one) and has its shape.
    """
    embeddings = of_role(specs, "embedding")
    if len(embeddings) > 1:
        size = text_config(config).get("vocab_size")
        embeddings = [name for name in embeddings if specs[name].shape[0] == size] or embeddings
    if len(embeddings) != 1:
        return None, None
    [embedding] = embeddings
    found = [name for name in of_role(specs, "head") if _may_be_head(name, embedding)]
    found = [name for name in found if specs[name].shape == specs[embedding].shape]
    return embedding, min(found, key=lambda name: name.count("."), default=None)


def says_tied(config: Mapping[str, Any]) -> bool | None:
    """What a configuration says of the head, None if nothing."""
    said = text_config(config).get("tie_word_embeddings", config.get("tie_word_embeddings"))
    return None if said is None else bool(said)


def untied(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` of a model whose head is a tensor of its own."""
    inner = text_config(config)
    nested = {} if inner is config else {"text_config": {**inner, "tie_word_embeddings": False}}
    return {**config, "tie_word_embeddings": False, **nested}


def of_role(specs: Mapping[str, Spec], role: str) -> list[str]:
    """The matrices outside the layers that have this role."""
    return [n for n, s in specs.items() if len(s.shape) == 2 and role_of(n) == role and layer_of(n) is None]


def could_be_head(name: str, ckpt: Checkpoint) -> bool:
    """Whether `name`, which `ckpt` may lack, is that of its head."""
    embedding = ends_of(ckpt).embedding
    return embedding is not None and _may_be_head(name, embedding)


def _may_be_head(name: str, embedding: str) -> bool:
    if role_of(name) != "head" or layer_of(name) is not None or not name.endswith(".weight"):
        return False
    place = name.removesuffix(".weight").rpartition(".")[0]
    return not place or embedding.startswith(f"{place}.")


def _equal(ckpt: Checkpoint, one: str, other: str) -> bool:
    spec = ckpt.spec(one)
    if spec != ckpt.spec(other):
        return False
    for start, stop in ranges(spec.numel, CHUNK):
        a, b = torch.empty(2, stop - start, dtype=spec.dtype)
        ckpt.read_into(one, start, stop, a)
        ckpt.read_into(other, start, stop, b)
        if not torch.equal(a, b):
            return False
    return True
