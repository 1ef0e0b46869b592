from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadCheckpoint, Incompatible
from consort.weights.checkpoint import Checkpoint, Memory
from consort.weights.views.basic import Cast, Delta, Renamed, Selected

NORM = "model.norm.weight"


def test_a_cast_is_what_would_have_been_saved(memory: Memory) -> None:
    cast = Cast(memory, torch.bfloat16)
    assert isinstance(cast, Checkpoint)
    assert cast.spec(NORM).dtype == torch.bfloat16 and torch.equal(cast[NORM], memory[NORM].to(torch.bfloat16))
    wide = torch.empty(4)
    cast.read_into(NORM, 0, 4, wide)
    assert torch.equal(wide, memory[NORM].to(torch.bfloat16).float())


def test_a_cast_leaves_integers_alone() -> None:
    cast = Cast(Memory({"ids": torch.arange(3)}, {}), torch.float16)
    assert cast.spec("ids").dtype == torch.int64 and torch.equal(cast["ids"], torch.arange(3))


def test_names_change_and_tensors_do_not(memory: Memory) -> None:
    renamed = Renamed(memory, lambda name: name.removeprefix("model."))
    assert renamed.keys()[:2] == ["embed_tokens.weight", "lm_head.weight"]
    assert torch.equal(renamed["norm.weight"], memory[NORM]) and renamed.spec("norm.weight") == memory.spec(NORM)
    assert torch.equal(Renamed(memory, {NORM: "n"})["n"], memory[NORM])
    with pytest.raises(BadCheckpoint, match="no such tensor"):
        renamed[NORM]


def test_two_tensors_cannot_get_one_name(memory: Memory) -> None:
    with pytest.raises(Incompatible, match="would both be x"):
        Renamed(memory, lambda name: "x")


def test_a_selection_keeps_order_and_hides_the_rest(memory: Memory) -> None:
    selected = Selected(memory, [NORM, "model.embed_tokens.weight"])
    assert selected.keys() == ["model.embed_tokens.weight", NORM]
    with pytest.raises(BadCheckpoint):
        selected["lm_head.weight"]
    with pytest.raises(BadCheckpoint, match="no such tensor"):
        Selected(memory, ["ghost"])


def test_a_delta_is_the_difference_in_float32() -> None:
    source = Memory({"w": torch.tensor([1.5, 2.0], dtype=torch.bfloat16), "ids": torch.arange(2)}, {"k": 1})
    base = Memory({"w": torch.tensor([1.0, 0.1], dtype=torch.float32), "ids": torch.arange(2)}, {})
    delta = Delta(source, base)
    assert delta.keys() == ["w"] and delta.spec("w").dtype == torch.float32 and delta.config == {"k": 1}
    assert torch.equal(delta["w"], torch.tensor([0.5, 2 - torch.tensor(0.1).item()]))
    assert delta.inputs == (source, base)


def test_all_faults_of_a_delta_are_listed_at_once() -> None:
    source = Memory({"a": torch.zeros(2), "b": torch.zeros(1)}, {}, name="x")
    base = Memory({"a": torch.zeros(3), "c": torch.zeros(1)}, {}, name="y")
    with pytest.raises(Incompatible) as caught:
        Delta(source, base)
    assert caught.value.message == "b is only in x; c is only in y; a is [2] and [3]"
