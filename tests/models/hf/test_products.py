"""Forms of a matrix product: the same numbers, chosen once for a shape, kept on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from consort.models.hf import products


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(products, "_TABLES", {})
    return tmp_path / "consort"


@pytest.mark.parametrize("bias", [None, torch.tensor([1.0, -1.0])])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_forms_are_one_product(count: int, bias: torch.Tensor | None) -> None:
    x, weight = torch.arange(3.0 * count).view(count, 3), torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    wanted = torch.nn.functional.linear(x, weight, bias)
    for name in products.allowed(count):
        assert products.FORMS[name](x, weight, bias).equal(wanted)


def test_B17_a_form_is_taken_only_where_it_is_measured_to_be_faster(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = {"linear": 1.0, "left": 0.5, "twice": 0.95, "column": 0.95}
    monkeypatch.setattr(products, "_seconds", lambda work: costs[work.func.__name__])
    matrices = [torch.zeros(512, 256), torch.zeros(512, 256)]
    assert products.forms_of(matrices) == {(512, 256): ("left",) * products.MOST}
    costs["left"] = 0.95  # what is known is not measured again, in this process or in another
    assert products.forms_of(matrices)[512, 256][0] == "left"
    products._TABLES.clear()
    assert products.forms_of(matrices)[512, 256][0] == "left"
    assert products.forms_of([torch.zeros(256, 512)]) == {(256, 512): products.PLAIN}
    (file,) = kept.iterdir()
    assert set(json.loads(file.read_text())) == {"512x256", "256x512"}


def test_B17_forms_are_measured_in_the_order_of_a_pass(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All matrices are read between two readings of one, also where it is the only one of its shape."""
    read: list[int] = []
    monkeypatch.setattr(products, "_seconds", lambda work: read.append(work.args[1].data_ptr()) or 1.0)
    matrices = [torch.zeros(512, 256), torch.zeros(256, 512), torch.zeros(512, 256), torch.zeros(1024, 256)]
    products.forms_of(matrices)
    assert read == [m.data_ptr() for m in matrices] * (len(read) // 4) and len(read) >= 2 * 4 * 14


def test_B17_of_a_large_model_a_part_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SLICE", 2**10)
    monkeypatch.setattr(products, "MOST_READ", 2**13)
    walk = products._walk([torch.zeros(64, 64), torch.zeros(32, 64)] * 40 + [torch.zeros(128, 64)])
    assert sum(part.numel() for _, part in walk) <= 2**13
    assert {shape for shape, _ in walk} == {(64, 64), (32, 64), (128, 64)}


def test_a_damaged_table_is_measured_anew(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_seconds", lambda work: 1.0)
    kept.mkdir()
    products._file().write_text('{"512x256": ["nonsense"]}')
    assert products.forms_of([torch.zeros(512, 256)]) == {(512, 256): products.PLAIN}


def test_small_matrices_and_those_of_16_bits_are_left_alone(kept: Path) -> None:
    assert products.forms_of([torch.zeros(4, 4), torch.zeros(512, 512, dtype=torch.bfloat16)]) == {}
    assert not kept.exists()
