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
from consort.merge.adapters.extract_adapter import ExtractAdapter
from consort.weights.architecture.loaded import Loaded
from consort.weights.disk.folder import Folder, open_folder
from consort.weights.disk.opening import open_checkpoint
from consort.weights.disk.writer import write
from consort.weights.layers import Layers
from consort.weights.views.stack import Slice, Stack
from tests.compatibility.architectures import offered, tiny, told_apart

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers about itself
QUICK = told_apart()
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in offered()]
"""All; those that store their weights as another does are slow: `make matrix` runs them too."""
STACKS = {
    "whole": lambda n: [(0, n)],
    "doubled": lambda n: [(0, n), (0, n)],
    "reversed": lambda n: [(i, i + 1) for i in reversed(range(n))],
    "first": lambda n: [(0, 1)],
    "last": lambda n: [(n - 1, n)],
}
REFUSED: dict[tuple[str, str], str] = {
    # the first k layers are dense: no configuration puts a dense layer after one of experts
    **{(name, "doubled"): "mlp" for name in ("glm4_moe", "ernie4_5_moe", "deepseek_v2", "deepseek_v3")},
    **{(name, "reversed"): "mlp" for name in ("glm4_moe", "deepseek_v2", "deepseek_v3")},
    # a layer's attention has a constant of its number
    **{("diffllama", order): "lambda_init" for order in ("doubled", "reversed", "last")},
    # one table of embeddings for all layers together
    **{("gemma3n_text", order): "embed_tokens_per_layer" for order in ("doubled", "first", "last")},
    # the first layer alone has no norm, or one more
    **{("modernbert-decoder", order): "attn_norm" for order in ("doubled", "reversed", "last")},
    **{("rwkv", order): "pre_ln" for order in ("doubled", "reversed", "last")},
    # blocks shared by layers
    ("zamba2", "doubled"): "shared_transformer",
    # transformers refuses the architecture without both kinds of layers
    **{("olmo_hybrid", order): "expects at least one" for order in ("first", "last")},
}
UNLOADABLE = {("rwkv", "first"): "transformers divides by the number of layers less one"}


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


@cache
def kind_of(name: str) -> Any:
    return type(tiny(name))


def loads(name: str, path: Path) -> Any:
    """The model in a folder, loaded with no key missing, unexpected or of another shape."""
    module, info = kind_of(name).from_pretrained(path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return module.eval()


def ties_by_hand(base: Tensor, models: list[Tensor], density: float) -> Tensor:
    """TIES (2306.01708) with weights of one, in float64 by a sort."""
    deltas = torch.stack([model.double() - base.double() for model in models])
    flat = deltas.abs().reshape(len(deltas), -1)
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


STACKED = [
    pytest.param(name, order, marks=() if name in QUICK or (name, order) in REFUSED else pytest.mark.slow)
    for order in STACKS
    for name in offered()
]


@pytest.mark.parametrize(("name", "order"), STACKED)
def test_a_stack_loads_or_is_refused_by_name(name: str, order: str, tmp_path: Path) -> None:
    if (name, order) in UNLOADABLE:
        pytest.skip(UNLOADABLE[name, order])
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


ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora, patterns, saved": {
        "use_rslora": True,
        "rank_pattern": {"down_proj": 3},
        "alpha_pattern": {"q_proj": 5},
        "modules_to_save": ["lm_head"],
    },
    "dora": {"use_dora": True},
    "parameters": {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]},
}


def linear_layers(module: Any) -> list[str]:
    """The last names of the linear layers of the language model, without those of the vision tower and the head."""
    import transformers

    kinds = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    names = [n for n, m in module.named_modules() if isinstance(m, kinds) and "vision" not in n and "visual" not in n]
    return sorted(
        {n.rpartition(".")[2] for n in names if n.rpartition(".")[2].isidentifier()} - {"lm_head", "embed_out"}
    )


def adapted(name: str, variant: str, path: Path) -> dict[str, Tensor] | None:
    """A trained adapter saved by peft, and the tensors of the model that peft makes of it; None where it cannot."""
    import peft

    module = tiny(name)
    module.save_pretrained(path / "base")
    known = dict(module.named_parameters())
    given: dict[str, Any] = {"target_modules": linear_layers(module), **ADAPTERS[variant]}
    if variant == "parameters":
        if not any(key.endswith("mlp.experts.gate_up_proj") for key in known):
            return None
        given["target_modules"] = [n for n in given["target_modules"] if n == "q_proj"]
    if "modules_to_save" in given and not hasattr(module, "lm_head"):
        del given["modules_to_save"]
    conv1d = any("Conv1D" in type(m).__name__ for m in module.modules())
    try:
        made = peft.get_peft_model(module, peft.LoraConfig(r=4, lora_alpha=8, fan_in_fan_out=conv1d, **given))
    except (ValueError, NotImplementedError, TypeError, RuntimeError):
        return None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    made.save_pretrained(path / "adapter")
    merged: dict[str, Tensor] = made.merge_and_unload().state_dict()
    return merged


@pytest.mark.parametrize("variant", ADAPTERS)
@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_laid_over_its_base_is_pefts_merged_model(name: str, variant: str, tmp_path: Path) -> None:
    right = adapted(name, variant, tmp_path)
    if right is None:
        pytest.skip("peft makes no such adapter of this architecture")
    base = open_folder(tmp_path / "base")
    made = open_checkpoint(tmp_path / "adapter", base=base)
    found = Loaded(made)
    untouched = Loaded(base)
    changed = 0
    for key in found.keys():
        if key in right:
            assert torch.allclose(found[key], right[key], atol=1e-5), key
            changed += key not in untouched.keys() or not torch.equal(found[key], untouched[key])
    assert changed


UNSAVED: dict[str, str] = {
    # what an adapter of peft has no place for: parameters that are neither weights nor biases of a module of its own
    **dict.fromkeys(("apertus", "diffllama", "gemma3n_text", "gpt_oss", "mimo_v2_flash", "dbrx"), "cannot be saved"),
    **dict.fromkeys(("jetmoe", "ernie4_5_moe", "mamba", "mamba2", "falcon_mamba", "rwkv", "jamba"), "cannot be saved"),
    **dict.fromkeys(("zamba", "zamba2", "bamba", "falcon_h1", "granitemoehybrid"), "cannot be saved"),
    **dict.fromkeys(("recurrent_gemma", "qwen3_next", "qwen3_5_text", "olmo_hybrid"), "cannot be saved"),
    **dict.fromkeys(("nemotron_h", "gemma3", "llava", "roberta"), "cannot be saved"),
}


@pytest.mark.parametrize("name", NAMES)
def test_A5_an_extracted_adapter_makes_the_tuned_model_in_peft(name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base, tuned = (folder(name, seed) for seed in range(2))
    try:
        write(ExtractAdapter(open_folder(tuned), open_folder(base), rank=64), tmp_path / "adapter")
    except Incompatible as refusal:
        assert name in UNSAVED and UNSAVED[name] in str(refusal), str(refusal)
        return
    assert name not in UNSAVED
    write(open_checkpoint(tmp_path / "adapter", base=open_folder(base)), tmp_path / "merged")
    tokens = torch.arange(3, 9)[None]
    with torch.no_grad():
        right = loads(name, tuned)(tokens).logits
        theirs = peft.PeftModel.from_pretrained(loads(name, base), tmp_path / "adapter").eval()(tokens).logits
        ours = loads(name, tmp_path / "merged")(tokens).logits
    assert torch.allclose(theirs, right, atol=1e-3)
    assert torch.allclose(ours, right, atol=1e-3)
