"""The concrete subspace (check 9.16)."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadCheckpoint, Incompatible
from consort.merge.trained.concrete import Concrete, gumbel, learn_mask
from consort.merge.trained.store import write_found
from consort.plan.objects import to_plan


def find(pair, **more):
    return learn_mask(pair.live.module, pair.deltas, pair.passages, start=[0.3, 0.3], batch=8, **more)


def stored(pair, found, folder):
    write_found(folder, "concrete", pair.models, pair.base, {"amounts": list(found.amounts)}, found.factors)
    return str(folder)


def test_large_equal_logits_are_no_mask(pair, tmp_path):
    found = find(pair, steps=0, logit=50.0)
    assert all(torch.equal(factor, torch.ones_like(factor)) for factor in found.factors.values())
    merged = Concrete(pair.models, pair.base, mask=stored(pair, found, tmp_path))
    for name in merged.keys():
        torch.testing.assert_close(merged[name], pair.merged[name], atol=1e-6, rtol=1e-2)


def test_masks_keep_the_size_of_each_delta(pair):
    found = find(pair, steps=3, lr=0.05)
    assert all(float(factor.mean()) == pytest.approx(1.0, abs=1e-4) for factor in found.factors.values())
    assert any(float(factor.std()) > 0.01 for factor in found.factors.values())
    assert find(pair, steps=3, lr=0.05).factors[pair.deltas.names[0]].equal(found.factors[pair.deltas.names[0]])


def test_coefficients_move_only_where_they_may(pair):
    assert find(pair, steps=2, lr=0.05).amounts == pytest.approx((0.3, 0.3))
    moved = find(pair, steps=2, lr=0.05, adaptive=True).amounts
    assert moved != pytest.approx((0.3, 0.3)) and all(0 <= value <= 1 for value in moved)


def test_a_plan_names_it_and_pieces_equal_the_whole(pair, tmp_path):
    found = find(pair, steps=2, lr=0.05)
    folder = stored(pair, found, tmp_path)
    merged = Concrete(pair.models, pair.base, mask=folder, weight=[0.5, 0.2])
    assert to_plan(merged)["concrete"]["weight"] == [0.5, 0.2]
    name = pair.deltas.names[4]
    piece = torch.empty(10)
    merged.read_into(name, 7, 17, piece)
    wanted = pair.deltas.of_base(name) + pair.deltas.weighed(name, [0.5, 0.2]) * found.factors[name]
    torch.testing.assert_close(piece, wanted.view(-1)[7:17])


def test_a_mask_belongs_to_its_models(pair, tmp_path):
    folder = stored(pair, find(pair, steps=0), tmp_path)
    with pytest.raises(Incompatible):
        Concrete(pair.models[:1], pair.base, mask=folder)
    with pytest.raises(BadCheckpoint, match="no coefficients of 2 models"):
        Concrete(pair.models, pair.base, mask=folder, weight=[1.0])


def test_noise_is_logistic():
    drawn = gumbel((20000,), torch.Generator().manual_seed(0))
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.05)
    assert float(drawn.std()) == pytest.approx(torch.pi / 3**0.5, abs=0.05)
