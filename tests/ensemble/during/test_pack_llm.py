"""PackLLM: weights from the loss on the text."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from consort.core.errors import BadParameter
from consort.ensemble.during.pack_llm import PackLlm, opt, sim
from consort.models import FakeTokenModel

A, B, C = (FakeTokenModel.random(seed) for seed in range(3))


def test_sim_by_hand() -> None:
    assert sim(torch.tensor([1.0, 1.5, 3.0])).tolist() == pytest.approx([0.574097, 0.348207, 0.077696], abs=1e-6)
    assert sim(torch.tensor([1.0, 1.5, 3.0]), 1e-3).tolist() == pytest.approx([1, 0, 0])


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(2, 4))
def test_opt_is_never_worse_than_the_best_model(seed: int, tokens: int, models: int) -> None:
    seen = -torch.rand(tokens, models, generator=torch.Generator().manual_seed(seed)) * 5
    shares = opt(seen)
    loss = -(seen + shares.log()).logsumexp(-1).mean()
    assert float(shares.sum()) == pytest.approx(1, abs=1e-5)
    assert float(loss) <= float((-seen.mean(0)).min()) + 1e-5


def test_opt_by_hand() -> None:
    """Each model knows one of two tokens: half and half is best."""
    seen = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()
    assert opt(seen).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("rule", ["sim", "opt"])
def test_weights_follow_the_text_so_far(rule: str) -> None:
    team, tokens = PackLlm([A, B, C], rule=rule), [0, 2, 1, 1, 3]  # type: ignore[arg-type]
    got = team.open().feed([tokens])[0].softmax(-1)
    p = torch.stack([m.open().feed([tokens])[0].softmax(-1) for m in (A, B, C)])
    for at in range(len(tokens)):
        seen = torch.stack([p[:, i, tokens[i + 1]].log() for i in range(at)]) if at else torch.empty(0, 3)
        shares = torch.full((3,), 1 / 3) if not at else sim(-seen.mean(0)) if rule == "sim" else opt(seen)
        torch.testing.assert_close(got[at], (shares.view(-1, 1) * p[:, at]).sum(0), atol=1e-5, rtol=1e-4)


def test_prompt_tokens_bound_what_counts() -> None:
    short, tokens = PackLlm([A, B], prompt_tokens=2), [0, 1, 2, 3, 0, 1]
    p = torch.stack([m.open().feed([tokens])[0].softmax(-1) for m in (A, B)])
    shares = sim(-torch.stack([p[:, 0, 1], p[:, 1, 2]]).log().mean(0))
    torch.testing.assert_close(short.open().feed([tokens])[0][-1].exp(), shares @ p[:, -1], atol=1e-5, rtol=1e-4)


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(BadParameter, match="rule"):
        PackLlm([A], rule="best")  # type: ignore[arg-type]
