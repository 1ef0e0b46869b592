"""One model in memory for all clients of a process, and what is trained of it; saved as ordinary folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from consort.core.binding import bound
from consort.core.errors import BadParameter
from consort.core.files import write_json
from consort.core.params import Range
from consort.federate.clients.client import Fitted
from consort.federate.local import LocalRule
from consort.federate.low_rank import A, B, modules_of
from consort.federate.state import RESIDUAL, Memory, State, write_state
from consort.federate.training.local_steps import LocalSteps
from consort.federate.training.options import LocalTraining
from consort.federate.training.weights import PROMPT, FullWeights, LoraWeights, PromptWeights, Weights, state_of
from consort.models.hf.loading import load_model
from consort.train.lora import Lora, save_adapter
from consort.weights import Memory as InMemory
from consort.weights.adapters.files import PREFIX
from consort.weights.checkpoint import Checkpoint

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Trainable:
    """What of a model is trained: `lora` factors of `rank`, `full` weights, or a `prompt` of `length` vectors.

    `freeze_a` None: both LoRA factors are trained unless the aggregator needs coordinates that keep their meaning.
    """

    what: Literal["lora", "full", "prompt"] = "lora"
    rank: Annotated[int, Range(1, 65536)] = 8
    alpha: Annotated[float, Range(0.000001, 65536)] = 16.0
    targets: Sequence[str] = LAYERS
    freeze_a: bool | None = None
    length: Annotated[int, Range(1, 100000)] = 16


bound(Trainable, "trainable")


class Bench:
    """A base model in float32 with its trained part; clients of one process take turns on it."""

    def __init__(self, base: Checkpoint, trainable: Trainable, *, seed: int = 0, fixed: bool = False) -> None:
        """`first` is the state before any training. `fixed`: the aggregator needs coordinates that keep their meaning,
        so A is frozen unless that is refused."""
        self.base, self.trainable = base, trainable
        self.model = load_model(base)
        self.tokenizer = self.model.tokenizer
        self.weights: Weights = self._weights(seed, fixed)
        self.first = state_of(self.weights)

    def _weights(self, seed: int, fixed: bool) -> Weights:
        module, chosen = self.model.module, self.trainable
        if chosen.what == "full":
            return FullWeights(module)
        if chosen.what == "prompt":
            return PromptWeights(module, chosen.length, seed=seed)
        freeze = fixed if chosen.freeze_a is None else chosen.freeze_a
        return LoraWeights(module, Lora(chosen.rank, chosen.alpha, tuple(chosen.targets)), seed=seed, freeze_a=freeze)

    def trained(self, state: State) -> Checkpoint:
        """The base with a state in it, as a checkpoint. A prompt is no change of weights: BadParameter."""
        if self.trainable.what == "prompt":
            raise BadParameter("a prompt changes no weights", field="trainable", hint="use federate.prompts.Prompted")
        if self.trainable.what == "full":
            return self._checkpoint({n: state[n] if n in state else self.base[n] for n in self.base.keys()})
        self.weights.load(state)
        tensors = {}
        deltas = self._deltas()
        for name in self.base.keys():
            tensors[name] = self.base[name].float() + deltas[name] if name in deltas else self.base[name]
        return self._checkpoint(tensors)

    def _checkpoint(self, tensors: Mapping[str, Tensor]) -> Checkpoint:
        made: Checkpoint = InMemory(tensors, self.base.config, name=self.base.name, files=self.base.files())
        return made

    def _deltas(self) -> dict[str, Tensor]:
        """What the loaded state changes of each weight, residuals too."""
        weights = self.weights
        assert isinstance(weights, LoraWeights)
        found = {}
        for part in weights.layers:
            layer = part.layer
            with torch.no_grad():
                frozen = layer.layer.weight.double() - self.base[f"{part.name}.weight"].double()
                product = layer.scale * (layer.lora_B.double() @ layer.lora_A.double())
                found[f"{part.name}.weight"] = (frozen + product).float()
        return found

    def save(self, state: State, folder: Path) -> str:
        """Write a state as it is used: an adapter in peft's format, a soft prompt, or a whole model; tells which."""
        from consort.weights import write

        if self.trainable.what == "prompt":
            write_state(folder / "soft_prompt.safetensors", {PROMPT: state[PROMPT]})
            write_json(folder / "soft_prompt.json", {"base": self.base.name, "length": int(state[PROMPT].shape[0])})
            return "prompt"
        if self.trainable.what == "full" or any(name.endswith(RESIDUAL) for name in state):
            write(self.trained(state), folder, force=True)
            return "model"
        weights = self.weights
        assert isinstance(weights, LoraWeights)
        if any(state[m + A].shape[0] != self.trainable.rank for m in modules_of(state)):
            _save_factors(state, folder, self.base.name, self.trainable)
        else:
            weights.load(state)
            save_adapter(self.model.module, folder, weights.lora, base=self.base.name)
        return "adapter"


def _save_factors(state: State, folder: Path, base: str, trainable: Trainable) -> None:
    """An adapter of the state's own rank, its scale 1."""
    ranks = {module.removeprefix(PREFIX): state[module + A].shape[0] for module in modules_of(state)}
    rank = max(ranks.values())
    write_state(folder / "adapter_model.safetensors", {n: state[n] for n in state if n.endswith((A, B))})
    config = {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {name: r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {name: r for name, r in ranks.items() if r != rank},
        "target_modules": sorted(trainable.targets),
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


class BenchTrainer:
    """A client's trainer: its own items, on a bench that others may use between its rounds."""

    def __init__(self, bench: Bench, method: Any, items: Sequence[Any], options: LocalTraining) -> None:
        self.bench, self.method, self.items, self.options = bench, method, items, options
        self._is_ready = False

    @property
    def samples(self) -> int:
        return len(self.items)

    def train(self, state: State, rule: LocalRule, received: State, memory: Memory, *, seed: int) -> Fitted:
        if not self._is_ready:
            self.bench.weights.load(self.bench.first)
            self.method.prepare(self.bench.weights.module, self.items)
            self._is_ready = True
        steps = LocalSteps(self.bench.weights, self.items, self.method.loss, self.options)
        return steps.run(state, rule, received, memory, seed=seed)
