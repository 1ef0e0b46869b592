"""How a tensor is made of matrices: stored transposed, fused of several, one for each expert, or none at all.

Methods that look at singular directions want one linear map at a time: queries, keys and values apart, each expert by
itself, outputs by inputs whatever the storage. Told from names, shapes and configuration alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from consort.weights.family import layer_of, role_of, text_config
from consort.weights.views.units import TRANSPOSED

EXPERTS_TRANSPOSED = frozenset(("gpt_oss", "llama4", "llama4_text"))
"""Values of `model_type` whose fused experts are stored input by output."""
INTERLEAVED_GATES = frozenset(("gpt_oss",))
"""Values of `model_type` whose gate and up rows take turns."""
INTERLEAVED_HEADS = frozenset(("bloom", "gpt_neox", "gpt_neox_japanese"))
"""Values of `model_type` that store query, key and value of a head side by side."""

Kind = Literal["matrix", "embedding", "vector"]


@dataclass(frozen=True, slots=True)
class Matrices:
    """`vector`: no linear map (norms, biases, routers); `embedding`: a row for each token or position.

    `transposed`: stored inputs by outputs. `blocks`: the output rows of each fused map, none for a single one.
    """

    kind: Kind
    transposed: bool = False
    blocks: tuple[tuple[int, ...], ...] = ()

    def split(self, stack: Tensor) -> list[list[Tensor]]:
        """For each expert the stacks `(model, out, in)` of each of its maps."""
        experts = stack.unbind(1) if stack.ndim == 4 else [stack.flatten(2) if stack.ndim > 3 else stack]
        upright = [e.mT if self.transposed else e for e in experts]
        return [[e[:, list(rows)] for rows in self.blocks] if self.blocks else [e] for e in upright]

    def join(self, parts: Sequence[Sequence[Tensor]], shape: Sequence[int]) -> Tensor:
        """The tensor of that shape whose maps are `parts`, in the order of `split`."""
        whole = [self._joined(blocks) for blocks in parts]
        upright = [w.mT if self.transposed else w for w in whole]
        return torch.stack(upright).reshape(tuple(shape))

    def _joined(self, blocks: Sequence[Tensor]) -> Tensor:
        if not self.blocks:
            return blocks[0]
        rows = sum(map(len, self.blocks))
        found = blocks[0].new_empty(rows, blocks[0].shape[-1])
        for index, block in zip(self.blocks, blocks, strict=True):
            found[list(index)] = block
        return found


def matrices_of(name: str, shape: Sequence[int], config: Mapping[str, Any]) -> Matrices:
    """What a tensor holds. A fused map whose parts the configuration does not tell is taken as one.

    >>> matrices_of("model.layers.0.mlp.gate_up_proj.weight", (4, 3), {}).blocks
    ((0, 1), (2, 3))
    >>> matrices_of("model.norm.weight", (4,), {}).kind
    'vector'
    """
    role = role_of(name)
    if len(shape) < 2 or 0 in shape or role in ("norm", "mlp.router"):
        return Matrices("vector")
    if role in ("embedding", "head", "positions"):
        return Matrices("embedding")
    model_type = text_config(config).get("model_type")
    is_stack = len(shape) == 3 and "conv" not in name.lower()
    transposed = model_type in (EXPERTS_TRANSPOSED if is_stack else TRANSPOSED) and layer_of(name) is not None
    out = shape[-1 if transposed else -2] if len(shape) < 4 else shape[0]
    return Matrices("matrix", transposed, _blocks(role, out, text_config(config)))


def _blocks(role: str, out: int, config: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    if role == "mlp.gate_up" and out % 2 == 0:
        if config.get("model_type") in INTERLEAVED_GATES:
            return tuple(range(0, out, 2)), tuple(range(1, out, 2))
        return tuple(range(out // 2)), tuple(range(out // 2, out))
    return _of_attention(out, config) if role == "attention.qkv" else ()


def _of_attention(out: int, config: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    heads = config.get("num_attention_heads") or config.get("n_head") or config.get("num_heads")
    hidden = config.get("hidden_size") or config.get("n_embd") or config.get("d_model")
    if not isinstance(heads, int) or not isinstance(hidden, int) or heads < 1:
        return ()
    groups = config.get("num_key_value_heads") or (1 if config.get("multi_query") else heads)
    size = config.get("head_dim") or hidden // heads
    if not isinstance(groups, int) or groups < 1 or heads % groups or out != (heads + 2 * groups) * size:
        return ()
    if config.get("model_type") in INTERLEAVED_HEADS:
        return _by_group(heads, 1, size)
    by_group = config.get("new_decoder_architecture") or not config.get("multi_query", True)
    if config.get("model_type") == "falcon" and by_group:
        return _by_group(groups, heads // groups, size)
    ends = (0, heads * size, (heads + groups) * size, out)
    return tuple(tuple(range(start, end)) for start, end in zip(ends, ends[1:], strict=False))


def _by_group(groups: int, queries: int, size: int) -> tuple[tuple[int, ...], ...]:
    """Rows where each group holds its queries, its key and its value one after another."""
    rows = torch.arange(groups * (queries + 2) * size).view(groups, queries + 2, size)
    parts = (rows[:, :queries], rows[:, queries], rows[:, queries + 1])
    return tuple(tuple(part.flatten().tolist()) for part in parts)
