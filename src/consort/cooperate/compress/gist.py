"""Gist tokens (2304.08467): a few tokens after a prompt see it, all later tokens see only them; their keys and values
are kept and the prompt is forgotten.

Differs from the paper: the model itself is not fine-tuned; a low-rank delta that is on for the prompt and its gists
alone is learned with the gists' embeddings, so the reader decodes as it is. Batches are ragged: each row goes on at its
own position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from consort.cooperate.compress import strategy
from consort.cooperate.compress.soft.encoder import Encoder, pad
from consort.cooperate.compress.soft.prefix import Prefix
from consort.cooperate.compress.soft.prompted import SoftPrompt, answer_loss
from consort.core.params import Range
from consort.models.token_model import TokenModel

Row = tuple[list[int], list[int], list[int]]


@strategy(paper="2304.08467")
class Gist(SoftPrompt):
    """Read a context once, keep the keys and values of `slots` gist tokens, and answer from those.

    `rank`: of the low-rank delta that is on while a context is read. `steps` and `lr`: how it is learned. `state`: the
    file that `consort fit` writes, which is refused for a reader of other weights.
    """

    mode = "gist"

    def __init__(
        self,
        model: TokenModel,
        *,
        slots: Annotated[int, Range(1, 4096)] = 1,
        rank: Annotated[int, Range(1, 4096)] = 8,
        steps: Annotated[int, Range(1, 100000000)] = 300,
        lr: Annotated[float, Range(0.000000000001, 1000)] = 0.0001,
        state: str | None = None,
    ) -> None:
        super().__init__(model, slots, rank, state, steps, lr, added=slots)

    def prefix_of(self, encoder: Encoder, tokens: Sequence[int]) -> Prefix:
        ids = torch.tensor([list(tokens)], device=self.model.device)
        embedded = torch.cat([encoder.embed(ids), encoder.added[None].to(encoder.embed(ids))], 1)
        with encoder.switched(True) as module:
            found: Any = module(inputs_embeds=embedded, use_cache=True)
        cache = getattr(found, "cache", None) or found.past_key_values  # its name in newer and older releases
        keys = torch.stack([layer.keys[0, :, -self.slots :] for layer in cache.layers])
        values = torch.stack([layer.values[0, :, -self.slots :] for layer in cache.layers])
        return Prefix(len(tokens) + self.slots, keys=keys, values=values)

    def loss(self, encoder: nn.Module, batch: Sequence[Row]) -> Tensor:
        assert isinstance(encoder, Encoder)
        logits = self.whole(encoder, batch)
        sizes = [len(c) + self.slots + len(q) + len(a) for c, q, a in batch]
        return answer_loss([row[:n] for row, n in zip(logits, sizes, strict=True)], [a for _, _, a in batch])

    def whole(
        self, encoder: Encoder, batch: Sequence[Row], embedded: Sequence[Tensor] | None = None
    ) -> Float[Tensor, "row token vocab"]:
        """One masked pass over contexts, gists, questions and answers; rows are filled up at the end.

        `embedded` stands for the contexts' embeddings, where gradients with respect to them are asked for.
        """
        device = self.model.device
        rows, befores, lengths = [], [], []
        for number, (context, question, answer) in enumerate(batch):
            after = encoder.embed(torch.tensor([[*question, *answer]], dtype=torch.long, device=device))[0]
            own = encoder.embed(torch.tensor([context], device=device))[0] if embedded is None else embedded[number]
            rows.append(torch.cat([own, encoder.added.to(own), after]))
            befores.append(len(context))
            lengths.append(len(rows[-1]))
        whole = pad(rows)
        seen = gist_mask(befores, self.slots, lengths).to(device)
        least = torch.finfo(whole.dtype).min
        mask = torch.zeros(seen.shape, dtype=whole.dtype, device=device).masked_fill(~seen, least)[:, None]
        positions = torch.arange(whole.shape[1], device=device).expand(len(rows), -1)
        on = (positions < torch.tensor(befores, device=device)[:, None] + self.slots)[..., None].to(whole.dtype)
        with encoder.switched(on) as module:
            found: Any = module(inputs_embeds=whole, attention_mask=mask, position_ids=positions, use_cache=False)
        logits: Tensor = found.logits
        return logits


def gist_mask(contexts: Sequence[int], slots: int, lengths: Sequence[int]) -> Bool[Tensor, "row token token"]:
    """Who sees whom: causal, and what follows the gists sees them and itself, not the context; padding sees itself.

    >>> gist_mask([2], 1, [4])[0].int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]]
    """
    most = max(lengths)
    at = torch.arange(most)
    causal = at[:, None] >= at[None, :]
    found = []
    for context, length in zip(contexts, lengths, strict=True):
        hidden = (at[:, None] >= context + slots) & (at[None, :] < context)
        real = (at[None, :] < length) & (at[:, None] < length)
        found.append((causal & ~hidden & real) | torch.eye(most, dtype=torch.bool))
    return torch.stack(found)
