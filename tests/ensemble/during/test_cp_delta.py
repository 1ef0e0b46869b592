"""CP-delta: the distribution nearest to all members."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.core.types import Sampling
from consort.ensemble.during.average import mix
from consort.ensemble.during.cp_delta import CpDelta, least
from consort.models import FakeTokenModel

Q = [torch.tensor([[0.6, 0.3, 0.1]]).log(), torch.tensor([[0.2, 0.5, 0.3]]).log()]
A, B = FakeTokenModel.random(1), FakeTokenModel.random(2)


def test_by_hand() -> None:
    assert mix(Q, [0.5, 0.5], "geometric").exp()[0].tolist() == pytest.approx([0.381966, 0.427051, 0.190983], abs=1e-6)
    assert least(Q).exp()[0].tolist() == pytest.approx([1 / 3, 0.5, 1 / 6])


@pytest.mark.parametrize("divergence", ["kl", "max"])
def test_it_is_nearest_by_its_own_measure(divergence: str) -> None:
    """No random distribution is nearer to the members than the one that is chosen."""

    def far(p: torch.Tensor) -> torch.Tensor:
        ratios = torch.stack([p.log() - q for q in Q])
        return ratios.amax((0, -1)) if divergence == "max" else (ratios * p).sum(-1).mean(0)

    chosen = (least(Q) if divergence == "max" else mix(Q, [0.5, 0.5], "geometric")).exp()
    others = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0))
    assert float(far(chosen)) <= float(far(others / others.sum(-1, keepdim=True)).min()) + 1e-6


@pytest.mark.parametrize("divergence", ["kl", "max"])
def test_all_weight_on_one_model_is_that_model(divergence: str) -> None:
    team = CpDelta([A, B], weight=[1, 0], divergence=divergence)  # type: ignore[arg-type]
    sampling = Sampling(max_tokens=9, temperature=1.0)
    assert team.generate(["abc"], sampling)[0].tokens == A.generate(["abc"], sampling)[0].tokens


def test_an_unknown_divergence_is_named() -> None:
    with pytest.raises(BadParameter, match="divergence"):
        CpDelta([A, B], divergence="chi")  # type: ignore[arg-type]
