"""Adapters against peft's own merge, by hand, and the adapters that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from consort.core.errors import BadCheckpoint, Incompatible, Unsupported
from consort.weights.adapters.lora import Adapted, open_adapter
from consort.weights.checkpoint import Checkpoint, Memory
from consort.weights.disk.folder import open_folder
from consort.weights.disk.opening import open_checkpoint
from consort.weights.disk.whole_folder import Disk
from consort.weights.disk.writer import write

MakeAdapter = Callable[..., Path]
MODULE = "base_model.model.layer"


@pytest.fixture
def make_adapter(tmp_path: Path) -> MakeAdapter:
    def make(tensors: dict[str, torch.Tensor], **config: Any) -> Path:
        path = tmp_path / "adapter"
        path.mkdir(exist_ok=True)
        settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "base_model_name_or_path": "org/base", **config}
        (path / "adapter_config.json").write_text(json.dumps(settings))
        save_file(tensors, path / "adapter_model.safetensors")
        return path

    return make


def factors(a: list[list[float]], b: list[list[float]], module: str = MODULE) -> dict[str, torch.Tensor]:
    return {f"{module}.lora_A.weight": torch.tensor(a), f"{module}.lora_B.weight": torch.tensor(b)}


IDENTITY = Memory({"layer.weight": torch.eye(2), "layer.bias": torch.zeros(2)}, {}, name="base")
HAND = factors([[1.0, 1.0]], [[1.0], [2.0]])


def test_the_delta_of_the_specification(make_adapter: MakeAdapter) -> None:
    adapted = open_checkpoint(make_adapter(HAND), base=IDENTITY)
    assert isinstance(adapted, Checkpoint) and adapted.name == "base+adapter"
    assert adapted["layer.weight"].tolist() == [[3, 2], [4, 5]]
    assert adapted["layer.bias"].tolist() == [0, 0]


def test_scales_and_patterns(make_adapter: MakeAdapter) -> None:
    two = factors([[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]])
    cases: list[tuple[dict[str, Any], float]] = [
        ({"r": 2, "lora_alpha": 4}, 2.0),
        ({"r": 2, "lora_alpha": 4, "use_rslora": True}, 4 / 2**0.5),
        ({"r": 8, "rank_pattern": {"layer": 2}, "lora_alpha": 4}, 2.0),
        ({"r": 2, "alpha_pattern": {"la[xy]er": 6}}, 3.0),
    ]
    for config, scale in cases:
        adapted = Adapted(IDENTITY, open_adapter(make_adapter(two, **config)))
        assert adapted["layer.weight"][0, 0].item() == pytest.approx(1 + scale, rel=1e-6)


def test_fan_in_fan_out_and_embeddings_are_stored_transposed(make_adapter: MakeAdapter) -> None:
    base = Memory({"layer.weight": torch.zeros(3, 2)}, {})
    a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0], [10.0]])
    expected = [[2, 20], [4, 40], [6, 60]]
    conv = make_adapter({f"{MODULE}.lora_A.weight": a, f"{MODULE}.lora_B.weight": b}, fan_in_fan_out=True)
    assert Adapted(base, open_adapter(conv))["layer.weight"].tolist() == expected
    embedding = make_adapter({f"{MODULE}.lora_embedding_A": a, f"{MODULE}.lora_embedding_B": b})
    assert Adapted(base, open_adapter(embedding))["layer.weight"].tolist() == expected


def test_saved_modules_and_biases_replace(make_adapter: MakeAdapter) -> None:
    replace = {f"{MODULE}.modules_to_save.weight": 7 * torch.ones(2, 2), f"{MODULE}.bias": torch.ones(2)}
    adapted = Adapted(IDENTITY, open_adapter(make_adapter(replace)))
    assert adapted["layer.weight"].tolist() == [[7, 7], [7, 7]] and adapted["layer.bias"].tolist() == [1, 1]


def test_an_entry_has_the_same_bits_however_it_is_read(make_adapter: MakeAdapter) -> None:
    rng = torch.Generator().manual_seed(0)
    base = Memory({"layer.weight": torch.randn(700, 900, generator=rng)}, {})
    a, b = torch.randn(5, 900, generator=rng), torch.randn(700, 5, generator=rng)
    adapted = Adapted(base, make_adapter({f"{MODULE}.lora_A.weight": a, f"{MODULE}.lora_B.weight": b}, r=5))
    whole = adapted["layer.weight"].view(-1)
    for start, stop in ((0, 1), (899, 901), (262_143, 300_000), (123, 629_999), (629_999, 630_000)):
        out = torch.empty(stop - start)
        adapted.read_into("layer.weight", start, stop, out)
        assert torch.equal(out, whole[start:stop])


FAULTS: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any], type[Exception], str]] = {
    "no target": (factors([[1.0, 1.0]], [[1.0], [2.0]], "base_model.model.other"), {}, Incompatible, "other.lora_A"),
    "another width": (factors([[1.0] * 3], [[1.0], [2.0]]), {}, Incompatible, r"\[2, 2\], its factors are \[1, 3\]"),
    "rank mismatch": (HAND, {"r": 4}, Incompatible, "have rank 1, the configuration says 4"),
    "half a pair": ({f"{MODULE}.lora_A.weight": torch.ones(1, 2)}, {}, BadCheckpoint, "has only"),
    "replacement": ({f"{MODULE}.weight": torch.ones(3, 3)}, {}, Incompatible, r"is \[2, 2\], its replacement \[3, 3\]"),
    "no alpha": (HAND, {"lora_alpha": "x"}, BadCheckpoint, "is not a finite number"),
    "no lora": (HAND, {"peft_type": "IA3"}, Unsupported, "IA3"),
    "changed base": (HAND, {"init_lora_weights": "pissa_niter_4"}, Unsupported, "init_lora_weights"),
    "replication": (HAND, {"layer_replication": [[0, 2]]}, Unsupported, "layer_replication"),
    "endless pattern": (HAND, {"rank_pattern": {"(a+)+b": 1}}, Unsupported, "pattern"),
    "broken pattern": (HAND, {"alpha_pattern": {"[": 1}}, BadCheckpoint, "is invalid"),
    "dora": (HAND | {f"{MODULE}.lora_magnitude_vector": torch.ones(2)}, {}, BadCheckpoint, "incomplete|has only"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_an_adapter_that_does_not_fit_is_refused(case: str, make_adapter: MakeAdapter) -> None:
    tensors, config, kind, said = FAULTS[case]
    path = make_adapter(tensors, **config)
    with pytest.raises(kind, match=said) as caught:
        open_checkpoint(path, base=IDENTITY)
    assert caught.value.hint and caught.value.field  # type: ignore[attr-defined]


def test_an_adapter_needs_its_base_by_hand(make_adapter: MakeAdapter) -> None:
    with pytest.raises(BadCheckpoint, match="is an adapter") as caught:
        open_checkpoint(make_adapter(HAND))
    assert "'org/base'" in str(caught.value.hint)


def test_a_pickled_adapter_is_refused(make_adapter: MakeAdapter) -> None:
    path = make_adapter(HAND)
    (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")
    with pytest.raises(BadCheckpoint, match="only pickle"):
        open_checkpoint(path, base=IDENTITY)


def test_an_adapter_that_names_no_base_is_called_that(make_adapter: MakeAdapter) -> None:
    with pytest.raises(BadCheckpoint, match="adapter_config.json: base_model_name_or_path: .* names no base"):
        open_checkpoint(make_adapter(HAND, base_model_name_or_path=None))


TIED = {"tie_word_embeddings": True, "vocab_size": 2}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def test_a_head_adapted_apart_from_its_embedding_is_untied(make_adapter: MakeAdapter, tmp_path: Path) -> None:
    base = Memory({EMBEDDING: torch.eye(2)}, TIED, name="base")
    adapted = Adapted(base, make_adapter(factors([[1.0, 1.0]], [[1.0], [2.0]], "base_model.model.lm_head")))
    assert adapted.keys() == [EMBEDDING, HEAD] and adapted.config["tie_word_embeddings"] is False
    assert adapted[EMBEDDING].tolist() == [[1, 0], [0, 1]] and adapted[HEAD].tolist() == [[3, 2], [4, 5]]
    saved = Adapted(base, make_adapter({"base_model.model.lm_head.weight": torch.ones(2, 2)}))
    write(saved, tmp_path / "out")
    with open_folder(tmp_path / "out") as folder:
        assert folder[HEAD].tolist() == [[1, 1], [1, 1]] and folder.config["tie_word_embeddings"] is False


def test_an_adapter_is_never_cached(make_adapter: MakeAdapter, tmp_path: Path) -> None:
    """A crashed run leaves nothing that a later one could take for complete (specification, section 3, case 18)."""
    first = open_checkpoint(make_adapter(HAND), base=IDENTITY)
    with pytest.raises(RuntimeError, match="power"):
        write(first, tmp_path / "out", disk=Failing())
    assert [entry.name for entry in tmp_path.iterdir()] == ["adapter"]
    assert open_checkpoint(make_adapter(HAND, lora_alpha=4), base=IDENTITY)["layer.weight"].tolist() == [[5, 4], [8, 9]]
    assert sorted(entry.name for entry in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


class Failing(Disk):
    def write_at(self, handle: int, data: memoryview, offset: int) -> None:
        raise RuntimeError("no power")
