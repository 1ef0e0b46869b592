"""What is refused before a tensor is read, and how tied and integer tensors are matched."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter, Incompatible
from consort.merge import merge

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}


def test_all_faults_are_listed_at_once(memory):
    one = memory({"a": [1.0], "b": [1.0, 2], "c": [1.0]}, "one", config={"rms_norm_eps": 1e-5})
    two = memory({"a": [1.0], "b": [1.0], "d": [1.0]}, "two", config={"rms_norm_eps": 1e-6})
    with pytest.raises(Incompatible) as caught:
        merge("linear", [one, two])
    message = str(caught.value)
    assert "b is [2] in one, [1] in two" in message
    assert "c is missing from two" in message and "d is missing from one" in message
    assert "rms_norm_eps" in message


def test_of_many_faults_the_first_are_shown_and_counted(memory):
    one, two = (memory({f"t{i}": [0.0] * n for i in range(30)}, f"of{n}") for n in (1, 2))
    with pytest.raises(Incompatible) as caught:
        merge("linear", [one, two])
    message = str(caught.value)
    assert message.startswith("30 of 30 tensors: t0 is [1] in of1, [2] in of2; t1 is ")
    assert message.endswith("; and 27 more") and "t3" not in message


def test_models_of_one_name_are_told_apart(memory):
    with pytest.raises(Incompatible, match=r"a is \[1\] in memory \(input 1\), \[2\] in memory \(input 2\)"):
        merge("linear", [memory({"a": [1.0]}), memory({"a": [1.0, 2]})])


@pytest.mark.parametrize("key, values", [("rope_theta", (1e4, 1e6)), ("max_position_embeddings", (2048, 32768))])
def test_configs_that_compute_otherwise_are_refused(memory, key, values):
    with pytest.raises(Incompatible, match="rope_theta|max_position_embeddings"):
        merge("linear", [memory([1.0], config={key: value}) for value in values])


def test_a_base_is_matched_even_where_the_method_ignores_it(memory):
    with pytest.raises(Incompatible, match="w is missing from base"):
        merge("linear", [memory([1.0])], base=memory({"v": [1.0]}, "base"))


def test_quantised_tensors_are_refused(memory):
    with pytest.raises(Incompatible, match="float8_e4m3fn: quantised"):
        merge("linear", [memory([1.0], dtype=torch.float8_e4m3fn)])


def test_equal_integers_are_copied_and_others_refused_when_read(memory):
    def model(ids):
        found = memory({"w": [1.0], "ids": [0, 0, 0]})
        return type(found)({"w": found["w"], "ids": torch.tensor(ids)}, {})

    same = merge("linear", [model([1, 2, 3]), model([1, 2, 3])], dtype="bfloat16")
    assert same["ids"].tolist() == [1, 2, 3] and same["ids"].dtype == torch.int64 and same["w"].dtype == torch.bfloat16
    with pytest.raises(Incompatible, match="ids: int64 values differ"):
        merge("linear", [model([1, 2, 3]), model([1, 2, 4])])["ids"]
    with pytest.raises(Incompatible, match="ids is float32, int64"):
        merge("linear", [model([1, 2, 3]), model([1.0, 2, 3])])


def test_a_tied_model_gives_its_embedding_as_its_head(memory):
    tied = memory({EMBEDDING: [[1.0], [2]]}, "tied", config=TIED)
    untied = memory({EMBEDDING: [[3.0], [4]], HEAD: [[5.0], [6]]}, "untied", config=UNTIED)
    merged = merge("task_arithmetic", [untied], base=tied, weight=0.5)
    assert merged[EMBEDDING].tolist() == [[2], [3]] and merged[HEAD].tolist() == [[3], [4]]
    assert merged.config["tie_word_embeddings"] is False


def test_tied_models_stay_tied(memory):
    plain = memory({EMBEDDING: [[1.0], [2]]}, config=TIED)
    stored = memory({EMBEDDING: [[3.0], [4]], HEAD: [[3.0], [4]]}, config=TIED)
    merged = merge("linear", [plain, stored])
    assert merged.keys() == [EMBEDDING] and merged.config["tie_word_embeddings"] is True


def test_an_untied_model_without_a_head_is_refused(memory):
    broken = memory({EMBEDDING: [[1.0]]}, "broken", config=UNTIED)
    sound = memory({EMBEDDING: [[1.0]], HEAD: [[1.0]]}, "sound", config=UNTIED)
    with pytest.raises(Incompatible, match="lm_head.weight is missing from broken"):
        merge("linear", [broken, sound])


def test_dtypes(memory):
    half, single, double = (memory([1.0], dtype=getattr(torch, d)) for d in ("float16", "float32", "float64"))
    brain = memory([1.0], dtype=torch.bfloat16)
    promoted = [merge("linear", pair).spec("w").dtype for pair in ([half, brain], [brain, brain], [single, double])]
    assert promoted == [torch.float16, torch.bfloat16, torch.float64]  # of two 16-bit types the first
    assert merge("linear", [half], dtype="float32", out_dtype=torch.bfloat16).spec("w").dtype == torch.bfloat16
    with pytest.raises(BadParameter, match="out_dtype: float23 .*"):
        merge("linear", [half], out_dtype="float23")
    with pytest.raises(BadParameter, match="dtype: torch.int8"):
        merge("linear", [half], dtype=torch.int8)
