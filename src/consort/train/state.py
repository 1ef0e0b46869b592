"""What a training run must remember to go on after a kill: weights, optimiser, step; one safetensors file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from consort.core.errors import BadCheckpoint

CURVE = "curve"


def save_state(
    path: Path,
    label: str,
    curve: Sequence[Sequence[float]],
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write the state after as many updates as `curve` has entries; the file is whole or absent, never half."""
    tensors = {f"weight.{name}": p.detach().contiguous() for name, p in parameters.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"{key}.{name}"] = torch.as_tensor(value).detach().contiguous()
    tensors[CURVE] = torch.tensor(curve, dtype=torch.float64)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"label": label, "step": str(len(curve))})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def load_state(
    path: Path, label: str, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> list[tuple[float, ...]]:
    """Put the state in `path` into the model and the optimiser; returns the curve of the steps already done."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise BadCheckpoint(f"unreadable training state: {error}", field=str(path), hint="delete it") from error
    if metadata.get("label") != label:
        raise BadCheckpoint("training state of another run", field=str(path), hint=f"delete it; expected {label}")
    for name, parameter in parameters.items():
        _put(parameter, tensors, name, path)
        optimizer.state[parameter] = {
            key: tensors[f"{key}.{name}"]
            for key in ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
            if f"{key}.{name}" in tensors
        }
    if CURVE not in tensors:
        raise BadCheckpoint("training state without its curve", field=str(path), hint="delete it")
    return [tuple(terms) for terms in tensors[CURVE].tolist()]


def _put(parameter: nn.Parameter, tensors: Mapping[str, Tensor], name: str, path: Path) -> None:
    stored = tensors.get(f"weight.{name}")
    if stored is None or stored.shape != parameter.shape:
        raise BadCheckpoint(f"training state does not fit parameter {name}", field=str(path), hint="delete it")
    with torch.no_grad():
        parameter.copy_(stored)
