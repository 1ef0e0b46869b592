"""A minimal forward pass for Llama, Qwen2, Qwen3, Mistral and BitNet modules, over the module's own weights.

Tokens of all rows are packed: only attention knows of rows, so padding costs nothing elsewhere. Keys and values lie
preallocated, token t of a row in slot t (see `lean_session`). Nothing is copied from the module, so weights that are
refilled in place are seen; what the pass gives is checked against the module itself before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import DynamicCache, DynamicSlidingWindowLayer

from consort.models.hf.packing import Place, packed, padded, rows_apart, write
from consort.models.hf.products import FORMS, forms_of

FAMILIES = frozenset(("bitnet", "llama", "mistral", "qwen2", "qwen3"))
"""Values of `model_type` whose modules have this shape."""

STATIC_ROPE = frozenset(("default", "linear", "llama3", "yarn"))
"""Kinds of rotary embeddings in which a position's angles do not depend on the length of the text."""

CACHED = 2**22
"""Weights of a model of up to so many numbers stay in a processor's cache from pass to pass, where x W^T is fastest."""


MATRICES = ("query", "key", "value", "out", "gate", "up", "down")
"""The matrices of a layer."""


class NotLean(Exception):
    """A module that has another shape, or does something beside (hooks, adapters, training)."""


@dataclass(slots=True)
class Linear:
    """A matrix, its transpose for `addmm`, its bias, and the form of its product with 1, 2, ... tokens."""

    weight: Tensor
    turned: Tensor
    bias: Tensor | None
    forms: tuple[str, ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[0] > len(self.forms):
            return F.linear(x, self.weight, self.bias)
        return FORMS[self.forms[x.shape[0] - 1]](x, self.weight, self.bias)

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """total + self(x), in place."""
        if self.bias is None and (x.shape[0] > len(self.forms) or self.forms[x.shape[0] - 1] == "linear"):
            return total.addmm_(x, self.turned)
        return total.add_(self(x))


@dataclass(slots=True)
class Norm:
    """Root mean square norm (1910.07467), computed in float32 and scaled in the model's dtype as transformers does."""

    weight: Tensor
    least: Float[Tensor, ""]
    """What keeps a state of zeros from division by zero."""

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:
            return (x * self._scale(x)).mul_(self.weight)
        wide = x.float()
        return self.weight * (wide * self._scale(wide)).to(x.dtype)

    def _scale(self, x: Float[Tensor, "*token size"]) -> Float[Tensor, "*token 1"]:
        """1 / sqrt(mean of x^2 + eps), in a third of the time that torch's `rms_norm` takes for a few tokens."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return torch.addcmul(self.least, length, length, value=1 / x.shape[-1]).rsqrt_()


@dataclass(slots=True)
class Layer:
    """The parts of one decoder layer; absent norms are None, `sliding` is the window of its attention."""

    before: Norm
    query: Linear
    key: Linear
    value: Linear
    query_norm: Norm | None
    key_norm: Norm | None
    inner_norm: Norm | None
    out: Linear
    between: Norm
    gate: Linear
    up: Linear
    middle_norm: Norm | None
    down: Linear
    act: Callable[[Tensor], Tensor]
    sliding: int | None


class LeanModule:
    """The weights of a transformers module laid out for `forward`. Raises NotLean for a module of another shape."""

    def __init__(self, module: Any) -> None:
        config = module.config
        rope = getattr(config, "rope_parameters", None) or {}
        if config.model_type not in FAMILIES or rope.get("rope_type", "default") not in STATIC_ROPE:
            raise NotLean(f"{config.model_type} is not among {sorted(FAMILIES)}")
        _untouched(module)
        _untouched(module.model)
        self.module, self.embedding = module, _typed(module.model.embed_tokens, nn.Embedding).weight
        self.layers = [
            _layer(layer, kind)
            for layer, kind in zip(module.model.layers, DynamicCache(config=config).layers, strict=True)
        ]
        self.norm, self.head = _norm(module.model.norm), _linear(module.lm_head)
        if sum(p.numel() for p in module.parameters()) > CACHED:
            self._choose_forms()
        attention = module.model.layers[0].self_attn
        self.size: int = attention.head_dim
        self.heads = self.layers[0].query.weight.shape[0] // self.size
        self.groups = self.layers[0].key.weight.shape[0] // self.size
        self.scale: float = attention.scaling
        self.windows = sorted({layer.sliding for layer in self.layers}, key=lambda w: w or 0)
        self._angles: tuple[Tensor, Tensor] | None = None

    def matrices(self) -> list[Linear]:
        """All matrices, the output head last."""
        found = [getattr(layer, name) for layer in self.layers for name in MATRICES]
        return [*found, self.head]

    def _choose_forms(self) -> None:
        """Let each matrix be multiplied in the way that is fastest here."""
        forms = forms_of([matrix.weight for matrix in self.matrices()])
        for matrix in self.matrices():
            matrix.forms = forms.get((matrix.weight.shape[0], matrix.weight.shape[1]), ())

    def angles(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of all positions below at least `length`, the sines signed for a swap of halves."""
        if self._angles is None or len(self._angles[0]) < length:
            positions = torch.arange(max(256, 2 * length), device=self.embedding.device)
            cos, sin = self.module.model.rotary_emb(self.embedding[:1], positions[None])
            signs = torch.ones_like(sin[0]).index_fill_(-1, torch.arange(self.size // 2, device=sin.device), -1)
            self._angles = cos[0][:, None], (sin[0] * signs)[:, None]
        return self._angles

    def forward(
        self, ids: Int[Tensor, " token"], keys: Tensor, values: Tensor, place: Place, kept: list[Tensor] | None = None
    ) -> Float[Tensor, "token hidden"]:
        """Hidden states before the last norm; writes keys and values `layer row head slot size` of the new tokens.

        With `kept`, the states before each layer and after the last are appended to it. With `place.last`, only the
        last tokens go through the last layer, of which the others need no more than keys and values. `ids` may be
        embeddings, `token size`.
        """
        hidden = ids.clone() if ids.is_floating_point() else F.embedding(ids, self.embedding)
        cos, sin = self.angles(place.width + place.shift)
        turn = cos[place.positions], sin[place.positions]
        apart = rows_apart(keys, values, place, [layer.sliding for layer in self.layers]) if place.apart else None
        for number, layer in enumerate(self.layers):
            if kept is not None:
                kept.append(hidden.clone())
            x = layer.before(hidden)
            last = place.last if number == len(self.layers) - 1 else None
            own = None if apart is None else apart[number]
            x = self._attend(layer, x, keys[number], values[number], turn, place, last, own)
            hidden = hidden if last is None else hidden[place.ends]
            layer.out.onto(hidden, x if layer.inner_norm is None else layer.inner_norm(x))
            x = layer.between(hidden)
            x = layer.act(layer.gate(x)).mul_(layer.up(x))
            layer.down.onto(hidden, x if layer.middle_norm is None else layer.middle_norm(x))
        if kept is not None:
            kept.append(hidden)
        return hidden

    def logits(self, hidden: Float[Tensor, "token hidden"], *, norm: bool = True) -> Float[Tensor, "token vocab"]:
        """Float32 logits of hidden states, normed first."""
        return self.head(self.norm(hidden) if norm else hidden).float()

    def _attend(
        self,
        layer: Layer,
        x: Float[Tensor, "token hidden"],
        keys: Tensor,
        values: Tensor,
        turn: tuple[Tensor, Tensor],
        place: Place,
        last: Place | None = None,
        apart: Sequence[tuple[Tensor, Tensor]] | None = None,
    ) -> Float[Tensor, "asking out"]:
        """What the new tokens see, or with `last` (`place.last`) those at the ends of rows; `apart`: see `Place`."""
        tokens, size, ends = x.shape[0], self.size, slice(None) if last is None else place.ends
        query, key = layer.query(x[ends]).reshape(-1, self.heads, size), layer.key(x).view(tokens, -1, size)
        value = layer.value(x).view(tokens, -1, size)
        if layer.query_norm and layer.key_norm:
            query, key = layer.query_norm(query), layer.key_norm(key)
        query, key = _turned(query, (turn[0][ends], turn[1][ends])), _turned(key, turn)
        write(keys, key, place)
        write(values, value, place)
        if apart is not None:
            return self._attend_apart(query, apart)
        if place.first and last is None:
            return self._attend_from_the_start(layer, query, key, value, place)
        return self._attend_to_slots(
            layer, query, keys[:, :, : place.width], values[:, :, : place.width], last or place
        )

    def _attend_from_the_start(self, layer: Layer, query: Tensor, key: Tensor, value: Tensor, place: Place) -> Tensor:
        """Rows that begin: causal attention among the new tokens; padding is at the end, where nobody looks."""
        q, k, v = (padded(x, place).transpose(1, 2) for x in (query, key, value))
        mask = place.masks[layer.sliding]
        out = F.scaled_dot_product_attention(
            q, k, v, mask, is_causal=mask is None, scale=self.scale, enable_gqa=self.heads != self.groups
        )
        return packed(out.transpose(1, 2), place).flatten(1)

    def _attend_apart(self, query: Tensor, apart: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """One new token of each row with what the row holds; heads that share a key are folded as below."""
        shared = self.heads // self.groups
        folded = query.view(-1, 1, self.groups, shared, self.size)
        out = [
            F.scaled_dot_product_attention(q, keys, values, scale=self.scale)
            for q, (keys, values) in zip(folded, apart, strict=True)
        ]
        return torch.cat(out).flatten(1)

    def _attend_to_slots(self, layer: Layer, query: Tensor, keys: Tensor, values: Tensor, place: Place) -> Tensor:
        """Query heads that share a key are folded into the token axis, so that keys are never repeated."""
        batch, new, shared = len(place.counts), place.most, self.heads // self.groups
        q = padded(query, place).view(batch, new, self.groups, shared, self.size)
        q = q.permute(0, 2, 3, 1, 4).reshape(batch, self.groups, shared * new, self.size)
        mask = place.masks[layer.sliding]
        if mask is not None and shared > 1:
            mask = mask[:, None].expand(-1, shared, -1, -1).flatten(1, 2)
        out = F.scaled_dot_product_attention(q, keys, values, mask if mask is None else mask[:, None], scale=self.scale)
        out = out.view(batch, self.groups, shared, new, self.size).permute(0, 3, 1, 2, 4)
        return packed(out.reshape(batch, new, self.heads, self.size), place).flatten(1)


def _turned(x: Float[Tensor, "token head size"], turn: tuple[Tensor, Tensor]) -> Float[Tensor, "token head size"]:
    """Rotary embedding (2104.09864): x cos + swap(x) signed sin."""
    return torch.addcmul(x * turn[0], x.roll(x.shape[-1] // 2, -1), turn[1])


def _untouched(module: Any) -> None:
    if module.training or module._forward_hooks or module._forward_pre_hooks or hasattr(module, "_hf_hook"):
        raise NotLean("is in training, has hooks, or is spread over devices")


def _typed(module: Any, kind: type) -> Any:
    _untouched(module)
    if type(module) is not kind:
        raise NotLean(f"{type(module).__name__} is not {kind.__name__}")
    return module


def _linear(module: Any) -> Linear:
    found = _typed(module, nn.Linear)
    if type(found.weight.data) is not torch.Tensor:
        raise NotLean(f"weights of the type {type(found.weight.data).__name__}")
    return Linear(found.weight, found.weight.t(), found.bias)


def _norm(module: Any) -> Norm:
    _untouched(module)
    weight = module.weight
    return Norm(weight, torch.tensor(module.variance_epsilon, device=weight.device))


def _layer(layer: Any, kind: Any) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    for part in (layer, attention, mlp):
        _untouched(part)

    def optional(owner: Any, name: str) -> Norm | None:
        return _norm(getattr(owner, name)) if hasattr(owner, name) else None

    return Layer(
        before=_norm(layer.input_layernorm),
        query=_linear(attention.q_proj),
        key=_linear(attention.k_proj),
        value=_linear(attention.v_proj),
        query_norm=optional(attention, "q_norm"),
        key_norm=optional(attention, "k_norm"),
        inner_norm=optional(attention, "attn_sub_norm"),
        out=_linear(attention.o_proj),
        between=_norm(layer.post_attention_layernorm),
        gate=_linear(mlp.gate_proj),
        up=_linear(mlp.up_proj),
        middle_norm=optional(mlp, "ffn_sub_norm"),
        down=_linear(mlp.down_proj),
        act=F.silu if type(mlp.act_fn).__name__ in ("SiLU", "SiLUActivation") else mlp.act_fn,
        sliding=kind.sliding_window if isinstance(kind, DynamicSlidingWindowLayer) else None,
    )
