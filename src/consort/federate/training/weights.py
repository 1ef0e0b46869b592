"""Which numbers of a model are trained and sent: LoRA factors, all weights, or vectors before the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from consort.core.errors import BadData, Incompatible
from consort.federate.state import RESIDUAL, State
from consort.train.lora import Lora, LoraLinear, attach_lora
from consort.weights.adapters.files import factor_keys


class Weights(Protocol):
    """A trained part of a module. `parameters` are its tensors by the state's names, `scales` what multiplies each to
    give the state's number."""

    @property
    def module(self) -> nn.Module: ...

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]: ...

    @property
    def scales(self) -> Mapping[str, float]: ...

    def load(self, state: State) -> None:
        """Put a state into the module. Raises Incompatible for one of another form."""


def state_of(weights: Weights) -> dict[str, Tensor]:
    """The trained part as it is sent: float32, scales folded in, a copy."""
    return {n: (p.detach() * weights.scales.get(n, 1.0)).float().cpu() for n, p in weights.parameters.items()}


def now_of(weights: Weights) -> dict[str, Tensor]:
    """The same as functions of the parameters, for terms of the loss."""
    return {n: p if weights.scales.get(n, 1.0) == 1 else p * weights.scales[n] for n, p in weights.parameters.items()}


def _put(parameter: Tensor, value: Tensor, name: str) -> None:
    if parameter.shape != value.shape:
        what = f"{name} is {list(value.shape)}, the model's is {list(parameter.shape)}"
        raise Incompatible(what, field="state", hint="all parties start from one base and one plan")
    with torch.no_grad():
        parameter.copy_(value)


@dataclass(frozen=True, slots=True)
class _Module:
    """One adapted layer: its names in the state, its own frozen weight, and fresh rows of A."""

    name: str
    layer: LoraLinear
    a: str
    b: str
    fresh_a: Tensor


class LoraWeights:
    """LoRA factors on the linear layers that `lora` names; everything else is frozen.

    A state may have another rank: its first rows are taken, or fresh ones added with B = 0. With `freeze_a` only B is
    trained and sent; A follows from `seed` and is the same for all clients.
    """

    def __init__(self, module: nn.Module, lora: Lora, *, seed: int, freeze_a: bool = False) -> None:
        attach_lora(module, lora, generator=torch.Generator().manual_seed(seed))
        self.module, self.lora, self.freeze_a = module, lora, freeze_a
        self.layers: list[_Module] = []
        self.parameters: dict[str, nn.Parameter] = {}
        self.scales: dict[str, float] = {}
        self._own: dict[str, Tensor] = {}
        for name, layer in module.named_modules():
            if isinstance(layer, LoraLinear):
                a, b = factor_keys(name, embedding=False)
                self.layers.append(_Module(name, layer, a, b, layer.lora_A.detach().clone()))
                self.scales[b] = layer.scale
                self.parameters |= {b: layer.lora_B} if freeze_a else {a: layer.lora_A, b: layer.lora_B}
                layer.lora_A.requires_grad_(not freeze_a)

    def load(self, state: State) -> None:
        for part in self.layers:
            if part.b not in state:
                raise Incompatible(f"lacks {part.b}", field="state", hint="all parties train the same layers")
            b = state[part.b].float() / self.scales[part.b]
            a = part.fresh_a if self.freeze_a else state[part.a].float()
            rank = self.lora.rank
            if a.shape[0] != rank and not self.freeze_a:
                b = nn.functional.pad(b[:, :rank], (0, max(0, rank - b.shape[1])))
                a = torch.cat([a[:rank], part.fresh_a[a.shape[0] :]])
            _put(part.layer.lora_A, a, part.a)
            _put(part.layer.lora_B, b, part.b)
            self._load_residual(part, state)

    def _load_residual(self, part: _Module, state: State) -> None:
        """The frozen weight with what earlier rounds have added to it."""
        name = part.a.removesuffix(".lora_A.weight") + RESIDUAL
        weight = part.layer.layer.weight
        if name in state:
            own = self._own.setdefault(part.name, weight.detach().clone())
            _put(weight, own + state[name].to(own), name)
        elif part.name in self._own:
            _put(weight, self._own[part.name], part.name)


class FullWeights:
    """All weights of a module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module.requires_grad_(True)
        self.parameters: dict[str, nn.Parameter] = dict(module.named_parameters())
        self.scales: dict[str, float] = {}

    def load(self, state: State) -> None:
        for name, parameter in self.parameters.items():
            if name not in state:
                raise Incompatible(f"lacks {name}", field="state", hint="all parties start from one base")
            _put(parameter, state[name], name)


PROMPT = "prompt"


class Prompted(nn.Module):
    """A frozen model that reads `length` trained vectors before every text; its logits are those of the text."""

    def __init__(self, inner: Any, length: int, seed: int) -> None:
        super().__init__()
        self.inner = inner.requires_grad_(False)
        table = inner.get_input_embeddings().weight.detach()
        drawn = torch.randint(len(table), (length,), generator=torch.Generator().manual_seed(seed))
        self.prompt = nn.Parameter(table[drawn].clone().float())

    def forward(self, input_ids: Int[Tensor, "row token"], use_cache: bool = False) -> SimpleNamespace:
        read = self.inner.get_input_embeddings()(input_ids)
        first = self.prompt.to(read).expand(len(read), -1, -1)
        logits: Float[Tensor, "row token vocab"] = self.inner(
            inputs_embeds=torch.cat([first, read], 1), use_cache=use_cache
        ).logits
        return SimpleNamespace(logits=logits[:, self.prompt.shape[0] :])


class PromptWeights:
    """`length` vectors before the text (PromptFL, arXiv 2208.11625); they begin as embeddings drawn by `seed`."""

    def __init__(self, module: Any, length: int, *, seed: int) -> None:
        text = module.config.get_text_config(decoder=True)
        window = getattr(text, "max_position_embeddings", None)
        if window is not None and length >= window:
            hint = f"fewer than {window}"
            raise BadData(f"{length} vectors fill the window", field="prompt.length", hint=hint)
        prompted = Prompted(module, length, seed)
        self.module: nn.Module = prompted
        self.parameters: dict[str, nn.Parameter] = {PROMPT: prompted.prompt}
        self.scales: dict[str, float] = {}

    def load(self, state: State) -> None:
        if PROMPT not in state:
            raise Incompatible("lacks the prompt", field="state", hint="all parties train a prompt")
        _put(self.parameters[PROMPT], state[PROMPT], PROMPT)
