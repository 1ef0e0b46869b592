"""Signals of mergeability: numbers computed in two ways, and the command."""

from __future__ import annotations

import json

import pytest
import torch

from consort.core.errors import BadParameter
from consort.weights.decomposition import decompose
from consort.zoo.signals import interference, mergeability, of_deltas, shape_of

D1 = torch.tensor([[3.0, 1], [0, 1], [2, 0]])
D2 = torch.tensor([[1.0, -2], [2, 1], [0, 1]])


def test_numbers():
    t1, t2 = torch.tensor([[4.0, -2, 1, 0]]), torch.tensor([[-1.0, -3, 2, 5]])
    found = of_deltas(t1, t2)
    assert found["cosine"] == pytest.approx(0.139771, abs=1e-6)
    assert found["sign_conflict"] == pytest.approx(1 / 3)
    assert found["norm_ratio"] == pytest.approx(0.733799, abs=1e-6)
    found = of_deltas(D1, D2, rank=1)
    assert found["overlap_left"] == pytest.approx(0.205832, abs=1e-6)
    assert found["overlap_right"] == pytest.approx(0.061052, abs=1e-6)
    assert shape_of(D1) == pytest.approx({"effective_rank": 1.715789, "stable_rank": 1.089722}, abs=1e-6)


def test_interference():
    assert interference([decompose(D1, 1), decompose(D2, 1)]) == pytest.approx(0.690494, abs=1e-6)
    apart = torch.zeros(3, 2), torch.zeros(3, 2)
    apart[0][0, 0], apart[1][1, 1] = 2.0, 5.0
    assert interference([decompose(one) for one in apart]) == pytest.approx(0, abs=1e-12)
    assert of_deltas(5 * D1, 5 * D2)["interference"] == pytest.approx(of_deltas(D1, D2)["interference"])


def test_equal_changes_agree_and_a_change_of_zero_says_nothing():
    same = of_deltas(D1, D1)
    assert same == pytest.approx(
        {"cosine": 1, "sign_conflict": 0, "norm_ratio": 1, "overlap_left": 1, "overlap_right": 1, "alignment": 1}
        | {"interference": 1}
    )
    assert of_deltas(D1, torch.zeros(3, 2)) == {"norm_ratio": 0.0}


def test_pairs_of_a_zoo(lab_checkpoints):
    mirror, order, base = lab_checkpoints
    [pair] = mergeability([mirror, order], base)
    assert (pair.a, pair.b) == (0, 1) and set(pair.mean) == set(pair.worst)
    assert 0 < pair.mean["sign_conflict"] < 1 and pair.worst["sign_conflict"][1] >= pair.mean["sign_conflict"]
    [again] = mergeability([order, mirror], base)
    assert again.mean == pytest.approx(pair.mean)
    with pytest.raises(BadParameter, match="no pair"):
        mergeability([mirror], base)


@pytest.fixture
def lab_checkpoints():
    from consort.lab import path
    from consort.weights import open_checkpoint

    return [open_checkpoint(path(name)) for name in ("mirror", "order", "base")]


def test_the_command_and_its_page(capsys, tmp_path):
    from consort.cli import main

    command = ["zoo", "similarity", "lab:mirror", "lab:order", "--base", "lab:base", "--signals", "--json"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--out", str(tmp_path / "zoo.html")])
    page = (tmp_path / "zoo.html").read_text("utf-8")
    assert "mirror + order" in page and 'title="worst' in page
    document = json.loads(capsys.readouterr().out)
    assert not ended.value.code and document["signals"][0]["models"] == ["mirror", "order"]
