"""Configurations against the tensors beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consort import lab
from consort.core.errors import BadCheckpoint
from consort.weights.disk.config_check import check_config
from consort.weights.disk.folder import open_folder

CONFIG = {"model_type": "llama", "hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 6}
SHAPES = {"model.embed_tokens.weight": (6, 4), "model.layers.0.w": (4, 4), "model.layers.1.w": (4, 4)}


@pytest.mark.parametrize(
    ("key", "value"),
    [("hidden_size", "x"), ("num_attention_heads", 0), ("num_hidden_layers", True), ("vocab_size", -1)]
    + [("rms_norm_eps", float("nan")), ("rms_norm_eps", float("inf")), ("rope_theta", float("nan"))]
    + [("num_hidden_layers", 10**9), ("num_hidden_layers", 1), ("vocab_size", 7)],
)
def test_a_value_that_cannot_be_is_refused_by_key(key: str, value: Any, make_folder: Callable[..., Path]) -> None:
    path = make_folder(config={**CONFIG, key: value})
    with pytest.raises(BadCheckpoint) as refused:
        open_folder(path)
    assert refused.value.field == f"{path / 'config.json'}: {key}" and refused.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"vocab_size": 5},  # a row of padding
        {"num_hidden_layers": 1, "num_nextn_predict_layers": 1},
        {"num_hidden_layers": 12, "num_hidden_groups": 1},
        {"num_hidden_layers": None, "rms_norm_eps": None, "time_step_limit": [0.0, float("inf")]},
        {"text_config": {"num_hidden_layers": 2}, "num_hidden_layers": 9},
    ],
    ids=str,
)
def test_what_real_models_do_is_accepted(change: dict[str, Any]) -> None:
    check_config({**CONFIG, **change}, SHAPES, "config.json")


def test_one_of_several_stacks_has_the_layers() -> None:
    vision = {f"vision.layers.{i}.w": (4, 4) for i in range(5)}
    check_config(CONFIG, {**SHAPES, **vision}, "config.json")
    with pytest.raises(BadCheckpoint, match="says 3 layers, the weights have 5"):
        check_config({**CONFIG, "num_hidden_layers": 3}, {**SHAPES, **vision}, "config.json")


def test_every_bundled_and_shared_model_agrees_with_itself(shared: Path) -> None:
    zoo = Path(lab.path("base")).parent
    for file in [*zoo.glob("*/config.json"), *(shared / "data" / "models").glob("*/config.json")]:
        open_folder(file.parent).close()
