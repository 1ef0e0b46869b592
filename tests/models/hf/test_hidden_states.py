"""Hidden states of a recurrent model nobody here made: what its own code gives, read in pieces and rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consort.cooperate.transfer.contrastive_search import ContrastiveSearch
from consort.core.types import Sampling
from consort.models import HFModel, load_model

TEXTS = ("Once upon a time there was", "The dog")


@pytest.fixture(scope="module")
def rwkv(shared: Path) -> HFModel:
    return load_model(shared / "models" / "rwkv4-tiny", tokenizer="bytes", device="cpu")


@torch.no_grad()
def test_pieces_of_ragged_rows_give_the_states_of_the_whole(rwkv: HFModel) -> None:
    rows = [rwkv.tokenizer.encode(text) for text in TEXTS]
    session = rwkv.open(2)
    first = session.feed_hidden([row[:3] for row in rows], (0, 1, -1))  # type: ignore[attr-defined]
    then = session.feed_hidden([row[3:] for row in rows], (0, 1, -1))  # type: ignore[attr-defined]
    for row, a, b in zip(rows, first, then, strict=True):
        whole = rwkv.module(input_ids=torch.tensor([row]), output_hidden_states=True, use_cache=False)
        wanted = torch.stack([whole.hidden_states[layer][0] for layer in (0, 1, -1)])
        torch.testing.assert_close(torch.cat([a.hidden, b.hidden], 1), wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(torch.cat([a.logits, b.logits]), whole.logits[0].float(), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_head_makes_its_logits_of_the_last_states(rwkv: HFModel) -> None:
    session = rwkv.open(1)
    (states,) = session.feed_hidden([rwkv.tokenizer.encode(TEXTS[0])])  # type: ignore[attr-defined]
    found = session.layer_logits(states.hidden[0])  # type: ignore[attr-defined]
    torch.testing.assert_close(found, states.logits, rtol=1e-3, atol=1e-3)


def test_contrastive_search_runs_on_it(rwkv: HFModel) -> None:
    greedy = rwkv.generate([TEXTS[0]], Sampling(max_tokens=8))[0].tokens
    assert ContrastiveSearch(rwkv, top_k=4, alpha=0.0).generate([TEXTS[0]], Sampling(max_tokens=8))[0].tokens == greedy
    assert len(ContrastiveSearch(rwkv, top_k=4, alpha=0.6).generate([TEXTS[0]], Sampling(max_tokens=8))[0].tokens) == 8
