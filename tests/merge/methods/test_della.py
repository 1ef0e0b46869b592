"""Changes kept at random by their rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from consort.core.errors import BadParameter
from consort.merge import merge
from consort.merge.arithmetic import ranks
from consort.merge.arithmetic.dropping import by_rank
from consort.merge.arithmetic.ranks import mean_ranks


def test_matrices():
    p = by_rank(0.5, 0.1, torch.tensor([[1.0, -3, 2, 5]]))
    torch.testing.assert_close(p, torch.tensor([[0.4, 0.533333, 0.466667, 0.6]]), rtol=0, atol=1e-6)
    assert by_rank(0.5, 0.1, torch.tensor([[[3.0], [1.0]]])).tolist() == [[[0.5], [0.5]]]


def test_equal_magnitudes_share_their_mean_rank():
    ranks = mean_ranks(torch.tensor([[2.0, 0, 2, 1, 2, 0], [1, 1, 1, 1, 1, 1]]))
    assert ranks.tolist() == [[4, 0.5, 4, 2, 4, 0.5], [2.5] * 6]


def changes(kind, seed):
    drawn = torch.Generator().manual_seed(seed)
    base = torch.empty(9, 700).normal_(0, 0.02, generator=drawn)
    model = base + torch.empty(9, 700).normal_(0, 0.001, generator=drawn)
    delta = model.to(kind).float() - base.to(kind).float()
    delta[:, ::50] *= 1e-20  # beyond what 16 bits reach
    return delta


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_ranks_by_code_are_those_of_a_full_sort(kind):
    """Codes of 16 bits leave entries open, which are settled by their full patterns."""
    for seed in range(5):
        rows = changes(kind, seed).abs().numpy()
        bits = rows.view(np.uint32)
        assert 0 < len(ranks._codes(bits)[1]) < rows.size / 16
        assert np.array_equal(ranks._by_code(bits), ranks._by_place(rows))


def test_entries_with_many_significant_bits_are_sorted_whole():
    rows = torch.rand(2, 600, generator=torch.Generator().manual_seed(1))
    assert ranks._by_code(rows.numpy().view(np.uint32)) is None
    assert mean_ranks(rows).equal(rows.argsort(-1).argsort(-1).float())


@pytest.mark.parametrize("name", ["della", "della_linear"])
def test_the_share_kept_and_the_mean(memory, name):
    delta = torch.rand(1000, 1000, generator=torch.Generator().manual_seed(1)) + 1
    base = memory(torch.zeros(1000, 1000))
    kept = merge(name, [memory(delta)], base=base, rescale="none", density=0.3)["w"].count_nonzero()
    assert abs(int(kept) - 300_000) < 4 * (10**6 * 0.3 * 0.7) ** 0.5
    mean = merge(name, [memory(delta)], base=base, density=0.3, normalize=False)["w"].mean()
    assert float(mean) == pytest.approx(float(delta.mean()), rel=0.02)


def test_l1_restores_the_magnitude(merged):
    delta = torch.randn(50, 40, generator=torch.Generator().manual_seed(2))
    got = merged("della_linear", [delta], base=torch.zeros(50, 40), rescale="l1")
    assert float(got.abs().sum()) == pytest.approx(float(delta.abs().sum()), rel=1e-5)


def test_probabilities_beyond_1_are_refused(merged):
    with pytest.raises(BadParameter, match="epsilon: density 0.9 ± epsilon 0.15"):
        merged("della", ["X1"], base="B", density=0.9)
    merged("della", ["X1"], base="B", density=0.85)
