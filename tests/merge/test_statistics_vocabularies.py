"""Statistics are of the models as they are: a merge that changes vocabularies refuses them."""

from __future__ import annotations

import json

import pytest
import torch

from consort.core.errors import ConsortError
from consort.merge import merge
from consort.weights.checkpoint import Memory


def model(name, tokens):
    beside = json.dumps({"model": {"type": "WordLevel", "vocab": {t: i for i, t in enumerate(tokens)}}}).encode()
    config = {"vocab_size": len(tokens), "tie_word_embeddings": True}
    rows = torch.arange(2.0 * len(tokens)).view(-1, 2)
    return Memory({"model.embed_tokens.weight": rows}, config, name=name, files={"tokenizer.json": beside})


@pytest.mark.parametrize("name", ["fisher", "regmean"])
def test_a_changed_vocabulary_refuses_statistics(name):
    one, two = model("one", "ab"), model("two", "bc")
    with pytest.raises(ConsortError, match="collected before `tokenizer` changes") as caught:
        merge(name, [one, two], statistics=[one, two], tokenizer="union")
    assert "common vocabulary first" in str(caught.value.hint)


def test_a_policy_that_changes_nothing_is_no_fault():
    one, two = model("one", "ab"), model("two", "ab")
    counts = [Memory({"model.embed_tokens.weight": torch.ones(2, 2)}, {}) for _ in range(2)]
    merged = merge("fisher", [one, two], statistics=counts, tokenizer="union")
    assert merged.spec("model.embed_tokens.weight").shape == (2, 2)
