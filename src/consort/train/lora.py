"""Low-rank adapters (LoRA, 2106.09685): trained here, written as peft writes them, without needing peft."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from consort.core.errors import BadParameter, Unsupported
from consort.weights.adapters.changes import read_changes
from consort.weights.adapters.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, factor_keys
from consort.weights.adapters.lora import open_adapter


@dataclass(frozen=True, slots=True)
class Lora:
    """Which linear layers learn a delta `alpha / rank * B A`: those whose own name is in `targets`."""

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraLinear(nn.Module):
    """A frozen linear layer plus a trained delta of low rank; equal to the layer itself before training."""

    def __init__(self, layer: nn.Linear, lora: Lora, generator: torch.Generator) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.scale = lora.alpha / lora.rank
        bound = 1 / math.sqrt(layer.in_features)
        uniform = torch.rand(lora.rank, layer.in_features, generator=generator)
        self.lora_A = nn.Parameter((2 * uniform - 1) * bound)
        self.lora_B = nn.Parameter(torch.zeros(layer.out_features, lora.rank))

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The frozen layer's output plus that of the two small factors."""
        low = nn.functional.linear(nn.functional.linear(x, self.lora_A), self.lora_B)
        return self.layer(x) + self.scale * low  # type: ignore[no-any-return]


def attach_lora(model: nn.Module, lora: Lora, *, generator: torch.Generator) -> list[str]:
    """Freeze `model` and wrap its target layers in place; returns their names.

    Raises BadParameter if no linear layer of the model is called as one of the targets.
    """
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.rpartition(".")[2] in lora.targets]
    if not names:
        raise BadParameter(f"no linear layer is called {' or '.join(lora.targets)}", field="targets")
    model.requires_grad_(False)
    for name in names:
        parent, _, own = name.rpartition(".")
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        setattr(model.get_submodule(parent), own, LoraLinear(layer, lora, generator))
    return names


def save_adapter(model: nn.Module, folder: Path, lora: Lora, *, base: str, dtype: torch.dtype = torch.float32) -> None:
    """Write the adapter of a model that `attach_lora` prepared: peft's two files, naming `base` as its base model."""
    tensors = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            a, b = factor_keys(name, embedding=False)
            tensors[a], tensors[b] = module.lora_A.detach().to(dtype), module.lora_B.detach().to(dtype)
    if not tensors:
        raise BadParameter("the model has no adapter", field="model", hint="attach_lora(model, lora) first")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": sorted(lora.targets),
        "task_type": "CAUSAL_LM",
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read_adapter(folder: Path) -> dict[str, Float[Tensor, "outputs inputs"]]:
    """The delta of every weight that an adapter folder changes, in float32, under the base model's own name.

    Raises BadCheckpoint, Incompatible, Unsupported (DoRA, whose delta depends on the base).
    """
    adapter = open_adapter(folder)
    changes = read_changes(adapter)
    normed = [name for name, change in changes.low_rank.items() if change.norm]
    if normed:
        raise Unsupported("DoRA's delta depends on the base", field=adapter.name, hint="lay it over its base")
    return {
        name: change.scale * (adapter[change.b].float() @ adapter[change.a].float())
        for name, change in sorted(changes.low_rank.items())
    }
