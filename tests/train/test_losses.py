"""The losses, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from consort.train import pairwise, sft


def test_sft_counts_answer_tokens_only():
    logits = torch.zeros(1, 3, 4)
    logits[0, 1, 2] = math.log(5)
    labels = torch.tensor([[-100, -100, 2]])
    assert sft(logits, labels).item() == pytest.approx(math.log(8 / 5))


def test_sft_ignores_the_logits_of_prompt_and_padding():
    labels = torch.tensor([[-100, 1, 3, -100]])
    logits = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(0))
    changed = logits.clone()
    changed[0, 2:] += 7 * torch.arange(4.0)
    assert torch.equal(sft(logits, labels), sft(changed, labels))


def test_pairwise_is_log_two_for_equal_scores_and_falls_with_the_margin():
    zero = torch.zeros(3)
    assert pairwise(zero, zero).item() == pytest.approx(math.log(2))
    assert pairwise(zero + 1, zero).item() == pytest.approx(math.log1p(math.exp(-1)))
