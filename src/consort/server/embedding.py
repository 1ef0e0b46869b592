"""Embeddings of texts by a causal model: the mean of its last hidden states, of length 1."""

from __future__ import annotations

from collections.abc import Sequence

from consort.models.abilities import able, with_hidden
from consort.models.decoding.decode import check_window, prompt_tokens
from consort.models.token_model import TokenModel
from consort.server.errors import invalid
from consort.server.table import Served


def embedded(served: Served, texts: Sequence[str], size: int | None) -> tuple[list[list[float]], int]:
    """A vector for each text, and how many tokens were read; `size`: only the first numbers, of length 1 again."""
    import torch

    model = served.model
    if not isinstance(model, TokenModel) or not able(model.open(1), "hidden"):
        raise invalid("model", f"{served.id} has no embeddings; a single local model has")
    found, count = [], 0
    for number, text in enumerate(texts):
        tokens = prompt_tokens(model.tokenizer, text)
        check_window(model, len(tokens), f"input[{number}]", tokens)
        if not tokens:
            raise invalid(f"input[{number}]", "is empty")
        states = with_hidden(model.open(1), model.name).feed_hidden([tokens], (-1,))[0]
        vector = states.hidden[0].float().mean(0)
        if size is not None and size > len(vector):
            raise invalid("dimensions", f"{served.id} has {len(vector)}")
        vector = torch.nn.functional.normalize(vector[:size], dim=0)
        found.append(vector.tolist())
        count += len(tokens)
    return found, count
