"""The merge as a checkpoint."""

from __future__ import annotations

import math

import pytest
import torch

from consort.core.errors import BadCheckpoint, BadParameter, UnknownName
from consort.merge import Merged, merge, methods
from consort.merge.engine.blocks import BLOCK
from consort.weights.checkpoint import Checkpoint, Memory, leaves


def test_it_is_a_checkpoint_of_its_inputs(memory):
    a, b, base = (memory({"w": [1.0], "v": [[2.0]]}, name) for name in ("a", "b", "base"))
    merged = merge("ties", [a, merge("linear", [a, b])], base=base, density=0.5)
    assert isinstance(merged, Checkpoint) and merged.name == "ties(a, linear(a, b), base)"
    assert leaves(merged) == [a, b, base] and merged.keys() == ["w", "v"]
    assert merged.spec("v").shape == (1, 1) and merged["v"].tolist() == [[2]]


def test_it_keeps_what_it_was_made_from(memory):
    a, base = memory([1.0]), memory([0.0])
    merged = Merged("task_arithmetic", [a], base=base, seed=7, params={"lambda": 2, "weight": [0.5]})
    assert (merged.method, merged.models, merged.base, merged.seed) == ("task_arithmetic", (a,), base, 7)
    assert merged.params == {"lambda_": 2, "weight": [0.5]}
    assert merged.resolve("w") == {"weight": (0.5,), "normalize": False, "lambda_": 2.0}


def test_config_and_files_are_the_bases_else_the_first_models():
    config = {"hidden_size": 4}
    models = [
        Memory({"w": torch.ones(2)}, config | {"bos_token_id": i}, files={"special_tokens_map.json": b"%d" % i})
        for i in range(3)
    ]
    for base, donor in ((None, 1), (models[0], 0)):
        merged = merge("linear", models[1:], base=base, dtype="float16")
        assert merged.config["bos_token_id"] == donor and merged.config["dtype"] == "float16"
        assert merged.files() == {"special_tokens_map.json": b"%d" % donor}


def test_rounding_happens_once(memory):
    model, base = (memory([value], dtype=torch.bfloat16) for value in (3.0, 0.0))
    merged = merge("task_arithmetic", [model], base=base, weight=0.6, dtype="bfloat16")
    assert merged["w"].tolist() == [1.796875]
    exact = torch.empty(1)
    merged.read_into("w", 0, 1, exact)
    assert exact.item() == torch.tensor(0.6).item() * 3


def test_float64_inputs_are_computed_in_float64(memory):
    models = [memory([value], dtype=torch.float64) for value in (1, 1 + 2**-40)]
    assert merge("linear", models)["w"].item() == 1 + 2**-41
    assert merge("ties", models[1:], base=models[0], density=0.5)["w"].item() == 1 + 2**-40


@pytest.mark.parametrize("name", ["linear", "ties"])
def test_nan_of_an_input_is_nan_of_the_merge_and_nothing_else(memory, name):
    model = torch.arange(10.0)
    model[3] = math.nan
    merged = merge(name, [memory(model), memory(torch.ones(10))], base=memory(torch.zeros(10)))
    assert merged["w"].isnan().nonzero().tolist() == [[3]]


def test_sums_that_overflow_are_no_nan(memory):
    big = torch.full((10,), 3e38)
    assert merge("linear", [memory(big)])["w"].equal(big)


def test_ranges_of_rows_and_entries(memory):
    models = [memory(torch.randn(5, 7, generator=torch.Generator().manual_seed(i))) for i in range(3)]
    for name in ("della", "ties"):
        merged = merge(name, models[:2], base=models[2])
        part = torch.empty(9)
        merged.read_into("w", 10, 19, part)
        assert part.equal(merged["w"].view(-1)[10:19])


def test_many_equal_statistics_are_computed_once(memory):
    reads = []

    class Counted(Memory):
        def read_into(self, name, start, stop, out):
            reads.append((start, stop))
            super().read_into(name, start, stop, out)

    models = [Counted({"w": torch.randn(3 * BLOCK).bfloat16()}, {}), memory(torch.zeros(3 * BLOCK))]
    merged = merge("ties", models[:1], base=models[1])
    for start in range(0, 3 * BLOCK, BLOCK):
        merged.read_into("w", start, start + BLOCK, torch.empty(BLOCK))
    assert len(reads) == 9  # two passes for the threshold, one to merge


def test_names_are_answered_with_what_would_be_right(memory):
    a = memory([1.0])
    with pytest.raises(UnknownName, match="no merge named 'tise'") as method:
        merge("tise", [a])
    assert "ties" in method.value.hint
    with pytest.raises(BadParameter, match="densty: ties has no parameter") as parameter:
        merge("ties", [a], base=a, densty=0.1)
    assert parameter.value.hint == "did you mean 'density'?"
    with pytest.raises(BadCheckpoint, match="ww: linear") as tensor:
        merge("linear", [a])["ww"]
    assert "'w'" in tensor.value.hint
    with pytest.raises(BadParameter, match="models: slerp merges 1 model, not 2"):
        merge("slerp", [a, a], base=a, t=0.5)


def test_the_registry_is_no_module_once_methods_are_loaded():
    import consort.merge

    methods.get("linear")
    assert consort.merge.methods is methods and "linear" in methods


def test_listing_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, consort.merge as m; print(len(m.methods.entries()), 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [str(len(methods.entries())), "False"]
