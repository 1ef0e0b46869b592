"""The compatibility matrix's columns of weights: merging, stacking and adapting tiny models of every architecture.

Every cell is right, or refused by the name of what stands against it: `REFUSED` says what, and why.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from consort.core.errors import Incompatible, Unsupported
from consort.merge import merge
from consort.weights.disk.folder import Folder, open_folder
from consort.weights.disk.writer import write
from consort.weights.layers import Layers
from consort.weights.views.stack import Slice, Stack
from tests.compatibility.architectures import offered, tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers about itself
NAMES = offered()
STACKS = {
    "whole": lambda n: [(0, n)],
    "doubled": lambda n: [(0, n), (0, n)],
    "reversed": lambda n: [(i, i + 1) for i in reversed(range(n))],
    "first": lambda n: [(0, 1)],
    "last": lambda n: [(n - 1, n)],
}
REFUSED: dict[tuple[str, str], str] = {}


@cache
def home() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@cache
def folder(name: str, seed: int = 0) -> Path:
    """A tiny model, saved by transformers."""
    path = Path(home().name) / f"{name}-{seed}"
    tiny(name, seed).save_pretrained(path)
    return path


def tensors(path: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in path.glob("*.safetensors"):
        found |= load_file(file)
    return found


def loads(name: str, path: Path) -> Any:
    """The model in a folder, loaded with no key missing, unexpected or of another shape."""
    kind = type(tiny(name))
    module, info = kind.from_pretrained(path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return module.eval()


def ties_by_hand(base: Tensor, models: list[Tensor], density: float) -> Tensor:
    """TIES (2306.01708) with weights of one, in float64 by a sort."""
    deltas = torch.stack([model.double() - base.double() for model in models])
    flat = deltas.abs().flatten(1)
    threshold = flat.sort(dim=1, descending=True).values[:, max(1, int(density * flat.shape[1])) - 1]
    kept = deltas * (deltas.abs() >= threshold.view(-1, *[1] * base.dim()))
    sign = torch.where(kept.sum(0) >= 0, 1.0, -1.0)
    agree = (kept.sign() == sign) & (kept != 0)
    return base.double() + (kept * agree).sum(0) / agree.sum(0).clamp(min=1)


@pytest.mark.parametrize("name", NAMES)
def test_linear_and_ties_are_those_of_the_saved_tensors(name: str, tmp_path: Path) -> None:
    paths = [folder(name, seed) for seed in range(3)]
    base, one, other = (tensors(path) for path in paths)
    opened = [open_folder(path) for path in paths]
    linear = merge("linear", opened[1:], weight=[1, 3])
    ties = merge("ties", opened[1:], base=opened[0], weight=1, density=0.5)
    assert set(linear.keys()) == set(ties.keys()) == set(base)
    for key, value in base.items():
        if not value.dtype.is_floating_point:
            continue
        expected = (one[key].double() + 3 * other[key].double()) / 4
        assert torch.allclose(linear[key].double(), expected, atol=1e-6), key
        expected = ties_by_hand(value, [one[key], other[key]], 0.5)
        assert torch.allclose(ties[key].double(), expected, atol=1e-5), key
    write(ties, tmp_path / "out")
    loads(name, tmp_path / "out")


@pytest.mark.parametrize("order", STACKS)
@pytest.mark.parametrize("name", NAMES)
def test_a_stack_loads_or_is_refused_by_name(name: str, order: str, tmp_path: Path) -> None:
    model: Folder = open_folder(folder(name))
    try:
        count = Layers(model).count
        stack = Stack([Slice(model, part) for part in STACKS[order](count)])
    except (Incompatible, Unsupported) as refusal:
        assert (name, order) in REFUSED and REFUSED[name, order] in str(refusal), str(refusal)
        return
    assert (name, order) not in REFUSED
    write(stack, tmp_path / "out")
    made = loads(name, tmp_path / "out")
    if order == "whole":
        kind = type(made)
        with torch.no_grad():
            right = kind.from_pretrained(folder(name)).eval()(torch.arange(3, 9)[None]).logits
            assert torch.allclose(made(torch.arange(3, 9)[None]).logits, right, atol=1e-5)
