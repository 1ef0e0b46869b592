"""The few merges by which the lab is measured; the library's own, complete ones live in `consort.merge`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from consort.train.lora import read_adapter

State = Mapping[str, Tensor]


def read_state(folder: Path) -> dict[str, Tensor]:
    """The weights of a model folder in float32."""
    from safetensors.torch import load_file

    return {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}


def delta(folder: Path, base: State) -> dict[str, Tensor]:
    """What a model or adapter folder adds to its base, for every weight of the base."""
    if (folder / "adapter_config.json").exists():
        added = read_adapter(folder)
        return {name: added.get(name, torch.zeros_like(tensor)) for name, tensor in base.items()}
    expert = read_state(folder)
    return {name: expert[name] - tensor for name, tensor in base.items()}


def combine(base: State, deltas: Sequence[State], coefficients: Sequence[float]) -> dict[str, Tensor]:
    """Task arithmetic (2212.04089): the base plus the weighted sum of the deltas."""
    return {
        name: tensor + sum(c * d[name] for c, d in zip(coefficients, deltas, strict=True))
        for name, tensor in base.items()
    }


def ties(base: State, deltas: Sequence[State], *, density: float, scale: float) -> dict[str, Tensor]:
    """TIES (2306.01708): keep each delta's largest entries, elect a sign, average those that agree."""
    return {
        name: tensor + scale * _ties(torch.stack([d[name] for d in deltas]), density) for name, tensor in base.items()
    }


def _ties(deltas: Tensor, density: float) -> Tensor:
    flat = deltas.flatten(1)
    kept = max(1, round(density * flat.shape[1]))
    threshold = flat.abs().topk(kept, dim=1).values[:, -1:]
    trimmed = torch.where(flat.abs() >= threshold, flat, 0.0)
    agree = trimmed * trimmed.sum(0).sign() > 0
    merged = torch.where(agree, trimmed, 0.0).sum(0) / agree.sum(0).clamp(min=1)
    return merged.view(deltas.shape[1:])


def best(score: Callable[[float], float], candidates: Sequence[float]) -> float:
    """The candidate of the highest score; of equals, the first."""
    return max(candidates, key=score)


def coordinate_search(
    score: Callable[[Sequence[float]], float], start: Sequence[float], steps: Sequence[float], rounds: int
) -> list[float]:
    """Change one coefficient at a time to the best of `steps`, all in turn, `rounds` times; a tie changes nothing."""
    point = list(start)
    highest = score(point)
    for _ in range(rounds):
        for i in reversed(range(len(point))):
            for value in steps:
                trial = [*point[:i], value, *point[i + 1 :]]
                if (reached := score(trial)) > highest:
                    point, highest = trial, reached
    return point
