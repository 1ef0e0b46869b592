"""Dense models as the experts of one sparse network, as a checkpoint: streamed, never in memory as a whole.

Attention, norms and embeddings are one (merged) model's, the MLPs are all models', a router in each layer chooses
(Model-GLUE 2410.05357, level F; sparse upcycling 2212.05055). Written, it is a Mixtral, Qwen2-MoE or
Qwen3-MoE folder that transformers loads by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from consort.core.counted import counted
from consort.core.dtypes import FloatName, torch_dtype
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import PerModel, Range
from consort.mixture import sparse
from consort.mixture.experts import IN_LAYER, check_gate, depth_of, gates_for
from consort.mixture.gates import Gate, Prompts, hidden_gates
from consort.mixture.noise import Disturbed
from consort.weights.checkpoint import Checkpoint, Spec, no_tensor, round_into, whole
from consort.weights.disk.config_fit import fitted
from consort.weights.family import text_config

SMALLEST = 8
"""Units of the silent shared expert of a Qwen2-MoE folder that was given none."""
MIXTRAL = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}


@sparse(paper="2410.05357")
class SparseMixture:
    """A sparse mixture of experts (Mixtral, Qwen2-MoE or Qwen3-MoE) made of the MLPs of dense models.

    `base`: the shared part; `gate`: how routers are made, from `positive` and `negative` prompts of each expert
    (`hidden`, `cheap_embed`) or at random; `state`: a file of linear gates instead. `experts_per_token`: by default 1
    of two or three experts, else 2. `shared`: one more model whose MLP every token passes, `shared_scale` times; how
    much follows from the token where `shared_positive` prompts say what it is for.
    `residual_scale` scales what each expert adds, `noise_scale` disturbs its weights. Raises Incompatible, Unsupported,
    BadParameter.
    """

    def __init__(
        self,
        base: Checkpoint,
        models: Sequence[Checkpoint],
        *,
        architecture: Literal["mixtral", "qwen2_moe", "qwen3_moe"] | None = None,
        gate: Literal["hidden", "cheap_embed", "random", "uniform_random"] = "hidden",
        positive: Sequence[Prompts] = (),
        negative: Sequence[Prompts] = (),
        state: str = "",
        experts_per_token: Annotated[int, Range(1, inf)] | None = None,
        shared: Checkpoint | None = None,
        shared_scale: Annotated[float, Range(0, inf)] = 0.1,
        shared_positive: Sequence[str] = (),
        noise_scale: PerModel[Annotated[float, Range(0, inf)]] = 0.0,
        residual_scale: PerModel[Annotated[float, Range(0, inf)]] = 1.0,
        dtype: FloatName | None = None,
        seed: Annotated[int, Range(0, inf)] = 0,
    ) -> None:
        self.base, self.models, self.shared = base, tuple(models), shared
        self.architecture, self.gate, self.state, self.seed = architecture, gate, state, seed
        self.positive, self.negative, self.experts_per_token = positive, negative, experts_per_token
        self.shared_scale, self.shared_positive, self.dtype = shared_scale, shared_positive, dtype
        self.noise_scale, self.residual_scale = noise_scale, residual_scale
        depth = depth_of(base, [*models, *([] if shared is None else [shared])])
        check_gate(gate, state, positive, negative, len(self.models))
        self._top = _top(experts_per_token, len(self.models))
        self._kind = architecture or _kind_of(base, shared)
        _check_kind(self._kind, base, shared)
        self._rounded = None if dtype is None else torch_dtype(dtype)
        self._scales = per_model(residual_scale, len(self.models), "residual_scale")
        noises = per_model(noise_scale, len(self.models), "noise_scale")
        self._experts = [
            Disturbed(model, noise=noise, seed=f"{seed} {number}") if noise else model
            for number, (model, noise) in enumerate(zip(self.models, noises, strict=True))
        ]
        self._layers = range(depth)
        self._lock, self._gates = threading.Lock(), dict[str, Gate]()
        self._parts = self._plan()
        self.name = f"sparse({', '.join(model.name for model in self.models)})"
        specs = {name: self.spec(name) for name in self._parts}
        self.config: Mapping[str, Any] = fitted(self._config(), specs, untied=False)

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        """The base, the experts and the shared expert, each once."""
        found = [self.base, *self.models, *([] if self.shared is None else [self.shared])]
        return tuple({id(model): model for model in found}.values())

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._parts)

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        if name not in self._parts:
            raise no_tensor(self, name)
        source, there, _ = self._parts[name]
        spec = source if isinstance(source, Spec) else source.spec(there)
        return Spec(spec.shape, self._rounded) if self._rounded and spec.dtype.is_floating_point else spec

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if name not in self._parts:
            raise no_tensor(self, name)
        source, there, scale = self._parts[name]
        if isinstance(source, Spec):
            values = self._router(there).flatten()[start:stop] if there else torch.zeros(stop - start)
            round_into(values, out)
        elif scale == 1:
            source.read_into(there, start, stop, out)
        else:
            values = torch.empty(stop - start)
            source.read_into(there, start, stop, values)
            round_into(values.mul_(scale), out)

    def files(self) -> Mapping[str, Path | bytes]:
        return self.base.files()

    def _plan(self) -> dict[str, tuple[Checkpoint | Spec, str, float]]:
        """For each output name what it is: a source, the name there ("" for zeros, a layer for its gate), a scale."""
        parts: dict[str, tuple[Checkpoint | Spec, str, float]] = {}
        routers: set[int] = set()
        for name in self.base.keys():
            found = IN_LAYER.fullmatch(name)
            if found and found[2].startswith("mlp."):
                layer = int(found[1])
                if layer not in routers:
                    routers.add(layer)
                    parts |= self._routers(layer)
                part = found[2].split(".")[1]
                for number, model in enumerate(self._experts):
                    scale = self._scales[number] if part == "down_proj" else 1.0
                    parts[self._expert_name(layer, number, part)] = (model, name, scale)
                parts |= self._shared_parts(layer, part, name)
            else:
                parts[name] = (self.base, name, 1.0)
        return parts

    def _expert_name(self, layer: int, number: int, part: str) -> str:
        if self._kind == "mixtral":
            return f"model.layers.{layer}.block_sparse_moe.experts.{number}.{MIXTRAL[part]}.weight"
        return f"model.layers.{layer}.mlp.experts.{number}.{part}.weight"

    def _routers(self, layer: int) -> dict[str, tuple[Checkpoint | Spec, str, float]]:
        dtype = self.base.spec(f"model.layers.{layer}.mlp.up_proj.weight").dtype
        hidden = int(text_config(self.base.config)["hidden_size"])
        gate = Spec((len(self.models), hidden), dtype)
        if self._kind == "mixtral":
            return {f"model.layers.{layer}.block_sparse_moe.gate.weight": (gate, str(layer), 1.0)}
        if self._kind == "qwen3_moe":
            return {f"model.layers.{layer}.mlp.gate.weight": (gate, str(layer), 1.0)}
        own = f"shared {layer}" if self.shared is not None and self.shared_positive else ""
        return {
            f"model.layers.{layer}.mlp.gate.weight": (gate, str(layer), 1.0),
            f"model.layers.{layer}.mlp.shared_expert_gate.weight": (Spec((1, hidden), dtype), own, 1.0),
        }

    def _shared_parts(self, layer: int, part: str, name: str) -> dict[str, tuple[Checkpoint | Spec, str, float]]:
        if self._kind != "qwen2_moe":
            return {}
        key = f"model.layers.{layer}.mlp.shared_expert.{part}.weight"
        if self.shared is not None:
            # a gate of zeros lets half of it through
            scale = self.shared_scale * (1 if self.shared_positive else 2)
            return {key: (self.shared, name, scale if part == "down_proj" else 1.0)}
        spec = self.base.spec(name)
        shape = (spec.shape[0], SMALLEST) if part == "down_proj" else (SMALLEST, spec.shape[1])
        return {key: (Spec(shape, spec.dtype), "", 1.0)}

    def _router(self, key: str) -> Tensor:
        """The rows of a layer's router; those from prompts need the base at work once, when the first is read."""
        with self._lock:
            if not self._gates:
                self._gates.update(self._made())
        parts = self._gates[key].layers
        if len(parts) > 1 or parts[0][1] is not None:
            hint = "use it with weight_mixture, which decides at run time"
            raise Unsupported("is no linear router without bias", field=f"state: {self.state}", hint=hint)
        return parts[0][0]

    def _made(self) -> dict[str, Gate]:
        from consort.models import load_model

        needed = not self.state and self.gate in ("hidden", "cheap_embed") and len(self.models) > 1
        needed = needed or (self.shared is not None and bool(self.shared_positive))
        base, layers = load_model(self.base) if needed else None, list(self._layers)
        made = gates_for(
            self.base,
            base,
            layers,
            len(self.models),
            gate=self.gate,
            state=self.state,
            positive=self.positive,
            negative=self.negative,
            seed=self.seed,
        )
        found = {str(layer): gate for layer, gate in made.items()}
        if base is not None and self.shared is not None and self.shared_positive:
            own = hidden_gates(base, [self.shared_positive], [], layers)
            found |= {f"shared {layer}": gate for layer, gate in own.items()}
        return found

    def _config(self) -> dict[str, Any]:
        config = {
            k: v for k, v in self.base.config.items() if k not in ("attention_bias", "mlp_bias", "pretraining_tp")
        }
        if self._kind == "mixtral":
            config |= {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}
            config |= {"num_local_experts": len(self.models), "num_experts_per_tok": self._top}
            return config | {"sliding_window": self.base.config.get("sliding_window")}
        size = config["intermediate_size"]
        biased = any(name.endswith("q_proj.bias") for name in self.base.keys())
        if self._kind == "qwen3_moe":
            config |= {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "attention_bias": biased}
            config |= {"num_experts": len(self.models), "num_experts_per_tok": self._top, "moe_intermediate_size": size}
            return config | {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}
        config |= {"architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "qkv_bias": biased}
        config |= {"num_experts": len(self.models), "num_experts_per_tok": self._top, "moe_intermediate_size": size}
        config |= {"shared_expert_intermediate_size": SMALLEST if self.shared is None else size}
        return config | {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}


def per_model(value: float | Sequence[float], count: int, field: str) -> list[float]:
    """One value for each model. Raises BadParameter."""
    given = list(value) if isinstance(value, Sequence) else [value] * count
    if len(given) != count:
        raise BadParameter(
            f"{counted(len(given), 'value')} for {counted(count, 'model')}",
            field=field,
            hint=f"give one for all, or {count}",
        )
    return given


def _top(wanted: int | None, experts: int) -> int:
    if wanted is not None and wanted > experts:
        message = f"{wanted} of {experts} experts"
        raise BadParameter(message, field="experts_per_token", hint=f"a whole number up to {experts}")
    return wanted or (1 if experts < 4 else 2)


def _kind_of(base: Checkpoint, shared: Checkpoint | None) -> str:
    if base.config.get("model_type") == "qwen3" and shared is None:
        return "qwen3_moe"
    biased = any(name.endswith("_proj.bias") for name in base.keys())
    return "qwen2_moe" if shared is not None or biased or base.config.get("model_type") == "qwen2" else "mixtral"


def _check_kind(kind: str, base: Checkpoint, shared: Checkpoint | None) -> None:
    """Raise Unsupported, BadParameter where the sparse architecture would compute something else."""
    biases = {name.rsplit(".", 2)[1] for name in base.keys() if name.endswith("_proj.bias")}
    norms = any(name.endswith(("q_norm.weight", "k_norm.weight")) for name in base.keys())
    allowed = set() if kind == "mixtral" else {"q_proj", "k_proj", "v_proj"}
    allowed |= {"o_proj"} if kind == "qwen3_moe" and len(biases) == 4 else set()
    if norms != (kind == "qwen3_moe"):
        hint = f"architecture: {'qwen3_moe, without a shared expert' if norms else 'qwen2_moe'}"
        message = f"{kind} has {'no ' if norms else ''}norms of queries and keys"
        raise Unsupported(message, field=base.name, hint=hint)
    if not biases <= allowed:
        what = f"biases of {', '.join(sorted(biases - allowed))}"
        hint = "use weight_mixture with level: ffn, which decides at run time"
        raise Unsupported(f"{kind} has no {what}", field=base.name, hint=hint)
    if kind != "qwen2_moe" and shared is not None:
        raise BadParameter(f"{kind} has no shared expert", field="shared", hint="architecture: qwen2_moe")
